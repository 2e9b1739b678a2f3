//! The data directories: small, and with a file of every kind.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use stepwell_engine::{CompactionOptions, Deletion, Engine, EngineConfig, check};
use stepwell_env::{Disk, Env, SimDisk};
use stepwell_manifest::ManifestStore;
use stepwell_segment::{SEGMENT_DIRS, SegmentOptions};
use stepwell_types::{Batch, ProducerSequence, SegmentMeta, SeriesKey};

use crate::answers::{Answers, Rows};

/// A data directory on a disk of its own, which nobody changes, and what it answers.
pub struct Directory {
    pub(crate) disk: SimDisk,
    pub(crate) answers: Answers,
    /// What a check says of it, which is no damage.
    pub(crate) notes: Vec<String>,
    /// Its segments.
    pub(crate) segments: Vec<SegmentMeta>,
    /// The points that only the last synced group of the log has, in a directory after a crash.
    pub(crate) last_group: Rows,
}

/// The metric that is deleted, and how many points of it stand in a segment all the same.
pub(crate) const DELETED: &str = "gone";
pub(crate) const DELETED_POINTS: i64 = 40;

/// Bytes of zeros that a log keeps at its end.
const ZEROS_KEPT: usize = 16 << 10;

/// Where it is.
pub(crate) fn data_dir() -> &'static Path {
    Path::new("data")
}

/// Small pages and row groups, so that a file has many; no merges, so that there are several segments.
pub(crate) fn config() -> EngineConfig {
    EngineConfig {
        shards: 2,
        flush_age: Duration::from_secs(1_000_000),
        compaction: CompactionOptions { fan_in: 0, ..CompactionOptions::default() },
        segment: SegmentOptions { row_group_rows: 2_048, page_rows: 512, zstd_level: 1 },
        ..EngineConfig::new(data_dir())
    }
}

pub(crate) fn env(disk: &SimDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), ..Env::real() }
}

/// The log is one file of three batches that another, empty one follows: each place in it is known to have been synced.
pub fn after_a_restart() -> Result<Directory> {
    let disk = crashed()?;
    let engine = Engine::open(env(&disk), config())?;
    let restarted = disk.crash(0);
    drop(engine.shutdown());
    Directory::new(restarted, Rows::new())
}

/// The last group in the log has nothing behind it that says it was synced.
pub fn after_a_crash() -> Result<Directory> {
    let disk = crashed()?;
    let log = data_dir().join("wal");
    for entry in disk.list(&log)? {
        // Of the zeros ahead a few are enough.
        let content = disk.read(&log.join(&entry.name))?;
        let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        disk.truncate(&log.join(&entry.name), content.len().min(written + ZEROS_KEPT) as u64)?;
    }
    let all = Answers::read(&disk)?.scan.map_err(anyhow::Error::msg)?;
    let last = all.iter().map(|row| row.lsn).max().context("there are points")?;
    // The last batch has three points.
    let last_group = all.into_iter().filter(|row| row.lsn + 3 > last).collect();
    Directory::new(disk, last_group)
}

impl Directory {
    fn new(disk: SimDisk, last_group: Rows) -> Result<Self> {
        let answers = Answers::read(&disk)?;
        ensure!(answers.is_right(), "the whole directory does not answer");
        let found = check(&env(&disk), &config())?;
        ensure!(found.is_healthy(), "the whole directory is damaged: {:?}", found.damages);
        let manifest = ManifestStore::open(Arc::new(disk.clone()), data_dir())?.1;
        Ok(Self { disk, answers, notes: found.notes, segments: manifest.segments, last_group })
    }

    /// All of its files with their lengths.
    pub fn files(&self) -> Result<Vec<(PathBuf, usize)>> {
        let dirs = ["", "wal"].iter().chain(&SEGMENT_DIRS).map(|name| data_dir().join(name));
        let mut files = Vec::new();
        for dir in dirs {
            for entry in self.disk.list(&dir)? {
                files.push((dir.join(&entry.name), entry.bytes as usize));
            }
        }
        Ok(files)
    }

    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        Ok(self.disk.read(path)?)
    }
}

/// What a loss of power leaves of a server that has flushed three times, deleted a metric, and not flushed since.
fn crashed() -> Result<SimDisk> {
    let disk = SimDisk::new();
    let engine = Engine::open(env(&disk), config())?;
    let mut sequence = 0;
    let mut send = |batch: Batch| -> Result<()> {
        let (answer, answered) = mpsc::channel();
        sequence += 1;
        let producer = ProducerSequence { producer: "rot".into(), sequence };
        engine.ingest(batch, Some(producer), move |result| drop(answer.send(result)))?;
        answered.recv()??;
        Ok(())
    };
    // Long enough for rollups; values are integers, so that sums are exact in whatever order.
    send(points("1", "loss", "a", 0..4_200))?;
    send(points("1", "acc", "b", 0..30))?;
    engine.flush()?;
    // A run that resumed and repeats steps.
    send(points("1", "loss", "a", 4_000..4_300))?;
    send(points("1", DELETED, "a", 0..DELETED_POINTS))?;
    engine.flush()?;
    send(points("2", "loss", "c", -20..700))?;
    engine.flush()?;
    let deletion = Deletion { project_id: "1".into(), metric: Some(DELETED.into()), run_id: None, before_us: None };
    engine.delete(deletion)?;
    for first in [4_300, 4_310, 4_320] {
        send(points("1", "loss", "a", first..first + 3))?;
    }
    let crashed = disk.crash(0);
    drop(engine.shutdown());
    Ok(crashed)
}

fn points(project: &str, metric: &str, run: &str, steps: std::ops::Range<i64>) -> Batch {
    let step: Vec<i64> = steps.collect();
    let time_us = step.iter().map(|step| 1_790_000_000_000_000 + step * 1_000_003).collect();
    let value = step.iter().map(|step| (step * 37 % 101) as f64).collect();
    let series = vec![SeriesKey::new(project, metric, run)];
    let batch = Batch::new(series, vec![0; step.len()], step, time_us, value);
    batch.unwrap_or_else(|error| panic!("the points are well formed: {error}"))
}
