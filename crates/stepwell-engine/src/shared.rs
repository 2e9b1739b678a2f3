//! What the writer, the flush thread and readers share.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stepwell_env::Env;
use stepwell_memtable::SlabPool;
use stepwell_segment::{FooterCache, Segment, SegmentError};
use stepwell_types::{Lsn, SegmentMeta, Tombstone};

use crate::{
    cardinality::NameHasher, compaction::due, config::EngineConfig, exclusions::Exclusions, generation::Generation,
};

/// Whether the engine takes batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// The log failed (I8): reads go on, a restart recovers.
    Poisoned { reason: String },
    /// The disk is full: reads go on, batches are taken again when space returns.
    DiskFull { reason: String },
    /// Segments cannot be written for another reason; batches are taken while memory lasts.
    FlushFails { reason: String },
}

/// What is live now. Replaced piecewise under its lock; cloned as a whole by snapshots.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) segments: Arc<Vec<Segment>>,
    /// Oldest first; waiting for, or in, the flush thread.
    pub(crate) frozen: Vec<Arc<Generation>>,
    pub(crate) active: Arc<Generation>,
    pub(crate) exclusions: Arc<Exclusions>,
}

impl Storage {
    /// Shows what a committed flush wrote, if anything was left to write, and what is still deleted.
    pub(crate) fn flushed(&mut self, segment: Option<Segment>, tombstones: Vec<Tombstone>) {
        let mut segments = Vec::clone(&self.segments);
        segments.extend(segment);
        self.segments = Arc::new(segments);
        self.exclusions = Arc::new(self.exclusions.with_deleted(tombstones));
    }
}

/// Memory that is kept for what comes next.
pub(crate) struct Pools {
    /// Of generations, from one to the next.
    pub(crate) slabs: SlabPool,
    /// Of segments, from one reader to the next.
    pub(crate) footers: FooterCache,
}

pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) config: EngineConfig,
    pub(crate) names: NameHasher,
    pub(crate) pools: Pools,
    pub(crate) storage: RwLock<Storage>,
    /// All points below are durable and in `storage`.
    pub(crate) visible_below: AtomicU64,
    /// Points below are in committed segments; the writer releases log files up to it.
    pub(crate) wal_floor: AtomicU64,
    pub(crate) queued_bytes: AtomicUsize,
    pub(crate) stopping: AtomicBool,
    /// The last compaction failed.
    pub(crate) compaction_fails: AtomicBool,
    pub(crate) health: Mutex<Health>,
    /// Signalled whenever `storage.frozen` or `health` changes.
    pub(crate) changed: Condvar,
    pub(crate) change_count: Mutex<u64>,
    pub(crate) counters: Counters,
}

/// Running totals since start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) points: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) held: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) wal_syncs: AtomicU64,
    pub(crate) wal_sync_us: AtomicU64,
    pub(crate) wal_sync_us_max: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    pub(crate) flush_us: AtomicU64,
    /// Bytes of the files of segments that flushes wrote.
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_failures: AtomicU64,
    pub(crate) compaction_us: AtomicU64,
    /// The same of compactions: divided by `flushed_bytes` and plus one, the write amplification.
    pub(crate) compacted_bytes: AtomicU64,
    pub(crate) replay_records: AtomicU64,
    pub(crate) replay_points: AtomicU64,
    pub(crate) replay_us: AtomicU64,
    /// In the manifest and the log, at the start.
    pub(crate) damaged: AtomicU64,
    /// Bytes of what the writer knows of names.
    pub(crate) name_bytes: AtomicU64,
}

/// A reading of the engine's gauges and totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineStats {
    pub batches: u64,
    pub points: u64,
    pub duplicates: u64,
    /// Batches refused for overload or failure.
    pub refused: u64,
    /// Times a batch of a lane found the queue full, and was handed back to be tried again.
    pub held: u64,
    pub queue_bytes: u64,
    /// Points, series and heap bytes not yet in segments.
    pub memtable_points: u64,
    pub memtable_series: u64,
    pub memtable_bytes: u64,
    /// Bytes that wait for the next points.
    pub memtable_free_bytes: u64,
    /// Bytes of footers and page indexes of segments that are kept.
    pub footer_bytes: u64,
    pub frozen_generations: u64,
    pub segments: u64,
    pub segment_rows: u64,
    pub segment_bytes: u64,
    /// Whether segments wait to be merged.
    pub compaction_is_due: bool,
    pub wal_bytes: u64,
    pub wal_syncs: u64,
    pub wal_sync_us: u64,
    pub wal_sync_us_max: u64,
    pub flushes: u64,
    pub flush_failures: u64,
    pub flush_us: u64,
    /// Bytes of segments written by flushes.
    pub flushed_bytes: u64,
    pub compactions: u64,
    pub compaction_failures: u64,
    pub compaction_us: u64,
    /// Bytes of segments written by compactions.
    pub compacted_bytes: u64,
    pub replay_records: u64,
    pub replay_points: u64,
    pub replay_us: u64,
    /// Bytes that knowing the names of series takes.
    pub name_bytes: u64,
    /// Damaged places found in the log at the start, and damaged files: those known now.
    pub damaged: u64,
    /// Last visible LSN; 0 before the first point.
    pub visible_lsn: u64,
}

