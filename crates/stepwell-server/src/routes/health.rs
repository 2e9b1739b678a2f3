//! Liveness, readiness, figures and the description of the API.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use stepwell_app::Health;
use utoipa::ToSchema;

use crate::{
    metrics::OPENMETRICS_TEXT,
    openapi::openapi_json,
    problem::{Problem, ProblemDetails},
    router::Shared,
};

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `alive`, `ready`, or `disk_full`: reads are answered and writes refused until space returns.
    status: &'static str,
    /// Why, where it is not plainly well.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/health", tag = "server", responses((status = 200, body = Status)))]
pub(crate) async fn health() -> Json<Status> {
    Json(Status { status: "alive", reason: None })
}

/// Whether requests would be served: not while the log is replayed, nor after it failed.
#[utoipa::path(get, path = "/ready", tag = "server", responses(
    (status = 200, body = Status),
    (status = 503, description = "not_ready, storage_failed", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn ready(State(state): Shared) -> Result<Json<Status>, Problem> {
    match state.app()?.health() {
        Health::Ready => Ok(Json(Status { status: "ready", reason: None })),
        Health::DiskFull { reason } => Ok(Json(Status { status: "disk_full", reason: Some(reason) })),
        // Batches are taken while memory lasts, so that a balancer need not turn away.
        Health::FlushFails { reason } => Ok(Json(Status { status: "flush_fails", reason: Some(reason) })),
        Health::Poisoned { reason } => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "storage_failed",
            format!("the write-ahead log has failed: reads are answered, writes are refused until a restart: {reason}"),
        )),
    }
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
))]
pub(crate) async fn metrics(State(state): Shared) -> Result<Response, Problem> {
    let stats = state.app.get().map(|app| app.stats());
    let text = state
        .metrics
        .scrape(state.in_flight.used_bytes(), stats.as_ref())
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the figures could not be written"))?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS_TEXT)], text).into_response())
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "server", responses(
    (status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
))]
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json()).into_response()
}
