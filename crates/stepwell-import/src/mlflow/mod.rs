//! What MLflow keeps: read through a tracking server's API, from an `mlruns` directory or an SQLite file, written into Stepwell.
//!
//! An import goes on where an earlier one stopped, and adds only what is missing: each run keeps its id, and points, params, tags,
//! files and versions that are there are left. What was imported is read back and compared. What is refused of the registry is
//! reported, and the rest imported. Not imported: traces, logged models that are no registered version's files, webhooks.

mod api;
mod entities;
mod error;
mod files;
mod folder;
mod import;
mod mlruns;
mod place;
mod registry;
mod report;
mod sqlite;
mod sum;
mod target;
mod yaml;

pub use error::ImportError;
pub use import::import;
pub use place::Artifacts;
pub use report::{Count, ImportReport, Progress};
