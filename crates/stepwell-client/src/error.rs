//! What can go wrong between a client and its server.

use std::{path::PathBuf, time::Duration};

use arrow::error::ArrowError;
use stepwell_types::{ErrorKind, NameError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused; `code` is stable, `detail` says what to do.
    #[error("{detail} ({code}, HTTP status {status})")]
    Problem {
        /// HTTP status.
        status: u16,
        /// Stable name of the error, for programs.
        code: String,
        /// What is wrong, and what to do.
        detail: String,
        /// The row at fault, counted from 1.
        row: Option<u64>,
        /// The column, member or header at fault.
        field: Option<String>,
        /// How long the server asks to wait before the next attempt.
        retry_after: Option<Duration>,
    },
    /// No answer came; whether the request was applied is not known.
    #[error("no answer from {url}: is the server running there?")]
    Transport {
        /// What was asked.
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    /// The base URL is not one.
    #[error("{url:?} is not a server URL: give one such as http://127.0.0.1:9090")]
    Url { url: String },
    /// The answer is not what the API promises.
    #[error("the answer of {url} cannot be read: {detail}")]
    Answer { url: String, detail: String },
    /// A run id or a metric name that the server would refuse.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Points could not be written as an Arrow stream.
    #[error("encode points as Arrow")]
    Encode {
        #[source]
        source: ArrowError,
    },
    /// The outbox's overflow file failed; none of the points of this call is kept.
    #[error("the outbox's overflow file {} failed", path.display())]
    Spool {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The operating system refused a thread.
    #[error("start the outbox's thread")]
    Thread {
        #[source]
        source: std::io::Error,
    },
    /// Points were still unacknowledged when the time was up.
    #[error("{pending} points are not acknowledged after {} s{}", timeout.as_secs_f64(), last_error.as_ref().map(|e| format!("; the last error: {e}")).unwrap_or_default())]
    Timeout { pending: u64, timeout: Duration, last_error: Option<String> },
    /// The server refused points for good; they are lost.
    #[error("the server refused {points} points for good; the last error: {last_error}")]
    Refused { points: u64, last_error: String },
}

impl ClientError {
    /// What the caller should do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Problem { status: 404, .. } => ErrorKind::NotFound,
            Self::Problem { status: 409, .. } => ErrorKind::Conflict,
            Self::Problem { status: 408 | 429 | 502..=504 | 507, .. } => ErrorKind::Unavailable,
            Self::Problem { status: 500.., .. } => ErrorKind::Internal,
            Self::Problem { .. } | Self::Url { .. } | Self::Name(_) | Self::Refused { .. } => ErrorKind::InvalidCall,
            Self::Transport { .. } | Self::Timeout { .. } => ErrorKind::Unavailable,
            Self::Answer { .. } | Self::Encode { .. } | Self::Spool { .. } | Self::Thread { .. } => ErrorKind::Internal,
        }
    }

    /// The stable code of the server's refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same request may succeed later: no answer, too many requests, or a failing server.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Problem { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Transport { .. } | Self::Answer { .. } => true,
            _ => false,
        }
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
