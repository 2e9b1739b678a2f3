//! What can go wrong with a segment.

use std::{
    io,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;
use stepwell_types::{ErrorKind, SeriesKey};

/// A segment that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("{path} is damaged at byte {offset}: {detail}")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    /// Its content may be whole: what keeps it from being opened may pass.
    #[error("{path} cannot be opened just now, which its next use tries again: {source}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
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

/// Runs code that reads a file whose checksum is good. What is in it may be wrong all the same (a file put there by hand, a faulty
/// writer), and the library gives up by a panic on some of that; it must not take a thread of the server along (I11).
pub(crate) fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, SegmentError>) -> Result<T, SegmentError> {
    std::panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let detail = "its checksum is good, but its decoder gave up on it".to_owned();
        Err(SegmentError::Damaged { path: path.to_owned(), offset: 0, detail })
    })
}

impl SegmentError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } | Self::UnknownVersion { .. } => ErrorKind::DataDamaged,
            Self::Unreadable { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        }
    }
}
