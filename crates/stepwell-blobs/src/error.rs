//! What can go wrong with blobs.

use std::{
    io,
    path::{Path, PathBuf},
};

use stepwell_env::is_out_of_files;
use stepwell_objects::ObjectError;
use stepwell_types::ErrorKind;

/// A blob that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("{path} is damaged at byte {offset}: {detail}")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    #[error("{path} is missing")]
    Missing { path: PathBuf },
    #[error(transparent)]
    Objects(#[from] ObjectError),
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } | Self::Missing { .. } => ErrorKind::DataDamaged,
            Self::Objects(ObjectError::Place { .. }) => ErrorKind::InvalidCall,
            // It comes and goes with the network.
            Self::Objects(ObjectError::Request { .. }) => ErrorKind::Unavailable,
            Self::Io { source, .. } if self.is_disk_full() || is_out_of_files(source) => ErrorKind::Unavailable,
            // What a device refuses it may give the next time.
            Self::Io { what: "read", .. } => ErrorKind::Unavailable,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }

    /// Whether there was no room.
    pub fn is_disk_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BlobError + use<> {
    let path = path.to_owned();
    move |source| BlobError::Io { what, path, source }
}

/// Of bytes that were not given. A device that refuses them says something of the file; an object store that does says nothing of the
/// object, unless that it is not there.
pub(crate) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> BlobError + use<> {
    let path = path.to_owned();
    move |source| match source.downcast::<ObjectError>() {
        Ok(error) if error.is_missing() => BlobError::Missing { path },
        Ok(error) => BlobError::Objects(error),
        Err(source) => BlobError::Io { what: "read", path, source },
    }
}
