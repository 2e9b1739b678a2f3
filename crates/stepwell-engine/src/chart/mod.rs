//! Charts: the points of many series, or their exact buckets on a grid common to all.

mod plan;
mod sources;

use std::{num::NonZero, ops::Range};

use stepwell_env::in_parallel;
use stepwell_kernels::{BucketState, Grid, XAxis, bucketize};
use stepwell_types::{Bucket, PointFilter, SeriesColumns, SeriesKey};

use self::{
    plan::{SeriesPlan, Steps, plan},
    sources::{Reads, Sources},
};
use crate::{error::EngineError, snapshot::Snapshot};

/// Buckets that take about as long to read as some starts of a thread.
const BUCKETS_PER_THREAD: usize = 16_384;

/// What a chart over steps wants. Of points at one step the last written counts (I6).
#[derive(Debug, Clone)]
pub struct ChartRequest {
    /// Distinct series.
    pub series: Vec<SeriesKey>,
    /// Inclusive bounds; without one, the first or last step of any of the series.
    pub from_step: Option<i64>,
    pub to_step: Option<i64>,
    /// Most buckets of a series (two at least, if the range straddles step 0).
    pub buckets: usize,
}

/// One series of a chart.
#[derive(Debug, Clone, PartialEq)]
pub enum ChartData {
    /// Its points, where there are no more of them than buckets were asked for.
    Raw(SeriesColumns),
    Buckets(Vec<Bucket>),
}

impl ChartData {
    /// Points, or their buckets if there are too many. The points are sorted, and the last of each step is there alone.
    pub fn of_points(points: SeriesColumns, buckets: usize, grid: Grid) -> Self {
        if points.len() <= buckets {
            return Self::Raw(points);
        }
        let states = bucketize(&points, XAxis::Step, i64::MIN, i64::MAX, grid);
        Self::Buckets(states.iter().map(BucketState::finish).collect())
    }

    /// About the memory that it takes.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Raw(points) => points.len() * SeriesColumns::POINT_BYTES,
            Self::Buckets(buckets) => buckets.len() * size_of::<Bucket>(),
        }
    }

    /// Points in the range.
    pub fn points(&self) -> u64 {
        match self {
            Self::Raw(points) => points.len() as u64,
            Self::Buckets(buckets) => buckets.iter().map(|bucket| bucket.count).sum(),
        }
    }
}

impl Snapshot {
    /// Reads a chart; its cost grows with the buckets, not with the points that they are over. The answer is in the order
    /// of the request, and the reader holds it.
    pub fn chart(&self, request: &ChartRequest) -> Result<Vec<ChartData>, EngineError> {
        self.chart_by(threads_for(request), request)
    }

    /// Reads a chart on so many threads, each a part of the series.
    pub(crate) fn chart_by(&self, threads: usize, request: &ChartRequest) -> Result<Vec<ChartData>, EngineError> {
        let damaged_rollups = || self.segments().iter().filter(|segment| segment.has_damaged_rollups()).count();
        loop {
            let known = damaged_rollups();
            let read = self.read_chart(threads, request);
            // Where rollups turn out to be damaged, points answer at the next try.
            if read.is_ok() || damaged_rollups() == known {
                return read;
            }
        }
    }

    fn read_chart(&self, threads: usize, request: &ChartRequest) -> Result<Vec<ChartData>, EngineError> {
        let sources = Sources::find(self, &request.series)?;
        let bound = |given: Option<i64>, found: Option<i64>| given.or(found);
        let (Some(from), Some(to)) =
            (bound(request.from_step, sources.first_step()), bound(request.to_step, sources.last_step()))
        else {
            return Ok(request.series.iter().map(|_| ChartData::Raw(SeriesColumns::default())).collect());
        };
        let grid = Grid::covering(from, to, request.buckets);
        let plans: Vec<_> =
            (0..request.series.len()).map(|series| plan(&sources.extents(series), (from, to), grid)).collect();
        let bound = |part: usize| request.series.len() * part / threads;
        let charts = in_parallel("stepwell-chart", threads, |part| {
            self.chart_part(request, &sources, &plans, bound(part)..bound(part + 1), ((from, to), grid))
        });
        charts.into_iter().collect::<Result<Vec<_>, _>>().map(|charts| charts.into_iter().flatten().collect())
    }

    /// The series with the numbers `part`.
    fn chart_part(
        &self,
        request: &ChartRequest,
        sources: &Sources<'_>,
        plans: &[SeriesPlan],
        part: Range<usize>,
        (range, grid): (Steps, Grid),
    ) -> Result<Vec<ChartData>, EngineError> {
        let mut reads = Reads::perform(sources, plans, part.clone(), range, self.reader())?;
        let held = |data: ChartData| self.reader().hold(data.heap_bytes()).map(|()| data);
        let chart = |series: usize| {
            let plan = &plans[series];
            if plan.rollups.is_empty() {
                let points = reads.take_points(series, plan);
                return held(ChartData::of_points(points, request.buckets, grid));
            }
            let buckets = merge(reads.take_pieces(series, plan, grid), grid);
            if buckets.iter().map(|bucket| bucket.count).sum::<u64>() > request.buckets as u64 {
                return held(ChartData::Buckets(buckets));
            }
            // Rollups said how few there are; a chart shows them as they are.
            let mut points =
                self.series(&request.series[series], &PointFilter { step: range, ..PointFilter::default() })?;
            points.keep_last_per_step();
            Ok(ChartData::Raw(points))
        };
        part.map(chart).collect()
    }
}

/// One for each core, if there is so much to read that starting them is worth it.
fn threads_for(request: &ChartRequest) -> usize {
    let worth = request.series.len().saturating_mul(request.buckets) / BUCKETS_PER_THREAD;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    worth.min(request.series.len()).clamp(1, cores)
}

/// Pieces on disjoint steps become the buckets of `grid`.
fn merge(mut pieces: Vec<BucketState>, grid: Grid) -> Vec<Bucket> {
    pieces.sort_unstable_by_key(|piece| piece.parts().0.first_step);
    pieces.dedup_by(|next, open| {
        let in_one_cell = grid.cell(open.parts().0.first_step) == grid.cell(next.parts().0.first_step);
        if in_one_cell {
            open.merge(next);
        }
        in_one_cell
    });
    pieces.iter().map(BucketState::finish).collect()
}
