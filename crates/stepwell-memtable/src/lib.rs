//! Columns of one shard in memory: insert, view, freeze.
//!
//! Rows are appended to fixed-size chunks in arrival order; full chunks are immutable and shared with views, the chunk being
//! filled is copied by a view. Each row names its series and the row before it of the same series, so that one series of a
//! million is found by a hash look-up and walked backwards, never scanned for. A row takes 36 bytes.

mod chunk;
mod series;
mod shard;
mod view;

pub use shard::{Memtable, Rows};
pub use view::{MemtableView, SeriesHandle};

#[cfg(test)]
mod tests;
