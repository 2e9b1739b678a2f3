//! A backup becomes a data directory again.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::Disk;
use stepwell_segment::SEGMENT_DIRS;
use stepwell_types::{Lsn, SegmentMeta};

use super::{
    copy::{copy, remove_if_there},
    cut::files_of,
    error::{BackupError, io_error},
    index::{BackupFile, BackupIndex, MANIFEST, METADATA, WAL_DIR},
    log_run::LogFile,
    rewind,
    store::BackupStore,
    verify::Checked,
};

/// What a restore brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The last LSN in the new directory.
    pub lsn: Lsn,
    pub files: u64,
    pub bytes: u64,
}

impl BackupStore {
    /// Makes `data_dir`, which is absent or empty, the data directory of a backup: as it was at its LSN, or at the end of the
    /// last batch up to `to`. The directory has its name only once it is whole and every byte of it has been read back.
    /// `target` is the disk that it lies on.
    pub fn restore(
        &self,
        index: &BackupIndex,
        to: Option<Lsn>,
        target: &Arc<dyn Disk>,
        data_dir: &Path,
    ) -> Result<Restored, BackupError> {
        self.restore_with(index, to, target, data_dir, |_| Ok(()))
    }

    /// The same; before the directory has its name, `change` changes what it has to of the files in it.
    pub fn restore_with<E: From<BackupError>>(
        &self,
        index: &BackupIndex,
        to: Option<Lsn>,
        target: &Arc<dyn Disk>,
        data_dir: &Path,
        change: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Restored, E> {
        let data_dir = std::path::absolute(data_dir).map_err(io_error("find", data_dir))?;
        let disk = &**target;
        let is_there = disk.try_exists(&data_dir).map_err(io_error("look for", &data_dir))?;
        if is_there && !disk.list(&data_dir).map_err(io_error("list", &data_dir))?.is_empty() {
            return Err(BackupError::NotEmpty { path: data_dir }.into());
        }
        let Checked { manifest, log } = self.check(index)?;
        let lsn = match to {
            None => Lsn(index.lsn),
            Some(wanted) => rewind::boundary(&log, wanted).ok_or(BackupError::OutOfReach {
                number: index.number,
                wanted: wanted.0,
                first: index.reach().0,
                last: index.lsn,
            })?,
        };
        let (parent, name) = (data_dir.parent(), data_dir.file_name());
        let (Some(parent), Some(name)) = (parent, name) else {
            return Err(BackupError::NotEmpty { path: data_dir }.into());
        };
        let temporary = parent.join(format!(".{}.restoring", name.to_string_lossy()));
        if disk.exists(&temporary) {
            remove_files(disk, &temporary)?;
        }
        for dir in ["", WAL_DIR].into_iter().chain(SEGMENT_DIRS) {
            let dir = temporary.join(dir);
            disk.create_dir_all(&dir).map_err(io_error("create directory", &dir))?;
        }
        let mut placing = Placing { store: self, disk, root: &temporary, files: 0, bytes: 0 };
        let is_later = |meta: &SegmentMeta| meta.lsn.0 > lsn.0;
        for file in manifest.segments.iter().filter(|meta| !is_later(meta)).flat_map(files_of) {
            placing.file(&file)?;
        }
        if let Some(file) = index.file(METADATA) {
            placing.file(file)?;
        }
        let mut blob_dirs = BTreeSet::new();
        for file in index.artifacts() {
            let path = temporary.join(&file.path);
            if let Some(dir) = path.parent().filter(|dir| !blob_dirs.contains(*dir)) {
                disk.create_dir_all(dir).map_err(io_error("create directory", dir))?;
                blob_dirs.insert(dir.to_owned());
            }
            placing.file(file)?;
        }
        let floor = manifest.wal_floor.min(Lsn(lsn.0 + 1));
        for file in &log.files {
            placing.log(file, floor, lsn)?;
        }
        let manifest =
            if lsn.0 == index.lsn { manifest } else { rewind::rewind(target, &temporary, manifest, &log, lsn)? };
        placing.manifest(&manifest)?;
        let restored = Restored { lsn, files: placing.files, bytes: placing.bytes };
        change(&temporary)?;
        let dirs = ["", WAL_DIR].into_iter().chain(SEGMENT_DIRS).map(|dir| temporary.join(dir));
        for dir in dirs.chain(blob_dirs) {
            disk.sync_dir(&dir).map_err(io_error("sync directory", &dir))?;
        }
        disk.rename(&temporary, &data_dir).map_err(io_error("rename", &temporary))?;
        disk.sync_dir(parent).map_err(io_error("sync directory", parent))?;
        Ok(restored)
    }
}

/// Files on their way into the directory under its temporary name.
struct Placing<'a> {
    store: &'a BackupStore,
    disk: &'a dyn Disk,
    root: &'a Path,
    files: u64,
    bytes: u64,
}

impl Placing<'_> {
    fn file(&mut self, file: &BackupFile) -> Result<(), BackupError> {
        let from = self.store.path_of(file);
        if !self.store.has(file) {
            return Err(BackupError::Missing { path: from });
        }
        let content = self.store.disk().map(&from).map_err(io_error("read", &from))?;
        copy(self.disk, &from, &content, file, &self.root.join(&file.path))?;
        self.count(file.bytes);
        Ok(())
    }

    /// The part of a log file that replay needs: from the floor to the end of the batch that ends with `last`. A batch begins
    /// at both.
    fn log(&mut self, log: &LogFile, floor: Lsn, last: Lsn) -> Result<(), BackupError> {
        let is_needed = log.frames.iter().any(|frame| frame.first_lsn >= floor && frame.first_lsn <= last);
        let end = log.frames.iter().filter(|frame| frame.first_lsn <= last).map(|frame| frame.end).max();
        let Some(end) = end.filter(|_| is_needed) else { return Ok(()) };
        let content = &log.source.content;
        let file = BackupFile::of(format!("{WAL_DIR}/{}", log.source.name), &content.bytes()[..end]);
        copy(self.disk, &log.source.path, content, &file, &self.root.join(&file.path))?;
        self.count(file.bytes);
        Ok(())
    }

    fn manifest(&mut self, manifest: &stepwell_manifest::Manifest) -> Result<(), BackupError> {
        let path = self.root.join(MANIFEST);
        let bytes = stepwell_manifest::encode(manifest).map_err(|error| io_error("encode", &path)(error.into()))?;
        let file = BackupFile::of(MANIFEST, &bytes);
        copy(self.disk, &path, &bytes.into(), &file, &path)?;
        self.count(file.bytes);
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Removes what an interrupted restore left; its directories are used again.
fn remove_files(disk: &dyn Disk, dir: &Path) -> Result<(), BackupError> {
    for entry in disk.list(dir).map_err(io_error("list", dir))? {
        let path: PathBuf = dir.join(&entry.name);
        if entry.is_dir { remove_files(disk, &path)? } else { remove_if_there(disk, &path)? }
    }
    Ok(())
}
