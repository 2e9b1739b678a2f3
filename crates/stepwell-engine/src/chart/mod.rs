//! Charts: the points of many series, or their exact buckets on a grid common to all.

mod plan;
mod sources;

use stepwell_kernels::{BucketState, Grid, XAxis, bucketize};
use stepwell_types::{Bucket, PointFilter, SeriesColumns, SeriesKey};

use self::{
    plan::plan,
    sources::{Reads, Sources},
};
use crate::{error::EngineError, snapshot::Snapshot};

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
    /// of the request.
    pub fn chart(&self, request: &ChartRequest) -> Result<Vec<ChartData>, EngineError> {
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
        let reads = Reads::perform(&sources, &plans, (from, to))?;
        let chart = |series: usize| {
            let plan = &plans[series];
            if plan.rollups.is_empty() {
                let points = reads.points(series, plan);
                return Ok(ChartData::of_points(points, request.buckets, grid));
            }
            let buckets = merge(reads.pieces(series, plan, grid), grid);
            if buckets.iter().map(|bucket| bucket.count).sum::<u64>() > request.buckets as u64 {
                return Ok(ChartData::Buckets(buckets));
            }
            // Rollups said how few there are; a chart shows them as they are.
            let mut points =
                self.series(&request.series[series], &PointFilter { step: (from, to), ..PointFilter::default() })?;
            points.keep_last_per_step();
            Ok(ChartData::Raw(points))
        };
        (0..request.series.len()).map(chart).collect()
    }
}

/// Pieces on disjoint steps become the buckets of `grid`.
fn merge(mut pieces: Vec<BucketState>, grid: Grid) -> Vec<Bucket> {
    pieces.sort_unstable_by_key(|piece| piece.parts().0.first_step);
    let mut merged: Vec<BucketState> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let cell = |state: &BucketState| grid.cell(state.parts().0.first_step);
        match merged.last_mut() {
            Some(open) if cell(open) == cell(&piece) => open.merge(&piece),
            _ => merged.push(piece),
        }
    }
    merged.iter().map(BucketState::finish).collect()
}