impl Shared {
    /// Of a directory that holds nothing from `wal_floor` on.
    pub(crate) fn new(env: Env, config: EngineConfig, storage: Storage, pools: Pools, wal_floor: Lsn) -> Self {
        Self {
            env,
            config,
            names: NameHasher::default(),
            storage: RwLock::new(storage),
            pools,
            visible_below: AtomicU64::new(wal_floor.0),
            wal_floor: AtomicU64::new(wal_floor.0),
            queued_bytes: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            compaction_fails: AtomicBool::new(false),
            health: Mutex::new(Health::Ready),
            changed: Condvar::new(),
            change_count: Mutex::new(0),
            counters: Counters::default(),
        }
    }

    /// The live storage and the LSN below which it is visible. Taken under one lock, so that a point is in exactly one of
    /// the parts (I10).
    pub(crate) fn storage(&self) -> (Storage, Lsn) {
        let storage = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        (storage.clone(), Lsn(self.visible_below.load(Ordering::Acquire)))
    }

    /// The live segments and what is deleted of them. For who works on them for long: whoever holds the whole storage holds the
    /// memory of its generations too, for as long.
    pub(crate) fn segments(&self) -> (Arc<Vec<Segment>>, Exclusions) {
        let storage = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        (storage.segments.clone(), storage.exclusions.deleted_only())
    }

    /// Opens a segment just written.
    pub(crate) fn open_segment(&self, meta: &SegmentMeta) -> Result<Segment, SegmentError> {
        Segment::open(&*self.env.disk, &self.config.data_dir, meta, &self.pools.footers)
    }

    /// An empty one, to be filled from `first_lsn` on.
    pub(crate) fn new_generation(&self, first_lsn: Lsn) -> Arc<Generation> {
        Arc::new(Generation::new(first_lsn, self.env.clock.monotonic(), self.config.shards, &self.pools.slabs))
    }

    pub(crate) fn change_storage(&self, change: impl FnOnce(&mut Storage)) {
        change(&mut self.storage.write().unwrap_or_else(PoisonError::into_inner));
        self.signal();
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A poisoned log stays poisoned; anything else may change back.
    pub(crate) fn set_health(&self, next: Health) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if *health == next || matches!(*health, Health::Poisoned { .. }) {
            return;
        }
        match &next {
            Health::Ready => tracing::info!("the engine takes batches again"),
            Health::Poisoned { reason } => tracing::error!(reason, "the log has failed; restart the server to recover"),
            Health::DiskFull { reason } => tracing::warn!(reason, "the disk is full; batches are refused"),
            Health::FlushFails { reason } => tracing::error!(reason, "segments cannot be written; trying again"),
        }
        *health = next;
        drop(health);
        self.signal();
    }

    fn signal(&self) {
        *self.change_count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Waits until `done` holds, checking after every change and at least each 100 ms.
    pub(crate) fn wait_until(&self, mut done: impl FnMut(&Self) -> bool) {
        loop {
            let seen = *self.change_count.lock().unwrap_or_else(PoisonError::into_inner);
            if done(self) {
                return;
            }
            let count = self.change_count.lock().unwrap_or_else(PoisonError::into_inner);
            if *count == seen {
                // A timed-out or poisoned wait only means one more look.
                drop(self.changed.wait_timeout(count, Duration::from_millis(100)));
            }
        }
    }

    /// Whether segments wait to be merged.
    pub(crate) fn compaction_is_due(&self) -> bool {
        let (segments, exclusions) = self.segments();
        !due(&segments, exclusions.deleted(), &self.config.compaction).is_empty()
    }

    pub(crate) fn frozen_len(&self) -> usize {
        self.storage.read().unwrap_or_else(PoisonError::into_inner).frozen.len()
    }

    pub(crate) fn stats(&self) -> EngineStats {
        let (storage, visible_below) = self.storage();
        let generations = || storage.frozen.iter().chain([&storage.active]);
        let c = &self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineStats {
            batches: get(&c.batches),
            points: get(&c.points),
            duplicates: get(&c.duplicates),
            refused: get(&c.refused),
            held: get(&c.held),
            queue_bytes: self.queued_bytes.load(Ordering::Relaxed) as u64,
            memtable_points: generations().map(|g| g.points() as u64).sum(),
            memtable_series: generations().map(|g| g.series() as u64).sum(),
            memtable_bytes: generations().map(|g| g.heap_bytes() as u64).sum(),
            memtable_free_bytes: self.pools.slabs.free_bytes() as u64,
            footer_bytes: self.pools.footers.bytes() as u64,
            frozen_generations: storage.frozen.len() as u64,
            segments: storage.segments.len() as u64,
            segment_rows: storage.segments.iter().map(|s| s.meta().rows).sum(),
            segment_bytes: storage.segments.iter().map(|s| s.meta().bytes()).sum(),
            compaction_is_due: self.compaction_is_due(),
            wal_bytes: get(&c.wal_bytes),
            wal_syncs: get(&c.wal_syncs),
            wal_sync_us: get(&c.wal_sync_us),
            wal_sync_us_max: get(&c.wal_sync_us_max),
            flushes: get(&c.flushes),
            flush_failures: get(&c.flush_failures),
            flush_us: get(&c.flush_us),
            flushed_bytes: get(&c.flushed_bytes),
            compactions: get(&c.compactions),
            compaction_failures: get(&c.compaction_failures),
            compaction_us: get(&c.compaction_us),
            compacted_bytes: get(&c.compacted_bytes),
            replay_records: get(&c.replay_records),
            replay_points: get(&c.replay_points),
            replay_us: get(&c.replay_us),
            name_bytes: get(&c.name_bytes),
            damaged: get(&c.damaged) + storage.segments.iter().map(Segment::damaged_files).sum::<u64>(),
            visible_lsn: visible_below.0 - 1,
        }
    }
}
