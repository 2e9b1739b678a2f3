//! TensorBoard log directories: every directory with event files is a run, its scalar tags are metrics.
//!
//! Every stored point is kept, in file order, with its wall time. A repeated import adds nothing: run ids and producers
//! follow from the project, the run's path and the file's name, and a batch's sequence is the offset at which it ends in
//! its file. Files are cut into batches after a fixed number of points and where an earlier import ended; those ends are
//! kept as tags of the run, written before the batch is sent, so that a file that has grown since is continued exactly
//! there. Another tag keeps which import made the run, and is part of the producers' names: a run that was purged is imported
//! anew, and one that has points but lost its tags is refused.

mod error;
mod event;
mod file;
mod hparams;
mod import;
mod proto;
mod record;
mod report;
mod scalars;
mod tensor;
#[cfg(test)]
mod tests;
mod walk;

pub use error::ImportError;
pub use file::{DamagedRecord, read_event_file};
pub use import::import;
pub use report::{ImportReport, ImportedRun, Progress, Skipped};
pub use scalars::Scalar;
