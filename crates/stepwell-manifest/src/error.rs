//! What can go wrong with the manifest.

use std::{io, path::PathBuf};

use stepwell_types::ErrorKind;

/// A manifest that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{path} is damaged at byte {offset}: {detail}")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    #[error("{path} has format version {actual}, this program reads up to {newest}; use a newer program")]
    UnknownVersion { path: PathBuf, actual: u32, newest: u32 },
    #[error("a commit of version {actual} was tried, the next is {expected}")]
    OutOfOrder { expected: u64, actual: u64 },
    #[error("the manifest does not encode: {source}")]
    Encode {
        #[source]
        source: serde_json::Error,
    },
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl ManifestError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } | Self::UnknownVersion { .. } => ErrorKind::DataDamaged,
            Self::OutOfOrder { .. } | Self::Encode { .. } | Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
