//! Pure functions over arrays: min/max buckets, rollups, summaries, smoothing.

mod align;
mod area;
mod buckets;
mod downsample;
mod rollup;
mod smoothing;
mod sum;
mod summary;

pub use align::{Alignment, align, grid_steps};
pub use area::area_under;
pub use buckets::{BucketState, Grid, XAxis, bucketize};
pub use downsample::{lttb_rows, m4_rows, min_max_rows};
pub use rollup::{RollupBuilder, rollup_level_for, rollup_levels};
pub use smoothing::Smoothing;
pub use sum::CompensatedSum;
pub use summary::{Edge, SummaryState};

#[cfg(test)]
mod tests;
