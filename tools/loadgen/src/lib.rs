//! The reference data of every figure, and the means to send it, check it and time it.
//!
//! [`Dataset`] is a pure function from (run, metric, row) to a point, so that what was sent can be computed again to check what
//! is read back, and every figure, bench and test speaks of the same curves.

mod batches;
mod dataset;
pub mod figures;
mod flight;
mod fsync_probe;
mod http;
mod latency;
mod load;
mod memory_probe;
mod overload;
mod resident;
mod verify;

pub use batches::BatchEncoder;
pub use dataset::{Dataset, Point, Shape};
pub use fsync_probe::{FsyncProbe, probe_fsync};
pub use latency::Latencies;
pub use load::{Load, LoadReport, Sent, create_runs};
pub use memory_probe::probe_memory;
pub use overload::{Overload, OverloadReport};
pub use resident::Resident;
pub use verify::{VerifyReport, verify};
