//! The one flush thread: frozen generation → segment → manifest.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use stepwell_env::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use stepwell_memtable::{MemtableView, SeriesHandle};
use stepwell_segment::{SegmentWriter, SeriesExtent};
use stepwell_types::{Lsn, PointFilter, SegmentMeta, SeriesColumns};

use crate::{
    catalog::Catalog,
    compaction::backlog,
    error::EngineError,
    exclusions::Exclusions,
    generation::Generation,
    health::{FaultKind, Work},
    shared::Shared,
};

/// Wait between tries of a flush that failed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Flusher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) generations: Receiver<Arc<Generation>>,
    pub(crate) catalog: Arc<Catalog>,
    /// Tells the compaction thread of each flush.
    pub(crate) flushed: Sender<()>,
    /// Set by the shutdown when its patience ends; the log has what is not flushed.
    pub(crate) abandon: Receiver<()>,
}

impl Flusher {
    /// Runs until the writer has gone and all it froze is in segments, or until told to abandon.
    pub(crate) fn run(mut self) {
        while let Ok(generation) = self.generations.recv() {
            let mut unflushed = Some(generation);
            while let Some(generation) = unflushed.clone() {
                match self.flush(generation, &mut unflushed) {
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
        let kind = if is_disk_full(error) { FaultKind::DiskFull } else { FaultKind::Failing };
        self.shared.failed(Work::Flush, kind, error.to_string());
    }

    /// Moves a generation to a segment. Whoever is told that this is done finds none of it held here, neither by `generation` nor in
    /// `unflushed`.
    fn flush(
        &mut self,
        generation: Arc<Generation>,
        unflushed: &mut Option<Arc<Generation>>,
    ) -> Result<(), EngineError> {
        self.wait_for_compaction();
        let clock = self.shared.env.clock.clone();
        let start = clock.monotonic();
        let abandon = self.abandon.clone();
        let meta = write_segment(&self.shared, &self.catalog.next_file_name()?, &generation, &|| {
            !matches!(abandon.try_recv(), Err(TryRecvError::Empty))
        })?;
        let open = |meta: &SegmentMeta| self.shared.open_written(meta);
        let segment = meta.as_ref().map(open).transpose()?;
        let bytes = meta.as_ref().map_or(0, SegmentMeta::bytes);
        // LSNs have gaps where damaged records were skipped, so the end is the next generation's start, not a count.
        let (end_lsn, producers) = (self.end_of(&generation), generation.producers());
        self.catalog.commit_flush(meta, end_lsn, &producers, |tombstones| {
            // Before anybody sees the segment: who has waited for it finds all of this done.
            self.shared.wal_floor.store(end_lsn.0, Ordering::Release);
            let counters = &self.shared.counters;
            counters.flushed_bytes.fetch_add(bytes, Ordering::Relaxed);
            counters.flush.observe(clock.monotonic().saturating_sub(start));
            self.shared.worked(Work::Flush);
            self.shared.leave_behind(&generation);
            self.shared.visible.change(|storage| {
                storage.flushed(segment, tombstones);
                storage.frozen.retain(|frozen| !Arc::ptr_eq(frozen, &generation));
            });
            // Not under the lock, for it takes a while, and before anybody is told.
            drop((generation, unflushed.take()));
            self.shared.changed.raise();
        })?;
        // Full means that it has been told and not looked yet.
        let _ = self.flushed.try_send(());
        Ok(())
    }

    /// Flushes that run away from compaction would leave more and more segments to each query: here they wait, memory fills,
    /// and the writers hear of it. Not where compaction fails, or where no merge is due, as of segments too large to be merged
    /// again: then there is no use in waiting.
    fn wait_for_compaction(&self) {
        let options = &self.shared.config.compaction;
        self.shared.wait_until(|shared| {
            let is_hopeless = options.fan_in < 2 || shared.compaction_fails.load(Ordering::Acquire);
            is_hopeless || shared.stopping.load(Ordering::Acquire) || {
                backlog(&shared.storage().0.segments) < options.backlog_max || !shared.compaction_is_due()
            }
        });
    }

    fn end_of(&self, generation: &Arc<Generation>) -> Lsn {
        let (storage, _) = self.shared.storage();
        let mut later = storage.frozen.iter().chain([&storage.active]).skip_while(|g| !Arc::ptr_eq(g, generation));
        later.nth(1).unwrap_or(&storage.active).first_lsn
    }
}

/// Merges the shards of a frozen generation into one new segment; `None` if all of its points are deleted.
pub(crate) fn write_segment(
    shared: &Shared,
    name: &str,
    generation: &Generation,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<SegmentMeta>, EngineError> {
    let config = &shared.config;
    let mut writer = SegmentWriter::create(shared.env.disk.clone(), &config.data_dir, name, &config.segment)?;
    let exclusions = shared.storage().0.exclusions.deleted_only();
    let views = generation.views(Lsn(u64::MAX));
    let everything = PointFilter::default();
    let mut columns = SeriesColumns::default();
    for (view, series) in in_key_order(&views) {
        let mut parts = view.parts(&series, &everything);
        let mut is_begun = false;
        while parts.read(&mut columns) {
            if is_stopped() {
                return Err(EngineError::FlushStopped);
            }
            let is_whole = !is_begun && parts.is_done();
            exclusions.apply(series.key(), &mut columns);
            if !is_begun && !columns.is_empty() {
                let extent = if is_whole { SeriesExtent::of(&columns) } else { extent(view, &series) };
                extent.map_or(Ok(()), |extent| writer.begin(series.key(), extent))?;
                is_begun = true;
            }
            writer.append(&columns)?;
            columns.clear();
        }
    }
    finish(writer, &exclusions)
}

/// Of a series that is more than a part; what of it is deleted counts too.
fn extent(view: &MemtableView, series: &SeriesHandle) -> Option<SeriesExtent> {
    let (first_step, last_step) = view.steps(series)?;
    Some(SeriesExtent { points: view.rows(series), first_step, last_step })
}

/// Completes a segment from which all deleted points have been left out; `None` if nothing was left to write.
pub(crate) fn finish(writer: SegmentWriter, exclusions: &Exclusions) -> Result<Option<SegmentMeta>, EngineError> {
    if writer.rows() == 0 {
        return Ok(None);
    }
    Ok(Some(SegmentMeta { purged: exclusions.last_id(), ..writer.finish()? }))
}

/// All series of all shards in key order. A series is in one shard only, so keys are distinct.
fn in_key_order(views: &[MemtableView]) -> impl Iterator<Item = (&MemtableView, SeriesHandle)> {
    let mut lists: Vec<_> = views.iter().map(MemtableView::in_key_order).collect();
    let mut heads: Vec<Option<SeriesHandle>> = lists.iter_mut().map(Iterator::next).collect();
    std::iter::from_fn(move || {
        let key = |list: &usize| heads[*list].as_ref().map(SeriesHandle::key);
        let first = (0..heads.len()).filter(|list| heads[*list].is_some()).min_by_key(key)?;
        let next = lists[first].next();
        Some((&views[first], std::mem::replace(&mut heads[first], next)?))
    })
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
