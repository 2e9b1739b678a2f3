//! A data directory at one moment, held while it is copied.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use stepwell_env::{Disk, Env, MappedFile};
use stepwell_manifest::{Manifest, ManifestStore};
use stepwell_segment::SEGMENT_DIRS;
use stepwell_types::SegmentMeta;
use stepwell_wal::first_lsn_of;

use super::{
    error::{BackupError, io_error},
    index::{BackupFile, BackupIndex, MANIFEST, WAL_DIR},
    log_run::{LogContent, LogRun},
    store::BackupStore,
};
use crate::{
    EngineConfig,
    manifest_doubts::{refuse_lost_manifest, refuse_stale_manifest},
};

/// Tries to hold files that a server keeps replacing; each takes milliseconds.
const TRIES: usize = 200;
/// What looks like damage may be a write that was seen by halves: it is looked at again so often.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// All of a data directory's points at one moment. What it holds stays readable, whatever a server removes meanwhile.
pub struct Cut {
    data_dir: PathBuf,
    taken_at_us: i64,
    manifest: Manifest,
    /// Files of live segments that the destination does not have yet.
    new: Vec<(BackupFile, MappedFile)>,
    /// Those that it has.
    known: Vec<BackupFile>,
    log: LogRun,
}

/// The files behind a cut, before it is known whether they are of one moment.
struct Held {
    segments: (Vec<BackupFile>, Vec<(BackupFile, MappedFile)>),
    log: Vec<LogContent>,
}

/// A file of a backup that lies beside the points.
pub struct Beside {
    pub file: BackupFile,
    /// Where it lies now.
    pub path: PathBuf,
    /// It, if it was opened already: it stays readable then, whatever becomes of it.
    pub content: Option<MappedFile>,
}

impl Cut {
    /// Takes one beside a server, or without. `pin` fixes the moment of what lies beside the points (the metadata), anew each
    /// time it is called. All files are opened, and `pin` called, between two looks at the manifest that show the same one:
    /// so no flush, merge or deletion was committed in between. What was acknowledged before the call is in the cut, and each
    /// run of its points is in what was pinned.
    pub fn take<E: From<BackupError>>(
        env: &Env,
        data_dir: &Path,
        store: &BackupStore,
        mut pin: impl FnMut() -> Result<(), E>,
    ) -> Result<Self, E> {
        let disk = &*env.disk;
        check_data_dir(disk, data_dir)?;
        let config = EngineConfig::new(data_dir);
        let (mut looks, mut last) = (0, None);
        for _ in 0..TRIES {
            let taken_at_us = env.clock.now_us();
            let (opened, manifest) = read_manifest(&env.disk, data_dir)?;
            // By the next look it is known whether what lies beside the manifest is of its time.
            let held = refuse_lost_manifest(disk, &config, &opened)
                .and_then(|()| refuse_stale_manifest(&env.disk, &config, &manifest))
                .map_err(BackupError::from)
                .and_then(|()| Held::hold(disk, data_dir, &manifest, store));
            pin()?;
            if manifest == read_manifest(&env.disk, data_dir)?.1 {
                let settled = held.and_then(|held| Ok((LogRun::line_up(held.log, manifest.wal_floor)?, held.segments)));
                match settled {
                    Ok((log, (known, new))) => {
                        return Ok(Self { data_dir: data_dir.to_owned(), taken_at_us, manifest, new, known, log });
                    }
                    // Also a log file may go without a new manifest, when it is released: but not again and again.
                    Err(error) => {
                        looks = if last.as_ref() == Some(&manifest) { looks + 1 } else { 1 };
                        if looks == LOOKS {
                            return Err(error.into());
                        }
                    }
                }
            }
            last = Some(manifest);
            std::thread::sleep(PAUSE);
        }
        Err(BackupError::Moving { tries: TRIES }.into())
    }

