//! A copy of the pages that hold SQLite's list of tables, beside the file: without that list no row of any table can be found, and one
//! damaged page of it would lose them all. It changes only with the version, so that a copy made whenever the file is opened or
//! closed is a good one.
//!
//! The file: eight bytes of magic, which say whether the database has been open since, then for each page its number in the file (from 1;
//! four bytes, little-endian) and the page itself, with its checksum. The header in the first page changes with every commit: only where
//! the database was not open since it is that of the moment, with the list of free pages.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use stepwell_env::{Disk, RealDisk, write_atomically};

use crate::{
    btree::{FIRST_HEADER_AT, FREE_AT, INTERIOR, LEAF, SIZE_AT, children},
    error::MetadataError,
    pages::{PAGE_BYTES, is_good, stamp},
    prepare::{failed, is_there, log_of, sibling},
};

const MAGIC_BYTES: usize = 8;
/// Of a copy behind which the file may have changed,
const MAGIC_OPEN: &[u8; MAGIC_BYTES] = b"SWTABLE1";
/// and of one whose first page is that of the file.
const MAGIC_CLOSED: &[u8; MAGIC_BYTES] = b"SWTABLE2";
const NUMBER_BYTES: usize = 4;
/// A list of more pages is none of ours.
const PAGES_MAX: usize = 1_000;

/// No first page of a list, of so many free pages: to SQLite, which only reads such a file, and to `lost_pages` damage to the list.
const FREE_UNKNOWN: [u8; 8] = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

/// When a copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before changes.
    Opening,
    /// After the last, if the log is in the file.
    Closed,
}

/// What a copy holds.
struct Copied {
    /// The file has not changed since.
    is_closed: bool,
    /// By their offset in the file.
    pages: BTreeMap<u64, Vec<u8>>,
}

/// Where the copy of a file is.
pub(crate) fn copy_of(path: &Path) -> PathBuf {
    sibling(path, "-tables")
}

/// Writes the copy, if there is something to copy that is not in it yet. For who has the file not open, as `prepare::state`.
pub(crate) fn keep(path: &Path, moment: Moment) -> Result<(), MetadataError> {
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
    let is_closed = moment == Moment::Closed && !is_there(&log_of(path))?;
    let magic = if is_closed { MAGIC_CLOSED } else { MAGIC_OPEN };
    let mut content = magic.to_vec();
    for (number, page) in pages {
        content.extend(number.to_le_bytes());
        content.extend(page);
    }
    let copy = copy_of(path);
    // One that cannot be read is as good as none.
    let kept = RealDisk.read(&copy).unwrap_or_default();
    let has_pages = copied(&kept).is_some() && kept.get(MAGIC_BYTES..) == content.get(MAGIC_BYTES..);
    // In its place first: a server is to start where the disk has no room for a second one.
    if kept == content || (has_pages && mark(&copy, magic).is_ok()) {
        return Ok(());
    }
    write_atomically(&RealDisk, &copy, &content).map_err(failed("write", &copy))
}

/// Says anew in a copy whether the database has been open since. One byte of it changes, which is written whole or not at all.
fn mark(copy: &Path, magic: &[u8; MAGIC_BYTES]) -> io::Result<()> {
    let file = File::options().write(true).open(copy)?;
    file.write_all_at(magic, 0)?;
    file.sync_data()
}

/// The pages of the copy, by their offset in the file, if it is one of this file: its pages that are not damaged are those of the copy,
/// and lead to all of them. The first page is among them if that of the file is damaged.
pub(crate) fn kept(path: &Path, file: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let copied = RealDisk.read(&copy_of(path)).ok().and_then(|content| copied(&content));
    let Some(Copied { is_closed, pages: mut copied }) = copied else { return BTreeMap::new() };
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
    copied.extend(first.map(|page| (0, of_this_moment(page, file.len(), is_closed))));
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
    RealDisk.read(&copy_of(path)).is_ok_and(|content| copied(&content).is_some())
}

/// A copied first page for a file of so many bytes. One of an earlier moment gets their number, and has no list of free pages: what was
/// free then may be in use now, and what was freed since is not to come back.
fn of_this_moment(mut page: Vec<u8>, file_bytes: usize, is_closed: bool) -> Vec<u8> {
    let pages = u32::try_from(file_bytes / PAGE_BYTES).unwrap_or(u32::MAX).to_be_bytes();
    if is_closed && page.get(SIZE_AT).is_some_and(|size| size == pages) {
        return page;
    }
    for (at, value) in [(SIZE_AT, &pages[..]), (FREE_AT, &FREE_UNKNOWN[..])] {
        if let Some(place) = page.get_mut(at) {
            place.copy_from_slice(value);
        }
    }
    stamp(&mut page, 0);
    page
}

/// What a copy holds, if all of it is undamaged.
fn copied(content: &[u8]) -> Option<Copied> {
    let entry = |entry: &[u8]| {
        let (number, page) = entry.split_first_chunk::<NUMBER_BYTES>()?;
        let offset = offset_of(u32::from_le_bytes(*number));
        is_good(page, offset).then(|| (offset, page.to_vec()))
    };
    let (magic, entries) = content.split_first_chunk::<MAGIC_BYTES>()?;
    let is_closed = magic == MAGIC_CLOSED;
    let pages = entries.chunks(NUMBER_BYTES + PAGE_BYTES).map(entry).collect::<Option<_>>()?;
    (is_closed || magic == MAGIC_OPEN).then_some(Copied { is_closed, pages })
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
