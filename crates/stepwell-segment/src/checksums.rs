//! The checksums of pages: the footer has them, and each page is checked whenever it is read.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::{Buf, Bytes, buf::Reader};
use parquet::{
    errors::{ParquetError, Result},
    file::{
        metadata::ParquetMetaData,
        reader::{ChunkReader, Length},
    },
};
use stepwell_env::{MappedFile, Unreadable};

use crate::health::{Health, Place};

/// Key of the footer's metadata: the CRC-32C of each page with its header, in file order, 8 hexadecimal digits each.
pub(crate) const PAGES_KEY: &str = "stepwell.page_crc32c";

pub(crate) fn to_text(crcs: &[u32]) -> String {
    crcs.iter().map(|crc| format!("{crc:08x}")).collect()
}

fn of_text(text: &str) -> Option<Vec<u32>> {
    let (digits, []) = text.as_bytes().as_chunks::<8>() else { return None };
    digits.iter().map(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).collect()
}

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagePlace {
    pub(crate) start: u64,
    pub(crate) row_group: usize,
    pub(crate) column: usize,
    /// Rows of the file that cannot be read without it; of a dictionary all of the row group.
    pub(crate) rows: Range<u64>,
}

/// All pages in file order; `None` where there is no index of them.
pub(crate) fn pages(metadata: &ParquetMetaData) -> Option<Vec<PagePlace>> {
    let index = metadata.offset_index()?;
    let mut places = Vec::new();
    let mut first_row = 0;
    for (row_group, group) in metadata.row_groups().iter().enumerate() {
        let end = first_row + u64::try_from(group.num_rows()).ok()?;
        for (column, chunk) in group.columns().iter().enumerate() {
            if let Some(start) = chunk.dictionary_page_offset() {
                places.push(PagePlace { start: start as u64, row_group, column, rows: first_row..end });
            }
            let locations = index.get(row_group)?.get(column)?.page_locations();
            let starts = locations.iter().map(|page| first_row + page.first_row_index as u64);
            let ends = starts.clone().skip(1).chain([end]);
            for ((page, from), to) in locations.iter().zip(starts).zip(ends) {
                places.push(PagePlace { start: page.offset as u64, row_group, column, rows: from..to });
            }
        }
        first_row = end;
    }
    places.is_sorted_by_key(|place| place.start).then_some(places)
}

/// The checksums of a file by where its pages begin.
pub(crate) struct PageSums {
    /// Rising.
    starts: Vec<u64>,
    /// Where the last page ends.
    end: u64,
    crcs: Vec<u32>,
}

impl PageSums {
    /// Of a footer's `text`; `None` if it does not fit the pages.
    pub(crate) fn new(text: &str, metadata: &ParquetMetaData, end: u64) -> Option<Self> {
        let crcs = of_text(text)?;
        let starts: Vec<u64> = pages(metadata)?.into_iter().map(|place| place.start).collect();
        let fits = starts.len() == crcs.len() && starts.last().is_none_or(|last| *last < end);
        fits.then_some(Self { starts, end, crcs })
    }

    /// Bytes of memory.
    pub(crate) fn memory_size(&self) -> usize {
        self.starts.capacity() * size_of::<u64>() + self.crcs.capacity() * size_of::<u32>()
    }

    /// Where the page that begins at `start` ends, if it is whole; what is wrong if it is not.
    pub(crate) fn check(&self, file: &MappedFile, start: u64) -> std::result::Result<u64, PageDamage> {
        let Ok(number) = self.starts.binary_search(&start) else {
            return Err(PageDamage { bytes: 0, detail: "no page begins here".to_owned() });
        };
        let end = self.starts.get(number + 1).copied().unwrap_or(self.end);
        let expected = self.crcs[number];
        let detail = match file.get(start as usize..end as usize).map(crc32c::crc32c) {
            Ok(actual) if actual == expected => return Ok(end),
            Ok(actual) => format!("the CRC-32C of the page is {actual:08x}, the footer says {expected:08x}"),
            Err(error) => unreadable(&error, start).1,
        };
        Err(PageDamage { bytes: end - start, detail })
    }
}

/// The damage of bytes from `start` on that the system cannot read.
pub(crate) fn unreadable(error: &std::io::Error, start: u64) -> Place {
    (Unreadable::of(error).map_or(start, |unreadable| unreadable.offset), error.to_string())
}

/// A page that is not as it was written.
pub(crate) struct PageDamage {
    pub(crate) bytes: u64,
    pub(crate) detail: String,
}

/// A file of which no page is read unchecked.
pub(crate) struct CheckedPages {
    pub(crate) file: MappedFile,
    /// `None` of files without checksums of pages; those are checked as a whole before their first use.
    pub(crate) sums: Option<Arc<PageSums>>,
    pub(crate) health: Arc<Health>,
    /// The damage that made this reader fail.
    pub(crate) met: Arc<OnceLock<Place>>,
}

impl CheckedPages {
    fn damaged(&self, (offset, detail): Place) -> ParquetError {
        self.health.note(offset, detail.clone());
        self.met.get_or_init(|| (offset, detail.clone()));
        ParquetError::General(format!("byte {offset}: {detail}"))
    }

    /// Of a file whose pages have no checksums, each of which would have been a look at the page.
    fn present(&self, range: Range<usize>) -> Result<()> {
        let start = range.start as u64;
        self.file.get(range).map(drop).map_err(|error| self.damaged(unreadable(&error, start)))
    }
}

impl Length for CheckedPages {
    fn len(&self) -> u64 {
        self.file.bytes().len() as u64
    }
}

impl ChunkReader for CheckedPages {
    type T = Reader<Bytes>;

    /// Only for files without an index of pages, which have no checksums of them either.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        match &self.sums {
            Some(_) => Err(ParquetError::General("a page is read without its place in the index".to_owned())),
            None => {
                let bytes = self.file.bytes();
                let start = usize::try_from(start)?.min(bytes.len());
                self.present(start..bytes.len())?;
                Ok(bytes.slice(start..).reader())
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if let Some(sums) = &self.sums {
            let whole = sums.check(&self.file, start).map_err(|damage| self.damaged((start, damage.detail)))?;
            if whole != start + length as u64 {
                return Err(ParquetError::General(format!("the page at byte {start} is not of {length} bytes")));
            }
        }
        let start = usize::try_from(start)?;
        match start.checked_add(length).filter(|end| *end <= self.file.bytes().len()) {
            Some(end) => {
                if self.sums.is_none() {
                    self.present(start..end)?;
                }
                Ok(self.file.bytes().slice(start..end))
            }
            None => Err(ParquetError::EOF(format!("the file ends before byte {}", start.saturating_add(length)))),
        }
    }
}
