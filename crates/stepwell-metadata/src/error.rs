//! What can go wrong with metadata.

use std::{io, path::PathBuf};

use stepwell_types::ErrorKind;

use crate::{model::ParamValue, vfs};

/// A metadata call that failed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("a project named {name:?} exists already")]
    ProjectExists { name: String },
    #[error("run {run_id:?} exists already")]
    RunExists { run_id: String },
    #[error("there is no project {name:?}")]
    ProjectNotFound { name: String },
    #[error("the {what} {name:?} is in the trash; restore it, or purge it first")]
    InTrash { what: &'static str, name: String },
    #[error("there is no {what} {name:?} in the trash")]
    NotInTrash { what: &'static str, name: String },
    #[error("there is no run {run_id:?}")]
    RunNotFound { run_id: String },
    #[error("{field} names run {run_id:?}, which does not exist")]
    RelatedRunNotFound { field: &'static str, run_id: String },
    #[error("param {key:?} of run {run_id:?} is {old} and cannot be changed to {new}: params are inputs, set once")]
    ParamConflict { run_id: String, key: String, old: ParamValue, new: ParamValue },
    #[error("there is no registered model {name:?}")]
    RegisteredModelNotFound { name: String },
    #[error("a registered model named {name:?} exists already")]
    RegisteredModelExists { name: String },
    #[error("the registered model {name:?} has no version {version}")]
    ModelVersionNotFound { name: String, version: i64 },
    #[error("there is no logged model {model_id:?}")]
    LoggedModelNotFound { model_id: String },
    #[error("param {key:?} of logged model {model_id:?} is set already: params are inputs, set once")]
    ModelParamExists { model_id: String, key: String },
    #[error("there is no webhook {webhook_id:?}")]
    WebhookNotFound { webhook_id: String },
    #[error("{path:?} cannot be beside {other:?}: an artifact has nothing below it")]
    ArtifactInTheWay { path: String, other: String },
    #[error("there is no trace {trace_id:?}")]
    TraceNotFound { trace_id: String },
    #[error(
        "trace {trace_id:?} would take more than {bytes_max} bytes of memory with its tags, metadata and assessments; store what is \
         long or many as an artifact"
    )]
    TraceTooLarge { trace_id: String, bytes_max: usize },
    #[error("stored {what} of {subject:?} does not read: {detail}")]
    Damaged { what: &'static str, subject: String, detail: String },
    #[error("the disk is full, the metadata is unchanged; free space, then try again")]
    DiskFull {
        #[source]
        source: sqlx::Error,
    },
    #[error("{path} is damaged at byte {offset}: {detail}; stop the server and run `stepwell repair`")]
    DamagedFile { path: PathBuf, offset: u64, detail: String },
    #[error(
        "{path} cannot be read, nothing was changed: {source}; if its device does not give it back, copy the disk, then run `stepwell repair`"
    )]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} is not the file any more of which {result} is the result, which a repair that was cut short was to put in its place; nothing \
         was changed: to go on with the result remove the file, to go on with the file remove the result and {path}-wal, unless that is \
         the file's own"
    )]
    ChangedSinceRepair { path: PathBuf, result: PathBuf },
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} has format version {actual}, this program reads up to {newest}; use a newer program")]
    Newer { path: PathBuf, actual: i64, newest: i64 },
    #[error("metadata: {0}")]
    Database(#[source] sqlx::Error),
    #[error("metadata migrations: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

/// SQLite's word for a page that the layer below it refused.
const IO_ERROR_OF_DATA: i32 = libsqlite3_sys::SQLITE_IOERR_DATA;
/// The low byte of SQLite's words for a file that hangs together wrongly.
const MALFORMED: [i32; 2] = [libsqlite3_sys::SQLITE_CORRUPT, libsqlite3_sys::SQLITE_NOTADB];

/// Damage has one error of its own, wherever SQLite met it.
impl From<sqlx::Error> for MetadataError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        match (code, vfs::last_damage()) {
            (Some(libsqlite3_sys::SQLITE_FULL), _) => Self::DiskFull { source: error },
            (Some(IO_ERROR_OF_DATA), Some((path, offset))) => {
                let detail = "the page that begins there cannot be read, or does not fit its checksum".to_owned();
                Self::DamagedFile { path, offset, detail }
            }
            (Some(code), last) if MALFORMED.contains(&(code & 0xff)) => {
                let (path, offset) = last.unwrap_or_else(|| (PathBuf::from("metadata.sqlite"), 0));
                Self::DamagedFile { path, offset, detail: error.to_string() }
            }
            _ => Self::Database(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for MetadataError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
                error.into()
            }
            other => Self::Migrate(other),
        }
    }
}

impl MetadataError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ProjectExists { .. }
            | Self::RunExists { .. }
            | Self::RegisteredModelExists { .. }
            | Self::ModelParamExists { .. }
            | Self::ParamConflict { .. }
            | Self::InTrash { .. }
            | Self::ArtifactInTheWay { .. } => ErrorKind::Conflict,
            Self::TraceTooLarge { .. } => ErrorKind::InvalidCall,
            Self::RunNotFound { .. }
            | Self::TraceNotFound { .. }
            | Self::RelatedRunNotFound { .. }
            | Self::ProjectNotFound { .. }
            | Self::RegisteredModelNotFound { .. }
            | Self::ModelVersionNotFound { .. }
            | Self::LoggedModelNotFound { .. }
            | Self::WebhookNotFound { .. }
            | Self::NotInTrash { .. } => ErrorKind::NotFound,
            Self::Damaged { .. } | Self::DamagedFile { .. } | Self::ChangedSinceRepair { .. } => ErrorKind::DataDamaged,
            Self::DiskFull { .. } | Self::Unreadable { .. } => ErrorKind::Unavailable,
            Self::Newer { .. } | Self::Database(_) | Self::Migrate(_) | Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
