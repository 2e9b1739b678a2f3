//! What is damaged in a data directory, and what that concerns. Reads every byte; changes nothing.

mod log;
pub(crate) mod segments;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, Env, PatientDisk, UnreadablePart};
use stepwell_manifest::{COPY_NAME, FILE_NAME, Manifest, ManifestError, ManifestStore};
use stepwell_segment::SegmentError;
use stepwell_types::Lsn;

use crate::{
    EngineConfig, EngineError,
    manifest_doubts::{doubts, refuse_lost_manifest},
};

/// Tries beside a server that commits all the while.
const TRIES: usize = 5;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What was read.
    pub files: u64,
    pub bytes: u64,
    /// Points that segments and log should have.
    pub points: u64,
    pub damages: Vec<Damage>,
    /// What is worth a word and is no damage.
    pub notes: Vec<String>,
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    /// Bytes of the smallest checked piece that holds it; 0 where that is not known.
    pub bytes: u64,
    pub detail: String,
    pub concerns: Concern,
}

/// What a damage concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// Nothing is lost, for the reason given.
    Nothing(&'static str),
    /// These points of a segment.
    Points(Box<PointsConcerned>),
    /// Points of the log, from the first LSN on and before the second where that is known.
    Log { first_lsn: u64, before_lsn: Option<u64> },
    /// All of the data directory: it does not open.
    Everything,
}

/// Points of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointsConcerned {
    pub points: u64,
    /// Series with such points; `None` where the names could not be read, and those below are bounds.
    pub series: Option<u64>,
    pub project_ids: BTreeSet<Arc<str>>,
    pub metrics: BTreeSet<Arc<str>>,
    pub run_ids: BTreeSet<Arc<str>>,
    /// Bounds of their steps and LSNs.
    pub step: (i64, i64),
    pub lsn: (u64, u64),
}

impl CheckReport {
    /// Whether there is no damage.
    pub fn is_healthy(&self) -> bool {
        self.damages.is_empty()
    }

