//! How many series each run has, and how many metrics each project: what would be one too many is refused before it is logged.
//!
//! A million series a run can write to must not be a million names in memory, and the runs of years not at all. So names are
//! kept as 64-bit hashes, and of what matters to nobody now only a number per run:
//! - per project the set of its metrics;
//! - per run an upper bound of its series: how many each segment and the memory have, added up;
//! - the series seen lately, which need no further look. Those unseen for long are forgotten, and add to the bound once more.
//!
//! Only where a bound passes the limit the run's series are counted, exactly; so are a project's metrics, if anything was deleted
//! since they were counted last, or a batch with some of them was refused for want of space. What is deleted gives its room back that way, when the room is next needed.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    sync::{Arc, atomic::Ordering},
};

use stepwell_segment::SegmentError;
use stepwell_types::{Batch, Lsn, PointFilter, SeriesKey};

use crate::{
    error::EngineError,
    exclusions::{Exclusions, Share},
    shared::{Shared, Storage},
};

/// Series remembered as seen in each of two turns; about 16 bytes each.
const SEEN_MAX: usize = 2_000_000;

/// Turns names into numbers, by keys of its own, so that nobody can choose names that collide.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameHasher(RandomState);

impl NameHasher {
    /// A number per series of a batch, in its order. Callers do this before the queue, so that the writer need not.
    pub(crate) fn series_of(&self, batch: &Batch) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(batch.series().len());
        let mut last: Option<(&SeriesKey, u64)> = None;
        for key in batch.series() {
            // The series of a batch mostly are of one run, whose name they share.
            let of_last = last.filter(|(last, _)| Arc::ptr_eq(&last.run_id, &key.run_id));
            let run = of_last.map_or_else(|| self.run(key), |(_, run)| run);
            numbers.push(self.0.hash_one((run, &*key.metric)));
            last = Some((key, run));
        }
        numbers
    }

    fn series(&self, key: &SeriesKey) -> u64 {
        self.0.hash_one((self.run(key), &*key.metric))
    }

    fn run(&self, key: &SeriesKey) -> u64 {
        self.0.hash_one((&*key.project_id, &*key.run_id))
    }

    fn metric(&self, key: &SeriesKey) -> u64 {
        self.0.hash_one(&*key.metric)
    }
}

/// The hash of what is a hash already.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Numbers = HashSet<u64, BuildHasherDefault<Itself>>;

/// Series of one run. Invariant: `bound` is never less than the series that it has.
#[derive(Debug, Clone, Copy, Default)]
struct OfRun {
    bound: usize,
    /// What was deleted when `bound` was counted and all its series put among those seen; `None` if it is only a bound.
    counted: Option<Epoch>,
}

/// Metrics of one project.
#[derive(Debug, Default)]
struct OfProject {
    metrics: Numbers,
    /// What was deleted when they were counted; `None` once some of them may be of batches that were refused.
    counted: Option<Epoch>,
}

/// Id of the last tombstone: a count made before it may be too high.
type Epoch = u64;

/// What the writer knows of names. Invariant: a series among those seen is in its run's bound, and its metric in its project's.
/// Its owner is the one writer, so that no two batches pass the limit together.
#[derive(Default)]
pub(crate) struct Cardinality {
    runs: HashMap<u64, OfRun, BuildHasherDefault<Itself>>,
    projects: HashMap<Arc<str>, OfProject>,
    seen: Numbers,
    /// The turn before; what is still written moves over.
    seen_before: Numbers,
    /// Taken in since [`Cardinality::applied`] or [`Cardinality::refused`] was called last: not yet in memory, where a count would
    /// find them.
    pending: Vec<SeriesKey>,
    /// What was deleted when `seen` began.
    epoch: Epoch,
}

/// The names of a batch that are not among those seen: position in the batch, and the number of the series.
type Unseen = Vec<(usize, u64)>;

/// What to count before a batch can be judged.
enum Doubt {
    Run(SeriesKey),
    Project(Arc<str>),
}

impl Cardinality {
    /// Reads the names of all segments and of what the replay brought.
    pub(crate) fn load(shared: &Shared) -> Self {
        let mut known = Self::default();
        let storage = shared.storage().0;
        known.epoch = storage.exclusions.last_id();
        for_each_series(shared, &storage, &PointFilter::default(), |key| known.add(shared, key));
        known.publish(shared);
        known
    }

