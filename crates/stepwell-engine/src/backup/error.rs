//! What can go wrong with a backup, and what the operator does about it.

use std::{io, path::PathBuf};

use stepwell_manifest::ManifestError;
use stepwell_segment::SegmentError;
use stepwell_types::ErrorKind;
use stepwell_wal::WalError;

use crate::EngineError;

/// A backup, a check or a restore that failed. What was there before it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{path} is not a data directory: it has neither MANIFEST nor wal/")]
    NotADataDirectory { path: PathBuf },
    #[error("{path} holds no backup")]
    NotABackup { path: PathBuf },
    #[error("there is no backup {number} in {path}; there are {known:?}")]
    NoSuchBackup { path: PathBuf, number: u64, known: Vec<u64> },
    #[error("{path} lies within {other}; keep backups outside of the data directory")]
    Within { path: PathBuf, other: PathBuf },
    #[error("{path} is not empty; restore into a directory that is empty or absent")]
    NotEmpty { path: PathBuf },
    #[error("the server replaced its files during each of {tries} tries to hold them; try again")]
    Moving { tries: usize },
    #[error("{path} is damaged at byte {offset}: {detail}")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    #[error("{path} is missing")]
    Missing { path: PathBuf },
    #[error("{path} has format version {actual}, this program reads up to {newest}; use a newer program")]
    UnknownVersion { path: PathBuf, actual: u32, newest: u32 },
    #[error("backup {number} goes back to LSN {first} and ends with LSN {last}; LSN {wanted} is not in reach")]
    OutOfReach { number: u64, wanted: u64, first: u64, last: u64 },
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("manifest: {0}")]
    Manifest(#[from] ManifestError),
    #[error("segment: {0}")]
    Segment(#[from] SegmentError),
    #[error("write-ahead log: {0}")]
    Wal(#[from] WalError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl BackupError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotADataDirectory { .. }
            | Self::Within { .. }
            | Self::OutOfReach { .. }
            | Self::UnknownVersion { .. } => ErrorKind::InvalidCall,
            Self::NotABackup { .. } | Self::NoSuchBackup { .. } => ErrorKind::NotFound,
            Self::NotEmpty { .. } => ErrorKind::Conflict,
            Self::Moving { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } | Self::Missing { .. } => ErrorKind::DataDamaged,
            Self::Io { .. } => ErrorKind::Internal,
            Self::Manifest(error) => error.kind(),
            Self::Segment(error) => error.kind(),
            Self::Wal(error) => error.kind(),
            Self::Engine(error) => error.kind(),
        }
    }
}

pub(crate) fn io_error(what: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { what, path, source }
}
