//! A disk whose files are objects. A file that is being written lies in a directory of this machine, and goes up whole when it is
//! given its name by a rename: until then nobody sees it, as behind a temporary name on a real disk.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use stepwell_env::{DirEntry, Disk, DiskSpace, Env, MappedFile, ReadFile, RealDisk, WriteFile};

use crate::{
    error::ObjectLockError,
    lock::{Lease, ObjectLock},
    store::Objects,
};

/// Bytes read at once of a file on its way.
const PIECE_BYTES: usize = 1 << 20;

/// Paths are the URL and a key below it. Directories are there with what is in them. Syncs do nothing: what has its name is durable.
pub struct ObjectDisk {
    objects: Objects,
    root: PathBuf,
    spool: tempfile::TempDir,
    next: AtomicU64,
    /// Files that have no name in the store yet, and where they lie.
    written: Mutex<HashMap<PathBuf, PathBuf>>,
    /// Without which nothing is changed, once it was taken.
    lease: Mutex<Option<Arc<Lease>>>,
}

impl ObjectDisk {
    /// A disk of these objects; its files on their way lie in the machine's directory for temporary files (`TMPDIR`).
    pub fn new(objects: Objects) -> io::Result<Self> {
        let root = PathBuf::from(objects.url());
        let spool = tempfile::Builder::new().prefix("stepwell-objects-").tempdir()?;
        Ok(Self { objects, root, spool, next: AtomicU64::new(0), written: Mutex::default(), lease: Mutex::default() })
    }

    /// The path of the whole.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where files on their way lie.
    pub fn spool(&self) -> &Path {
        self.spool.path()
    }

    /// Lets this process alone change what is here, of all that ask; from then on nothing is changed without the lock. `None` where the
    /// store does not write on conditions: then it is on the callers that one of them at a time is at work.
    pub fn lock(&self, env: &Env, purpose: &str) -> Result<Option<ObjectLock>, ObjectLockError> {
        let lock = ObjectLock::acquire(&self.objects, env, purpose)?;
        if let Some(lock) = &lock {
            self.hold(lock);
        }
        Ok(lock)
    }

    pub(crate) fn hold(&self, lock: &ObjectLock) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock.lease());
    }

    /// Whether objects may be changed.
    fn check_lock(&self) -> io::Result<()> {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lease.map_or(Ok(()), |lease| lease.check())
    }

    fn written(&self) -> MutexGuard<'_, HashMap<PathBuf, PathBuf>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written_at(&self, path: &Path) -> Option<PathBuf> {
        self.written().get(path).cloned()
    }

    fn new_file(&self) -> PathBuf {
        self.spool.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn key(&self, path: &Path) -> io::Result<String> {
        let below = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        below
            .map(ToOwned::to_owned)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is outside of the store"))
    }

    fn object(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let object = self.objects.open(&self.key(path)?)?;
        Ok(Box::new(object.ok_or(io::ErrorKind::NotFound)?))
    }

    fn download(&self, path: &Path) -> io::Result<PathBuf> {
        let (object, local) = (self.object(path)?, self.new_file());
        let mut file = RealDisk.create(&local)?;
        let mut at = 0;
        loop {
            let piece = object.read_at(at, PIECE_BYTES)?;
            if piece.is_empty() {
                return Ok(local);
            }
            at += piece.len() as u64;
            file.append(&piece)?;
        }
    }

    fn unsupported<T>(&self) -> io::Result<T> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "objects are never changed"))
    }
}

impl Disk for ObjectDisk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        if self.try_exists(path)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let local = self.new_file();
        let file = RealDisk.create(&local)?;
        self.written().insert(path.to_owned(), local);
        Ok(file)
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        if let Some(local) = self.written_at(path) {
            return RealDisk.map(&local);
        }
        let local = self.download(path)?;
        let mapped = RealDisk.map(&local);
        // It stays readable for as long as it is mapped.
        RealDisk.remove(&local)?;
        mapped
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(local) = self.written_at(path) {
            return RealDisk.read(&local);
        }
        let object = self.object(path)?;
        let bytes = usize::try_from(object.bytes()?).map_err(io::Error::other)?;
        object.read_at(0, bytes)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        match self.written_at(path) {
            Some(local) => RealDisk.open(&local),
            None => self.object(path),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let key = self.key(path)?;
        let mut entries: BTreeMap<String, DirEntry> = BTreeMap::new();
        for listed in self.objects.list(&key)? {
            let Some(below) = listed.key.strip_prefix(&key).map(|below| below.trim_start_matches('/')) else {
                continue;
            };
            let (name, is_dir) = below.split_once('/').map_or((below, false), |(name, _)| (name, true));
            let entry = DirEntry { name: name.to_owned(), bytes: if is_dir { 0 } else { listed.bytes }, is_dir };
            entries.entry(name.to_owned()).or_insert(entry);
        }
        Ok(entries.into_values().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let Some(local) = self.written_at(from) else { return self.unsupported() };
        let key = self.key(to)?;
        self.check_lock()?;
        let mut file = File::open(&local)?;
        let bytes = file.metadata()?.len();
        self.objects.put(&key, bytes, || {
            let mut piece = vec![0; PIECE_BYTES];
            let read = file.read(&mut piece)?;
            piece.truncate(read);
            Ok::<_, io::Error>(Some(piece).filter(|piece| !piece.is_empty()))
        })?;
        let there = self.objects.bytes_of(&key)?;
        if there != Some(bytes) {
            return Err(io::Error::other(format!("{bytes} bytes were sent, and {there:?} are there")));
        }
        self.written().remove(from);
        RealDisk.remove(&local)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let written = self.written().remove(path);
        match written {
            Some(local) => RealDisk.remove(&local),
            None => {
                self.check_lock()?;
                Ok(self.objects.remove(&self.key(path)?)?)
            }
        }
    }

    fn overwrite(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        self.unsupported()
    }

    fn truncate(&self, _: &Path, _: u64) -> io::Result<()> {
        self.unsupported()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        self.try_exists(path).unwrap_or(false)
    }

    fn try_exists(&self, path: &Path) -> io::Result<bool> {
        if self.written_at(path).is_some() {
            return Ok(true);
        }
        let key = self.key(path)?;
        let is_object = self.objects.bytes_of(&key)?.is_some();
        Ok(is_object || !self.objects.list(&key)?.is_empty())
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace { free_bytes: u64::MAX, total_bytes: u64::MAX })
    }
}