    /// Takes the series of a batch in, or refuses it whole and changes nothing. `numbers` are by [`NameHasher::series_of`].
    pub(crate) fn admit(&mut self, shared: &Shared, batch: &Batch, numbers: &[u64]) -> Result<(), EngineError> {
        let mut unseen = self.unseen(numbers);
        if unseen.is_empty() {
            return Ok(());
        }
        let epoch = shared.storage().0.exclusions.last_id();
        if epoch != self.epoch {
            // Some of those seen may be deleted, and would not be counted when they come again.
            (self.seen, self.seen_before, self.epoch) = (Numbers::default(), Numbers::default(), epoch);
            unseen = self.unseen(numbers);
        }
        // Each doubt is counted once for a batch, and then is none.
        while let Some(doubt) = self.judge(shared, batch, &unseen)? {
            match doubt {
                Doubt::Run(key) => self.count_run(shared, &key),
                Doubt::Project(project_id) => self.count_project(shared, &project_id),
            }
        }
        self.take_in(shared, batch, &unseen);
        Ok(())
    }

    /// Says that all taken in so far is in memory.
    pub(crate) fn applied(&mut self, shared: &Shared) {
        if !self.pending.is_empty() {
            self.pending.clear();
            self.publish(shared);
        }
    }

    /// Says that what was taken in lately never will be in memory. It must not keep others out, and is looked at anew when it comes
    /// again: a count meanwhile has not found it.
    pub(crate) fn refused(&mut self, shared: &Shared) {
        for key in std::mem::take(&mut self.pending) {
            let number = shared.names.series(&key);
            self.seen.remove(&number);
            self.seen_before.remove(&number);
            // Their numbers stay bounds: some of these names may have been there before.
            if let Some(run) = self.runs.get_mut(&shared.names.run(&key)) {
                run.counted = None;
            }
            if let Some(project) = self.projects.get_mut(&key.project_id) {
                project.counted = None;
            }
        }
        self.publish(shared);
    }

    fn unseen(&mut self, numbers: &[u64]) -> Unseen {
        let mut unseen = Unseen::new();
        for (index, &number) in numbers.iter().enumerate() {
            let is_seen =
                self.seen.contains(&number) || (self.seen_before.contains(&number) && self.seen.insert(number));
            if !is_seen {
                unseen.push((index, number));
            }
        }
        unseen
    }

    /// Whether there is room for all, as far as is known.
    fn judge(&self, shared: &Shared, batch: &Batch, unseen: &Unseen) -> Result<Option<Doubt>, EngineError> {
        let (config, names) = (&shared.config, &shared.names);
        let mut of_runs: HashMap<u64, usize> = HashMap::new();
        let mut of_projects: HashMap<&str, Numbers> = HashMap::new();
        for &(index, _) in unseen.iter().filter(|(_, number)| !self.seen.contains(number)) {
            let key = &batch.series()[index];
            let run = self.runs.get(&names.run(key)).copied().unwrap_or_default();
            let more = of_runs.entry(names.run(key)).or_default();
            *more += 1;
            if run.bound + *more > config.series_per_run_max {
                return match run.counted {
                    Some(counted) if counted == self.epoch => {
                        Err(too_many_series(batch, index, config.series_per_run_max))
                    }
                    _ => Ok(Some(Doubt::Run(key.clone()))),
                };
            }
            let (project, metric) = (self.projects.get(&key.project_id), names.metric(key));
            if project.is_some_and(|project| project.metrics.contains(&metric)) {
                continue;
            }
            let more = of_projects.entry(&key.project_id).or_default();
            more.insert(metric);
            if project.map_or(0, |project| project.metrics.len()) + more.len() > config.metrics_per_project_max {
                return match project {
                    Some(project) if project.counted != Some(self.epoch) => {
                        Ok(Some(Doubt::Project(key.project_id.clone())))
                    }
                    _ => Err(too_many_metrics(batch, index, config.metrics_per_project_max)),
                };
            }
        }
        Ok(None)
    }

    fn take_in(&mut self, shared: &Shared, batch: &Batch, unseen: &Unseen) {
        for &(index, number) in unseen {
            if self.seen.insert(number) {
                let key = &batch.series()[index];
                self.add(shared, key);
                self.pending.push(key.clone());
            }
        }
        // The series of one run have room, so that it is not counted again and again.
        if self.seen.len() >= SEEN_MAX.max(shared.config.series_per_run_max) {
            self.seen_before = std::mem::take(&mut self.seen);
            // Some of their series may be forgotten now.
            self.runs.values_mut().for_each(|run| run.counted = None);
        }
    }

    /// Counts a series that may be new.
    fn add(&mut self, shared: &Shared, key: &SeriesKey) {
        self.runs.entry(shared.names.run(key)).or_default().bound += 1;
        let metric = shared.names.metric(key);
        if let Some(project) = self.projects.get_mut(&key.project_id) {
            project.metrics.insert(metric);
        } else {
            let project = OfProject { metrics: Numbers::from_iter([metric]), counted: Some(self.epoch) };
            self.projects.insert(key.project_id.clone(), project);
        }
    }