    /// Copies what `store` lacks, `beside` included, which lies on `disk`, and commits the backup.
    pub fn copy_to(self, disk: &dyn Disk, store: &BackupStore, beside: &[Beside]) -> Result<BackupIndex, BackupError> {
        let mut index = BackupIndex {
            number: store.numbers()?.last().map_or(1, |last| last + 1),
            taken_at_us: self.taken_at_us,
            lsn: self.log.next.0 - 1,
            log_from: self.log.from.0,
            new_bytes: 0,
            files: self.known,
        };
        let mut put = |from: &Path, file: BackupFile, open: &dyn Fn() -> Result<MappedFile, BackupError>| {
            if !store.has(&file) {
                store.put(from, &open()?, &file)?;
                index.new_bytes += file.bytes;
            }
            index.files.push(file);
            Ok::<_, BackupError>(())
        };
        // What may be removed meanwhile first; all else is open.
        for Beside { file, path, content } in beside {
            let open = || match content {
                Some(content) => Ok(content.clone()),
                None => disk.map(path).map_err(io_error("read", path)),
            };
            put(path, file.clone(), &open)?;
        }
        for log in &self.log.files {
            let content = &log.source.content;
            let file = BackupFile::of(format!("{WAL_DIR}/{}", log.source.name), &content.bytes()[..log.end()]);
            put(&log.source.path, file, &|| Ok(content.clone()))?;
        }
        for (file, content) in self.new {
            put(&self.data_dir.join(&file.path), file, &|| Ok(content.clone()))?;
        }
        let manifest = stepwell_manifest::encode(&self.manifest);
        let path = self.data_dir.join(MANIFEST);
        let manifest: MappedFile = manifest.map_err(|error| io_error("encode", &path)(error.into()))?.into();
        let file = BackupFile::of(MANIFEST, manifest.bytes());
        put(&path, file, &|| Ok(manifest.clone()))?;
        index.files.sort();
        store.commit(&index)?;
        Ok(index)
    }
}

impl Held {
    fn hold(disk: &dyn Disk, data_dir: &Path, manifest: &Manifest, store: &BackupStore) -> Result<Self, BackupError> {
        let files = manifest.segments.iter().flat_map(files_of);
        let (known, unknown): (Vec<BackupFile>, Vec<BackupFile>) = files.partition(|file| store.has(file));
        let map = |file: BackupFile| {
            let path = data_dir.join(&file.path);
            Ok((file, disk.map(&path).map_err(io_error("read", &path))?))
        };
        let new = unknown.into_iter().map(map).collect::<Result<_, BackupError>>()?;
        Ok(Self { segments: (known, new), log: log(disk, &data_dir.join(WAL_DIR))? })
    }
}

/// Fails where there is no data directory.
pub fn check_data_dir(disk: &dyn Disk, path: &Path) -> Result<(), BackupError> {
    let is_one = [MANIFEST, WAL_DIR].iter().any(|name| disk.exists(&path.join(name)));
    if is_one { Ok(()) } else { Err(BackupError::NotADataDirectory { path: path.to_owned() }) }
}

/// The manifest as it is now. Where it is damaged or gone its copy does not stand in: a backup is not to hide that.
fn read_manifest(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<(ManifestStore, Manifest), BackupError> {
    let (opened, manifest) = ManifestStore::open(disk.clone(), data_dir)?;
    let manifest = match opened.damage() {
        None => manifest,
        Some(_) => ManifestStore::read(&**disk, &data_dir.join(MANIFEST))?,
    };
    Ok((opened, manifest))
}

/// The files of the log, in LSN order.
fn log(disk: &dyn Disk, dir: &Path) -> Result<Vec<LogContent>, BackupError> {
    if !disk.try_exists(dir).map_err(io_error("look for", dir))? {
        return Ok(Vec::new());
    }
    let entries = disk.list(dir).map_err(io_error("list", dir))?;
    let mut names: Vec<_> =
        entries.into_iter().filter_map(|entry| Some((first_lsn_of(&entry.name)?, entry.name))).collect();
    names.sort();
    let last = names.len().saturating_sub(1);
    let read = |(i, (first_lsn, name)): (usize, (_, String))| {
        let path = dir.join(&name);
        // The last one is written to, and cut: a map of it could lose its end. Those that another follows are finished.
        let content = if i == last { disk.read(&path).map(MappedFile::from) } else { disk.map(&path) };
        let content = content.map_err(io_error("read", &path))?;
        // Looked at as a whole below.
        content.get(0..content.bytes().len()).map_err(io_error("read", &path))?;
        Ok(LogContent { path, name, first_lsn, content })
    };
    names.into_iter().enumerate().map(read).collect()
}

/// The files of a segment.
pub(crate) fn files_of(meta: &SegmentMeta) -> impl Iterator<Item = BackupFile> + use<> {
    let files = [Some(meta.file), meta.summaries, meta.rollups];
    let name = meta.file_name.clone();
    SEGMENT_DIRS.into_iter().zip(files).filter_map(move |(dir, file)| {
        file.map(|file| BackupFile { path: format!("{dir}/{name}"), bytes: file.bytes, crc32c: file.crc32c })
    })
}