    fn read(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Checks all files of the storage below a data directory, also one that a server is using.
pub fn check(env: &Env, config: &EngineConfig) -> Result<CheckReport, EngineError> {
    let mut tries = 0;
    loop {
        let before = ManifestStore::open(env.disk.clone(), &config.data_dir).map(|(_, manifest)| manifest);
        let report = check_once(&env.disk, config);
        let now = ManifestStore::open(env.disk.clone(), &config.data_dir).map(|(_, manifest)| manifest);
        tries += 1;
        // What a server took away meanwhile is not missing. Not by their numbers: one that failed has that of the one behind it.
        let has_moved = matches!((before, now), (Ok(before), Ok(now)) if before != now);
        match report {
            Ok(report) if report.is_healthy() || !has_moved || tries == TRIES => return Ok(report),
            Err(error) if !has_moved || tries == TRIES => return Err(error),
            _ => {}
        }
    }
}

fn check_once(disk: &Arc<dyn Disk>, config: &EngineConfig) -> Result<CheckReport, EngineError> {
    let mut report = CheckReport::default();
    // Segments know themselves what to do where a page cannot be read.
    let patient = Arc::new(PatientDisk::new(disk.clone()));
    let patient_disk: Arc<dyn Disk> = patient.clone();
    let Some(manifest) = check_manifest(&patient_disk, config, &mut report)? else { return Ok(report) };
    segments::check(disk, &config.data_dir, &manifest, &mut report);
    segments::note_unnamed(&**disk, &config.data_dir, &manifest, &mut report);
    log::check(&patient_disk, &config.wal_dir(), manifest.wal_floor, &mut report)?;
    for (path, parts) in patient.unreadable() {
        unreadable(&path, &parts, manifest.wal_floor, &mut report);
    }
    Ok(report)
}

/// What the disk refused was taken for zeros. Where that was found to be damage the report has it; elsewhere nobody knows what stood there.
fn unreadable(path: &Path, parts: &[UnreadablePart], floor: Lsn, report: &mut CheckReport) {
    for UnreadablePart { range, error } in parts {
        let path = path.display();
        report.notes.push(format!("{path} cannot be read from byte {} to {}: {error}", range.start, range.end));
    }
    let is_told = report.damages.iter().any(|damage| damage.path == path);
    if let Some(UnreadablePart { range, error }) = parts.first().filter(|_| !is_told) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let concerns = match stepwell_wal::first_lsn_of(&name) {
            Some(first_lsn) => log_concern((first_lsn, None), floor),
            None => Concern::Nothing("zeros in its place are as good"),
        };
        let (offset, bytes, detail) = (range.start, range.end - range.start, format!("it cannot be read: {error}"));
        report.damages.push(Damage { path: path.to_owned(), offset, bytes, detail, concerns });
    }
}

/// The manifest that counts; `None` where there is none, which is damage.
fn check_manifest(
    disk: &Arc<dyn Disk>,
    config: &EngineConfig,
    report: &mut CheckReport,
) -> Result<Option<Manifest>, EngineError> {
    let opened = ManifestStore::open(disk.clone(), &config.data_dir);
    let everything = |error: &ManifestError, report: &mut CheckReport| {
        let path = config.data_dir.join(FILE_NAME);
        report.damages.push(manifest_damage(path, error, Concern::Everything));
    };
    let (store, manifest) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            everything(&error, report);
            return Ok(None);
        }
    };
    let found = refuse_lost_manifest(&**disk, config, &store).and_then(|()| doubts(disk, config, &manifest));
    match found {
        Ok(doubts) => report.damages.extend(doubts.into_iter().map(|doubt| {
            let path = doubt.beside.clone();
            manifest_damage(path, &doubt.refusal(config), Concern::Everything)
        })),
        Err(EngineError::Manifest(error)) => {
            everything(&error, report);
            return Ok(None);
        }
        Err(error) => {
            let Some(path) = unread(&error) else { return Err(error) };
            let (detail, concerns) = (error.to_string(), Concern::Everything);
            report.damages.push(Damage { path, offset: 0, bytes: 0, detail, concerns });
            return Ok(None);
        }
    }
    if let Some(error) = store.damage() {
        let concern = Concern::Nothing("its copy says the same, and is read instead");
        report.damages.push(manifest_damage(config.data_dir.join(FILE_NAME), error, concern));
    }
    for name in [FILE_NAME, COPY_NAME] {
        let path = config.data_dir.join(name);
        if disk.exists(&path) {
            let bytes = disk.read(&path).map_or(0, |file| file.len());
            report.read(bytes as u64);
        }
    }
    check_copy(&**disk, &config.data_dir, &manifest, report);
    Ok(Some(manifest))
}

/// What could not be read to know whether the manifest is right.
fn unread(error: &EngineError) -> Option<PathBuf> {
    match error {
        EngineError::Io { path, .. } | EngineError::Segment(SegmentError::Unreadable { path, .. }) => {
            Some(path.clone())
        }
        _ => None,
    }
}

fn check_copy(disk: &dyn Disk, data_dir: &Path, manifest: &Manifest, report: &mut CheckReport) {
    let path = data_dir.join(COPY_NAME);
    if matches!(disk.try_exists(&path), Ok(false)) {
        if manifest.version > 0 {
            report.notes.push(format!("{} is not there yet; the next commit writes it", path.display()));
        }
        return;
    }
    if let Err(error) = ManifestStore::read(disk, &path) {
        let concern = Concern::Nothing("the manifest itself is whole");
        report.damages.push(manifest_damage(path, &error, concern));
    }
}

fn manifest_damage(path: PathBuf, error: &ManifestError, concerns: Concern) -> Damage {
    let (offset, detail) = match error {
        ManifestError::Damaged { offset, detail, .. } => (*offset, detail.clone()),
        other => (0, other.to_string()),
    };
    Damage { path, offset, bytes: 0, detail, concerns }
}

/// The concern of LSNs, of which those below `floor` are in segments.
fn log_concern((first, before): (Lsn, Option<Lsn>), floor: Lsn) -> Concern {
    let first = first.max(floor);
    match before {
        Some(before) if before <= first => Concern::Nothing("no point that is not in a segment stood there"),
        before => Concern::Log { first_lsn: first.0, before_lsn: before.map(|lsn| lsn.0) },
    }
}
