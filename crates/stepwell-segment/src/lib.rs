//! The immutable Parquet segment: write, open, prune, scan.
#![doc = include_str!("../../../schemas/segment.md")]

mod error;
mod export;
mod format;
mod prune;
mod reader;
mod scan;
mod writer;

pub use error::SegmentError;
pub use export::ParquetExport;
pub use format::{FORMAT_VERSION, SegmentOptions};
pub use reader::Segment;
pub use scan::SegmentScan;
pub use writer::SegmentWriter;

#[cfg(test)]
mod tests;
