//! Pure functions over arrays: min/max buckets, summaries.

mod buckets;
mod sum;
mod summary;

pub use buckets::{XAxis, bucketize};
pub use sum::CompensatedSum;
pub use summary::SummaryState;

#[cfg(test)]
mod tests;
