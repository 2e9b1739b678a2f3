//! What can go wrong with the log.

use std::{
    io,
    path::{Path, PathBuf},
};

use stepwell_env::is_out_of_files;
use stepwell_types::ErrorKind;

/// A call on the log that failed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("{path} has format version {actual}, this program reads up to {newest}; use a newer program")]
    UnknownVersion { path: PathBuf, actual: u32, newest: u32 },
    #[error("the log has failed before ({reason}) and takes nothing more")]
    Poisoned { reason: String },
    #[error("no space for {path}: {source}")]
    DiskFull {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no file descriptor left for {path}: {source}; raise the limit of open files")]
    OutOfFiles {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the batch takes {actual} bytes in the log, the limit is {limit}; send it in parts")]
    FrameTooLarge { actual: usize, limit: usize },
    #[error(
        "{path} cannot be read, nothing was changed: {source}; if its device does not give it back, copy the disk, then run `stepwell repair`"
    )]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} was not among the files of the log when they were listed, is there now and is not empty; it was left as it is; look after \
         the file system, then start again"
    )]
    Unlisted { path: PathBuf },
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl WalError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownVersion { .. } => ErrorKind::DataDamaged,
            Self::Poisoned { .. } | Self::DiskFull { .. } | Self::OutOfFiles { .. } => ErrorKind::Unavailable,
            Self::FrameTooLarge { .. } => ErrorKind::InvalidCall,
            Self::Unreadable { .. } | Self::Unlisted { .. } => ErrorKind::Unavailable,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }
}

/// The error of a file that cannot be read.
pub(crate) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> WalError {
    let path = path.to_owned();
    // Neither says anything of the file's bytes.
    move |source| match is_out_of_files(&source) || source.kind() == io::ErrorKind::NotFound {
        true => WalError::Io { what: "read", path, source },
        false => WalError::Unreadable { path, source },
    }
}
