//! Making a damaged data directory whole again, with everything that is not damaged still in it.
//!
//! Damaged files are copied to `quarantine/` before anything else. What a damaged segment has undamaged is written as a new
//! segment, with summaries and rollups of its own, and one commit of the manifest puts the new ones in for the damaged ones. A log is
//! replayed as by a start, and flushed. Where a file that no manifest names leaves it in doubt whether the manifest is the right one, it
//! is taken for that: the next start removes the file, of which a copy is in quarantine then. A crash at any moment leaves the directory as before, or as after some of these steps: doing
//! it again does the rest.

mod quarantine;
mod salvage;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use stepwell_env::{Env, PatientDisk};
use stepwell_manifest::{COPY_NAME, FILE_NAME, Manifest, ManifestStore};
use stepwell_segment::{FooterCache, Segment};
use stepwell_types::SegmentMeta;
use stepwell_wal::Wal;

pub use self::quarantine::QUARANTINE;
use self::{quarantine::Quarantine, salvage::salvage};
use crate::{
    CompactionOptions, Engine, EngineConfig, EngineError,
    catalog::remove_files,
    check::{CheckReport, PointsConcerned, check, segments::directories},
    manifest_doubts::{doubts, refuse_lost_manifest},
};

/// What a repair did; of a dry run, what it would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was damaged.
    pub found: CheckReport,
    pub segments: Vec<SegmentRepair>,
    /// Where damaged files are kept.
    pub quarantined: Vec<PathBuf>,
    /// Points that the log still had and that are in segments now.
    pub replayed_points: u64,
    /// A check of what came out; `None` of a dry run, or where there was nothing to do.
    pub after: Option<CheckReport>,
}

/// What became of a damaged segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRepair {
    pub file_name: String,
    /// The segment that has its undamaged points; `None` where there are none, and of a dry run.
    pub replaced_by: Option<String>,
    pub points_kept: u64,
    /// `None` where only what is computed from points was damaged.
    pub lost: Option<PointsConcerned>,
}

/// Repairs a data directory, whose lock the caller holds. A second call does nothing.
pub fn repair(env: &Env, config: &EngineConfig, dry_run: bool) -> Result<RepairReport, EngineError> {
    let found = check(env, config)?;
    // What the device refuses is damage like any other, with zeros in its place; what is written anew has it no more.
    let env = &Env { disk: Arc::new(PatientDisk::new(env.disk.clone())), ..env.clone() };
    let (store, manifest) = ManifestStore::open(env.disk.clone(), &config.data_dir)?;
    refuse_lost_manifest(&*env.disk, config, &store)?;
    let doubts = doubts(&env.disk, config, &manifest)?;
    let mut report = RepairReport { found, ..RepairReport::default() };
    if report.found.is_healthy() {
        return Ok(report);
    }
    let quarantine = Quarantine::new(env.disk.clone(), &config.data_dir);
    if !dry_run {
        quarantine_manifest(&quarantine, config, &mut report)?;
        for doubt in &doubts {
            report.quarantined.extend(quarantine.copy(&doubt.beside)?);
        }
    }
    repair_segments(env, config, (store, manifest), &quarantine, dry_run, &mut report)?;
    if !dry_run {
        let wal_dir = config.wal_dir();
        let of_log = report.found.damages.iter().map(|damage| &damage.path).filter(|path| path.starts_with(&wal_dir));
        let of_log: BTreeSet<PathBuf> = of_log.cloned().collect();
        if !of_log.is_empty() {
            for path in &of_log {
                report.quarantined.extend(quarantine.copy(path)?);
            }
            report.replayed_points = repair_log(env, config, &of_log)?;
            report.quarantined.extend(quarantine.take_kept_logs(&wal_dir)?);
        }
        report.after = Some(check(env, config)?);
    }
    Ok(report)
}

