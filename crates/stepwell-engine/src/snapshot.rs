//! What one query reads: segments and memtables of one moment, each point once (I10).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use stepwell_memtable::MemtableView;
use stepwell_segment::Segment;
use stepwell_types::{Lsn, PointFilter, SeriesColumns, SeriesKey};

use crate::{
    error::EngineError,
    exclusions::Exclusions,
    read_memory::Reader,
    scan::{ScanPartition, Source},
    shared::Shared,
};

/// Rows of a batch when the engine itself reads points.
pub(crate) const READ_BATCH_ROWS: usize = 65_536;

/// A consistent set of segments and memtable views. Holding it keeps the files' bytes and the memory alive.
#[derive(Clone)]
pub struct Snapshot {
    lsn: Lsn,
    segments: Arc<Vec<Segment>>,
    views: Arc<Vec<MemtableView>>,
    exclusions: Arc<Exclusions>,
    held_bytes: usize,
    reader: Arc<Reader>,
}

impl Snapshot {
    pub(crate) fn new(shared: &Shared) -> Self {
        let held_bytes = shared.held_by_readers();
        let (storage, visible_below) = shared.storage();
        let generations = storage.frozen.iter().chain([&storage.active]);
        let views = generations.flat_map(|generation| generation.views(visible_below)).collect();
        Self {
            lsn: Lsn(visible_below.0 - 1),
            segments: storage.segments,
            views: Arc::new(views),
            exclusions: storage.exclusions,
            held_bytes,
            reader: Reader::unlimited(),
        }
    }

    /// The same for a reader of bounded memory: the points, buckets and summaries that are read by it count
    /// there.
    pub fn read_by(self, reader: Arc<Reader>) -> Self {
        Self { reader, ..self }
    }

    /// Who reads by it.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// Memory that only readers of earlier moments held when this was taken, bytes: of points that segments had by then (I9).
    pub fn held_by_earlier(&self) -> usize {
        self.held_bytes
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn views(&self) -> &[MemtableView] {
        &self.views
    }

    pub(crate) fn exclusions(&self) -> &Arc<Exclusions> {
        &self.exclusions
    }

    /// The same with the runs that readers are shown nothing of; what is deleted for good stays away.
    pub fn showing_hidden(self) -> Self {
        match self.exclusions.is_empty() {
            true => self,
            false => Self { exclusions: Arc::new(self.exclusions.deleted_only()), ..self },
        }
    }

    /// The last visible LSN; 0 before the first point.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The parts that may hold matching points, each sorted by (project_id, metric, run_id, step, LSN). Their union is the
    /// answer, each point once.
    pub fn scan(&self, filter: &PointFilter) -> Vec<ScanPartition> {
        let filter = Arc::new(filter.clone());
        let of_segment = |segment: &Segment| {
            let source = Source::Segment(segment.clone());
            segment.meta().might_match(&filter).then(|| ScanPartition::new(source, filter.clone(), &self.exclusions))
        };
        let of_view = |view: &MemtableView| {
            let series = view.series(&filter);
            let source = Source::Memory { view: view.clone(), series: Arc::new(series) };
            (!source.is_empty()).then(|| ScanPartition::new(source, filter.clone(), &self.exclusions))
        };
        self.segments.iter().filter_map(of_segment).chain(self.views.iter().filter_map(of_view)).collect()
    }

    /// The points of one series that pass the step and timestamp ranges of `filter`, sorted by (step, LSN), repeated steps
    /// included (I6). The reader holds them.
    pub fn series(&self, key: &SeriesKey, filter: &PointFilter) -> Result<SeriesColumns, EngineError> {
        let filter = PointFilter { step: filter.step, timestamp_us: filter.timestamp_us, ..PointFilter::series(key) };
        let mut points = SeriesColumns::default();
        // As much again where they are sorted.
        let mut passing = self.reader.passing();
        for partition in self.scan(&filter) {
            partition.for_each_series(READ_BATCH_ROWS, |_, part| {
                self.reader.hold(part.len() * SeriesColumns::POINT_BYTES)?;
                passing.hold(part.len() * SeriesColumns::POINT_BYTES)?;
                points.append(part);
                Ok(())
            })?;
        }
        points.sort();
        Ok(points)
    }

    /// A number that stays the same while the matching points do (their names and LSNs: the ranges of the filter are not
    /// looked at), without reading any. A flush, a merge or a deletion may change it too.
    pub fn fingerprint(&self, filter: &PointFilter) -> u64 {
        let mut hasher = DefaultHasher::new();
        for segment in self.segments.iter().filter(|segment| segment.meta().might_match(filter)) {
            segment.meta().file_name.hash(&mut hasher);
        }
        for view in self.views.iter() {
            for series in view.series(filter) {
                (series.key(), view.last_lsn(&series)).hash(&mut hasher);
            }
        }
        self.exclusions.hash(&mut hasher);
        hasher.finish()
    }

    /// The largest step of any metric of a run.
    pub fn last_step(&self, project_id: &str, run_id: &str) -> Result<Option<i64>, EngineError> {
        let filter = PointFilter {
            project_ids: Some([project_id.into()].into()),
            run_ids: Some([run_id.into()].into()),
            ..PointFilter::default()
        };
        let mut last = self.last_step_in_memory(&filter, (project_id, run_id))?;
        for segment in self.segments.iter().filter(|segment| segment.meta().might_match(&filter)) {
            if last.is_some_and(|last| last >= segment.meta().step.1) {
                continue;
            }
            let above = PointFilter {
                step: (last.map_or(i64::MIN, |last| last.saturating_add(1)), i64::MAX),
                ..filter.clone()
            };
            let partition = ScanPartition::new(Source::Segment(segment.clone()), Arc::new(above), &self.exclusions);
            partition.for_each_series(READ_BATCH_ROWS, |_, points| {
                last = last.max(points.step.last().copied());
                Ok(())
            })?;
        }
        Ok(last)
    }

    /// The same of what is in memory. What a view knows by itself may be of points that are deleted.
    fn last_step_in_memory(
        &self,
        filter: &PointFilter,
        (project_id, run_id): (&str, &str),
    ) -> Result<Option<i64>, EngineError> {
        if self.exclusions.is_empty() {
            return Ok(self.views.iter().filter_map(|view| view.last_step(project_id, run_id)).max());
        }
        let mut last: Option<i64> = None;
        let filter = Arc::new(filter.clone());
        for view in self.views.iter() {
            let source = Source::Memory { view: view.clone(), series: Arc::new(view.series(&filter)) };
            let partition = ScanPartition::new(source, filter.clone(), &self.exclusions);
            partition.for_each_series(READ_BATCH_ROWS, |_, points| {
                last = last.max(points.step.last().copied());
                Ok(())
            })?;
        }
        Ok(last)
    }
}
