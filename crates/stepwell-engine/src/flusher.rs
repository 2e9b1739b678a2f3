//! The one flush thread: frozen generation → segment → manifest. It alone commits the manifest.

use std::{
    collections::BinaryHeap,
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use stepwell_manifest::{Manifest, ManifestStore};
use stepwell_memtable::{MemtableView, SeriesHandle};
use stepwell_segment::{Segment, SegmentWriter};
use stepwell_types::{Lsn, PointFilter, SegmentMeta, SeriesColumns};

use crate::{
    error::EngineError,
    generation::Generation,
    producers::Producers,
    shared::{Health, Shared},
};

/// Wait between tries of a flush that failed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Flusher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) generations: Receiver<Arc<Generation>>,
    pub(crate) store: ManifestStore,
    pub(crate) manifest: Manifest,
    /// Set by the shutdown when its patience ends; the log has what is not flushed.
    pub(crate) abandon: Receiver<()>,
}

impl Flusher {
    /// Runs until the writer has gone and all it froze is in segments, or until told to abandon.
    pub(crate) fn run(mut self) {
        while let Ok(generation) = self.generations.recv() {
            loop {
                match self.flush(&generation) {
                    Ok(()) => break,
                    Err(EngineError::FlushStopped) => return,
                    Err(error) => self.failed(&error),
                }
                // The channel carries nothing: either it ends (abandon) or the time does (try again).
                if !matches!(self.abandon.recv_timeout(RETRY_EVERY), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
            }
        }
    }

    fn failed(&self, error: &EngineError) {
        self.shared.counters.flush_failures.fetch_add(1, Ordering::Relaxed);
        let reason = error.to_string();
        self.shared.set_health(if is_disk_full(error) {
            Health::DiskFull { reason }
        } else {
            Health::FlushFails { reason }
        });
    }

    fn flush(&mut self, generation: &Arc<Generation>) -> Result<(), EngineError> {
        let clock = self.shared.env.clock.clone();
        let start = clock.monotonic();
        let abandon = self.abandon.clone();
        let meta = write_segment(&self.shared, &mut self.manifest.next_segment, generation, &|| {
            !matches!(abandon.try_recv(), Err(crossbeam_channel::TryRecvError::Empty))
        })?;
        let segment = Segment::open(&*self.shared.env.disk, &self.shared.config.data_dir, &meta)?;
        // LSNs have gaps where damaged records were skipped, so the end is the next generation's start, not a count.
        let end_lsn = self.end_of(generation);
        commit_flush(&mut self.store, &mut self.manifest, generation, end_lsn, meta)?;
        self.shared.change_storage(|storage| {
            let mut segments = Vec::clone(&storage.segments);
            segments.push(segment);
            storage.segments = Arc::new(segments);
            storage.frozen.retain(|frozen| !Arc::ptr_eq(frozen, generation));
        });
        self.shared.wal_floor.store(self.manifest.wal_floor.0, Ordering::Release);
        let counters = &self.shared.counters;
        counters.flushes.fetch_add(1, Ordering::Relaxed);
        counters.flush_us.fetch_add((clock.monotonic() - start).as_micros() as u64, Ordering::Relaxed);
        if matches!(self.shared.health(), Health::FlushFails { .. } | Health::DiskFull { .. }) {
            self.shared.set_health(Health::Ready);
        }
        Ok(())
    }

    fn end_of(&self, generation: &Arc<Generation>) -> Lsn {
        let (storage, _) = self.shared.storage();
        let mut later = storage.frozen.iter().chain([&storage.active]).skip_while(|g| !Arc::ptr_eq(g, generation));
        later.nth(1).unwrap_or(&storage.active).first_lsn
    }
}

/// The commit point of a flush: the segment in, the log's floor up, the producers' states in, in one atomic replacement.
/// `manifest` changes only when the commit is durable.
pub(crate) fn commit_flush(
    store: &mut ManifestStore,
    manifest: &mut Manifest,
    generation: &Generation,
    end_lsn: Lsn,
    meta: SegmentMeta,
) -> Result<(), EngineError> {
    let mut producers = Producers::from_states(&manifest.producers);
    producers.merge(&generation.producers());
    let mut next = manifest.clone();
    next.version += 1;
    next.wal_floor = end_lsn;
    next.segments.push(meta);
    next.producers = producers.to_states();
    store.commit(&next)?;
    *manifest = next;
    Ok(())
}

/// Merges the shards of a frozen generation into one new segment. The number is used up even by a failure: a file of that
/// name may be left over.
pub(crate) fn write_segment(
    shared: &Shared,
    next_segment: &mut u64,
    generation: &Generation,
    is_stopped: &dyn Fn() -> bool,
) -> Result<SegmentMeta, EngineError> {
    let number = *next_segment;
    *next_segment += 1;
    let name = format!("{number:020}.parquet");
    let config = &shared.config;
    let mut writer = SegmentWriter::create(shared.env.disk.clone(), &config.data_dir, &name, &config.segment)?;
    let views = generation.views(Lsn(u64::MAX));
    let everything = PointFilter::default();
    let mut columns = SeriesColumns::default();
    for (view, series) in in_key_order(&views) {
        if is_stopped() {
            return Err(EngineError::FlushStopped);
        }
        columns.clear();
        view.read(&series, &everything, &mut columns);
        writer.write(series.key(), &columns)?;
    }
    Ok(writer.finish()?)
}

/// All series of all shards in key order. A series is in one shard only, so keys are distinct.
fn in_key_order(views: &[MemtableView]) -> Vec<(&MemtableView, SeriesHandle)> {
    let everything = PointFilter::default();
    let mut lists: Vec<_> = views.iter().map(|view| view.series(&everything).into_iter()).collect();
    let mut heads: Vec<Option<SeriesHandle>> = lists.iter_mut().map(Iterator::next).collect();
    let mut heap: BinaryHeap<_> = heads
        .iter()
        .enumerate()
        .filter_map(|(list, head)| Some(std::cmp::Reverse((head.as_ref()?.key().clone(), list))))
        .collect();
    let mut ordered = Vec::new();
    while let Some(std::cmp::Reverse((_, list))) = heap.pop() {
        let next = lists[list].next();
        if let Some(next) = &next {
            heap.push(std::cmp::Reverse((next.key().clone(), list)));
        }
        if let Some(head) = std::mem::replace(&mut heads[list], next) {
            ordered.push((&views[list], head));
        }
    }
    ordered
}

/// Whether an error, or what caused it, is the operating system's "no space".
fn is_disk_full(error: &EngineError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        source = error.source();
    }
    false
}
