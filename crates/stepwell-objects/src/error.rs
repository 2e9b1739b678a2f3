//! What can go wrong with an object store.

use std::{io, path::PathBuf};

/// A store that cannot be opened, or a request that failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("{url} cannot be used: {reason}")]
    Place { url: String, reason: String },
    /// The library's error tells of its own causes; it is no source, so that nobody tells them again.
    #[error("{what} {path}: {error}")]
    Request {
        what: &'static str,
        /// The URL of the object.
        path: PathBuf,
        error: object_store::Error,
    },
}

impl ObjectError {
    /// Whether the store says that the object is not there; any other error says nothing of the object.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Request { error: object_store::Error::NotFound { .. }, .. })
    }
}

impl From<ObjectError> for io::Error {
    fn from(error: ObjectError) -> Self {
        let kind = if error.is_missing() { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
        Self::new(kind, error)
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ObjectLockError {
    #[error(
        "{path} is held by {holder}: let that process end, or, if it is gone, try again in {left_s} s, when its lock has lapsed"
    )]
    Held {
        /// The URL of the object.
        path: PathBuf,
        /// What that process wrote of itself.
        holder: String,
        /// Seconds after which it lapses, if nobody renews it.
        left_s: u64,
    },
    #[error(transparent)]
    Objects(#[from] ObjectError),
}
