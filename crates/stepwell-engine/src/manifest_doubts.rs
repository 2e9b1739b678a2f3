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
use stepwell_segment::{FooterCache, Names, SEGMENT_DIRS, Segment, SegmentError};
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

/// A file of points that no manifest describes, and of which nobody knows whether it has points of a segment that is gone.
pub(crate) struct Doubt {
    pub(crate) beside: PathBuf,
    named: PathBuf,
}

impl Doubt {
    /// What who would remove the file says.
    pub(crate) fn refusal(self, config: &EngineConfig) -> ManifestError {
        let path = config.manifest_dir().join(FILE_NAME);
        ManifestError::Doubtful { path, named: self.named, beside: self.beside }
    }
}

/// Fails where the manifest is older than what lies beside it, or may be.
pub(crate) fn refuse_stale_manifest(
    disk: &Arc<dyn Disk>,
    config: &EngineConfig,
    manifest: &Manifest,
) -> Result<(), EngineError> {
    let first = doubts(disk, config, manifest)?.into_iter().next();
    first.map_or(Ok(()), |doubt| Err(doubt.refusal(config).into()))
}

/// An older manifest, put back over a newer one, would have the segments removed that only the newer one names. The log shows it: it was
/// released up to the newer one's floor. So do segments: those that a merge or a deletion has replaced are removed only once no manifest
/// names them any more. Fails where one of the two shows it; returns what may show it and may not.
pub(crate) fn doubts(
    disk: &Arc<dyn Disk>,
    config: &EngineConfig,
    manifest: &Manifest,
) -> Result<Vec<Doubt>, EngineError> {
    let (live, files) = (live_names(manifest), segment_files(&**disk, &config.data_dir)?);
    let unnamed: Vec<&PathBuf> = files.iter().filter(|path| !live.contains(name_of(path))).collect();
    let Some(beside) = unnamed.first() else { return Ok(Vec::new()) };
    let path = config.manifest_dir().join(FILE_NAME);
    if let Some((first_lsn, _)) = log_files(&**disk, config)?.first()
        && *first_lsn > manifest.wal_floor
    {
        return Err(ManifestError::Stale { path, beside: beside.to_path_buf(), beside_lsn: first_lsn.0 }.into());
    }
    let dir = config.data_dir.join(SEGMENT_DIRS[0]);
    let names: HashSet<&str> = files.iter().filter(|path| path.starts_with(&dir)).map(|path| name_of(path)).collect();
    let (there, gone): (Vec<_>, Vec<_>) =
        manifest.segments.iter().partition(|meta| names.contains(meta.file_name.as_str()));
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    // A segment may also have been lost; then what a crash has left beside it has no point of it.
    let mut doubts = Vec::new();
    for beside in unnamed.into_iter().filter(|path| path.starts_with(&dir)) {
        let (beside, sign) = (beside.clone(), sign_in(disk, &config.data_dir, beside, &gone, &there)?);
        let named = |of: &SegmentMeta| dir.join(&of.file_name);
        match sign {
            Sign::Nothing => {}
            Sign::Doubt(of) => doubts.push(Doubt { beside, named: named(of) }),
            Sign::Point(of) => return Err(ManifestError::Replaced { path, named: named(of), beside }.into()),
        }
    }
    Ok(doubts)
}

/// What a file shows of segments that are gone.
enum Sign<'a> {
    Nothing,
    /// It may have a point of this one.
    Doubt(&'a SegmentMeta),
    /// It has.
    Point(&'a SegmentMeta),
}

/// Looks for points of the segments `gone` in a file that no manifest describes. Each point has an LSN of its own, but all that is known
/// of a segment is the range that its LSNs lie in: in that of one that is `there`, too, it may as well be of that. So are those of what a
/// repair has left that ended before its commit. What does not read may have any.
fn sign_in<'a>(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    file: &Path,
    gone: &[&'a SegmentMeta],
    there: &[&'a SegmentMeta],
) -> Result<Sign<'a>, EngineError> {
    match sign_in_points(&segment_at(disk, data_dir, file)?, gone, there) {
        Err(error) if error.kind() == ErrorKind::DataDamaged => {
            Ok(gone.first().map_or(Sign::Nothing, |of| Sign::Doubt(of)))
        }
        found => Ok(found?),
    }
}

fn sign_in_points<'a>(
    file: &Segment,
    gone: &[&'a SegmentMeta],
    there: &[&'a SegmentMeta],
) -> Result<Sign<'a>, SegmentError> {
    let around = |metas: &[&'a SegmentMeta], lsn: u64| {
        metas.iter().find(|meta| (meta.lsn.0..=meta.lsn.1).contains(&lsn)).copied()
    };
    let mut sign = Sign::Nothing;
    for batch in file.scan(&PointFilter::default(), &[LSN_COLUMN], Names::Views, READ_BATCH_ROWS)? {
        for &lsn in batch?.column(0).as_primitive::<UInt64Type>().values() {
            let Some(of) = around(gone, lsn) else { continue };
            if around(there, lsn).is_none() {
                return Ok(Sign::Point(of));
            }
            sign = Sign::Doubt(of);
        }
    }
    Ok(sign)
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
