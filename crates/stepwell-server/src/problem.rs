//! Errors as the client sees them: `application/problem+json` (RFC 9457) with a stable `code`.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use stepwell_app::AppError;
use stepwell_types::ErrorKind;
use utoipa::ToSchema;

use crate::decode::DecodeError;

/// The media type of errors.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// How long to wait where nobody knows better.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Why a request was refused. Boxed, because every handler may return one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem(Box<ProblemDetails>);

/// Why a request was refused, and where in it the reason lies.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails {
    /// `urn:stepwell:error:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The stable name of the error, for programs.
    code: &'static str,
    /// What is wrong, and what to do.
    detail: String,
    /// The row at fault, counted from 1: over all record batches of an Arrow stream, the line of NDJSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    /// The column, member, parameter or header at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The limit that was passed, in the unit that `detail` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// The place in the SQL text.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    /// The names nearest to an unknown one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nearest: Vec<String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Position {
    /// Counted from 1.
    line: u64,
    /// Counted from 1.
    column: u64,
}

/// The problem a response carries, for the counters.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) Problem);

impl Problem {
    /// A problem with neither place nor limit.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let mut title = code.replace('_', " ");
        title[..1].make_ascii_uppercase();
        Self(Box::new(ProblemDetails {
            kind: format!("urn:stepwell:error:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: detail.into(),
            row: None,
            field: None,
            limit: None,
            position: None,
            nearest: Vec::new(),
            retry_after: None,
        }))
    }

    /// Says which column, member, parameter or header.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says which limit was passed.
    pub(crate) fn limit(mut self, limit: usize) -> Self {
        self.0.limit = Some(limit as u64);
        self
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, retry_after: Duration) -> Self {
        self.0.retry_after = Some(retry_after);
        self
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// The stable name of the error.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    /// What is wrong, and what to do.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// When to try again, in whole seconds; rounding down would say "at once".
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.0.retry_after.map(|wait| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// All of it, for a surface that adds to it.
    pub(crate) fn details(&self) -> &ProblemDetails {
        &self.0
    }

    /// The server is being stopped.
    pub(crate) fn shutting_down() -> Self {
        let detail = "the server is shutting down: send again what was not acknowledged when it is back";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail).retry_after(RETRY_AFTER_DEFAULT)
    }

    /// The storage is not open yet.
    pub(crate) fn not_ready() -> Self {
        let detail = "the server is starting and replays its log: try again after a pause";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail).retry_after(RETRY_AFTER_DEFAULT)
    }

    /// As many connections as may be are open.
    pub(crate) fn too_many_connections(limit: usize) -> Self {
        let detail = format!(
            "{limit} connections are open, which is the limit: try again, and keep connections for many requests"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail)
            .limit(limit)
            .retry_after(RETRY_AFTER_DEFAULT)
    }

    /// The same, saying how far it is.
    pub(crate) fn not_ready_yet(far: &str) -> Self {
        let detail = format!("the server is starting and replays its log ({far}): try again after a pause");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail).retry_after(RETRY_AFTER_DEFAULT)
    }

    /// No such path.
    pub(crate) fn unknown_route(path: &str) -> Self {
        let shown: String = path.chars().take(200).collect();
        let detail = format!("there is nothing at {shown}: the API is described at /api/v1/openapi.json");
        Self::new(StatusCode::NOT_FOUND, "unknown_route", detail)
    }

    /// The path exists, but not for this method.
    pub(crate) fn method_not_allowed(method: &str) -> Self {
        let detail = format!("{method} is not allowed here: the header Allow says what is");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// A `Content-Type` that the call does not read.
    pub(crate) fn unsupported_media_type(given: Option<&str>, wanted: &str) -> Self {
        let given = given.unwrap_or("none");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("Content-Type is {given}: it must be {wanted}"),
        )
        .field("Content-Type")
    }

    /// An `Accept` that the call cannot serve.
    pub(crate) fn not_acceptable(offered: &str) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            format!("the answer comes as {offered}, none of which the header Accept allows"),
        )
        .field("Accept")
    }

    /// A query parameter, header or member of the body that cannot be right.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", detail).field(field)
    }

    /// The problem as JSON text.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_else(|_| String::from("{\"code\":\"internal\"}"))
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let waits = error.kind() == ErrorKind::Unavailable;
        let mut problem = Self::new(status, error.code.as_str(), error.message);
        (problem.0.row, problem.0.field, problem.0.limit) = (error.row, error.field, error.limit);
        problem.0.retry_after = waits.then_some(RETRY_AFTER_DEFAULT);
        problem
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut problem = Self::new(status, error.code.as_str(), error.message);
        (problem.0.row, problem.0.field, problem.0.limit) = (error.row, error.field, error.limit);
        problem.0.position = error.position.map(|(line, column)| Position { line, column });
        problem.0.nearest = error.nearest;
        let waits = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        problem.0.retry_after = error.retry_after.or(waits.then_some(RETRY_AFTER_DEFAULT));
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], self.to_json()).into_response();
        if let Some(seconds) = self.retry_after_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Refused(self));
        response
    }
}
