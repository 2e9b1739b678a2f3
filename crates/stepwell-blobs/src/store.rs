//! Where blobs lie.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use stepwell_env::Disk;
use stepwell_objects::Objects;
use tokio::runtime::Handle;

use crate::{
    error::{BlobError, io_error, read_error},
    format::{Blob, BlobId, CHUNK_BYTES},
    objects::BlobObjects,
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

/// The blobs of one data directory, in it or in an object store. Clones share it. One process at a time writes to it. With an object
/// store that it owns, new blobs go there, those that are in the directory stay readable, and calls block on the network: they must come
/// from a thread that may.
#[derive(Clone)]
pub struct BlobStore {
    parts: Arc<Parts>,
}

struct Parts {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Where blobs go instead of the directory.
    objects: Option<BlobObjects>,
    /// What the data directory is called there as their owner.
    owner: OnceLock<String>,
    /// Number of the next temporary file.
    next: AtomicU64,
    /// Directories that are known to be there durably.
    made: Mutex<[bool; SHARDS]>,
}

/// A file among the blobs, or an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path; of an object, its URL.
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
        Self::with(disk, data_dir, None)
    }

    /// The same with an object store at a URL such as `s3://bucket/prefix`; credentials and the like come from the environment
    /// (`AWS_…`, `AZURE_…`, `GOOGLE_…`). Asks nothing of it.
    pub fn with_objects(disk: Arc<dyn Disk>, data_dir: &Path, url: &str, runtime: Handle) -> Result<Self, BlobError> {
        Ok(Self::over_objects(disk, data_dir, Objects::at(url, runtime)?))
    }

    /// The same with objects that are open already.
    pub fn over_objects(disk: Arc<dyn Disk>, data_dir: &Path, objects: Objects) -> Self {
        Self::with(disk, data_dir, Some(objects))
    }

    fn with(disk: Arc<dyn Disk>, data_dir: &Path, objects: Option<Objects>) -> Self {
        let objects = objects.map(BlobObjects);
        let (root, made) = (data_dir.join(BLOBS), Mutex::new([false; SHARDS]));
        Self { parts: Arc::new(Parts { disk, root, objects, owner: OnceLock::new(), next: AtomicU64::new(0), made }) }
    }

    /// Says what the data directory is called in the object store as its owner.
    pub fn with_owner(self, owner: String) -> Self {
        self.parts.owner.get_or_init(|| owner);
        self
    }

    /// Whether objects may be written and removed: the object store names this data directory as their owner. Those of another are only
    /// read: a copy of a directory would remove what it does not know of, and the owner what the copy put there. Files always may.
    pub fn owns(&self) -> Result<bool, BlobError> {
        match (&self.parts.objects, self.parts.owner.get()) {
            (None, _) => Ok(true),
            (Some(_), None) => Ok(false),
            (Some(objects), Some(owner)) => Ok(objects.owner()?.as_ref() == Some(owner)),
        }
    }

    /// What the data directory has and a copy of it has not ([`Disk::identity`]).
    pub fn directory(&self) -> Result<Option<String>, BlobError> {
        let data_dir = self.parts.root.parent().unwrap_or(&self.parts.root);
        self.disk().identity(data_dir).map_err(io_error("look at", data_dir))
    }

    /// Who owns the objects; `None` where nobody does, or there are none.
    pub fn owner(&self) -> Result<Option<String>, BlobError> {
        self.parts.objects.as_ref().map_or(Ok(None), BlobObjects::owner)
    }

    /// Makes this data directory their owner under a name, in the place of another, or of nobody: then whoever was faster is it.
    pub fn own(&self, owner: &str, before: Option<&str>) -> Result<(), BlobError> {
        self.parts.owner.get_or_init(|| owner.to_owned());
        self.parts.objects.as_ref().map_or(Ok(()), |objects| objects.set_owner(owner, before))
    }

    /// Whether the object store has a blob.
    pub fn has_objects(&self) -> Result<bool, BlobError> {
        self.parts.objects.as_ref().map_or(Ok(false), BlobObjects::any)
    }

    /// Whether blobs go to an object store.
    pub fn uploads(&self) -> bool {
        self.parts.objects.is_some()
    }

    /// Whether the object store takes, gives and removes; without one nothing is asked.
    pub fn probe(&self) -> Result<(), BlobError> {
        match &self.parts.objects {
            Some(objects) => Ok(objects.0.probe()?),
            None => Ok(()),
        }
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
        let path = self.path_of(blob.id);
        match &self.parts.objects {
            Some(objects) if !self.disk().try_exists(&path).map_err(io_error("look for", &path))? => objects.open(blob),
            _ => self.open_at(path, blob),
        }
    }

    pub(crate) fn open_at(&self, path: PathBuf, blob: Blob) -> Result<BlobReader, BlobError> {
        match self.disk().open(&path) {
            Ok(file) => BlobReader::new(file, path, blob),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(BlobError::Missing { path }),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Removes a blob, if it is there; an object only if it is owned. Whoever reads it reads on, but for one in an object store.
    pub fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        let path = self.path_of(id);
        match self.disk().remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_error("remove", &path)(error)),
            _ => {}
        }
        match &self.parts.objects {
            Some(objects) if self.owns()? => objects.remove(id),
            _ => Ok(()),
        }
    }

    /// Keeps what lies at a blob's place in a directory, whatever it has become, under the blob's name; a file is moved, an object
    /// copied. Returns where it is then, if there was anything.
    pub fn set_aside(&self, id: BlobId, directory: &Path) -> Result<Option<PathBuf>, BlobError> {
        let (path, kept) = (self.path_of(id), directory.join(id.to_string()));
        let disk = self.disk();
        disk.create_dir_all(directory).map_err(io_error("create directory", directory))?;
        if disk.exists(&path) {
            disk.rename(&path, &kept).map_err(io_error("rename", &path))?;
        } else if let Some(objects) = &self.parts.objects {
            let Some(object) = objects.raw(id)? else { return Ok(None) };
            // Of an earlier one that was cut short.
            let part = directory.join(format!("{id}.part"));
            if disk.exists(&part) {
                disk.remove(&part).map_err(io_error("remove", &part))?;
            }
            let mut file = disk.create(&part).map_err(io_error("create", &part))?;
            let mut at = 0;
            loop {
                let piece = object.read_at(at, CHUNK_BYTES).map_err(read_error(&objects.path_of(id)))?;
                if piece.is_empty() {
                    break;
                }
                at += piece.len() as u64;
                file.append(&piece).map_err(io_error("write", &part))?;
            }
            file.sync().map_err(io_error("sync", &part))?;
            disk.rename(&part, &kept).map_err(io_error("rename", &part))?;
        } else {
            return Ok(None);
        }
        disk.sync_dir(directory).map_err(io_error("sync directory", directory))?;
        Ok(Some(kept))
    }

    /// The files of one of the [`SHARDS`] directories, and the objects that are called so, if they are owned.
    pub fn shard(&self, shard: u8) -> Result<Vec<Found>, BlobError> {
        let mut found = self.files(shard)?;
        if let Some(objects) = &self.parts.objects
            && self.owns()?
        {
            found.extend(objects.shard(shard)?);
        }
        Ok(found)
    }

    fn files(&self, shard: u8) -> Result<Vec<Found>, BlobError> {
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

    /// Where the file of a blob lies, whether it is there or not.
    pub(crate) fn path_of(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        self.parts.root.join(&name[..2]).join(name)
    }

    pub(crate) fn objects(&self) -> Option<&BlobObjects> {
        self.parts.objects.as_ref()
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
