//! Reading as much as can be read, for those who look after a damaged data directory.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{DirEntry, Disk, DiskSpace, MappedFile, Mutex, WriteFile};

/// The least that is tried by itself, bytes: what an operating system reads at once.
const PIECE_BYTES: usize = 4_096;

/// Bytes of a file that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadablePart {
    pub range: Range<u64>,
    pub error: String,
}

/// A file as far as it can be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Readable {
    /// All of it, with zeros for what cannot be read.
    pub content: Vec<u8>,
    /// What cannot be read, in order.
    pub unreadable: Vec<UnreadablePart>,
}

/// Reads a file whose device may refuse some of it.
///
/// # Errors
/// Where it is not there, or cannot be opened or measured.
pub fn read_what_can_be(disk: &dyn Disk, path: &Path) -> io::Result<Readable> {
    match disk.read(path) {
        Ok(content) => return Ok(Readable { content, unreadable: Vec::new() }),
        Err(error) if is_of_the_name(&error) => return Err(error),
        Err(_) => {}
    }
    let file = disk.open(path)?;
    let bytes = usize::try_from(file.bytes()?).map_err(io::Error::other)?;
    let mut read = Readable { content: vec![0; bytes], unreadable: Vec::new() };
    for start in (0..bytes).step_by(PIECE_BYTES) {
        let piece = &mut read.content[start..bytes.min(start + PIECE_BYTES)];
        let (from, to) = (start as u64, (start + piece.len()) as u64);
        match file.read_at(from, piece.len()) {
            Ok(there) => piece[..there.len()].copy_from_slice(&there),
            Err(error) => match read.unreadable.last_mut().filter(|last| last.range.end == from) {
                Some(last) => last.range.end = to,
                None => read.unreadable.push(UnreadablePart { range: from..to, error: error.to_string() }),
            },
        }
    }
    Ok(read)
}

/// Whether an error is of the way to a file and not of its bytes.
fn is_of_the_name(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | PermissionDenied | NotADirectory | IsADirectory)
}

/// A disk that reads zeros where the one below cannot read, and remembers where. Whoever checks what he reads then finds damage there, and
/// goes on with the rest.
pub struct PatientDisk {
    below: Arc<dyn Disk>,
    met: Mutex<BTreeMap<PathBuf, Vec<UnreadablePart>>>,
}

impl PatientDisk {
    /// One over `below`.
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, met: Mutex::new(BTreeMap::new()) }
    }

    /// What could not be read so far, by file.
    pub fn unreadable(&self) -> BTreeMap<PathBuf, Vec<UnreadablePart>> {
        self.met.lock().clone()
    }

    fn read_patiently(&self, path: &Path) -> io::Result<Vec<u8>> {
        let Readable { content, unreadable } = read_what_can_be(&*self.below, path)?;
        if !unreadable.is_empty() {
            self.met.lock().insert(path.to_owned(), unreadable);
        }
        Ok(content)
    }
}

impl Disk for PatientDisk {
    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        /// Bytes that are resident at a time while it is tried.
        const TRIED_BYTES: usize = 16 << 20;
        // What cannot be opened just now may be whole.
        let mapped = self.below.map(path)?;
        if mapped.pieces(TRIED_BYTES).all(|piece| piece.is_ok()) {
            mapped.release();
            return Ok(mapped);
        }
        self.read_patiently(path).map(MappedFile::from)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_patiently(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.below.create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.below.create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.below.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.below.overwrite(path, data)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.below.truncate(path, bytes)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.below.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.below.exists(path)
    }

    fn try_exists(&self, path: &Path) -> io::Result<bool> {
        self.below.try_exists(path)
    }

    fn identity(&self, path: &Path) -> io::Result<Option<String>> {
        self.below.identity(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.below.space(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ReadFile, SimDisk};

    /// A disk whose files cannot be read where they have a 7, nor as a whole then.
    struct Scratched(SimDisk);

    struct ScratchedFile(MappedFile);

    fn of_sevens<T>(bytes: &[u8], then: T) -> io::Result<T> {
        if bytes.contains(&7) { Err(io::Error::other("a scratch")) } else { Ok(then) }
    }

    impl ReadFile for ScratchedFile {
        fn bytes(&self) -> io::Result<u64> {
            ReadFile::bytes(&self.0)
        }

        fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
            let read = self.0.read_at(offset, bytes)?;
            of_sevens(&read.clone(), read)
        }
    }

    impl Disk for Scratched {
        fn map(&self, path: &Path) -> io::Result<MappedFile> {
            self.0.map(path)
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let content = self.0.read(path)?;
            of_sevens(&content.clone(), content)
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
            Ok(Box::new(ScratchedFile(self.0.map(path)?)))
        }

        fn create_dir_all(&self, path: &Path) -> io::Result<()> {
            self.0.create_dir_all(path)
        }

        fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
            self.0.create(path)
        }

        fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
            self.0.list(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }

        fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()> {
            self.0.overwrite(path, data)
        }

        fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
            self.0.truncate(path, bytes)
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.0.sync_dir(path)
        }

        fn exists(&self, path: &Path) -> bool {
            self.0.exists(path)
        }
    }

    #[test]
    fn zeros_stand_for_what_cannot_be_read_and_are_told() {
        let disk = SimDisk::new();
        let path = Path::new("/data/file");
        disk.create_dir_all(Path::new("/data")).unwrap();
        let mut content = vec![1; 5 * PIECE_BYTES + 10];
        content[2 * PIECE_BYTES + 3] = 7;
        content[3 * PIECE_BYTES] = 7;
        content[5 * PIECE_BYTES + 9] = 7;
        disk.create(path).unwrap().append(&content).unwrap();
        let patient = PatientDisk::new(Arc::new(Scratched(disk)));
        let mut expected = content;
        expected[2 * PIECE_BYTES..4 * PIECE_BYTES].fill(0);
        expected[5 * PIECE_BYTES..].fill(0);
        assert!(patient.read(path).unwrap() == expected);
        let piece = PIECE_BYTES as u64;
        let ranges: Vec<_> = patient.unreadable()[path].iter().map(|part| part.range.clone()).collect();
        assert_eq!(ranges, [2 * piece..4 * piece, 5 * piece..5 * piece + 10]);
        assert_eq!(patient.read(Path::new("/data/none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(patient.unreadable().len(), 1);
    }
}
