//! What a use case answers when it refuses.

use std::{error::Error, time::Duration};

use stepwell_blobs::BlobError;
use stepwell_engine::EngineError;
use stepwell_metadata::MetadataError;
use stepwell_query::{QueryError, encode::EncodeError};
use stepwell_types::{BatchError, ErrorKind, NameError};

use crate::code::ErrorCode;

/// A refusal: a code for programs, a sentence for people, and where it applies.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct AppError {
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub message: String,
    /// Row at fault, from 1.
    pub row: Option<u64>,
    pub field: Option<String>,
    pub limit: Option<u64>,
    /// Line and column of SQL, from 1.
    pub position: Option<(u64, u64)>,
    /// Names near to one that is unknown.
    pub nearest: Vec<String>,
    pub retry_after: Option<Duration>,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl AppError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            row: None,
            field: None,
            limit: None,
            position: None,
            nearest: Vec::new(),
            retry_after: None,
            source: None,
        }
    }

    pub(crate) fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    pub(crate) fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit as u64);
        self
    }

    pub(crate) fn row(mut self, row: usize) -> Self {
        self.row = Some(row as u64);
        self
    }

    pub(crate) fn run_not_found(run_id: &str) -> Self {
        Self::new(ErrorCode::RunNotFound, format!("there is no run {run_id:?}; create it with POST /api/v1/runs"))
            .field("run_id")
    }

    pub(crate) fn trace_not_found(trace_id: &str) -> Self {
        Self::new(ErrorCode::TraceNotFound, format!("there is no trace {trace_id:?}")).field("trace_id")
    }

    pub(crate) fn not_in_trash(what: &'static str, name: &str) -> Self {
        Self::new(ErrorCode::NotInTrash, format!("there is no {what} {name:?} in the trash"))
    }

    fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// What the caller should do, coarsely.
    pub fn kind(&self) -> ErrorKind {
        self.code.kind()
    }
}

impl From<NameError> for AppError {
    fn from(error: NameError) -> Self {
        let refusal = Self::new(ErrorCode::InvalidName, error.to_string()).field(error.field());
        match error.limit_bytes() {
            Some(limit) => refusal.limit(limit),
            None => refusal,
        }
    }
}

impl From<BatchError> for AppError {
    fn from(error: BatchError) -> Self {
        let refusal = Self::new(ErrorCode::InvalidValue, error.to_string());
        match error {
            BatchError::TooManyPoints { limit, .. } => Self { code: ErrorCode::TooManyPoints, ..refusal }.limit(limit),
            BatchError::SeriesIndex { row, .. } => refusal.row(row + 1),
            BatchError::Length { column, .. } => refusal.field(column),
        }
    }
}

impl From<EngineError> for AppError {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::QueueFull { .. } => ErrorCode::QueueFull,
            EngineError::DiskFull { .. } => ErrorCode::DiskFull,
            EngineError::FlushFails { .. } => ErrorCode::FlushFails,
            EngineError::Poisoned { .. } => ErrorCode::WalFailed,
            EngineError::ShuttingDown | EngineError::FlushStopped => ErrorCode::ShuttingDown,
            EngineError::ReadTooLarge { .. } => ErrorCode::QueryMemory,
            EngineError::ReadersBusy { .. } => ErrorCode::QueriesBusy,
            EngineError::ReadOnly => ErrorCode::ReadOnly,
            EngineError::TooManySeries { .. } => ErrorCode::TooManySeries,
            EngineError::TooManyMetrics { .. } => ErrorCode::TooManyMetrics,
            EngineError::Segment(error) if error.kind() == ErrorKind::Unavailable => ErrorCode::FileUnreadable,
            other => match other.kind() {
                ErrorKind::DataDamaged => ErrorCode::DataDamaged,
                ErrorKind::InvalidCall => ErrorCode::TooManyPoints,
                _ => ErrorCode::Internal,
            },
        };
        let mut refusal = Self { retry_after: error.retry_after(), ..Self::new(code, error.to_string()) };
        if let EngineError::TooManySeries { row, limit, .. } | EngineError::TooManyMetrics { row, limit, .. } = error {
            refusal = refusal.row(row).field("metric").limit(limit);
        }
        if let EngineError::ReadTooLarge { limit_bytes } | EngineError::ReadersBusy { limit_bytes, .. } = error {
            refusal = refusal.limit(limit_bytes);
        }
        refusal.caused_by(error)
    }
}

