//! Whether the manifest is that of the data directory. One that was lost, or is older than what lies beside it, is refused before
//! anything is removed by what it says.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{array::AsArray, datatypes::UInt64Type};
use stepwell_env::Disk;
use stepwell_manifest::{FILE_NAME, Manifest, ManifestError, ManifestStore};
use stepwell_segment::{FooterCache, Names, SEGMENT_DIRS, Segment};
use stepwell_types::{ErrorKind, FileMeta, Lsn, PointFilter, SegmentMeta, SeriesKey};

use crate::{config::EngineConfig, error::EngineError, snapshot::READ_BATCH_ROWS};

/// Bytes of a file that are resident at a time while its checksum is computed.
const PIECE_BYTES: usize = 16 << 20;
/// The column of LSNs in a file of points.
const LSN_COLUMN: usize = 6;

/// An absent manifest is that of a new directory only where there is nothing else, or no segment and a log that has all there ever was.
pub(crate) fn refuse_lost_manifest(
    disk: &dyn Disk,
    config: &EngineConfig,
    store: &ManifestStore,
) -> Result<(), EngineError> {
    if !store.is_new() {
        return Ok(());
    }
    // The log may be kept from its beginning on: what is damaged or deleted of it is only right in segments.
    let segment = segment_files(disk, &config.data_dir)?.into_iter().next();
    let is_later = |(first_lsn, _): &(Lsn, PathBuf)| *first_lsn != Manifest::default().wal_floor;
    let later_log = log_files(disk, config)?.into_iter().next().filter(is_later);
    let lost = |beside| ManifestError::Lost { path: config.manifest_dir().join(FILE_NAME), beside };
    segment.or(later_log.map(|(_, path)| path)).map_or(Ok(()), |beside| Err(lost(beside).into()))
}

/// An older manifest, put back over a newer one, would have the segments removed that only the newer one names. The log shows it: it was
/// released up to the newer one's floor. So do segments: those that a merge or a deletion has replaced are removed only once no manifest
/// names them any more.
pub(crate) fn refuse_stale_manifest(
    disk: &Arc<dyn Disk>,
    config: &EngineConfig,
    manifest: &Manifest,
) -> Result<(), EngineError> {
    let (live, files) = (live_names(manifest), segment_files(&**disk, &config.data_dir)?);
    let unnamed: Vec<&PathBuf> = files.iter().filter(|path| !live.contains(name_of(path))).collect();
    let Some(beside) = unnamed.first() else { return Ok(()) };
    let path = config.manifest_dir().join(FILE_NAME);
    if let Some((first_lsn, _)) = log_files(&**disk, config)?.first()
        && *first_lsn > manifest.wal_floor
    {
        return Err(ManifestError::Stale { path, beside: beside.to_path_buf(), beside_lsn: first_lsn.0 }.into());
    }
    let dir = config.data_dir.join(SEGMENT_DIRS[0]);
    let is_there: HashSet<&str> =
        files.iter().filter(|path| path.starts_with(&dir)).map(|path| name_of(path)).collect();
    let gone: Vec<&SegmentMeta> =
        manifest.segments.iter().filter(|meta| !is_there.contains(meta.file_name.as_str())).collect();
    if gone.is_empty() {
        return Ok(());
    }
    // A segment may also have been lost; then what a crash has left beside it has no point of it.
    for beside in unnamed.into_iter().filter(|path| path.starts_with(&dir)) {
        if let Some(of) = first_with_a_point_in(disk, &config.data_dir, beside, &gone)? {
            let (named, beside) = (dir.join(&of.file_name), beside.clone());
            return Err(ManifestError::Replaced { path, named, beside }.into());
        }
    }
    Ok(())
}

/// The first of the segments `gone` that a file of points, which no manifest describes, may have a point of. Each point has an LSN of its
/// own. What does not read may have any.
fn first_with_a_point_in<'a>(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    file: &Path,
    gone: &[&'a SegmentMeta],
) -> Result<Option<&'a SegmentMeta>, EngineError> {
    let has = |lsns: &[u64]| {
        let is_in = |meta: &&&SegmentMeta| lsns.iter().any(|lsn| (meta.lsn.0..=meta.lsn.1).contains(lsn));
        gone.iter().find(is_in).copied()
    };
    let found = segment_at(disk, data_dir, file)?
        .scan(&PointFilter::default(), &[LSN_COLUMN], Names::Views, READ_BATCH_ROWS)
        .and_then(|mut scan| {
            scan.find_map(|batch| {
                batch.map(|batch| has(batch.column(0).as_primitive::<UInt64Type>().values())).transpose()
            })
            .transpose()
        });
    match found {
        Err(error) if error.kind() == ErrorKind::DataDamaged => Ok(gone.first().copied()),
        found => Ok(found?),
    }
}

/// A file of points as a segment, by nothing but itself.
fn segment_at(disk: &Arc<dyn Disk>, data_dir: &Path, path: &Path) -> Result<Segment, EngineError> {
    let file = disk.map(path).map_err(io_error("read", path))?;
    let mut crc32c = 0;
    for piece in file.pieces(PIECE_BYTES) {
        crc32c = crc32c::crc32c_append(crc32c, piece.map_err(io_error("read", path))?);
    }
    file.release();
    let unknown = SeriesKey::new("", "", "");
    let meta = SegmentMeta {
        file_name: name_of(path).to_owned(),
        tier: 0,
        purged: 0,
        file: FileMeta { bytes: file.bytes().len() as u64, crc32c, tail: None },
        summaries: None,
        rollups: None,
        rows: 0,
        series: (unknown.clone(), unknown),
        step: (i64::MIN, i64::MAX),
        timestamp_us: (i64::MIN, i64::MAX),
        lsn: (0, u64::MAX),
    };
    Ok(Segment::open_damaged(disk, data_dir, &meta, &FooterCache::new(0)))
}

fn log_files(disk: &dyn Disk, config: &EngineConfig) -> Result<Vec<(Lsn, PathBuf)>, EngineError> {
    let dir = config.wal_dir();
    let is_there = disk.try_exists(&dir).map_err(io_error("look for", &dir))?;
    if is_there { Ok(stepwell_wal::files(disk, &dir)?) } else { Ok(Vec::new()) }
}

/// All files of segments that there are.
pub(crate) fn segment_files(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let mut files = Vec::new();
    for dir in &SEGMENT_DIRS.map(|name| data_dir.join(name)) {
        if !disk.try_exists(dir).map_err(io_error("look for", dir))? {
            continue;
        }
        let entries = disk.list(dir).map_err(io_error("list", dir))?;
        let is_segment = |name: &String| name.ends_with(".parquet");
        files.extend(entries.into_iter().map(|entry| entry.name).filter(is_segment).map(|name| dir.join(name)));
    }
    Ok(files)
}

pub(crate) fn live_names(manifest: &Manifest) -> HashSet<&str> {
    manifest.segments.iter().map(|meta| meta.file_name.as_str()).collect()
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Io { what, path, source }
}
