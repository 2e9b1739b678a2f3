//! Why an import stopped.

use std::{io, path::PathBuf};

use stepwell_client::ClientError;
use stepwell_types::ErrorKind;

/// Why an import stopped. What was sent stays, and the next import continues there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or directory cannot be read.
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is nothing to import.
    #[error("{} holds no event files (names with \"tfevents\"): is it the log directory?", path.display())]
    NoEventFiles { path: PathBuf },
    /// What told which producers sent a run's points is lost or was deleted: sent again, all of them would be there twice.
    #[error(
        "the server has points of run {run:?}, and no record of the import that they are from: they would be there twice. Purge run {run_id:?} \
         to have them imported anew"
    )]
    UnknownPoints {
        /// Path of the run below the log directory.
        run: String,
        run_id: String,
    },
    /// The server refused a run or its points, or does not answer.
    #[error("send run {run:?}")]
    Send {
        /// Path of the run below the log directory.
        run: String,
        #[source]
        source: Box<ClientError>,
    },
}

impl ImportError {
    /// What the caller should do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Read { .. } => ErrorKind::Internal,
            Self::NoEventFiles { .. } => ErrorKind::NotFound,
            Self::UnknownPoints { .. } => ErrorKind::Conflict,
            Self::Send { source, .. } => source.kind(),
        }
    }
}
