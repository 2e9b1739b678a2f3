//! What the writer, the flush thread and readers share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stepwell_env::{Env, Signal};
use stepwell_memtable::SlabPool;
use stepwell_segment::{FooterCache, Segment, SegmentError};
use stepwell_types::{Lsn, SegmentMeta, Tombstone};

use crate::{
    cardinality::NameHasher,
    catalog::remove_files,
    compaction::due,
    config::EngineConfig,
    exclusions::Exclusions,
    generation::{Generation, LeftBehind},
    health::{Fault, FaultKind, Faults, Health, Work},
    stats::Counters,
    visible::Visible,
};

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
    /// All points below its bound are durable and in its parts.
    pub(crate) visible: Visible<Storage>,
    /// Of generations that are flushed.
    left_behind: Mutex<Vec<LeftBehind>>,
    /// Points below are in committed segments; the writer releases log files up to it.
    pub(crate) wal_floor: AtomicU64,
    pub(crate) queued_bytes: AtomicUsize,
    pub(crate) queued_batches: AtomicUsize,
    pub(crate) stopping: AtomicBool,
    /// The last compaction failed.
    pub(crate) compaction_fails: AtomicBool,
    pub(crate) faults: Faults,
    /// Signalled whenever `storage.frozen` or `faults` changes.
    pub(crate) changed: Signal,
    pub(crate) counters: Counters,
}

impl Shared {
    /// Of a directory that holds nothing from `wal_floor` on.
    pub(crate) fn new(env: Env, config: EngineConfig, storage: Storage, pools: Pools, wal_floor: Lsn) -> Self {
        Self {
            env,
            config,
            names: NameHasher::default(),
            visible: Visible::new(storage, wal_floor),
            pools,
            left_behind: Mutex::default(),
            wal_floor: AtomicU64::new(wal_floor.0),
            queued_bytes: AtomicUsize::new(0),
            queued_batches: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            compaction_fails: AtomicBool::new(false),
            faults: Faults::default(),
            changed: Signal::new(),
            counters: Counters::default(),
        }
    }

    /// The live storage and the LSN below which it is visible. Taken under one lock, so that a point is in exactly one of
    /// the parts (I10).
    pub(crate) fn storage(&self) -> (Storage, Lsn) {
        self.visible.snapshot()
    }

    /// The live segments and what is deleted of them. For who works on them for long: whoever holds the whole storage holds the
    /// memory of its generations too, for as long.
    pub(crate) fn segments(&self) -> (Arc<Vec<Segment>>, Exclusions) {
        self.visible.look(|storage| (storage.segments.clone(), storage.exclusions.deleted_only()))
    }

    /// Opens a segment just written, which no manifest names yet: if it does not open, its files go.
    pub(crate) fn open_written(&self, meta: &SegmentMeta) -> Result<Segment, SegmentError> {
        let remove = |_: &SegmentError| {
            remove_files(&*self.env.disk, &self.config.data_dir, [&meta.file_name].into_iter());
        };
        self.open_segment(meta).inspect_err(remove)
    }

    /// Opens a segment whose files are whole.
    pub(crate) fn open_segment(&self, meta: &SegmentMeta) -> Result<Segment, SegmentError> {
        Segment::open(&self.env.disk, &self.config.data_dir, meta, &self.pools.footers)
    }

    /// An empty one, to be filled from `first_lsn` on.
    pub(crate) fn new_generation(&self, first_lsn: Lsn) -> Arc<Generation> {
        Arc::new(Generation::new(first_lsn, self.env.clock.monotonic(), self.config.shards, &self.pools.slabs))
    }

    pub(crate) fn change_storage(&self, change: impl FnOnce(&mut Storage)) {
        self.visible.change(change);
        self.changed.raise();
    }

    pub(crate) fn health(&self) -> Health {
        self.faults.health()
    }

    /// Notes that some work failed.
    pub(crate) fn failed(&self, work: Work, kind: FaultKind, reason: String) {
        if self.faults.failed(work, kind, reason, self.env.clock.monotonic()) {
            self.changed.raise();
        }
    }

    /// Notes that some work succeeded, which ends its fault.
    pub(crate) fn worked(&self, work: Work) {
        if self.faults.worked(work, self.env.clock.monotonic()) {
            self.changed.raise();
        }
    }

    /// What keeps points in memory, if anything does.
    pub(crate) fn flush_fault(&self) -> Option<Fault> {
        self.faults.of(Work::Rotation).or_else(|| self.faults.of(Work::Flush))
    }

    /// Whether a batch that comes now is taken, as far as can be told.
    pub(crate) fn takes_batches(&self) -> bool {
        let is_stuck = || self.flush_fault().is_some() && self.memory_is_full();
        !self.stopping.load(Ordering::Acquire) && self.faults.of(Work::Log).is_none() && !is_stuck()
    }

    /// Whether the active generation is full, and no other can take its place yet.
    pub(crate) fn memory_is_full(&self) -> bool {
        let is_held = !self.has_room_for_frozen() || self.faults.of(Work::Rotation).is_some();
        is_held && self.storage().0.active.heap_bytes() >= self.config.memtable_bytes
    }

    /// Waits until `done` holds, checking after every change and at least each 100 ms.
    pub(crate) fn wait_until(&self, mut done: impl FnMut(&Self) -> bool) {
        self.changed.wait_until(Duration::from_millis(100), || done(self));
    }

    /// Notes that a generation is not live any more; readers may hold it for some time.
    pub(crate) fn leave_behind(&self, generation: &Generation) {
        let mut left = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|left| left.held_bytes() > 0);
        left.extend(generation.left_behind());
    }

    /// Memory that only readers hold, bytes: of points that are in segments by now.
    pub(crate) fn held_by_readers(&self) -> usize {
        let mut left = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|left| left.held_bytes() > 0);
        left.iter().map(LeftBehind::held_bytes).sum()
    }

    /// Whether segments wait to be merged.
    pub(crate) fn compaction_is_due(&self) -> bool {
        let (segments, exclusions) = self.segments();
        !due(&segments, exclusions.deleted(), &self.config.compaction).is_empty()
    }

    /// Frozen generations that may wait for the flush thread.
    pub(crate) fn frozen_max(&self) -> usize {
        self.config.frozen_max.max(1)
    }

    /// Whether one more generation may be frozen.
    pub(crate) fn has_room_for_frozen(&self) -> bool {
        self.frozen_len() < self.frozen_max()
    }

    pub(crate) fn frozen_len(&self) -> usize {
        self.visible.look(|storage| storage.frozen.len())
    }
}
