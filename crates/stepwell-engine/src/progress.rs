//! How far the opening of an engine is, for whoever waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Filled while [`crate::Engine::open_watched`] runs. Clones are the same.
#[derive(Clone, Default)]
pub struct Progress {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    points: AtomicU64,
}

/// How far the replay of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Bytes of the log's files, those that need no replay and zeros at the end included; 0 before they were looked at.
    pub bytes_total: u64,
    /// Bytes passed.
    pub bytes_done: u64,
    /// Points replayed.
    pub points: u64,
}

impl Progress {
    /// How far it is.
    pub fn read(&self) -> ReplayProgress {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { bytes_total, bytes_done, points } = &*self.counts;
        ReplayProgress { bytes_total: get(bytes_total), bytes_done: get(bytes_done), points: get(points) }
    }

    pub(crate) fn begin(&self, bytes_total: u64) {
        self.counts.bytes_total.store(bytes_total, Ordering::Relaxed);
    }

    pub(crate) fn passed(&self, bytes_done: u64) {
        self.counts.bytes_done.store(bytes_done, Ordering::Relaxed);
    }

    pub(crate) fn replayed(&self, points: u64) {
        self.counts.points.fetch_add(points, Ordering::Relaxed);
    }
}
