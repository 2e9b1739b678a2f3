//! Backups of a data directory, points and metadata together. They need no running application: a server may own the
//! directory, or none.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_blobs::{Blob, BlobId, relative_path};
use stepwell_engine::backup::{
    BackupError, BackupFile, BackupIndex, BackupStore, Beside, Cut, METADATA, Pruned, Restored, check_data_dir,
};
use stepwell_env::{DirLock, Disk, Env, LockError, write_atomically};
use stepwell_metadata::{
    ArtifactsOfCopy, BlobRow, MetadataCopy, MetadataError, artifacts_of_copy, check_copy, disown_artifacts,
};
use stepwell_objects::{ObjectDisk, ObjectError, ObjectLock, ObjectLockError, Objects};
use stepwell_types::Lsn;
use tokio::runtime::{Builder, Runtime};

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailure {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("{path}: {source}")]
    Metadata {
        path: PathBuf,
        #[source]
        source: MetadataError,
    },
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
    #[error(transparent)]
    LockedObjects(#[from] ObjectLockError),
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where backups are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupPlace {
    Directory(PathBuf),
    /// The URL of an object store, such as `s3://bucket/prefix`; credentials and the like come from the environment.
    Objects(String),
}

/// A place of backups, and what is needed to use it.
struct Opened {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// A directory of this machine for what is not whole yet.
    incoming: PathBuf,
    /// The disk, where it is an object store, and the threads that requests to it are made on.
    objects: Option<(Arc<ObjectDisk>, Runtime)>,
}

/// Held while backups are changed, by one process at a time; where an object store writes on no condition it is on those who use it
/// to see to that.
struct Lock {
    _directory: Option<DirLock>,
    _objects: Option<ObjectLock>,
}

impl BackupPlace {
    fn open(&self, env: &Env) -> Result<Opened, BackupFailure> {
        match self {
            Self::Directory(path) => {
                let root = path.clone();
                Ok(Opened { disk: env.disk.clone(), incoming: root.clone(), root, objects: None })
            }
            Self::Objects(url) => {
                let runtime = runtime()?;
                let objects = Objects::at(url, runtime.handle().clone())?;
                let disk = ObjectDisk::new(objects).map_err(io_error("make a directory for", Path::new(url)))?;
                let (root, incoming) = (disk.root().to_owned(), disk.spool().to_owned());
                let disk = Arc::new(disk);
                Ok(Opened { disk: disk.clone(), root, incoming, objects: Some((disk, runtime)) })
            }
        }
    }
}

impl Opened {
    fn store(&self) -> Result<BackupStore, BackupFailure> {
        Ok(BackupStore::open(self.disk.clone(), &self.root)?)
    }

    fn lock(&self, env: &Env, purpose: &str) -> Result<Lock, BackupFailure> {
        let mut lock = Lock { _directory: None, _objects: None };
        match &self.objects {
            Some((objects, _)) => lock._objects = objects.lock(env, purpose)?,
            None => lock._directory = Some(DirLock::acquire(&self.root, purpose)?),
        }
        Ok(lock)
    }
}

/// A backup that was made.
#[derive(Debug)]
pub struct Backup {
    pub index: BackupIndex,
    /// Artifacts that are not in it, because an object store has them.
    pub elsewhere: Option<Elsewhere>,
    /// What became of others: where that failed, this one is there all the same.
    pub pruned: Result<Pruned, BackupError>,
}

/// Blobs that an object store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    pub url: String,
    pub blobs: u64,
    pub bytes: u64,
}

/// Tries to copy blobs that a server keeps removing; one takes milliseconds where little is new.
const TRIES: usize = 200;
/// The metadata while they are copied, and SQLite's own file beside them.
const INCOMING: [&str; 2] = ["incoming.sqlite", "incoming.sqlite-journal"];

/// Backs a data directory up to a directory, made if absent, and keeps the newest `keep` backups there; `None` keeps all.
/// When it returns, all that was acknowledged before the call is in the backup, durable and read back, but for the bytes of artifacts
/// in an object store: those stay there.
pub fn back_up(env: &Env, data_dir: &Path, to: &BackupPlace, keep: Option<usize>) -> Result<Backup, BackupFailure> {
    check_data_dir(&*env.disk, data_dir)?;
    let source = resolved(data_dir)?;
    let to = match to {
        BackupPlace::Directory(to) => BackupPlace::Directory(resolved(to)?),
        objects => objects.clone(),
    };
    let place = to.open(env)?;
    if place.root.starts_with(&source) {
        return Err(BackupError::Within { path: place.root, other: source }.into());
    }
    let store = BackupStore::create(place.disk.clone(), &place.root)?;
    let _lock = place.lock(env, "stepwell backup")?;
    let runtime = runtime()?;
    let mut tries = 1;
    let (index, elsewhere) = loop {
        match back_up_once(env, &runtime, &source, &store, &place.incoming)? {
            (Ok(made), _) => break made,
            // A server removes blobs that nobody names any more, also those that were named at the moment that is copied. What was
            // copied of that moment stays in the destination, so that the next try has less to do.
            (Err(_), true) if tries < TRIES => tries += 1,
            (Err(error), _) => return Err(error.into()),
        }
    };
    remove_incoming(&*env.disk, &place.incoming)?;
    Ok(Backup { index, elsewhere, pruned: store.prune(keep.unwrap_or(usize::MAX)) })
}

