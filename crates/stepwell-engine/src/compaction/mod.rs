//! Compaction: segments of one tier become one of the next, in a thread of its own.

mod input;
mod merge;
mod pick;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use stepwell_env::channel::{Receiver, RecvTimeoutError};
use stepwell_segment::{Segment, SegmentWriter};
use stepwell_types::{PointFilter, SegmentMeta, Tombstone};

use crate::{
    catalog::{Catalog, remove_files},
    error::EngineError,
    exclusions::Exclusions,
    flusher::finish,
    health::{FaultKind, Work},
    shared::Shared,
};

pub(crate) use input::Input;
pub(crate) use input::Rows;
pub use pick::CompactionOptions;
pub(crate) use pick::{backlog, due};

/// Wait after a merge that failed, and longest wait for work.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The compaction thread.
pub(crate) struct Compactor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) catalog: Arc<Catalog>,
    /// A message for each flush; closed by the shutdown.
    pub(crate) flushed: Receiver<()>,
}

impl Compactor {
    /// Runs until the engine stops. A merge that is under way then is given up: nothing of it is committed.
    pub(crate) fn run(self) {
        loop {
            match self.flushed.recv_timeout(RETRY_EVERY) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            loop {
                let damaged = self.damaged_files();
                let done = self.step();
                self.shared.compaction_fails.store(done.is_err(), Ordering::Release);
                match done {
                    Ok(true) => self.shared.worked(Work::Compaction),
                    Ok(false) => {
                        self.shared.worked(Work::Compaction);
                        break;
                    }
                    Err(EngineError::CompactionStopped) => return,
                    // Of segments that are damaged the next try makes no use.
                    Err(error) if self.damaged_files() > damaged => {
                        tracing::warn!(%error, "a compaction met a damaged file, and goes on without it");
                    }
                    Err(error) => {
                        self.shared.counters.compaction_failures.fetch_add(1, Ordering::Relaxed);
                        self.shared.failed(Work::Compaction, FaultKind::Failing, error.to_string());
                        break;
                    }
                }
            }
        }
    }

    /// Does one merge, if one is due; returns whether it did.
    pub(crate) fn step(&self) -> Result<bool, EngineError> {
        let (live, exclusions) = self.shared.segments();
        // One that could not be opened is merged again as soon as it can be.
        live.iter().for_each(Segment::try_again);
        let picked = due(&live, exclusions.deleted(), &self.shared.config.compaction);
        if picked.is_empty() {
            return Ok(false);
        }
        let is_picked = |segment: &&Segment| picked.iter().any(|meta| meta.file_name == segment.meta().file_name);
        let segments: Vec<Segment> = live.iter().filter(is_picked).cloned().collect();
        if let [segment] = segments.as_slice()
            && has_none_of(segment, exclusions.deleted())?
        {
            return self.note_spared(segment.meta(), exclusions.last_id()).map(|()| true);
        }
        let clock = self.shared.env.clock.clone();
        let start = clock.monotonic();
        let result = self.merge(&picked, &segments, &exclusions)?;
        let open = |meta: &SegmentMeta| self.shared.open_written(meta);
        let merged = result.as_ref().map(open).transpose()?;
        let bytes = result.as_ref().map_or(0, SegmentMeta::bytes);
        let replaced: Vec<String> = picked.iter().map(|meta| meta.file_name.clone()).collect();
        self.replace(&replaced, result, merged)?;
        // Snapshots that still read them hold their bytes.
        remove_files(&*self.shared.env.disk, &self.shared.config.data_dir, replaced.iter());
        let counters = &self.shared.counters;
        counters.compacted_bytes.fetch_add(bytes, Ordering::Relaxed);
        counters.compaction.observe(clock.monotonic().saturating_sub(start));
        Ok(true)
    }

    /// Commits that a segment, unchanged, has no point of what was deleted up to `purged`.
    fn note_spared(&self, meta: &SegmentMeta, purged: u64) -> Result<(), EngineError> {
        let meta = SegmentMeta { purged, ..meta.clone() };
        let opened = self.shared.open_segment(&meta)?;
        self.replace(std::slice::from_ref(&meta.file_name), Some(meta.clone()), Some(opened))
    }

    /// Commits that `result` stands in for the segments that are named, and shows readers so.
    fn replace(
        &self,
        replaced: &[String],
        result: Option<SegmentMeta>,
        opened: Option<Segment>,
    ) -> Result<(), EngineError> {
        self.catalog.commit_compaction(replaced, result, |tombstones| {
            self.shared.change_storage(|storage| {
                let others = storage.segments.iter().filter(|segment| !replaced.contains(&segment.meta().file_name));
                storage.segments = Arc::new(others.cloned().chain(opened).collect());
                storage.exclusions = Arc::new(storage.exclusions.with_deleted(tombstones));
            });
        })
    }

    fn damaged_files(&self) -> u64 {
        self.shared.segments().0.iter().map(Segment::damaged_files).sum()
    }

    fn merge(
        &self,
        picked: &[SegmentMeta],
        segments: &[Segment],
        exclusions: &Exclusions,
    ) -> Result<Option<SegmentMeta>, EngineError> {
        let config = &self.shared.config;
        let name = self.catalog.next_file_name()?;
        let mut writer = SegmentWriter::create(self.shared.env.disk.clone(), &config.data_dir, &name, &config.segment)?;
        let left_out = merge::merge(segments, exclusions, &mut writer, &mut |_| self.pause())?;
        let expected: u64 = picked.iter().map(|meta| meta.rows).sum();
        if writer.rows() + left_out != expected {
            return Err(EngineError::RowsMissing);
        }
        // Alone, a segment was only written anew.
        let tier = picked.iter().map(|meta| meta.tier).max().unwrap_or(0) + u32::from(picked.len() > 1);
        Ok(finish(writer, exclusions)?.map(|meta| SegmentMeta { tier, ..meta }))
    }

    /// Between two batches: gives way to a flush that is behind, for a while, unless compaction itself is.
    fn pause(&self) -> Result<(), EngineError> {
        const GIVE_WAY: Duration = Duration::from_millis(20);
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(EngineError::CompactionStopped);
        }
        let options = &self.shared.config.compaction;
        let is_behind = backlog(&self.shared.segments().0) >= 2 * options.fan_in;
        if self.shared.frozen_len() > 0 && !is_behind {
            // Nothing is sent here; a flush that ends wakes it early.
            let _ = self.flushed.recv_timeout(GIVE_WAY);
        }
        Ok(())
    }
}

/// Whether a segment has no series of what was deleted, though the names of its first and last go round them: then it need not be
/// written anew. Only its list of series tells; deletions of a whole project are not looked up in it.
fn has_none_of(segment: &Segment, tombstones: &[Tombstone]) -> Result<bool, EngineError> {
    let concerning: Vec<&Tombstone> =
        tombstones.iter().filter(|tombstone| tombstone.concerns(segment.meta())).collect();
    for tombstone in &concerning {
        if tombstone.metric.is_none() && tombstone.run_id.is_none() {
            return Ok(false);
        }
        let filter = PointFilter {
            project_ids: Some([tombstone.project_id.clone()].into()),
            metrics: tombstone.metric.clone().map(|metric| [metric].into()),
            run_ids: tombstone.run_id.clone().map(|run_id| [run_id].into()),
            ..PointFilter::default()
        };
        if segment.extents(&filter)?.is_none_or(|found| !found.is_empty()) {
            return Ok(false);
        }
    }
    Ok(!concerning.is_empty())
}
