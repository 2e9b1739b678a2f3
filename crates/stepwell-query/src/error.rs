//! What can go wrong with a query, told from what the planner and the executor say by type.

use std::time::Duration;

use datafusion::{common::SchemaError, error::DataFusionError, sql::sqlparser::parser::ParserError};
use stepwell_engine::EngineError;
use stepwell_metadata::MetadataError;
use stepwell_types::ErrorKind;

use crate::nearest::nearest;

/// A query that failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("SQL syntax: {message}")]
    Syntax { message: String, line: Option<u64>, column: Option<u64> },
    #[error(
        "{what} is not a query; only one SELECT (or EXPLAIN of one) is taken: this surface reads and changes nothing"
    )]
    NotAQuery { what: String },
    #[error("there is no table {name:?}")]
    UnknownTable { name: String, nearest: Vec<String> },
    #[error("there is no column {name:?}")]
    UnknownColumn { name: String, nearest: Vec<String> },
    #[error("there is no project {name:?}")]
    UnknownProject { name: String, nearest: Vec<String> },
    #[error("the query has {actual} {what}; the limit is {limit}")]
    TooComplex { what: &'static str, actual: usize, limit: usize },
    #[error("the query needs more memory than it may have ({limit_bytes} bytes): {message}")]
    MemoryExceeded { limit_bytes: usize, message: String },
    #[error(
        "the queries that run hold {held_bytes} bytes of points that were in memory when they began, and may hold {limit_bytes}: \
         ask again when one of them has ended"
    )]
    MemoryHeld { held_bytes: usize, limit_bytes: usize },
    #[error("the query took longer than {limit:?}; narrow it by project, metric, run or step")]
    Deadline { limit: Duration },
    #[error("param {name:?} is missing or not used by the query: {message}")]
    Params { name: String, message: String },
    #[error("the query does not plan: {message}")]
    Plan { message: String },
    #[error("the query failed: {message}")]
    Execution { message: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A query never answers from what is left: it fails if it needs what is damaged.
    #[error("{message}")]
    Damaged { message: String },
    /// The same for what cannot be read just now.
    #[error("{message}")]
    Unreadable { message: String },
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("query runtime: {source}")]
    Runtime {
        #[source]
        source: std::io::Error,
    },
    /// Its task panicked: a bug, and the rows that came are not all of them.
    #[error("the query broke off by a fault of the server, whose log says more")]
    Broken,
    #[error("the query was cancelled")]
    Cancelled,
}

impl QueryError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownTable { .. } | Self::UnknownColumn { .. } | Self::UnknownProject { .. } => ErrorKind::NotFound,
            Self::Engine(error) => error.kind(),
            Self::Metadata(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::DataDamaged,
            Self::Unreadable { .. } | Self::MemoryHeld { .. } => ErrorKind::Unavailable,
            Self::Runtime { .. } | Self::Broken => ErrorKind::Internal,
            _ => ErrorKind::InvalidCall,
        }
    }

    /// Tells a DataFusion error by its innermost type.
    pub(crate) fn from_datafusion(error: DataFusionError, limit_bytes: usize, is_planning: bool) -> Self {
        match error.find_root() {
            DataFusionError::SQL(parser, _) => Self::from_parser(parser),
            DataFusionError::SchemaError(schema, _) => match &**schema {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let nearest = nearest(&field.name, valid_fields.iter().map(|column| column.name.as_str()));
                    Self::UnknownColumn { name: field.name.clone(), nearest }
                }
                other => Self::Plan { message: other.to_string() },
            },
            DataFusionError::ResourcesExhausted(message) => {
                Self::MemoryExceeded { limit_bytes, message: first_line(message) }
            }
            DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
                Self::Plan { message: first_line(message) }
            }
            DataFusionError::External(error) if let Some(ended) = Self::of_end(error.as_ref()) => ended,
            root => match kind_of_storage(root) {
                Some((ErrorKind::DataDamaged, message)) => Self::Damaged { message },
                Some((ErrorKind::Unavailable, message)) => Self::Unreadable { message },
                _ if is_planning => Self::Plan { message: first_line(&root.strip_backtrace()) },
                _ => Self::Execution { message: first_line(&root.strip_backtrace()) },
            },
        }
    }

    /// What `ended` says by way of the executor.
    fn of_end(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Self> {
        match error.downcast_ref()? {
            Self::Deadline { limit } => Some(Self::Deadline { limit: *limit }),
            Self::Cancelled => Some(Self::Cancelled),
            _ => None,
        }
    }

    pub(crate) fn from_parser(error: &ParserError) -> Self {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
            ParserError::RecursionLimitExceeded => "the query is nested too deeply".to_owned(),
        };
        let (line, column) = position(&message);
        Self::Syntax { message, line, column }
    }
}

/// What is wrong with what a query read, if that is why it failed, and what to say of it.
fn kind_of_storage(error: &DataFusionError) -> Option<(ErrorKind, String)> {
    let DataFusionError::External(error) = error else { return None };
    let of_engine = error.downcast_ref::<EngineError>().map(EngineError::kind);
    let of_metadata = error.downcast_ref::<MetadataError>().map(MetadataError::kind);
    Some((of_engine.or(of_metadata)?, first_line(&error.to_string())))
}

/// The parser gives the position only as the end of its text: "… at Line: 1, Column: 8".
fn position(message: &str) -> (Option<u64>, Option<u64>) {
    let number = |mark: &str| {
        let rest = &message[message.rfind(mark)? + mark.len()..];
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    (number("Line: "), number("Column: "))
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
