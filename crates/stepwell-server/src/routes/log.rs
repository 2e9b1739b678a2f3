//! Logging to one run with curl.

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::HeaderMap,
};
use stepwell_app::LogRow;
use utoipa::ToSchema;

use super::{ingest::Acknowledged, runs::run_id_of};
use crate::{
    body::{media_type, receive},
    decode,
    problem::{Problem, ProblemDetails},
    producer,
    router::Shared,
};

/// What is logged at one step.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read by the decoder")]
pub(crate) struct LogLine {
    /// One past the run's last if absent.
    step: Option<i64>,
    /// Microseconds since 1970 UTC, or RFC 3339 text; now if absent.
    timestamp: Option<i64>,
    /// Values by metric: numbers, or one of the texts NaN, Infinity and -Infinity.
    metrics: std::collections::BTreeMap<String, f64>,
}

/// Logs one object, or many, one a line.
#[utoipa::path(post, path = "/api/v1/runs/{run_id}/log", tag = "ingest",
    request_body(content((LogLine = "application/json"), (LogLine = "application/x-ndjson"))),
    params(
        ("run_id" = String, Path, description = "Percent-encoded"),
        ("Stepwell-Producer" = Option<String>, Header, description = "Who sends: 1 to 128 visible ASCII characters"),
        ("Stepwell-Sequence" = Option<u64>, Header, description = "Rising number of the request; with the producer it makes a retry harmless"),
    ),
    responses(
        (status = 200, body = Acknowledged),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The run does not exist", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "queue_full; see Retry-After", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn log(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Acknowledged>, Problem> {
    let app = state.app()?;
    let run_id = run_id_of(path)?;
    media_type(&headers, &["application/json", "application/x-ndjson"])?;
    let producer = producer::of_request(&headers)?;
    let received = receive(&state, &headers, body).await?;
    let body_bytes = received.received_bytes();
    // Held until then: lines without a step wait for those before them.
    let (lines, _held) = received.decode_held(|bytes, budget| decode::log::decode(&bytes, budget)).await?;
    let ack = app.log(&run_id, lines.into_iter().map(LogRow::from).collect(), producer).await?;
    state.metrics.ingested(ack.points, body_bytes, ack.duplicate);
    Ok(Json(ack.into()))
}