type Made = (BackupIndex, Option<Elsewhere>);

/// One moment, copied; where that failed, whether a blob of it is not there any more.
fn back_up_once(
    env: &Env,
    runtime: &Runtime,
    source: &Path,
    store: &BackupStore,
    incoming: &Path,
) -> Result<(Result<Made, BackupError>, bool), BackupFailure> {
    remove_incoming(&*env.disk, incoming)?;
    let (metadata, incoming) = (source.join(METADATA), incoming.join(INCOMING[0]));
    let failed = |source| BackupFailure::Metadata { path: metadata.clone(), source };
    let mut copying = runtime.block_on(MetadataCopy::open(&metadata, &incoming)).map_err(failed)?;
    let mut held = Held::default();
    let cut = Cut::take(env, source, store, || {
        held = runtime
            .block_on(async {
                copying.pin().await?;
                copying.artifacts().await
            })
            .map_err(failed)
            .and_then(|artifacts| Held::hold(env, source, store, &metadata, artifacts))?;
        Ok::<_, BackupFailure>(())
    })?;
    runtime.block_on(copying.finish()).map_err(failed)?;
    let Held { mut beside, elsewhere } = held;
    let content = env.disk.map(&incoming).map_err(io_error("read", &incoming))?;
    let file = BackupFile::of(METADATA, content.bytes());
    beside.push(Beside { file, path: incoming, content: Some(content) });
    let copied = cut.copy_to(&*env.disk, store, &beside);
    let is_gone =
        copied.is_err() && beside.iter().any(|beside| beside.content.is_none() && !env.disk.exists(&beside.path));
    Ok((copied.map(|index| (index, elsewhere)), is_gone))
}

/// Blobs that are opened at once; those past it are opened when they are copied, and may be gone by then.
const HELD_MAX: usize = 10_000;

/// The blobs of one moment, opened as soon as it is fixed: a server removes those that nobody names any more.
#[derive(Default)]
struct Held {
    beside: Vec<Beside>,
    elsewhere: Option<Elsewhere>,
}

impl Held {
    fn hold(
        env: &Env,
        source: &Path,
        store: &BackupStore,
        metadata: &Path,
        artifacts: ArtifactsOfCopy,
    ) -> Result<Self, BackupFailure> {
        let mut held = Self::default();
        let files = artifact_files(metadata, artifacts.blobs)?;
        held.elsewhere = artifacts.store.map(|url| Elsewhere { url, blobs: 0, bytes: 0 });
        for file in files {
            let path = source.join(&file.path);
            let is_wanted = held.beside.len() < HELD_MAX && !store.has(&file);
            let content = if is_wanted { env.disk.map(&path).ok() } else { None };
            let is_there = content.is_some() || env.disk.try_exists(&path).map_err(io_error("look for", &path))?;
            match &mut held.elsewhere {
                Some(elsewhere) if !is_there => {
                    elsewhere.blobs += 1;
                    elsewhere.bytes += file.bytes;
                }
                _ => held.beside.push(Beside { file, path, content }),
            }
        }
        Ok(held)
    }
}

/// Blobs that metadata name, as files of a backup.
fn artifact_files(metadata: &Path, rows: Vec<BlobRow>) -> Result<Vec<BackupFile>, BackupFailure> {
    let failed = |source| BackupFailure::Metadata { path: metadata.to_owned(), source };
    let file = |row: BlobRow| {
        let blob = BlobId::parse(&row.sha256).and_then(|id| Blob::of_parts(id, row.bytes, &row.checksums));
        let blob = blob.ok_or_else(|| {
            let detail = "its length and checksums do not fit".to_owned();
            failed(MetadataError::Damaged { what: "blob", subject: row.sha256, detail })
        })?;
        Ok(BackupFile { path: relative_path(blob.id), bytes: blob.bytes, crc32c: blob.crc32c() })
    };
    rows.into_iter().map(file).collect()
}

/// The backups of a directory, oldest first; in place of an index that does not read, why.
pub fn list_backups(env: &Env, from: &BackupPlace) -> Result<Vec<Result<BackupIndex, BackupError>>, BackupFailure> {
    let place = from.open(env)?;
    let store = place.store()?;
    Ok(store.numbers()?.into_iter().map(|number| store.index(number)).collect())
}

