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
    #[error(
        "{path} is missing and so is its copy, but {beside} is there: without a manifest nobody knows which segments count and where \
         the log begins; put one of the two back from a backup (the segments are plain Parquet all the while); nothing was changed"
    )]
    Lost { path: PathBuf, beside: PathBuf },
    #[error(
        "{path} is older than the data directory: {beside} is not of its time, and the log before {beside_lsn} is gone; put the \
         right one back; nothing was changed"
    )]
    Stale { path: PathBuf, beside: PathBuf, beside_lsn: u64 },
    #[error(
        "{path} is of commit {version}, and {copy}, which is written after it, of commit {copy_version}: an older manifest was put back; \
         put {copy} in its place; nothing was changed"
    )]
    OlderThanCopy { path: PathBuf, version: u64, copy: PathBuf, copy_version: u64 },
    #[error(
        "{path} is older than the data directory: {named}, which it names, is gone, and points of it are in {beside}, which it does not \
         name; put the right one back; nothing was changed"
    )]
    Replaced { path: PathBuf, named: PathBuf, beside: PathBuf },
    #[error(
        "{path} may be older than the data directory: {named}, which it names, is gone, and points of it may be in {beside}, which it does \
         not name; put the right one back, or, if this is it, run `stepwell repair`, which keeps a copy of {beside} in quarantine and goes \
         on without it; nothing was changed"
    )]
    Doubtful { path: PathBuf, named: PathBuf, beside: PathBuf },
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
            Self::Damaged { .. }
            | Self::UnknownVersion { .. }
            | Self::Lost { .. }
            | Self::Stale { .. }
            | Self::OlderThanCopy { .. }
            | Self::Replaced { .. }
            | Self::Doubtful { .. } => ErrorKind::DataDamaged,
            Self::OutOfOrder { .. } | Self::Encode { .. } | Self::Io { .. } => ErrorKind::Internal,
        }
    }

    /// Whether damage to the file can be why; of a version that is not known, too, for no checksum covers it.
    pub(crate) fn may_be_rot(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::UnknownVersion { .. } | Self::Io { .. })
    }
}
