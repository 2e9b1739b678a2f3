//! A directory that holds backups: content in `files/`, an index of each backup in `backups/`.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, MappedFile, write_atomically};
use stepwell_segment::SEGMENT_DIRS;

use super::{
    copy::{copy, is_content_of, remove_if_there},
    error::{BackupError, io_error},
    index::{self, ARTIFACTS, BackupFile, BackupIndex, INDEX_VERSION, WAL_DIR},
};

const INDEX_DIR: &str = "backups";
const FILES_DIR: &str = "files";
const INDEX_SUFFIX: &str = ".backup";

/// A destination of backups. One process at a time writes to it: the caller holds the directory's lock. Whoever only reads
/// needs none, for an index is there only once all that it names is.
pub struct BackupStore {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

/// What a pruning removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub backups: u64,
    pub files: u64,
    pub bytes: u64,
}

impl BackupStore {
    /// Opens a destination for writing, made if absent.
    pub fn create(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, BackupError> {
        let store = Self { disk, root: root.to_owned() };
        for dir in store.file_dirs()?.into_iter().chain([store.root.join(INDEX_DIR)]) {
            store.disk.create_dir_all(&dir).map_err(io_error("create directory", &dir))?;
        }
        Ok(store)
    }

    /// Opens a destination for reading.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, BackupError> {
        let dir = root.join(INDEX_DIR);
        if !disk.try_exists(&dir).map_err(io_error("look for", &dir))? {
            return Err(BackupError::NotABackup { path: root.to_owned() });
        }
        Ok(Self { disk, root: root.to_owned() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Numbers of the backups, oldest first, also of those whose index is damaged.
    pub fn numbers(&self) -> Result<Vec<u64>, BackupError> {
        let dir = self.root.join(INDEX_DIR);
        let entries = self.disk.list(&dir).map_err(io_error("list", &dir))?;
        let number = |name: &str| name.strip_suffix(INDEX_SUFFIX)?.parse().ok();
        let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| number(&entry.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The index of one backup.
    pub fn index(&self, number: u64) -> Result<BackupIndex, BackupError> {
        let path = self.index_path(number);
        if !self.disk.try_exists(&path).map_err(io_error("look for", &path))? {
            let known = self.numbers()?;
            return Err(BackupError::NoSuchBackup { path: self.root.clone(), number, known });
        }
        let file = self.disk.read(&path).map_err(io_error("read", &path))?;
        index::decode(&file).map_err(|error| match error {
            index::DecodeError::Damaged { offset, detail } => BackupError::Damaged { path, offset, detail },
            index::DecodeError::UnknownVersion(actual) => {
                BackupError::UnknownVersion { path, actual, newest: INDEX_VERSION }
            }
        })
    }

    /// The index of the backup made last.
    pub fn newest(&self) -> Result<BackupIndex, BackupError> {
        match self.numbers()?.last() {
            Some(number) => self.index(*number),
            None => Err(BackupError::NotABackup { path: self.root.clone() }),
        }
    }

    /// Where the content of a file lies, whether it is there or not.
    pub fn path_of(&self, file: &BackupFile) -> PathBuf {
        self.root.join(FILES_DIR).join(file.stored_path())
    }

    /// Whether the file is there, by its name; what became of its content since, `read` tells.
    pub fn has(&self, file: &BackupFile) -> bool {
        // A name is given only to what has been synced and read back.
        self.disk.exists(&self.path_of(file))
    }

    /// The content of a file, every byte of it checked.
    pub(crate) fn read(&self, file: &BackupFile) -> Result<MappedFile, BackupError> {
        let path = self.path_of(file);
        if !self.disk.try_exists(&path).map_err(io_error("look for", &path))? {
            return Err(BackupError::Missing { path });
        }
        let content = self.disk.map(&path).map_err(io_error("read", &path))?;
        if !is_content_of(&content, file).map_err(io_error("read", &path))? {
            let detail = format!("its {} bytes are not those that were backed up", content.bytes().len());
            return Err(BackupError::Damaged { path, offset: 0, detail });
        }
        Ok(content)
    }

    /// Takes a file in, under its name once it is whole. `content` was read from `from`, which may have more bytes.
    pub(crate) fn put(&self, from: &Path, content: &MappedFile, file: &BackupFile) -> Result<(), BackupError> {
        let path = self.path_of(file);
        if let Some(dir) = path.parent().filter(|dir| !self.disk.exists(dir)) {
            self.disk.create_dir_all(dir).map_err(io_error("create directory", dir))?;
        }
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        remove_if_there(&*self.disk, &temporary)?;
        copy(&*self.disk, from, content, file, &temporary)?;
        self.disk.rename(&temporary, &path).map_err(io_error("rename", &temporary))
    }

    /// The commit point of a backup.
    pub(crate) fn commit(&self, index: &BackupIndex) -> Result<(), BackupError> {
        for dir in self.file_dirs()? {
            self.disk.sync_dir(&dir).map_err(io_error("sync directory", &dir))?;
        }
        let path = self.index_path(index.number);
        let file = index::encode(index).map_err(|error| io_error("encode", &path)(error.into()))?;
        write_atomically(&*self.disk, &path, &file).map_err(io_error("write", &path))
    }

    /// Removes all backups but the newest `keep`, then every file that no backup names: also what an interrupted backup left.
    /// With an index that does not read nothing is removed, for it is not known what it names.
    pub fn prune(&self, keep: usize) -> Result<Pruned, BackupError> {
        let numbers = self.numbers()?;
        let (old, kept) = numbers.split_at(numbers.len().saturating_sub(keep.max(1)));
        let mut named = HashSet::new();
        for number in kept {
            named.extend(self.index(*number)?.files.iter().map(BackupFile::stored_path));
        }
        for number in old {
            let path = self.index_path(*number);
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        // Before any file that they name.
        let dir = self.root.join(INDEX_DIR);
        self.disk.sync_dir(&dir).map_err(io_error("sync directory", &dir))?;
        let mut pruned = Pruned { backups: old.len() as u64, ..Pruned::default() };
        for dir in self.file_dirs()? {
            for entry in self.disk.list(&dir).map_err(io_error("list", &dir))? {
                let path = dir.join(&entry.name);
                let stored = path.strip_prefix(self.root.join(FILES_DIR)).ok().and_then(Path::to_str);
                if entry.is_dir || stored.is_some_and(|stored| named.contains(stored)) {
                    continue;
                }
                self.disk.remove(&path).map_err(io_error("remove", &path))?;
                pruned.files += 1;
                pruned.bytes += entry.bytes;
            }
        }
        Ok(pruned)
    }

    /// Directories of content: those that every destination has, and those of blobs that are there.
    fn file_dirs(&self) -> Result<Vec<PathBuf>, BackupError> {
        let files = self.root.join(FILES_DIR);
        let blobs = files.join(ARTIFACTS);
        let mut dirs: Vec<PathBuf> = ["", WAL_DIR].into_iter().chain(SEGMENT_DIRS).map(|dir| files.join(dir)).collect();
        if self.disk.try_exists(&blobs).map_err(io_error("look for", &blobs))? {
            let entries = self.disk.list(&blobs).map_err(io_error("list", &blobs))?;
            dirs.extend(entries.iter().filter(|entry| entry.is_dir).map(|entry| blobs.join(&entry.name)));
        }
        Ok(dirs)
    }

    /// Where the index of a backup lies.
    pub(crate) fn index_path(&self, number: u64) -> PathBuf {
        self.root.join(INDEX_DIR).join(format!("{number:08}{INDEX_SUFFIX}"))
    }
}
