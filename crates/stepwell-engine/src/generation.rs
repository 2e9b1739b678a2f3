//! A generation: the memtable shards that fill together, freeze together, and become one segment.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stepwell_memtable::{Memtable, MemtableView, Rows, SlabPool};
use stepwell_types::{Batch, Lsn, SeriesKey};

use crate::producers::Producers;

/// Memory of points that a segment has, for as long as readers of an earlier moment hold it.
pub(crate) struct LeftBehind {
    memtable: Weak<Memtable>,
    bytes: usize,
}

impl LeftBehind {
    /// Bytes that are still held; 0 once they are given back.
    pub(crate) fn held_bytes(&self) -> usize {
        if self.memtable.strong_count() > 0 { self.bytes } else { 0 }
    }
}

/// Invariant: holds exactly the points with `first_lsn <= LSN < end_lsn`, where `end_lsn` is the next generation's first.
pub(crate) struct Generation {
    pub(crate) first_lsn: Lsn,
    /// Monotonic time at which it became active.
    pub(crate) created: Duration,
    shards: Vec<Arc<Memtable>>,
    points: AtomicUsize,
    /// Producers whose batches are in it; what its flush adds to the manifest.
    pub(crate) producers: Mutex<Producers>,
}

impl Generation {
    pub(crate) fn new(first_lsn: Lsn, created: Duration, shards: usize, slabs: &SlabPool) -> Self {
        Self {
            first_lsn,
            created,
            shards: (0..shards.max(1)).map(|_| Arc::new(Memtable::new(slabs.clone()))).collect(),
            points: AtomicUsize::new(0),
            producers: Mutex::default(),
        }
    }

    /// Inserts a durable batch; recovery and the writer both come through here. One caller at a time, in LSN order.
    pub(crate) fn insert(&self, batch: &Batch, first_lsn: Lsn) {
        // The series of a batch mostly are of one run, whose name they share.
        let mut shard_of_series: Vec<usize> = Vec::with_capacity(batch.series().len());
        let mut last: Option<&SeriesKey> = None;
        for key in batch.series() {
            let same_run = last.is_some_and(|last| Arc::ptr_eq(&last.run_id, &key.run_id));
            let known = shard_of_series.last().copied().filter(|_| same_run);
            shard_of_series.push(known.unwrap_or_else(|| self.shard(key)));
            last = Some(key);
        }
        match shard_of_series.split_first() {
            None => return,
            Some((first, rest)) if rest.iter().all(|shard| shard == first) => {
                self.shards[*first].insert(batch, first_lsn, Rows::All);
            }
            Some(_) => {
                let mut rows_of_shard = vec![Vec::new(); self.shards.len()];
                for (row, &series) in (0u32..).zip(batch.series_index()) {
                    rows_of_shard[shard_of_series[series as usize]].push(row);
                }
                for (shard, rows) in self.shards.iter().zip(&rows_of_shard) {
                    if !rows.is_empty() {
                        shard.insert(batch, first_lsn, Rows::Some(rows));
                    }
                }
            }
        }
        self.points.fetch_add(batch.len(), Ordering::Release);
    }

    fn shard(&self, key: &SeriesKey) -> usize {
        let mut hasher = DefaultHasher::new();
        key.run_id.hash(&mut hasher);
        (hasher.finish() % self.shards.len() as u64) as usize
    }

    pub(crate) fn points(&self) -> usize {
        self.points.load(Ordering::Acquire)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.heap_bytes()).sum()
    }

    /// Its shards, as somebody sees them who does not keep them.
    pub(crate) fn left_behind(&self) -> Vec<LeftBehind> {
        let left = |shard: &Arc<Memtable>| LeftBehind { memtable: Arc::downgrade(shard), bytes: shard.heap_bytes() };
        self.shards.iter().map(left).collect()
    }

    pub(crate) fn series(&self) -> usize {
        self.shards.iter().map(|shard| shard.series_len()).sum()
    }

    /// Views of the shards that hold anything, of the points below `visible_below`.
    pub(crate) fn views(&self, visible_below: Lsn) -> Vec<MemtableView> {
        self.shards.iter().map(|shard| shard.view(visible_below)).filter(|view| !view.is_empty()).collect()
    }

    pub(crate) fn producers(&self) -> Producers {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