/// Removes all backups of a directory but the newest `keep`, and what no backup names.
pub fn prune_backups(env: &Env, from: &BackupPlace, keep: usize) -> Result<Pruned, BackupFailure> {
    let place = from.open(env)?;
    let store = place.store()?;
    let _lock = place.lock(env, "stepwell backup prune")?;
    Ok(store.prune(keep)?)
}

/// Reads every byte of one backup, or of all, and proves that it can be restored. Returns those checked.
pub fn verify_backups(env: &Env, from: &BackupPlace, number: Option<u64>) -> Result<Vec<BackupIndex>, BackupFailure> {
    let place = from.open(env)?;
    let store = place.store()?;
    let numbers = match number {
        Some(number) => vec![number],
        None => store.numbers()?,
    };
    if numbers.is_empty() {
        return Err(BackupError::NotABackup { path: place.root }.into());
    }
    let runtime = runtime()?;
    let mut checked = Vec::new();
    for number in numbers {
        let index = store.index(number)?;
        store.verify(&index)?;
        for file in index.files.iter().filter(|file| file.path == METADATA) {
            let path = store.path_of(file);
            let local = local_copy(env, &place, &path)?;
            let checked = runtime.block_on(check_copy(&local));
            checked.map_err(|source| BackupFailure::Metadata { path: path.clone(), source })?;
            let failed = |source| BackupFailure::Metadata { path: path.clone(), source };
            let ArtifactsOfCopy { store: url, blobs } = runtime.block_on(artifacts_of_copy(&local)).map_err(failed)?;
            let named: BTreeSet<BackupFile> = artifact_files(&path, blobs)?.into_iter().collect();
            let present: BTreeSet<BackupFile> = index.artifacts().cloned().collect();
            let mut unnamed = present.difference(&named);
            let mut absent = named.difference(&present).filter(|_| url.is_none());
            if let Some(file) = unnamed.next().or_else(|| absent.next()) {
                let detail = format!("metadata and index of backup {number} differ in {}", file.path);
                return Err(BackupError::Damaged { path, offset: 0, detail }.into());
            }
        }
        checked.push(index);
    }
    Ok(checked)
}

/// Makes an absent or empty directory the data directory of a backup, the newest if none is named; as of `lsn` if that is
/// given and within reach.
pub fn restore_backup(
    env: &Env,
    from: &BackupPlace,
    number: Option<u64>,
    lsn: Option<u64>,
    data_dir: &Path,
) -> Result<(BackupIndex, Restored), BackupFailure> {
    let place = from.open(env)?;
    let store = place.store()?;
    let index = match number {
        Some(number) => store.index(number)?,
        None => store.newest()?,
    };
    let disown = |restored: &Path| {
        let path = restored.join(METADATA);
        if index.files.iter().all(|file| file.path != METADATA) {
            return Ok(());
        }
        let disowned = runtime()?.block_on(disown_artifacts(&path, env.clock.now_us()));
        disowned.map_err(|source| BackupFailure::Metadata { path, source })
    };
    let restored = store.restore_with(&index, lsn.map(Lsn), &env.disk, data_dir, disown)?;
    Ok((index, restored))
}

/// A file of a place as SQLite can open it: where it is, or a copy of an object.
fn local_copy(env: &Env, place: &Opened, path: &Path) -> Result<PathBuf, BackupFailure> {
    if place.objects.is_none() {
        return Ok(path.to_owned());
    }
    let (content, local) = (place.disk.map(path).map_err(io_error("read", path))?, place.incoming.join(INCOMING[0]));
    write_atomically(&*env.disk, &local, content.bytes()).map_err(io_error("write", &local))?;
    Ok(local)
}

fn runtime() -> Result<Runtime, BackupFailure> {
    let failed = io_error("start threads of", Path::new("SQLite"));
    Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)
}

fn remove_incoming(disk: &dyn Disk, root: &Path) -> Result<(), BackupFailure> {
    for path in INCOMING.map(|name| root.join(name)) {
        if disk.exists(&path) {
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// The path without links, also where its last parts do not exist yet.
fn resolved(path: &Path) -> Result<PathBuf, BackupFailure> {
    let absolute = std::path::absolute(path).map_err(io_error("find", path))?;
    let there = absolute.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let rest = absolute.strip_prefix(there).unwrap_or(Path::new(""));
    let there = there.canonicalize().map_err(io_error("find", there))?;
    Ok(if rest.as_os_str().is_empty() { there } else { there.join(rest) })
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupFailure + use<> {
    let path = path.to_owned();
    move |source| BackupFailure::Io { what, path, source }
}
