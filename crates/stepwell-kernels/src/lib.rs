//! Pure functions over arrays: min/max buckets, rollups, summaries.

mod buckets;
mod rollup;
mod sum;
mod summary;

pub use buckets::{BucketState, Grid, XAxis, bucketize};
pub use rollup::{RollupBuilder, rollup_level_for, rollup_levels};
pub use sum::CompensatedSum;
pub use summary::{Edge, SummaryState};

#[cfg(test)]
mod tests;
