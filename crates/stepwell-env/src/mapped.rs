//! A whole file as bytes.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;
use memmap2::{Mmap, UncheckedAdvice};

use crate::ReadFile;

/// A file as it was when it was opened; mapped by the real disk. Clones share it.
#[derive(Clone)]
pub struct MappedFile {
    bytes: Bytes,
    /// Absent where the bytes are a copy.
    map: Option<Arc<Mmap>>,
}

/// What [`Bytes`] holds to keep a map alive.
struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl MappedFile {
    pub(crate) fn new(map: Mmap) -> Self {
        let map = Arc::new(map);
        Self { bytes: Bytes::from_owner(Owner(map.clone())), map: Some(map) }
    }

    /// The content. It outlives the file's removal.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Says that nobody reads it just now: its pages are no longer counted as this process's memory, and come back by themselves
    /// when they are read again. For whoever has read through a whole file once.
    pub fn release(&self) {
        self.release_range(0..self.bytes.len());
    }

    /// The same of some bytes; what else is in the pages where they begin and end goes with them.
    pub fn release_range(&self, range: Range<usize>) {
        let Some(map) = self.map.as_ref().filter(|map| range.start < range.end && range.end <= map.len()) else {
            return;
        };
        // SAFETY: the map is private, read-only and never written through, so a page that is dropped is read from the file again
        // with the same content: by the contract of `Disk::map` the file does not change while it is mapped.
        let advised = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        // It is advice: a system that does not take it keeps the pages, and nothing else is different.
        drop(advised);
    }
}

impl From<Vec<u8>> for MappedFile {
    fn from(copy: Vec<u8>) -> Self {
        Self { bytes: copy.into(), map: None }
    }
}

impl ReadFile for MappedFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let end = start.saturating_add(bytes).min(self.bytes.len());
        Ok(self.bytes[start..end].to_vec())
    }
}