fn quarantine_manifest(
    quarantine: &Quarantine,
    config: &EngineConfig,
    report: &mut RepairReport,
) -> Result<(), EngineError> {
    for path in [FILE_NAME, COPY_NAME].map(|name| config.data_dir.join(name)) {
        if report.found.damages.iter().any(|damage| damage.path == path) {
            report.quarantined.extend(quarantine.copy(&path)?);
        }
    }
    Ok(())
}

fn repair_segments(
    env: &Env,
    config: &EngineConfig,
    (mut store, mut manifest): (ManifestStore, Manifest),
    quarantine: &Quarantine,
    dry_run: bool,
    report: &mut RepairReport,
) -> Result<(), EngineError> {
    let disk = &env.disk;
    if !dry_run {
        for dir in directories(&config.data_dir) {
            disk.create_dir_all(&dir).map_err(|source| EngineError::Io {
                what: "create directory",
                path: dir,
                source,
            })?;
        }
    }
    let mut left: Vec<SegmentMeta> = Vec::new();
    let mut replaced: Vec<String> = Vec::new();
    for meta in std::mem::take(&mut manifest.segments) {
        let segment = Segment::open_damaged(disk, &config.data_dir, &meta, &FooterCache::new(0));
        // What may be whole is not given up.
        let damages = segment.damages()?;
        if damages.points.is_empty() && damages.derived.is_empty() {
            left.push(meta);
            continue;
        }
        let name = (!dry_run).then(|| {
            manifest.next_segment += 1;
            format!("{:020}.parquet", manifest.next_segment - 1)
        });
        let (repaired, new) = salvage(env, config, &segment, name)?;
        report.segments.push(repaired);
        if !dry_run {
            let mut paths: Vec<PathBuf> =
                damages.points.into_iter().chain(damages.derived).map(|found| found.path).collect();
            paths.dedup();
            for path in &paths {
                report.quarantined.extend(quarantine.copy(path)?);
            }
        }
        left.extend(new);
        replaced.push(meta.file_name);
    }
    if dry_run {
        return Ok(());
    }
    manifest.segments = left;
    manifest.version += 1;
    store.commit(&manifest)?;
    remove_files(&**disk, &config.data_dir, replaced.iter());
    Ok(())
}

/// Brings what the log still has into segments, so that the damaged part of it is needed no more, and removes that part. Returns how many
/// points.
fn repair_log(env: &Env, config: &EngineConfig, damaged: &BTreeSet<PathBuf>) -> Result<u64, EngineError> {
    let compaction = CompactionOptions { fan_in: 0, ..config.compaction.clone() };
    // What the server keeps for restores is its affair.
    let config = EngineConfig { compaction, wal_retain_bytes: u64::MAX, ..config.clone() };
    let engine = Engine::open(env.clone(), config.clone())?;
    let points = engine.stats().replay_points;
    let flushed = engine.flush();
    engine.shutdown()?;
    flushed?;
    // Where no point is left behind the damage, no flush has moved the floor past it.
    let (mut store, mut manifest) = ManifestStore::open(env.disk.clone(), &config.data_dir)?;
    let wal_dir = config.wal_dir();
    let left = Wal::replay_read_only(env.disk.clone(), &wal_dir, manifest.wal_floor, &mut |_| {})?;
    if left.points == 0 && left.next_lsn > manifest.wal_floor {
        manifest.wal_floor = left.next_lsn;
        manifest.version += 1;
        store.commit(&manifest)?;
    }
    let (mut wal, _) = Wal::open(env.disk.clone(), &wal_dir, manifest.wal_floor, &mut |_| {})?;
    // Up to the last damaged file: a log with a gap in it leads to no earlier moment.
    let files = stepwell_wal::files(&*env.disk, &wal_dir)?;
    if let Some(pair) = files.windows(2).rev().find(|pair| damaged.contains(&pair[0].1)) {
        wal.release(pair[1].0.min(manifest.wal_floor))?;
    }
    wal.close()?;
    Ok(points)
}
