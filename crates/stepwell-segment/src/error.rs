//! What can go wrong with a segment.

use std::{io, path::PathBuf};

use parquet::errors::ParquetError;
use stepwell_types::{ErrorKind, SeriesKey};

/// A segment that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("{path} is damaged at byte {offset}: {detail}")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    #[error("{path} has format version {actual:?}, this program reads {newest}; use a newer program")]
    UnknownVersion { path: PathBuf, actual: Option<String>, newest: &'static str },
    #[error("series {key:?} came after a larger one")]
    OutOfOrder { key: Box<SeriesKey> },
    #[error("a segment needs at least one point")]
    Empty,
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {source}")]
    Parquet {
        path: PathBuf,
        #[source]
        source: ParquetError,
    },
    #[error("{path}: {source}")]
    Arrow {
        path: PathBuf,
        #[source]
        source: arrow::error::ArrowError,
    },
}

impl SegmentError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } | Self::UnknownVersion { .. } => ErrorKind::DataDamaged,
            _ => ErrorKind::Internal,
        }
    }
}
