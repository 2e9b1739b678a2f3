//! A file that is complete and durable before it has its name.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, WriteFile};
use stepwell_types::{FileMeta, TailMeta};

use crate::{error::SegmentError, format::SEGMENT_DIRS};

/// Bytes after which a file that is still being written is synced. Left to the end, they would all go to the device at once, and
/// a sync of the log would wait behind them.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// A file being written under a temporary name; it counts and checksums what goes through it. Dropped unpublished, it is
/// removed, so that tries that fail do not fill the disk.
pub(crate) struct NewFile {
    published: bool,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn WriteFile>,
    bytes: u64,
    synced_bytes: u64,
    crc32c: u32,
    /// What is written of the tail, once it is begun.
    tail: Option<TailMeta>,
}

impl NewFile {
    /// Starts `dir/name`.
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: &Path, name: &str) -> Result<Self, SegmentError> {
        let path = dir.join(name);
        let temporary = temporary(&path);
        let io = |what| {
            let path = temporary.clone();
            move |source| SegmentError::Io { what, path, source }
        };
        if disk.exists(&temporary) {
            disk.remove(&temporary).map_err(io("remove"))?;
        }
        let file = disk.create(&temporary).map_err(io("create"))?;
        Ok(Self { published: false, disk, path, file, bytes: 0, synced_bytes: 0, crc32c: 0, tail: None })
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is written from now on is the tail.
    pub(crate) fn begin_tail(&mut self) {
        self.tail = Some(TailMeta { bytes: 0, crc32c: 0 });
    }

    /// Syncs it and gives it its name; durable when this returns.
    pub(crate) fn publish(&mut self) -> Result<FileMeta, SegmentError> {
        let from = temporary(&self.path);
        let io = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| SegmentError::Io { what, path, source }
        };
        self.file.sync().map_err(io("sync", &from))?;
        self.disk.rename(&from, &self.path).map_err(io("rename", &from))?;
        self.published = true;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(dir).map_err(io("sync directory", dir))?;
        Ok(FileMeta { bytes: self.bytes, crc32c: self.crc32c, tail: self.tail })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now, the next start removes.
            drop(self.disk.remove(&temporary(&self.path)));
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.append(data)?;
        self.bytes += data.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, data);
        if let Some(tail) = &mut self.tail {
            tail.bytes += data.len() as u64;
            tail.crc32c = crc32c::crc32c_append(tail.crc32c, data);
        }
        if self.bytes - self.synced_bytes >= SYNC_EVERY_BYTES {
            self.file.sync()?;
            self.synced_bytes = self.bytes;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Removes what of a segment has its name already, where the rest of it failed. What cannot be removed now, the next start removes.
pub(crate) fn remove_published(disk: &dyn Disk, data_dir: &Path, file_name: &str) {
    for path in SEGMENT_DIRS.map(|dir| data_dir.join(dir).join(file_name)) {
        if disk.exists(&path) {
            drop(disk.remove(&path));
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}