impl From<MetadataError> for AppError {
    fn from(error: MetadataError) -> Self {
        let refusal = |code| Self::new(code, error.to_string());
        match &error {
            MetadataError::ProjectExists { .. } => refusal(ErrorCode::ProjectExists).field("name"),
            MetadataError::RunExists { .. } => refusal(ErrorCode::RunExists).field("run_id"),
            MetadataError::InTrash { .. } => refusal(ErrorCode::InTrash),
            MetadataError::NotInTrash { .. } => refusal(ErrorCode::NotInTrash),
            MetadataError::ProjectNotFound { .. } => refusal(ErrorCode::ProjectNotFound).field("project"),
            MetadataError::RunNotFound { run_id } => Self::run_not_found(run_id),
            MetadataError::RelatedRunNotFound { field, .. } => refusal(ErrorCode::RunNotFound).field(field),
            MetadataError::TraceNotFound { trace_id } => Self::trace_not_found(trace_id),
            MetadataError::TraceTooLarge { bytes_max, .. } => {
                refusal(ErrorCode::InvalidValue).field("trace").limit(*bytes_max)
            }
            MetadataError::ArtifactInTheWay { .. } => refusal(ErrorCode::ArtifactInTheWay).field("path"),
            MetadataError::ParamConflict { key, .. } => {
                refusal(ErrorCode::ParamConflict).field(&format!("params.{key}"))
            }
            MetadataError::RegisteredModelNotFound { .. } => refusal(ErrorCode::RegisteredModelNotFound).field("name"),
            MetadataError::RegisteredModelExists { .. } => refusal(ErrorCode::RegisteredModelExists).field("name"),
            MetadataError::ModelVersionNotFound { .. } => refusal(ErrorCode::ModelVersionNotFound).field("version"),
            MetadataError::LoggedModelNotFound { .. } => refusal(ErrorCode::LoggedModelNotFound).field("model_id"),
            MetadataError::ModelParamExists { key, .. } => {
                refusal(ErrorCode::ParamConflict).field(&format!("params.{key}"))
            }
            MetadataError::WebhookNotFound { .. } => refusal(ErrorCode::WebhookNotFound).field("webhook_id"),
            MetadataError::Damaged { .. }
            | MetadataError::DamagedFile { .. }
            | MetadataError::ChangedSinceRepair { .. } => refusal(ErrorCode::DataDamaged),
            MetadataError::DiskFull { .. } => refusal(ErrorCode::DiskFull).caused_by(error),
            MetadataError::Unreadable { .. } => refusal(ErrorCode::FileUnreadable).caused_by(error),
            MetadataError::Newer { .. }
            | MetadataError::Database(_)
            | MetadataError::Migrate(_)
            | MetadataError::Io { .. } => refusal(ErrorCode::Internal).caused_by(error),
        }
    }
}

impl From<BlobError> for AppError {
    fn from(error: BlobError) -> Self {
        let code = match error.kind() {
            ErrorKind::DataDamaged => ErrorCode::DataDamaged,
            ErrorKind::Unavailable if error.is_disk_full() => ErrorCode::DiskFull,
            ErrorKind::Unavailable => ErrorCode::FileUnreadable,
            _ => ErrorCode::Internal,
        };
        Self::new(code, error.to_string()).caused_by(error)
    }
}

impl From<QueryError> for AppError {
    fn from(error: QueryError) -> Self {
        let refusal = |code| Self::new(code, error.to_string());
        match error {
            QueryError::Engine(error) => error.into(),
            QueryError::Metadata(error) => error.into(),
            QueryError::Syntax { line, column, .. } => {
                Self { position: line.zip(column), ..refusal(ErrorCode::SqlSyntax) }
            }
            QueryError::NotAQuery { .. } => refusal(ErrorCode::NotAQuery),
            QueryError::UnknownTable { ref nearest, .. } => {
                Self { nearest: nearest.clone(), ..refusal(ErrorCode::UnknownTable) }
            }
            QueryError::UnknownColumn { ref nearest, .. } => {
                Self { nearest: nearest.clone(), ..refusal(ErrorCode::UnknownColumn) }
            }
            QueryError::UnknownProject { ref nearest, .. } => {
                Self { nearest: nearest.clone(), ..refusal(ErrorCode::ProjectNotFound) }.field("project")
            }
            QueryError::TooComplex { limit, .. } => refusal(ErrorCode::QueryTooComplex).limit(limit),
            QueryError::MemoryExceeded { limit_bytes, .. } => refusal(ErrorCode::QueryMemory).limit(limit_bytes),
            QueryError::MemoryHeld { limit_bytes, .. } => refusal(ErrorCode::QueriesBusy).limit(limit_bytes),
            QueryError::Deadline { .. } => refusal(ErrorCode::QueryDeadline),
            QueryError::Params { .. } => refusal(ErrorCode::InvalidQuery).field("params"),
            QueryError::Plan { .. } => refusal(ErrorCode::InvalidQuery),
            QueryError::Execution { .. } | QueryError::Cancelled => refusal(ErrorCode::QueryFailed),
            QueryError::Damaged { .. } => refusal(ErrorCode::DataDamaged),
            QueryError::Unreadable { .. } => refusal(ErrorCode::FileUnreadable),
            QueryError::Runtime { .. } | QueryError::Broken => refusal(ErrorCode::Internal).caused_by(error),
        }
    }
}

impl From<EncodeError> for AppError {
    fn from(error: EncodeError) -> Self {
        Self::new(ErrorCode::QueryFailed, format!("{error}; ask for another format")).caused_by(error)
    }
}