    fn count_run(&mut self, shared: &Shared, key: &SeriesKey) {
        let one = |name: &Arc<str>| Some([name.clone()].into());
        let (project_ids, run_ids) = (one(&key.project_id), one(&key.run_id));
        let found =
            self.count(shared, &PointFilter { project_ids, run_ids, ..PointFilter::default() }, |names, key| {
                names.series(key)
            });
        self.runs.insert(shared.names.run(key), OfRun { bound: found.len(), counted: Some(self.epoch) });
        self.seen.extend(found);
    }

    fn count_project(&mut self, shared: &Shared, project_id: &Arc<str>) {
        let filter = PointFilter { project_ids: Some([project_id.clone()].into()), ..PointFilter::default() };
        let metrics = self.count(shared, &filter, |names, key| names.metric(key));
        self.projects.insert(project_id.clone(), OfProject { metrics, counted: Some(self.epoch) });
    }

    /// The distinct numbers of all series that are there, or about to be.
    fn count(&self, shared: &Shared, filter: &PointFilter, number: fn(&NameHasher, &SeriesKey) -> u64) -> Numbers {
        let mut found = Numbers::default();
        for_each_series(shared, &shared.storage().0, filter, |key| {
            found.insert(number(&shared.names, key));
        });
        let pending = self.pending.iter().filter(|key| filter.accepts_series(key));
        found.extend(pending.map(|key| number(&shared.names, key)));
        found
    }

    /// Tells the gauges.
    fn publish(&self, shared: &Shared) {
        let metrics: usize = self.projects.values().map(|project| project.metrics.capacity()).sum();
        let numbers = metrics + self.seen.capacity() + self.seen_before.capacity();
        // A byte of control beside each.
        let bytes = numbers * (size_of::<u64>() + 1) + self.runs.capacity() * (size_of::<(u64, OfRun)>() + 1);
        shared.counters.name_bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

/// Calls `each` with every series that has a point that is not deleted; those of segments once a segment.
fn for_each_series(shared: &Shared, storage: &Storage, filter: &PointFilter, mut each: impl FnMut(&SeriesKey)) {
    let exclusions = storage.exclusions.deleted_only();
    for segment in storage.segments.iter().filter(|segment| segment.meta().might_match(filter)) {
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let mut of_segment = || -> Result<(), SegmentError> {
            for series in segment.series_list()? {
                let key = series?.key;
                if filter.accepts_series(&key) && exclusions.share_of(&key, segment.meta()) != Share::All {
                    each(&key);
                }
            }
            Ok(())
        };
        // Where summaries turn out to be damaged, the second time it reads points; a name told twice counts as one.
        if let Err(error) = of_segment().or_else(|_| of_segment()) {
            let file = &segment.meta().file_name;
            tracing::error!(file, %error, "the series of a damaged segment are not counted, so that limits are met late; restore it from a backup");
        }
    }
    for generation in storage.frozen.iter().chain([&storage.active]) {
        for view in generation.views(Lsn(u64::MAX)) {
            let all = view.series(filter);
            let kept = all.iter().filter(|handle| !is_deleted(&exclusions, handle.key(), view.last_lsn(handle)));
            kept.for_each(|handle| each(handle.key()));
        }
    }
}

/// Whether all points of a series up to `last_lsn` are deleted, whatever their timestamps.
fn is_deleted(exclusions: &Exclusions, key: &SeriesKey, last_lsn: u64) -> bool {
    exclusions.of_series(key).any(|tombstone| tombstone.covers(i64::MAX, last_lsn))
}

/// The first row of a series, from 1.
fn row_of(batch: &Batch, series: usize) -> usize {
    batch.series_index().iter().position(|&index| index as usize == series).map_or(1, |row| row + 1)
}

fn too_many_series(batch: &Batch, series: usize, limit: usize) -> EngineError {
    let key = &batch.series()[series];
    EngineError::TooManySeries {
        run_id: key.run_id.clone(),
        metric: key.metric.clone(),
        row: row_of(batch, series),
        limit,
    }
}

fn too_many_metrics(batch: &Batch, series: usize, limit: usize) -> EngineError {
    let key = &batch.series()[series];
    EngineError::TooManyMetrics {
        project_id: key.project_id.clone(),
        run_id: key.run_id.clone(),
        metric: key.metric.clone(),
        row: row_of(batch, series),
        limit,
    }
}
