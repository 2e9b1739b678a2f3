//! MLflow's error codes, and what of ours becomes which.

use std::time::Duration;

use serde_json::json;
use stepwell_app::{AppError, ErrorCode};

use super::Answer;

/// MLflow's names of what can be wrong, those that its clients tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    InvalidParameterValue,
    BadRequest,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    InvalidState,
    EndpointNotFound,
    PermissionDenied,
    RequestLimitExceeded,
    TemporarilyUnavailable,
    NotImplemented,
    InternalError,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::BadRequest => "BAD_REQUEST",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::InvalidState => "INVALID_STATE",
            Self::EndpointNotFound => "ENDPOINT_NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::RequestLimitExceeded => "REQUEST_LIMIT_EXCEEDED",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    fn status(self) -> u16 {
        match self {
            // MLflow answers the state with 500, which its clients take for a reason to try again for minutes.
            Self::InvalidParameterValue | Self::BadRequest | Self::ResourceAlreadyExists | Self::InvalidState => 400,
            Self::PermissionDenied => 403,
            Self::ResourceDoesNotExist | Self::EndpointNotFound => 404,
            Self::RequestLimitExceeded => 429,
            Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::TemporarilyUnavailable => 503,
        }
    }
}

/// Why a request is refused, in MLflow's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// INVALID_PARAMETER_VALUE
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameterValue, message)
    }

    /// NOT_IMPLEMENTED
    pub fn not_implemented(message: &str) -> Self {
        Self::new(Kind::NotImplemented, message)
    }

    /// RESOURCE_DOES_NOT_EXIST
    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self::new(Kind::ResourceDoesNotExist, message)
    }

    /// RESOURCE_ALREADY_EXISTS
    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::new(Kind::ResourceAlreadyExists, message)
    }

    /// INTERNAL_ERROR, for what nobody can do anything about.
    pub(crate) fn internal(error: impl std::error::Error) -> Self {
        tracing::error!(%error, "a request through MLflow's API failed");
        Self::new(Kind::InternalError, error.to_string())
    }

    pub(crate) fn endpoint_not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::EndpointNotFound, message)
    }

    /// Of a refusal before the dialect was reached, by its HTTP status.
    pub fn of_status(status: u16, message: &str, retry_after_seconds: Option<u64>) -> Self {
        let kind = match status {
            429 => Kind::RequestLimitExceeded,
            // A body that came too slowly, too: clients send it again only if they are told to.
            408 | 503 | 507 => Kind::TemporarilyUnavailable,
            404 => Kind::EndpointNotFound,
            500.. => Kind::InternalError,
            _ => Kind::BadRequest,
        };
        Self { kind, message: message.to_owned(), retry_after: retry_after_seconds.map(Duration::from_secs) }
    }

    /// As MLflow's server sends it.
    pub fn answer(&self) -> Answer {
        let body = json!({"error_code": self.kind.name(), "message": self.message});
        Answer {
            status: self.kind.status(),
            body: body.to_string().into_bytes(),
            retry_after_seconds: self.retry_after.map(|wait| wait.as_secs_f64().ceil().max(1.0) as u64),
            counted_by: None,
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let kind = match error.code {
            ErrorCode::InTrash => Kind::InvalidState,
            ErrorCode::RunNotFound | ErrorCode::ProjectNotFound | ErrorCode::NotInTrash => Kind::ResourceDoesNotExist,
            ErrorCode::ArtifactNotFound | ErrorCode::UploadNotFound | ErrorCode::TraceNotFound => {
                Kind::ResourceDoesNotExist
            }
            ErrorCode::RunExists | ErrorCode::ProjectExists => Kind::ResourceAlreadyExists,
            ErrorCode::ReadOnly => Kind::PermissionDenied,
            ErrorCode::QueueFull => Kind::RequestLimitExceeded,
            code if code.http_status() == 503 => Kind::TemporarilyUnavailable,
            code if code.http_status() >= 500 => {
                tracing::error!(%error, "a request through MLflow's API failed");
                Kind::InternalError
            }
            _ => Kind::InvalidParameterValue,
        };
        Self { kind, retry_after: error.retry_after, message: error.message }
    }
}
