//! Where blobs lie.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use stepwell_env::Disk;

use crate::{
    error::{BlobError, io_error},
    format::{Blob, BlobId},
    reader::BlobReader,
    writer::BlobWriter,
};

/// Name of the directory in a data directory.
pub const BLOBS: &str = "artifacts";
/// Number of directories that blobs are spread over, by the first byte of their hash.
pub const SHARDS: usize = 256;
const INCOMING: &str = "incoming";

/// Where a blob lies below the data directory, with `/` between the parts.
pub fn relative_path(id: BlobId) -> String {
    let name = id.to_string();
    format!("{BLOBS}/{}/{name}", &name[..2])
}

/// The blobs of one data directory. Clones share it. One process at a time writes to it.
#[derive(Clone)]
pub struct BlobStore {
    parts: Arc<Parts>,
}

struct Parts {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Number of the next temporary file.
    next: AtomicU64,
    /// Directories that are known to be there durably.
    made: Mutex<[bool; SHARDS]>,
}

/// A file among the blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    pub bytes: u64,
    /// What it is by its name; `None` if that is not one of ours.
    pub id: Option<BlobId>,
}

/// What an opening removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptIncoming {
    pub files: u64,
    pub bytes: u64,
}

impl BlobStore {
    /// The store below `data_dir`, which need not have blobs. Touches nothing.
    pub fn new(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        let made = Mutex::new([false; SHARDS]);
        Self { parts: Arc::new(Parts { disk, root: data_dir.join(BLOBS), next: AtomicU64::new(0), made }) }
    }

    /// Prepares it for writing, and removes what uploads left that a crash broke off. For the owner of the data directory, before
    /// anything is written.
    pub fn prepare(&self) -> Result<SweptIncoming, BlobError> {
        let (disk, incoming) = (self.disk(), self.parts.root.join(INCOMING));
        disk.create_dir_all(&incoming).map_err(io_error("create directory", &incoming))?;
        let mut swept = SweptIncoming::default();
        for entry in disk.list(&incoming).map_err(io_error("list", &incoming))? {
            let path = incoming.join(&entry.name);
            disk.remove(&path).map_err(io_error("remove", &path))?;
            swept.files += 1;
            swept.bytes += entry.bytes;
        }
        Ok(swept)
    }

    /// Begins a blob.
    pub fn create(&self) -> Result<BlobWriter, BlobError> {
        let number = self.parts.next.fetch_add(1, Ordering::Relaxed);
        BlobWriter::create(self.clone(), self.parts.root.join(INCOMING).join(number.to_string()))
    }

    /// Opens a blob.
    pub fn open(&self, blob: Blob) -> Result<BlobReader, BlobError> {
        self.open_at(self.path_of(blob.id), blob)
    }

    pub(crate) fn open_at(&self, path: PathBuf, blob: Blob) -> Result<BlobReader, BlobError> {
        match self.disk().open(&path) {
            Ok(file) => BlobReader::new(file, path, blob),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(BlobError::Missing { path }),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Where a blob lies, whether it is there or not.
    pub fn path_of(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        self.parts.root.join(&name[..2]).join(name)
    }

    /// Removes a blob, if it is there. Whoever reads it reads on.
    pub fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        self.remove_file(&self.path_of(id))
    }

    /// Removes one of the files that [`BlobStore::shard`] found.
    pub fn remove_file(&self, path: &Path) -> Result<(), BlobError> {
        match self.disk().remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// The files of one of the [`SHARDS`] directories.
    pub fn shard(&self, shard: u8) -> Result<Vec<Found>, BlobError> {
        let dir = self.shard_dir(shard);
        if !self.disk().exists(&dir) {
            return Ok(Vec::new());
        }
        let entries = self.disk().list(&dir).map_err(io_error("list", &dir))?;
        let prefix = format!("{shard:02x}");
        let found = |entry: &stepwell_env::DirEntry| Found {
            path: dir.join(&entry.name),
            bytes: entry.bytes,
            id: BlobId::parse(&entry.name).filter(|_| entry.name.starts_with(&prefix)),
        };
        Ok(entries.iter().filter(|entry| !entry.is_dir).map(found).collect())
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.parts.disk
    }

    /// Makes a temporary file the blob of that name.
    pub(crate) fn place(&self, temporary: &Path, id: BlobId) -> Result<(), BlobError> {
        let path = self.path_of(id);
        let dir = path.parent().unwrap_or(&self.parts.root);
        self.make_dir(id, dir)?;
        self.disk().rename(temporary, &path).map_err(io_error("rename", temporary))?;
        self.disk().sync_dir(dir).map_err(io_error("sync directory", dir))
    }

    fn make_dir(&self, id: BlobId, dir: &Path) -> Result<(), BlobError> {
        let shard = usize::from(u8::from_str_radix(&id.to_string()[..2], 16).unwrap_or_default());
        let made = || self.parts.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made()[shard] {
            return Ok(());
        }
        self.disk().create_dir_all(dir).map_err(io_error("create directory", dir))?;
        made()[shard] = true;
        Ok(())
    }

    fn shard_dir(&self, shard: u8) -> PathBuf {
        self.parts.root.join(format!("{shard:02x}"))
    }
}
