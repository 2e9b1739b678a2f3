//! What the engine counts, and a reading of it.

use std::sync::atomic::{AtomicU64, Ordering};

use stepwell_segment::Segment;

use crate::{
    compaction::backlog,
    durations::{DurationCounts, Durations, SYNC_BOUNDS_US, WORK_BOUNDS_US},
    engine::QUEUE_BATCHES_MAX,
    refusals::Refusals,
    shared::Shared,
};

/// Running totals since start.
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) points: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refusals: Refusals,
    pub(crate) held: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) wal_sync: Durations,
    pub(crate) wal_sync_failures: AtomicU64,
    pub(crate) wal_sync_us_max: AtomicU64,
    /// Of flushes that succeeded, as `compaction` of merges.
    pub(crate) flush: Durations,
    pub(crate) flush_failures: AtomicU64,
    /// Bytes of the files of segments that flushes wrote.
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compaction: Durations,
    pub(crate) compaction_failures: AtomicU64,
    /// The same of compactions: divided by `flushed_bytes` and plus one, the write amplification.
    pub(crate) compacted_bytes: AtomicU64,
    pub(crate) replay_records: AtomicU64,
    pub(crate) replay_points: AtomicU64,
    pub(crate) replay_us: AtomicU64,
    pub(crate) torn_tails: AtomicU64,
    pub(crate) damaged: AtomicU64,
    /// Bytes of what the writer knows of names.
    pub(crate) name_bytes: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            batches: zero(),
            points: zero(),
            duplicates: zero(),
            refusals: Refusals::default(),
            held: zero(),
            wal_bytes: zero(),
            wal_sync: Durations::new(SYNC_BOUNDS_US),
            wal_sync_failures: zero(),
            wal_sync_us_max: zero(),
            flush: Durations::new(WORK_BOUNDS_US),
            flush_failures: zero(),
            flushed_bytes: zero(),
            compaction: Durations::new(WORK_BOUNDS_US),
            compaction_failures: zero(),
            compacted_bytes: zero(),
            replay_records: zero(),
            replay_points: zero(),
            replay_us: zero(),
            torn_tails: zero(),
            damaged: zero(),
            name_bytes: zero(),
        }
    }
}

/// A reading of the engine's gauges and totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineStats {
    pub batches: u64,
    pub points: u64,
    pub duplicates: u64,
    /// Batches refused, and how many of them by why; every reason is there.
    pub refused: u64,
    pub refusals: Vec<(&'static str, u64)>,
    /// Times a batch of a lane found the queue full, and was handed back to be tried again.
    pub held: u64,
    pub queue_batches: u64,
    pub queue_batches_limit: u64,
    pub queue_bytes: u64,
    pub queue_bytes_limit: u64,
    /// Points, series and heap bytes not yet in segments.
    pub memtable_points: u64,
    pub memtable_series: u64,
    pub memtable_bytes: u64,
    /// What all generations together may have: the active one, and those that wait for the flush thread.
    pub memtable_bytes_limit: u64,
    /// Bytes that wait for the next points.
    pub memtable_free_bytes: u64,
    /// Of points that segments have, and readers of an earlier moment still hold.
    pub memtable_held_bytes: u64,
    /// Age of the oldest generation with a point; 0 if there is none.
    pub unflushed_us: u64,
    /// Bytes of footers and page indexes of segments that are kept.
    pub footer_bytes: u64,
    pub footer_bytes_limit: u64,
    pub frozen_generations: u64,
    pub frozen_generations_limit: u64,
    pub segments: u64,
    pub segment_rows: u64,
    pub segment_bytes: u64,
    /// Whether segments wait to be merged.
    pub compaction_is_due: bool,
    /// Segments of flushes not yet merged, and how many there may be before flushes wait.
    pub compaction_backlog: u64,
    pub compaction_backlog_limit: u64,
    pub wal_bytes: u64,
    pub wal_sync: DurationCounts,
    pub wal_sync_failures: u64,
    pub wal_sync_us_max: u64,
    /// Files of the log, and their bytes on disk.
    pub wal_files: u64,
    pub wal_file_bytes: u64,
    /// Flushes that succeeded, and how long they took.
    pub flushes: u64,
    pub flush: DurationCounts,
    pub flush_failures: u64,
    /// Bytes of segments written by flushes.
    pub flushed_bytes: u64,
    /// The same of merges.
    pub compactions: u64,
    pub compaction: DurationCounts,
    pub compaction_failures: u64,
    /// Bytes of segments written by compactions.
    pub compacted_bytes: u64,
    pub replay_records: u64,
    pub replay_points: u64,
    pub replay_us: u64,
    /// Unfinished writes that the replay cut off the log.
    pub torn_tails: u64,
    /// Bytes that knowing the names of series takes.
    pub name_bytes: u64,
    /// Damaged places found in the log at the start, and damaged files: those known now.
    pub damaged: u64,
    /// Last visible LSN; 0 before the first point.
    pub visible_lsn: u64,
}

