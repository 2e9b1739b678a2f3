//! Aggregates of whole series without a look at their points in segments.

use std::{collections::BTreeSet, sync::Arc};

use stepwell_kernels::{Edge, SummaryState};
use stepwell_segment::{Segment, SegmentError};
use stepwell_types::{LatestPoint, PointFilter, SeriesColumns, SeriesKey, Summary};

use crate::{
    error::EngineError,
    exclusions::Share,
    read_memory::{Passing, Reader},
    scan::{ScanPartition, Source},
    shares::{names as names_of, shares},
    snapshot::{READ_BATCH_ROWS, Snapshot},
};

/// Aggregates of one part of a snapshot, each series once.
type Part<A> = Vec<(SeriesKey, A)>;

/// Aggregates that wait for no merge.
const MERGED_MIN: usize = 4_096;
/// Counters beside the text of a name.
const NAME_BYTES: usize = 2 * size_of::<usize>();

/// What is kept of a series, made of its points in any order of parts.
trait Aggregate: Default {
    /// Takes in points sorted by (step, LSN).
    fn update(&mut self, points: &SeriesColumns);

    /// Takes in what was made of other points.
    fn merge(&mut self, other: &Self);

    /// What was written with a segment, if it was.
    fn stored(segment: &Segment, names: &PointFilter) -> Result<Option<Part<Self>>, SegmentError>;
}

impl Aggregate for SummaryState {
    fn update(&mut self, points: &SeriesColumns) {
        SummaryState::update(self, points);
    }

    fn merge(&mut self, other: &Self) {
        SummaryState::merge(self, other);
    }

    fn stored(segment: &Segment, names: &PointFilter) -> Result<Option<Part<Self>>, SegmentError> {
        let summaries = segment.summaries(names)?;
        Ok(summaries.map(|summaries| summaries.into_iter().map(|summary| (summary.key, summary.state)).collect()))
    }
}

impl Aggregate for Option<Edge> {
    fn update(&mut self, points: &SeriesColumns) {
        self.merge(&Edge::latest_of(points));
    }

    fn merge(&mut self, other: &Self) {
        *self = self.iter().chain(other).copied().reduce(Edge::later);
    }

    fn stored(segment: &Segment, names: &PointFilter) -> Result<Option<Part<Self>>, SegmentError> {
        let latest = segment.latest(names)?;
        Ok(latest.map(|latest| latest.into_iter().map(|(key, point)| (key, Some(point))).collect()))
    }
}

/// Parts that become one. A series may be in each of many segments: they are merged whenever they are twice as many as they were
/// behind the last merge, so that never all stand together (I9).
struct Gathered<'a, A> {
    all: Part<A>,
    merged: usize,
    held: Passing<'a>,
}

impl<'a, A: Aggregate> Gathered<'a, A> {
    fn new(reader: &'a Reader) -> Self {
        Self { all: Part::new(), merged: 0, held: reader.passing() }
    }

    fn add(&mut self, mut part: Part<A>) -> Result<(), EngineError> {
        // As much again where they are sorted.
        self.held.hold(2 * bytes_of(&part))?;
        self.all.append(&mut part);
        if self.all.len() > 2 * self.merged + MERGED_MIN {
            self.merge();
            self.held.shrink_to(2 * bytes_of(&self.all));
        }
        Ok(())
    }

    fn merge(&mut self) {
        // Stable, and quick on a row of sorted parts.
        self.all.sort_by(|a, b| a.0.cmp(&b.0));
        self.all.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1.merge(&later.1);
            }
            same
        });
        self.merged = self.all.len();
    }

    /// Each series once, in key order; the reader holds them.
    fn finish(mut self) -> Part<A> {
        self.merge();
        self.held.shrink_to(bytes_of(&self.all));
        self.held.keep();
        self.all
    }
}

