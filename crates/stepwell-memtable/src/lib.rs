//! Columns of one shard in memory: insert, view, freeze.
//!
//! Each series has its points in blocks of its own, in arrival order; a block is twice as large as the one before it. So one
//! series of a million is found by a hash look-up and read without a look at the others, and a flush reads each series from
//! consecutive memory. Rows are only appended: a view is a limit on LSNs, and reads hold the lock for one part of a series at a time.

mod parts;
mod rows;
mod series;
mod shard;
mod view;

pub use parts::{PART_ROWS, SeriesParts};
pub use rows::SlabPool;
pub use shard::{Memtable, Rows};
pub use view::{MemtableView, SeriesHandle};

#[cfg(test)]
mod tests;
