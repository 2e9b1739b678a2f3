//! Liveness, readiness, figures and the description of the API.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    metrics::{AppSources, OPENMETRICS_TEXT, Sources},
    openapi::openapi_json,
    problem::{Problem, ProblemDetails, Refused},
    readiness::Standing,
    router::Shared,
};

/// The process is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `alive`
    status: &'static str,
}

/// Why requests would be refused, and how things stand.
#[derive(Serialize, ToSchema)]
pub(crate) struct NotReady {
    #[serde(flatten)]
    problem: ProblemDetails,
    standing: Standing,
}

/// Whether the process answers at all, whatever fails in it.
#[utoipa::path(get, path = "/health", tag = "server", responses((status = 200, body = Status)))]
pub(crate) async fn health() -> Json<Status> {
    Json(Status { status: "alive" })
}

/// Whether requests of all kinds would be served now, and if not why, and what to do.
#[utoipa::path(get, path = "/ready", tag = "server", responses(
    (status = 200, description = "ready, or degraded: all is served, but something fails", body = Standing),
    (status = 503, description = "not_ready (with the progress of the replay), shutting_down, storage_failed, disk_full, flush_fails, \
        metadata_fails", body = NotReady, content_type = "application/problem+json"),
))]
pub(crate) async fn ready(State(state): Shared) -> Response {
    let standing = state.standing();
    let Some(problem) = standing.problem() else { return Json(standing).into_response() };
    let body = serde_json::to_vec(&NotReady { problem: problem.details().clone(), standing });
    let mut response = problem.into_response();
    // A probe that hears the truth is not a refusal of work.
    response.extensions_mut().remove::<Refused>();
    if let Ok(body) = body {
        *response.body_mut() = Body::from(body);
    }
    response
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
))]
pub(crate) async fn metrics(State(state): Shared) -> Result<Response, Problem> {
    let standing = state.standing();
    let app = match state.app.get() {
        None => None,
        Some(app) => Some(AppSources {
            readiness: app.readiness(),
            engine: app.stats(),
            queries: app.query_stats(),
            runs: app.cached_run_bytes(),
            disk: app.disk_space(),
            // Where the metadata fails, its figures are absent and `stepwell_fault` says why.
            artifacts: app.artifact_stats().await.ok(),
        }),
    };
    let sources = Sources {
        state: standing.status(),
        started_us: state.started_us,
        memory_bytes: state.config.memory_bytes,
        bodies: &state.in_flight,
        replay: state.app.progress().read(),
        app,
    };
    let text = state
        .metrics
        .scrape(&sources)
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
