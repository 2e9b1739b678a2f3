//! A disk on which a test stands by.

use std::{io, path::Path, sync::Arc};

use stepwell_env::{DirEntry, Disk, DiskOperation, MappedFile, SimDisk, WriteFile};

type Before = dyn Fn(DiskOperation, &Path) -> io::Result<()> + Send + Sync;

/// A disk that tells of each operation on a name before it, and does not do what is refused. What is written to files that are open, and
/// new directories, it does not tell of.
pub(super) struct Watched {
    disk: SimDisk,
    before: Box<Before>,
}

impl Watched {
    pub(super) fn over(
        disk: &SimDisk,
        before: impl Fn(DiskOperation, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<dyn Disk> {
        Arc::new(Self { disk: disk.clone(), before: Box::new(before) })
    }
}

impl Disk for Watched {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        (self.before)(DiskOperation::Create, path)?;
        self.disk.create(path)
    }
    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        (self.before)(DiskOperation::Map, path)?;
        self.disk.map(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        (self.before)(DiskOperation::Read, path)?;
        self.disk.read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        (self.before)(DiskOperation::List, path)?;
        self.disk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.before)(DiskOperation::Rename, from)?;
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.before)(DiskOperation::Remove, path)?;
        self.disk.remove(path)
    }
    fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        (self.before)(DiskOperation::Append, path)?;
        self.disk.overwrite(path, data)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        (self.before)(DiskOperation::Truncate, path)?;
        self.disk.truncate(path, bytes)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        (self.before)(DiskOperation::SyncDir, path)?;
        self.disk.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }
}
