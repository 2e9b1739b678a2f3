//! A copy of the pages that hold SQLite's list of tables, beside the file: without that list no row of any table can be found, and one
//! damaged page of it would lose them all. It changes only with the version, so that a copy made whenever the file is opened or
//! closed is a good one.
//!
//! The file: eight bytes of magic, then for each page its number in the file (from 1; four bytes, little-endian) and the page itself, with
//! its checksum. The header in the first page changes with every commit; of it only that is made anew which is of the moment.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use stepwell_env::{Disk, RealDisk, write_atomically};

use crate::{
    btree::{FIRST_HEADER_AT, FREE_AT, INTERIOR, LEAF, SIZE_AT, children},
    error::MetadataError,
    pages::{PAGE_BYTES, is_good, stamp},
    prepare::{failed, sibling},
};

const MAGIC: &[u8; 8] = b"SWTABLE1";
const NUMBER_BYTES: usize = 4;
/// A list of more pages is none of ours.
const PAGES_MAX: usize = 1_000;

/// Where the copy of a file is.
pub(crate) fn copy_of(path: &Path) -> PathBuf {
    sibling(path, "-tables")
}

/// Writes the copy, if there is something to copy that is not in it yet. For who has the file not open, as `prepare::state`.
pub(crate) fn keep(path: &Path) -> Result<(), MetadataError> {
    if !RealDisk.exists(path) {
        return Ok(());
    }
    // Only its list: the rest may be large.
    let file = File::open(path).map_err(failed("open", path))?;
    let page = |offset: u64| {
        let mut page = vec![0; PAGE_BYTES];
        file.read_exact_at(&mut page, offset).ok().map(|()| page)
    };
    let Some(pages) = pages_of_list(page) else { return Ok(()) };
    let mut content = MAGIC.to_vec();
    for (number, page) in pages {
        content.extend(number.to_le_bytes());
        content.extend(page);
    }
    let copy = copy_of(path);
    // One that cannot be read is as good as none.
    if RealDisk.read(&copy).is_ok_and(|kept| kept == content) {
        return Ok(());
    }
    write_atomically(&RealDisk, &copy, &content).map_err(failed("write", &copy))
}

/// The pages of the copy, by their offset in the file, if it is one of this file: its pages that are not damaged are those of the copy,
/// and lead to all of them. The first page is among them if that of the file is damaged.
pub(crate) fn kept(path: &Path, file: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let mut copied = RealDisk.read(&copy_of(path)).ok().and_then(|content| entries(&content)).unwrap_or_default();
    let own = |offset: u64| {
        let from = usize::try_from(offset).ok()?;
        file.get(from..from.checked_add(PAGE_BYTES)?).map(<[u8]>::to_vec)
    };
    let first = copied.remove(&0).filter(|_| !own(0).is_some_and(|page| is_good(&page, 0)));
    let is_other =
        |(offset, copied): (&u64, &Vec<u8>)| own(*offset).is_none_or(|page| is_good(&page, *offset) && page != *copied);
    if copied.iter().any(is_other) {
        return BTreeMap::new();
    }
    copied.extend(first.map(|page| (0, of_this_moment(page, file.len()))));
    let listed = pages_of_list(|offset| copied.get(&offset).cloned().or_else(|| own(offset)));
    let is_all = listed.is_some_and(|listed| {
        listed
            .keys()
            .map(|number| offset_of(*number))
            .filter(|offset| *offset > 0)
            .eq(copied.keys().copied().filter(|offset| *offset > 0))
    });
    if is_all { copied } else { BTreeMap::new() }
}

/// Whether the copy is undamaged; one that is not there is not.
pub(crate) fn is_whole(path: &Path) -> bool {
    RealDisk.read(&copy_of(path)).is_ok_and(|content| entries(&content).is_some())
}

/// A first page of an earlier moment for a file of so many bytes: with their number, and without its list of free pages, which may be in
/// use now. That some are in no use costs their room only.
fn of_this_moment(mut page: Vec<u8>, file_bytes: usize) -> Vec<u8> {
    let pages = u32::try_from(file_bytes / PAGE_BYTES).unwrap_or(u32::MAX);
    if let Some(size) = page.get_mut(SIZE_AT) {
        size.copy_from_slice(&pages.to_be_bytes());
    }
    if let Some(free) = page.get_mut(FREE_AT) {
        free.fill(0);
    }
    stamp(&mut page, 0);
    page
}

/// What a copy holds, if all of it is undamaged.
fn entries(content: &[u8]) -> Option<BTreeMap<u64, Vec<u8>>> {
    let entry = |entry: &[u8]| {
        let (number, page) = entry.split_first_chunk::<NUMBER_BYTES>()?;
        let offset = offset_of(u32::from_le_bytes(*number));
        is_good(page, offset).then(|| (offset, page.to_vec()))
    };
    content.strip_prefix(MAGIC.as_slice())?.chunks(NUMBER_BYTES + PAGE_BYTES).map(entry).collect()
}

/// Where the page of a number, from 1, begins.
fn offset_of(number: u32) -> u64 {
    u64::from(number.saturating_sub(1)) * PAGE_BYTES as u64
}

/// The pages of the list, by number; `None` if one of them is damaged or the file is not as it should be.
fn pages_of_list(read: impl Fn(u64) -> Option<Vec<u8>>) -> Option<BTreeMap<u32, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![1];
    while let Some(number) = waiting.pop() {
        if number == 0 || found.len() > PAGES_MAX {
            return None;
        }
        let page = read(offset_of(number)).filter(|page| is_good(page, offset_of(number)))?;
        let header = if number == 1 { FIRST_HEADER_AT } else { 0 };
        match *page.get(header)? {
            LEAF => {}
            INTERIOR => waiting.extend(children(&page, header)?),
            _ => return None,
        }
        // A page that is there twice leads in a circle.
        if found.insert(number, page).is_some() {
            return None;
        }
    }
    Some(found)
}