/// About the memory that a part takes. Series share the names of their project and metric.
fn bytes_of<A>(part: &Part<A>) -> usize {
    let names: usize = part.iter().map(|(key, _)| key.run_id.len() + NAME_BYTES).sum();
    part.len() * size_of::<(SeriesKey, A)>() + names
}

impl Snapshot {
    /// Summaries of all series whose names pass, over all of their points, sorted by key. Segments answer from what was
    /// written with them; memory is read. The reader holds them.
    pub fn summaries(&self, filter: &PointFilter) -> Result<Vec<(SeriesKey, Summary)>, EngineError> {
        let all = self.aggregate::<SummaryState>(filter)?;
        Ok(all.into_iter().filter_map(|(key, state)| Some((key, state.finish()?))).collect())
    }

    /// Of the same only the latest points, in a part of the time. The reader holds them.
    pub fn latest(&self, filter: &PointFilter) -> Result<Vec<(SeriesKey, LatestPoint)>, EngineError> {
        let all = self.aggregate::<Option<Edge>>(filter)?;
        let point = |edge: Edge| LatestPoint { step: edge.step, timestamp_us: edge.time_us, value: edge.value };
        Ok(all.into_iter().filter_map(|(key, edge)| Some((key, point(edge?)))).collect())
    }

    fn aggregate<A: Aggregate>(&self, filter: &PointFilter) -> Result<Part<A>, EngineError> {
        let names = PointFilter {
            project_ids: filter.project_ids.clone(),
            metrics: filter.metrics.clone(),
            run_ids: filter.run_ids.clone(),
            ..PointFilter::default()
        };
        let mut all = Gathered::new(self.reader());
        for segment in self.segments().iter().filter(|segment| segment.meta().might_match(&names)) {
            all.add(self.of_segment(segment, &names)?)?;
        }
        let mut points = SeriesColumns::default();
        for view in self.views() {
            for handle in view.series(&names) {
                let (mut parts, mut aggregate) = (view.parts(&handle, &names), A::default());
                while parts.read(&mut points) {
                    self.exclusions().apply(handle.key(), &mut points);
                    aggregate.update(&points);
                    points.clear();
                }
                all.add(vec![(handle.key().clone(), aggregate)])?;
            }
        }
        Ok(all.finish())
    }

    fn of_segment<A: Aggregate>(&self, segment: &Segment, names: &PointFilter) -> Result<Part<A>, EngineError> {
        let Some(stored) = A::stored(segment, names)? else {
            // Written by the first version, or damaged.
            return self.of_points(segment, names.clone());
        };
        if self.exclusions().spare(segment.meta()) {
            return Ok(stored);
        }
        let keys: Vec<&SeriesKey> = stored.iter().map(|(key, _)| key).collect();
        let shares = shares(segment, &keys, self.exclusions())?;
        let (mut part, mut cut) = (Part::new(), BTreeSet::new());
        for ((key, aggregate), share) in stored.into_iter().zip(shares) {
            match share {
                Share::Nothing => part.push((key, aggregate)),
                Share::All => {}
                Share::Some => {
                    cut.insert(key);
                }
            }
        }
        if !cut.is_empty() {
            // One scan for all of them: a retention cuts many.
            let left = self.of_points(segment, names_of(cut.iter()))?;
            part.extend(left.into_iter().filter(|(key, _)| cut.contains(key)));
        }
        Ok(part)
    }

    fn of_points<A: Aggregate>(&self, segment: &Segment, filter: PointFilter) -> Result<Part<A>, EngineError> {
        let mut part: Part<A> = Part::new();
        let partition = ScanPartition::new(Source::Segment(segment.clone()), Arc::new(filter), self.exclusions());
        partition.for_each_series(READ_BATCH_ROWS, |key, points| {
            if part.last().is_none_or(|(last, _)| last != key) {
                part.push((key.clone(), A::default()));
            }
            if let Some((_, aggregate)) = part.last_mut() {
                aggregate.update(points);
            }
            Ok(())
        })?;
        Ok(part)
    }
}