impl Shared {
    pub(crate) fn stats(&self) -> EngineStats {
        let (storage, visible_below) = self.storage();
        let generations = || storage.frozen.iter().chain([&storage.active]);
        let config = &self.config;
        let oldest =
            generations().filter(|generation| generation.points() > 0).map(|generation| generation.created).min();
        let c = &self.counters;
        let (refusals, flush, compaction) = (c.refusals.read(), c.flush.read(), c.compaction.read());
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Only a figure: where the log cannot be listed, its own faults say more.
        let log_files = self.env.disk.list(&config.wal_dir()).unwrap_or_default();
        EngineStats {
            batches: get(&c.batches),
            points: get(&c.points),
            duplicates: get(&c.duplicates),
            refused: refusals.iter().map(|(_, count)| count).sum(),
            refusals,
            held: get(&c.held),
            queue_batches: self.queued_batches.load(Ordering::Relaxed) as u64,
            queue_batches_limit: QUEUE_BATCHES_MAX as u64,
            queue_bytes: self.queued_bytes.load(Ordering::Relaxed) as u64,
            queue_bytes_limit: config.queue_bytes as u64,
            memtable_points: generations().map(|g| g.points() as u64).sum(),
            memtable_series: generations().map(|g| g.series() as u64).sum(),
            memtable_bytes: generations().map(|g| g.heap_bytes() as u64).sum(),
            memtable_bytes_limit: (config.memtable_bytes * (config.frozen_max + 1)) as u64,
            memtable_free_bytes: self.pools.slabs.free_bytes() as u64,
            memtable_held_bytes: self.held_by_readers() as u64,
            unflushed_us: oldest.map_or(0, |since| self.env.clock.monotonic().saturating_sub(since).as_micros() as u64),
            footer_bytes: self.pools.footers.bytes() as u64,
            footer_bytes_limit: config.footer_bytes as u64,
            frozen_generations: storage.frozen.len() as u64,
            frozen_generations_limit: config.frozen_max as u64,
            segments: storage.segments.len() as u64,
            segment_rows: storage.segments.iter().map(|s| s.meta().rows).sum(),
            segment_bytes: storage.segments.iter().map(|s| s.meta().bytes()).sum(),
            compaction_is_due: self.compaction_is_due(),
            compaction_backlog: backlog(&storage.segments) as u64,
            compaction_backlog_limit: config.compaction.backlog_max as u64,
            wal_bytes: get(&c.wal_bytes),
            wal_sync: c.wal_sync.read(),
            wal_sync_failures: get(&c.wal_sync_failures),
            wal_sync_us_max: get(&c.wal_sync_us_max),
            wal_files: log_files.len() as u64,
            wal_file_bytes: log_files.iter().map(|file| file.bytes).sum(),
            flushes: flush.count(),
            flush,
            flush_failures: get(&c.flush_failures),
            flushed_bytes: get(&c.flushed_bytes),
            compactions: compaction.count(),
            compaction,
            compaction_failures: get(&c.compaction_failures),
            compacted_bytes: get(&c.compacted_bytes),
            replay_records: get(&c.replay_records),
            replay_points: get(&c.replay_points),
            replay_us: get(&c.replay_us),
            torn_tails: get(&c.torn_tails),
            name_bytes: get(&c.name_bytes),
            damaged: get(&c.damaged) + storage.segments.iter().map(Segment::damaged_files).sum::<u64>(),
            visible_lsn: visible_below.0 - 1,
        }
    }
}
