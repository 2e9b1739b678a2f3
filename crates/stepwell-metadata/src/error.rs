//! What can go wrong with metadata.

use stepwell_types::ErrorKind;

use crate::model::ParamValue;

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
    #[error("stored {what} of {subject:?} does not read: {detail}")]
    Damaged { what: &'static str, subject: String, detail: String },
    #[error("the disk is full, the metadata is unchanged; free space, then try again")]
    DiskFull {
        #[source]
        source: sqlx::Error,
    },
    #[error("metadata: {0}")]
    Database(#[source] sqlx::Error),
    #[error("metadata migrations: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl MetadataError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ProjectExists { .. } | Self::RunExists { .. } | Self::ParamConflict { .. } | Self::InTrash { .. } => {
                ErrorKind::Conflict
            }
            Self::RunNotFound { .. }
            | Self::RelatedRunNotFound { .. }
            | Self::ProjectNotFound { .. }
            | Self::NotInTrash { .. } => ErrorKind::NotFound,
            Self::Damaged { .. } => ErrorKind::DataDamaged,
            Self::DiskFull { .. } => ErrorKind::Unavailable,
            Self::Database(_) | Self::Migrate(_) => ErrorKind::Internal,
        }
    }
}

/// `SQLITE_FULL`, as the driver gives it.
const FULL: &str = "13";

impl From<sqlx::Error> for MetadataError {
    fn from(source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some(FULL) { Self::DiskFull { source } } else { Self::Database(source) }
    }
}
