//! The immutable Parquet segment: write, open, prune, scan; summaries and rollups.
#![doc = include_str!("../../../schemas/segment.md")]

mod checksums;
mod chunk;
mod compress;
mod delta;
mod error;
mod export;
mod file;
mod filter;
mod footers;
mod format;
mod health;
mod integer_column;
mod leb128;
mod mapping;
mod pages;
mod prune;
mod reader;
mod rollups;
mod scan;
mod series_list;
mod stored;
mod summaries;
mod sync;
mod table;
mod table_writer;
mod text_column;
mod time_column;
mod value_column;
mod writer;

pub use error::SegmentError;
pub use export::ParquetExport;
pub use footers::FooterCache;
pub use format::{FORMAT_VERSION, SEGMENT_DIRS, SegmentOptions};
pub use health::FileDamage;
pub use reader::{Segment, SegmentDamages};
pub use scan::{Names, SegmentScan};
pub use series_list::{SeriesInFile, SeriesList};
pub use summaries::{SeriesSummary, StoredExtent};
pub use writer::{SegmentWriter, SeriesExtent};

#[cfg(test)]
mod tests;
