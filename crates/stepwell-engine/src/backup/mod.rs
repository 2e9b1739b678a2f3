//! Backups: a data directory copied elsewhere while a server writes it, and back.
//!
//! In the order of the data: `cut` holds a directory's files at one moment, `log_run` lines its log up, `copy` brings each file
//! over, `store` keeps it under a name of its content, `index` says what a backup is made of; `verify` reads all of that,
//! `restore` makes a data directory of it, `rewind` an earlier one. Nothing here needs a running engine, and nothing writes to
//! the data directory that is backed up.
#![doc = include_str!("../../../../schemas/backup.md")]

mod copy;
mod cut;
mod error;
mod index;
mod log_run;
mod restore;
mod rewind;
mod store;
mod verify;

pub use cut::{Beside, Cut, check_data_dir};
pub use error::BackupError;
pub use index::{ARTIFACTS, BackupFile, BackupIndex, INDEX_VERSION, METADATA};
pub use restore::Restored;
pub use store::{BackupStore, Pruned};

#[cfg(test)]
mod tests;
