//! The single commit point: which segments live, where replay starts.
#![doc = include_str!("../../../schemas/manifest.md")]

mod error;
mod format;
mod store;

pub use error::ManifestError;
pub use format::{DecodeError, FORMAT_VERSION, Manifest, ProducerState, decode, encode};
pub use store::{COPY_NAME, FILE_NAME, ManifestStore};
