//! The disk as the engine sees it: files that are appended to, synced, mapped, renamed and removed.

use std::{io, path::Path};

use crate::MappedFile;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: String,
    pub bytes: u64,
    pub is_dir: bool,
}

/// Room of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// A file open for appending.
pub trait WriteFile: Send {
    /// Appends all of `data`, or fails; after a failure the length of the file is unknown.
    fn append(&mut self, data: &[u8]) -> io::Result<()>;
    /// Writes `bytes` zeros behind what was appended, without moving the end: the next appends write over them. Their sync
    /// then finds room and length already durable, and only has to write the bytes. A reader sees the zeros.
    fn write_zeros_ahead(&mut self, bytes: u64) -> io::Result<()>;
    /// Cuts the file to its first `bytes`, zeros ahead included, durably; the next append goes there.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Returns once all appended bytes, and the length, are on stable storage (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
}

/// A file open for reading, for whoever does not want all of it in memory. What it reads outlives the file's removal.
pub trait ReadFile: Send + Sync {
    /// Its length now.
    fn bytes(&self) -> io::Result<u64>;
    /// Up to `bytes` bytes from `offset` on; fewer where the file ends.
    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;
}

/// A file system. Paths are those of the machine; a new entry of a directory is durable only after [`Disk::sync_dir`].
pub trait Disk: Send + Sync {
    /// Makes a directory and its parents where they are absent. The directory's own entry, and those of the parents made, are
    /// durable afterwards.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes a new, empty file; fails if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// The whole file as it is now. The real disk maps it, so only immutable or finished files may be read so.
    fn map(&self, path: &Path) -> io::Result<MappedFile>;
    /// The whole file, copied.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Opens a file to read it piece by piece: unlike with a map, a sector that the disk refuses is an error and not a signal.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(self.map(path)?))
    }
    /// Entries of a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Renames over whatever is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Writes `data` over the beginning of a file that is there and cuts it behind that; durable when this returns. A file system
    /// that writes in place needs no room for it.
    fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()>;
    /// Cuts a file to `bytes` and makes the new length durable.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether something is there; what cannot be looked at counts as absent. Where that would have something made, written over or
    /// passed over, [`Disk::try_exists`] is to be asked.
    fn exists(&self, path: &Path) -> bool;
    /// The same; fails where it cannot be told.
    fn try_exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.exists(path))
    }
    /// What a directory has as long as it is there, also under another name, and a copy of it has not. `None` where the file system does
    /// not say.
    fn identity(&self, _path: &Path) -> io::Result<Option<String>> {
        Ok(None)
    }
    /// Room of the file system that a path is on. A figure to watch, no promise that a write of as many bytes succeeds; fails
    /// where nobody knows.
    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Replaces `path` with `data` so that a crash leaves the old or the new content, whole:
/// temporary file, sync, rename, sync of the directory. A leftover `*.tmp` from a crash is harmless.
pub fn write_atomically(disk: &dyn Disk, path: &Path, data: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    if disk.exists(&temporary) {
        disk.remove(&temporary)?;
    }
    let mut file = disk.create(&temporary)?;
    file.append(data)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
