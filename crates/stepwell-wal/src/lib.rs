//! Append-only log of batches: append, sync, replay, release.
#![doc = include_str!("../../../schemas/wal.md")]

mod columns;
mod error;
mod format;
mod payload;
mod reader;
mod recover;
mod whole;
mod writer;

pub use error::WalError;
pub use format::FORMAT_VERSION;
pub use payload::{EncodedFrame, encode_frame};
pub use reader::{WalFileInfo, inspect};
pub use recover::{Damage, ReplayReport, TornTail, WalRecord, files};
pub use whole::{Frame, WholeFrames, first_lsn_of, whole_frames};
pub use writer::Wal;

#[cfg(test)]
mod tests;
