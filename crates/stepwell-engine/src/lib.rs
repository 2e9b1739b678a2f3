//! Owns shards: wal → memtable → segment → manifest; snapshots, flush, compaction, recovery.
//!
//! The file list is the data's path: [`Engine::ingest`] (`engine`) puts a batch on the bounded queue (`command`), the one writer thread
//! (`writer`) looks whether its names have room (`cardinality`), appends it to the log, syncs, inserts it into the active generation (`generation`), makes it visible and
//! acknowledges it; full generations go to the one flush thread (`flusher`), which writes a segment and commits the
//! manifest (`catalog`), and the `compaction` thread merges segments. `recovery` walks the same road at start, by a manifest that `manifest_doubts` has no reason to refuse; `snapshot` and `scan` are what readers hold, `summaries`
//! and `chart` what they get instead of points, `read_memory` what they may hold. `health` knows what fails just now, `stats` what was counted; `check` says what is
//! damaged, `repair` mends it.
//!
//! Lock order: `Shared::visible` before nothing; no lock is held while another is taken, and none but the catalog's across disk
//! access.

mod ack;
pub mod backup;
mod cardinality;
mod catalog;
mod chart;
mod check;
mod command;
mod compaction;
mod config;
mod durations;
mod engine;
mod error;
mod exclusions;
mod flusher;
mod generation;
mod health;
mod lane;
mod manifest_doubts;
mod producers;
mod progress;
mod read_memory;
mod recovery;
mod refusals;
mod repair;
mod scan;
mod shared;
mod shares;
mod snapshot;
mod stats;
mod summaries;
mod sync;
mod visible;
mod writer;

pub use ack::IngestAck;
pub use chart::{ChartData, ChartRequest};
pub use check::{CheckReport, Concern, Damage, PointsConcerned, check};
pub use compaction::CompactionOptions;
pub use config::EngineConfig;
pub use durations::DurationCounts;
pub use engine::{Deletion, Engine};
pub use error::EngineError;
pub use exclusions::ProjectRun;
pub use health::{Fault, FaultKind, Health, Work};
pub use lane::{Lane, Refused};
pub use progress::{Progress, ReplayProgress};
pub use read_memory::{Passing, ReadMemory, Reader};
pub use repair::{QUARANTINE, RepairReport, SegmentRepair, repair};
pub use scan::{PointScan, ScanPartition};
pub use snapshot::Snapshot;
pub use stats::EngineStats;

#[cfg(test)]
mod tests;
