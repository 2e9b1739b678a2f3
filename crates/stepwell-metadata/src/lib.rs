//! Transactional rows: projects, runs, params, tags, users, audit; SQLite by default.
//!
//! The tables are in `schemas/metadata/`, applied as migrations. Every change is one transaction, its audit row included;
//! SQLite runs in WAL mode with `synchronous=FULL`, so that a change that was answered survives a loss of power.

mod copy;
mod error;
mod model;
mod read;
mod store;
mod trash;
mod write;

pub use copy::{MetadataCopy, check_copy};
pub use error::MetadataError;
pub use model::{
    ForkPoint, NewRun, ParamValue, Project, Run, RunOrigin, RunPatch, RunStatus, TrashedProject, TrashedRun,
};
pub use store::Metadata;

#[cfg(test)]
mod tests;
