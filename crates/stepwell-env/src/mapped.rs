//! A whole file as bytes.

use std::{fmt, io, ops::Range, sync::Arc};

use bytes::Bytes;
use memmap2::{Advice, Mmap, UncheckedAdvice};

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

    /// The content. It outlives the file's removal. Whoever touches what [`Self::get`] has not just given may be ended by a signal:
    /// the file may have been cut short since, and a device may refuse a sector.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Some of its bytes, which are in memory when this returns: a sector that the device refuses, or an end that is gone, is an error
    /// here and no signal later. A moment remains in which the system may drop them again; only a lock on each page would end it.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] past the end it had when it was opened; else an error of which [`Unreadable::of`] knows the place.
    pub fn get(&self, range: Range<usize>) -> io::Result<&[u8]> {
        let bytes = self.bytes.get(range.clone()).ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(map) = &self.map
            && let Err(source) = populate(map, range.clone())
        {
            let offset = first_unreadable(map, range);
            return Err(io::Error::new(source.kind(), Unreadable { offset: offset as u64, source }));
        }
        Ok(bytes)
    }

    /// All of it, piece by piece; a piece is let go of when the next one is asked for, and the last one when the caller says so.
    pub fn pieces(&self, piece_bytes: usize) -> impl Iterator<Item = io::Result<&[u8]>> {
        let mut last = 0..0;
        (0..self.bytes.len()).step_by(piece_bytes.max(1)).map(move |start| {
            self.release_range(last.clone());
            last = start..start.saturating_add(piece_bytes).min(self.bytes.len());
            self.get(last.clone())
        })
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

/// Bytes of a map that the system cannot read.
#[derive(Debug)]
pub struct Unreadable {
    /// Of the first page of the system's that cannot be read.
    pub offset: u64,
    source: io::Error,
}

impl Unreadable {
    /// What an error of [`MappedFile::get`] says.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, source } = self;
        write!(f, "byte {offset} cannot be read: the file has been cut short, or the device fails ({source})")
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Has the pages read. Before Linux 5.14 nobody says whether they can be, and touching them is what it was.
fn populate(map: &Mmap, range: Range<usize>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    match map.advise_range(Advice::PopulateRead, range.start, range.len()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Where the first page begins that cannot be read, of a range in which there is one.
fn first_unreadable(map: &Mmap, range: Range<usize>) -> usize {
    const PAGE_BYTES: usize = 4_096;
    let (mut first, mut last) = (range.start / PAGE_BYTES, range.end.saturating_sub(1) / PAGE_BYTES);
    while first < last {
        let middle = first + (last - first) / 2;
        match populate(map, range.start..range.end.min((middle + 1) * PAGE_BYTES)) {
            Ok(()) => first = middle + 1,
            Err(_) => last = middle,
        }
    }
    range.start.max(first * PAGE_BYTES)
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
        Ok(self.get(start..end)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Disk, RealDisk};

    /// Pages of a file that was cut short after it was mapped: touching them would end the test by a signal.
    #[test]
    fn i11_bytes_that_are_gone_are_an_error_with_their_place_and_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..40_000u32).map(|i| i as u8).collect();
        RealDisk.create(&path).unwrap().append(&content).unwrap();
        let map = RealDisk.map(&path).unwrap();
        assert_eq!(map.get(0..40_000).unwrap(), content);
        assert_eq!(map.get(39_000..40_001).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

        RealDisk.truncate(&path, 2 * 4_096).unwrap();
        assert_eq!(map.get(10..8_000).unwrap(), &content[10..8_000]);
        for range in [0..40_000, 8_192..8_193, 100..9_000, 5_000..40_000] {
            let error = map.get(range.clone()).unwrap_err();
            assert_eq!(Unreadable::of(&error).unwrap().offset, 8_192, "{range:?}: {error}");
        }
        assert_eq!(Unreadable::of(&map.get(20_000..30_000).unwrap_err()).unwrap().offset, 20_000);
        let pieces: Vec<_> = map.pieces(5_000).map(|piece| piece.map(<[u8]>::len)).collect();
        assert!(matches!(pieces[0], Ok(5_000)) && pieces[1..].iter().all(Result::is_err), "{pieces:?}");
    }

    #[test]
    fn pieces_are_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..20_001u32).map(|i| i as u8).collect();
        RealDisk.create(&path).unwrap().append(&content).unwrap();
        for piece_bytes in [1_000, 4_096, 20_001, 1 << 20] {
            let map = RealDisk.map(&path).unwrap();
            let pieces: Vec<&[u8]> = map.pieces(piece_bytes).collect::<io::Result<_>>().unwrap();
            assert_eq!(pieces.concat(), content);
        }
        assert_eq!(MappedFile::from(Vec::new()).pieces(10).count(), 0);
    }
}
