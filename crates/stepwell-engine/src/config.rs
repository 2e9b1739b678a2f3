//! What an operator may set about the engine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use stepwell_segment::SegmentOptions;

use crate::compaction::CompactionOptions;

/// Settings of one engine. The defaults suit one machine with a few GiB to spare.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The data directory; `wal/` and `segments/` and `MANIFEST` are made below it.
    pub data_dir: PathBuf,
    /// Heap bytes of the active generation of memtables at which it is frozen and flushed.
    pub memtable_bytes: usize,
    /// Age at which a generation with at least one point is flushed however small it is.
    pub flush_age: Duration,
    /// Bytes of batches accepted but not yet in the log; past it batches are refused with `QueueFull`.
    pub queue_bytes: usize,
    /// Bytes of the log that are kept behind what replay needs, so that backups can be restored to earlier LSNs.
    pub wal_retain_bytes: u64,
    /// Bytes of footers and page indexes of segments that are kept for the next reader.
    pub footer_bytes: usize,
    /// Series that one run may have; a batch that would make it more is refused.
    pub series_per_run_max: usize,
    /// Metrics that one project may have; a batch that would make it more is refused.
    pub metrics_per_project_max: usize,
    /// Memtable shards; series go to shards by run.
    pub shards: usize,
    /// Frozen generations that may wait for the flush thread before the writer waits too.
    pub frozen_max: usize,
    /// When and how far segments are merged.
    pub compaction: CompactionOptions,
    /// How segments are written.
    pub segment: SegmentOptions,
}

impl EngineConfig {
    /// The defaults, for one data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            memtable_bytes: 256 << 20,
            flush_age: Duration::from_secs(60),
            queue_bytes: 64 << 20,
            wal_retain_bytes: 0,
            footer_bytes: 128 << 20,
            series_per_run_max: 200_000,
            metrics_per_project_max: 1_000_000,
            shards: 4,
            frozen_max: 2,
            compaction: CompactionOptions::default(),
            segment: SegmentOptions::default(),
        }
    }

    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.data_dir.join("wal")
    }

    pub(crate) fn manifest_dir(&self) -> &Path {
        &self.data_dir
    }
}
