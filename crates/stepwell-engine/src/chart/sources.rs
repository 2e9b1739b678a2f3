//! Where the series of a chart are, and reading what their plans name: few scans for many series.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use stepwell_kernels::{BucketState, Grid, XAxis, bucketize};
use stepwell_segment::{Segment, StoredExtent};
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey};

use super::plan::{SeriesPlan, SourceExtent, Steps};
use crate::{
    error::EngineError,
    exclusions::{Exclusions, Share},
    read_memory::{Passing, Reader},
    scan::{ScanPartition, Source},
    shares::{names, shares},
    snapshot::{READ_BATCH_ROWS, Snapshot},
};

/// Stands for memory where a segment could.
const MEMORY: usize = usize::MAX;

/// The sources of each series asked for.
pub(super) struct Sources<'a> {
    exclusions: &'a Arc<Exclusions>,
    segments: Vec<&'a Segment>,
    keys: &'a [SeriesKey],
    numbers: HashMap<&'a SeriesKey, usize>,
    /// Per series its sources: a segment by number, or [`MEMORY`].
    of_series: Vec<Vec<(usize, SourceExtent)>>,
    /// Per series its points in memory, sorted by (step, LSN).
    memory: Vec<SeriesColumns>,
    /// They count as held.
    held: Passing<'a>,
}

impl<'a> Sources<'a> {
    pub(super) fn find(snapshot: &'a Snapshot, keys: &'a [SeriesKey]) -> Result<Self, EngineError> {
        let filter = names(keys.iter());
        let mut sources = Self {
            exclusions: snapshot.exclusions(),
            segments: snapshot.segments().iter().filter(|segment| segment.meta().might_match(&filter)).collect(),
            keys,
            numbers: keys.iter().zip(0..).collect(),
            of_series: vec![Vec::new(); keys.len()],
            memory: vec![SeriesColumns::default(); keys.len()],
            held: snapshot.reader().passing(),
        };
        for (number, segment) in sources.segments.iter().enumerate() {
            for (key, extent) in extents(segment, &filter, snapshot.exclusions())? {
                if let Some(series) = sources.numbers.get(&key) {
                    sources.of_series[*series].push((number, extent));
                }
            }
        }
        let everything = PointFilter::default();
        for view in snapshot.views() {
            for handle in view.series(&filter) {
                if let Some(series) = sources.numbers.get(handle.key()) {
                    let (mut parts, points) = (view.parts(&handle, &everything), &mut sources.memory[*series]);
                    let mut known = points.len();
                    while parts.read(points) {
                        sources.held.hold((points.len() - known) * SeriesColumns::POINT_BYTES)?;
                        known = points.len();
                    }
                    snapshot.exclusions().apply(handle.key(), points);
                }
            }
        }
        for (points, of_series) in sources.memory.iter_mut().zip(&mut sources.of_series) {
            points.sort();
            if let (Some(&first_step), Some(&last_step)) = (points.step.first(), points.step.last()) {
                of_series.push((MEMORY, SourceExtent { first_step, last_step, rollup_levels: None }));
            }
        }
        Ok(sources)
    }

    pub(super) fn extents(&self, series: usize) -> Vec<SourceExtent> {
        self.of_series[series].iter().map(|(_, extent)| *extent).collect()
    }

    /// The first step of any series.
    pub(super) fn first_step(&self) -> Option<i64> {
        self.of_series.iter().flatten().map(|(_, extent)| extent.first_step).min()
    }

    /// The last step of any series.
    pub(super) fn last_step(&self) -> Option<i64> {
        self.of_series.iter().flatten().map(|(_, extent)| extent.last_step).max()
    }
}

