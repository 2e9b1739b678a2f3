//! What can go wrong in the engine, and what the caller does about it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use stepwell_manifest::ManifestError;
use stepwell_segment::SegmentError;
use stepwell_types::ErrorKind;
use stepwell_wal::WalError;

/// An engine call that failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{queued_bytes} bytes of batches are waiting for the log, the limit is {limit_bytes}; try again later")]
    QueueFull { queued_bytes: usize, limit_bytes: usize, retry_after: Duration },
    #[error("the write-ahead log has failed and takes no more batches until the server is restarted: {reason}")]
    Poisoned { reason: String },
    #[error("the disk is full: {reason}; free space, then send the batch again")]
    DiskFull { reason: String, retry_after: Duration },
    #[error("flushing to segments fails, and memory for unflushed points is used up: {reason}")]
    FlushFails { reason: String, retry_after: Duration },
    #[error(
        "run {run_id:?} would have more than {limit} series, with metric {metric:?} in row {row} as the first too many; \
         log it to another run, or delete metrics, or let the operator raise series_per_run_max"
    )]
    TooManySeries { run_id: Arc<str>, metric: Arc<str>, row: usize, limit: usize },
    #[error(
        "the project of run {run_id:?} (id {project_id}) would have more than {limit} metrics, with {metric:?} in row {row} as \
         the first too many; use metrics that exist, or delete some, or let the operator raise metrics_per_project_max"
    )]
    TooManyMetrics { project_id: Arc<str>, run_id: Arc<str>, metric: Arc<str>, row: usize, limit: usize },
    #[error(
        "what is asked for takes more than the {limit_bytes} bytes of memory that all who read may have (query_memory_bytes): ask for \
         fewer series, fewer buckets or a narrower range"
    )]
    ReadTooLarge { limit_bytes: usize },
    #[error(
        "others who read hold {used_bytes} of the {limit_bytes} bytes of memory for that (query_memory_bytes); ask again in a moment"
    )]
    ReadersBusy { used_bytes: usize, limit_bytes: usize, retry_after: Duration },
    #[error("the data directory is open for reading only")]
    ReadOnly,
    #[error("the server is shutting down; send the batch again when it is back")]
    ShuttingDown,
    #[error("an earlier batch of the same lane was refused; send from that one on again")]
    LaneBroken,
    #[error("flushing was stopped by the shutdown; the log keeps the points")]
    FlushStopped,
    #[error("a compaction was stopped by the shutdown; its segments stay as they are")]
    CompactionStopped,
    #[error("a segment has other rows than its list of series says; it stays as it is")]
    RowsMissing,
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write-ahead log: {0}")]
    Wal(#[from] WalError),
    #[error("segment: {0}")]
    Segment(#[from] SegmentError),
    #[error("manifest: {0}")]
    Manifest(#[from] ManifestError),
    #[error("building a record batch: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl EngineError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::QueueFull { .. }
            | Self::Poisoned { .. }
            | Self::DiskFull { .. }
            | Self::FlushFails { .. }
            | Self::FlushStopped
            | Self::CompactionStopped
            | Self::LaneBroken
            | Self::ReadersBusy { .. }
            | Self::ShuttingDown => ErrorKind::Unavailable,
            Self::ReadOnly | Self::ReadTooLarge { .. } | Self::TooManySeries { .. } | Self::TooManyMetrics { .. } => {
                ErrorKind::InvalidCall
            }
            Self::RowsMissing => ErrorKind::DataDamaged,
            Self::Io { .. } | Self::Arrow(_) => ErrorKind::Internal,
            Self::Wal(error) => error.kind(),
            Self::Segment(error) => error.kind(),
            Self::Manifest(error) => error.kind(),
        }
    }

    /// How long to wait before the next try, where trying again makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. }
            | Self::DiskFull { retry_after, .. }
            | Self::FlushFails { retry_after, .. }
            | Self::ReadersBusy { retry_after, .. } => Some(*retry_after),
            Self::ShuttingDown => Some(Duration::from_secs(2)),
            _ => None,
        }
    }
}
