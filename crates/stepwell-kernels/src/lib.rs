//! Pure functions over arrays: min/max buckets, rollups, summaries, smoothing.

mod area;
mod buckets;
mod rollup;
mod smoothing;
mod sum;
mod summary;

pub use area::area_under;
pub use buckets::{BucketState, Grid, XAxis, bucketize};
pub use rollup::{RollupBuilder, rollup_level_for, rollup_levels};
pub use smoothing::Smoothing;
pub use sum::CompensatedSum;
pub use summary::{Edge, SummaryState};

#[cfg(test)]
mod tests;