/// Series of a segment and what readers are shown of them: a step of deleted points would make the grid coarser, and rollups know
/// nothing of what was deleted since.
fn extents(
    segment: &Segment,
    filter: &PointFilter,
    exclusions: &Arc<Exclusions>,
) -> Result<Vec<(SeriesKey, SourceExtent)>, EngineError> {
    let Some(stored) = segment.extents(filter)? else {
        // Written by the first version.
        return extents_of_points(segment, filter.clone(), exclusions);
    };
    let keys: Vec<&SeriesKey> = stored.iter().map(|stored| &stored.key).collect();
    let shares = shares(segment, &keys, exclusions)?;
    let (mut found, mut cut) = (Vec::with_capacity(stored.len()), BTreeSet::new());
    for (StoredExtent { key, first_step, last_step, rollup_levels }, share) in stored.into_iter().zip(shares) {
        match share {
            Share::Nothing => found.push((key, SourceExtent { first_step, last_step, rollup_levels })),
            Share::Some => {
                cut.insert(key);
            }
            Share::All => {}
        }
    }
    if !cut.is_empty() {
        let left = extents_of_points(segment, names(cut.iter()), exclusions)?;
        found.extend(left.into_iter().filter(|(key, _)| cut.contains(key)));
    }
    Ok(found)
}

/// The same by a look at all points.
fn extents_of_points(
    segment: &Segment,
    filter: PointFilter,
    exclusions: &Arc<Exclusions>,
) -> Result<Vec<(SeriesKey, SourceExtent)>, EngineError> {
    let mut found: BTreeMap<SeriesKey, SourceExtent> = BTreeMap::new();
    scan(segment, filter, exclusions, |key, points| {
        if let (Some(&first_step), Some(&last_step)) = (points.step.first(), points.step.last()) {
            let extent = SourceExtent { first_step, last_step, rollup_levels: None };
            found.entry(key.clone()).or_insert(extent).last_step = last_step;
        }
        Ok(())
    })?;
    Ok(found.into_iter().collect())
}

fn scan(
    segment: &Segment,
    filter: PointFilter,
    exclusions: &Arc<Exclusions>,
    visit: impl FnMut(&SeriesKey, &SeriesColumns) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let partition = ScanPartition::new(Source::Segment(segment.clone()), Arc::new(filter), exclusions);
    partition.for_each_series(READ_BATCH_ROWS, visit)
}

/// What was read for the plans of some series.
pub(super) struct Reads<'a> {
    sources: &'a Sources<'a>,
    /// The number of the first series.
    first: usize,
    of_series: Vec<Read>,
    /// What it holds.
    held: Passing<'a>,
}

/// What was read of one series, by segment.
#[derive(Clone, Default)]
struct Read {
    cells: HashMap<usize, Vec<BucketState>>,
    /// Sorted points that hold at least what the plan wants of the segment.
    points: HashMap<usize, SeriesColumns>,
}

impl<'a> Reads<'a> {
    /// For the series with the numbers `part`. One scan of a segment serves all of them that want the same steps of it.
    pub(super) fn perform(
        sources: &'a Sources<'a>,
        plans: &[SeriesPlan],
        part: Range<usize>,
        range: Steps,
        reader: &'a Reader,
    ) -> Result<Self, EngineError> {
        let mut rollups: BTreeMap<(usize, u32), Vec<usize>> = BTreeMap::new();
        let mut points: BTreeMap<(usize, Steps), Vec<usize>> = BTreeMap::new();
        for (series, plan) in part.clone().zip(&plans[part.clone()]) {
            let of_series = &sources.of_series[series];
            for (source, level, _) in &plan.rollups {
                // Cells beyond the wanted ones are left out afterwards, so that series of many lengths share a read.
                rollups.entry((of_series[*source].0, *level)).or_default().push(series);
            }
            for (steps, of) in &plan.points {
                for (segment, extent) in of.iter().map(|source| of_series[*source]).filter(|(at, _)| *at != MEMORY) {
                    let steps = if extent.rollup_levels.is_none() { range } else { *steps };
                    points.entry((segment, steps)).or_default().push(series);
                }
            }
        }
        let mut reads =
            Self { sources, first: part.start, of_series: vec![Read::default(); part.len()], held: reader.passing() };
        for ((segment, level), mut wanted) in rollups {
            wanted.dedup();
            let filter = names(wanted.iter().map(|series| &sources.keys[*series]));
            for (key, cells) in sources.segments[segment].rollups(&filter, level, range)? {
                if let Some(series) = sources.numbers.get(&key).filter(|series| wanted.binary_search(series).is_ok()) {
                    reads.held.hold(cells.len() * size_of::<BucketState>())?;
                    reads.of(*series).cells.insert(segment, cells);
                }
            }
        }
        for ((segment, steps), mut wanted) in points {
            wanted.dedup();
            let filter = PointFilter { step: steps, ..names(wanted.iter().map(|series| &sources.keys[*series])) };
            scan(sources.segments[segment], filter, sources.exclusions, |key, part| {
                if let Some(series) = sources.numbers.get(key).filter(|series| wanted.binary_search(series).is_ok()) {
                    // As much again where it is taken out.
                    reads.held.hold(2 * part.len() * SeriesColumns::POINT_BYTES)?;
                    reads.of(*series).points.entry(segment).or_default().append(part);
                }
                Ok(())
            })?;
        }
        for points in reads.of_series.iter_mut().flat_map(|read| read.points.values_mut()) {
            points.sort();
        }
        Ok(reads)
    }

    fn of(&mut self, series: usize) -> &mut Read {
        &mut self.of_series[series - self.first]
    }

    /// Buckets of one series, on disjoint steps, none wider than a cell of `grid`. Rollups are moved out.
    pub(super) fn take_pieces(&mut self, series: usize, plan: &SeriesPlan, grid: Grid) -> Vec<BucketState> {
        let mut pieces = Vec::new();
        let mut cells = std::mem::take(&mut self.of(series).cells);
        // A source may serve several stretches; it has all of its cells before the first of them.
        let mut of_source: BTreeMap<usize, Vec<Steps>> = BTreeMap::new();
        plan.rollups.iter().for_each(|(source, _, steps)| of_source.entry(*source).or_default().push(*steps));
        for (source, stretches) in of_source {
            let Some(mut cells) = cells.remove(&self.sources.of_series[series][source].0) else { continue };
            cells.retain(|cell| {
                let bucket = cell.parts().0;
                stretches.iter().any(|steps| steps.0 <= bucket.first_step && bucket.last_step <= steps.1)
            });
            if pieces.is_empty() {
                pieces = cells;
            } else {
                pieces.append(&mut cells);
            }
        }
        for part in &plan.points {
            let points = self.take_points_of(series, part);
            pieces.append(&mut bucketize(&points, XAxis::Step, i64::MIN, i64::MAX, grid));
        }
        pieces
    }

    /// All points of one series that the plan wants as points, sorted, the last of each step.
    pub(super) fn take_points(&mut self, series: usize, plan: &SeriesPlan) -> SeriesColumns {
        let mut parts = plan.points.iter();
        let mut all = parts.next().map(|part| self.take_points_of(series, part)).unwrap_or_default();
        parts.for_each(|part| all.append(&self.take_points_of(series, part)));
        all.sort();
        all
    }

    fn take_points_of(&mut self, series: usize, (steps, of): &(Steps, Vec<usize>)) -> SeriesColumns {
        let mut together = SeriesColumns::default();
        for source in of {
            let wanted = |points: &SeriesColumns| {
                let begin = points.step.partition_point(|step| *step < steps.0);
                let end = points.step.partition_point(|step| *step <= steps.1);
                begin..end.max(begin)
            };
            match self.sources.of_series[series][*source].0 {
                MEMORY => {
                    let points = &self.sources.memory[series];
                    together.append_range(points, wanted(points));
                }
                segment => {
                    let Some(points) = self.of(series).points.get_mut(&segment) else { continue };
                    let rows = wanted(points);
                    // Parts are disjoint, so that no other one wants these.
                    if together.is_empty() && rows == (0..points.len()) {
                        together = std::mem::take(points);
                    } else {
                        together.append_range(points, rows);
                    }
                }
            }
        }
        together.sort();
        together.keep_last_per_step();
        together
    }
}
