//! The main way in: batches of points, as Arrow or NDJSON.

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use serde::Serialize;
use stepwell_app::IngestAck;
use utoipa::ToSchema;

use crate::{
    body::{media_type, receive},
    decode::PointsForm,
    problem::{Problem, ProblemDetails},
    producer,
    router::Shared,
};

const ARROW: &str = "application/vnd.apache.arrow.stream";
const NDJSON: &str = "application/x-ndjson";

/// The answer to a batch: it is durable and visible.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Acknowledged {
    /// Points in the batch.
    points: u64,
    /// LSN of the first point; null for an empty batch, and for a duplicate whose LSNs are no longer known.
    first_lsn: Option<u64>,
    /// LSN of the last point.
    last_lsn: Option<u64>,
    /// Whether the batch had been applied before and was not applied again.
    duplicate: bool,
}

impl From<IngestAck> for Acknowledged {
    fn from(ack: IngestAck) -> Self {
        Self {
            points: ack.points,
            first_lsn: ack.first_lsn.map(|lsn| lsn.0),
            last_lsn: ack.last_lsn.map(|lsn| lsn.0),
            duplicate: ack.duplicate,
        }
    }
}

/// One point of an NDJSON body; the columns of an Arrow body have the same names.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read by the decoders")]
pub(crate) struct IngestRow {
    /// A run that exists.
    run_id: String,
    /// 1 to 1,024 bytes of UTF-8 without control characters.
    metric: String,
    step: i64,
    /// Microseconds since 1970 UTC, or RFC 3339 text; now if absent or null. Arrow: any timestamp, or integer microseconds.
    timestamp: Option<i64>,
    /// A number, or one of the texts NaN, Infinity and -Infinity. Arrow: any float, or integers that a 64-bit float equals.
    value: f64,
}

/// Stores a batch, whole or not at all. The answer means that it is durable and visible.
#[utoipa::path(post, path = "/api/v1/ingest", tag = "ingest",
    request_body(description = "An Arrow IPC stream, or a point a line.", content(
        (Vec<u8> = "application/vnd.apache.arrow.stream"), (IngestRow = "application/x-ndjson"),
    )),
    params(
        ("Content-Encoding" = Option<String>, Header, description = "zstd or gzip"),
        ("Stepwell-Producer" = Option<String>, Header, description = "Who sends: 1 to 128 visible ASCII characters"),
        ("Stepwell-Sequence" = Option<u64>, Header, description = "Rising number of the batch; with the producer it makes a retry harmless"),
    ),
    responses(
        (status = 200, body = Acknowledged),
        (status = 400, description = "The batch is refused whole; row and field say why", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "A run does not exist", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "body_too_large, decoded_too_large, too_many_points", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "too_many_series of a run, too_many_metrics of a project", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "queue_full; see Retry-After", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn ingest(
    State(state): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Acknowledged>, Problem> {
    let app = state.app()?;
    let form = match media_type(&headers, &[ARROW, NDJSON])? {
        ARROW => PointsForm::Arrow,
        _ => PointsForm::Ndjson,
    };
    let producer = producer::of_request(&headers)?;
    let received = receive(&state, &headers, body).await?;
    let body_bytes = received.received_bytes();
    let now_us = state.config.clock.now_us();
    let batch = received.decode(move |bytes, budget| form.decode(bytes, now_us, budget)).await?;
    let ack = app.ingest(batch, producer).await?;
    state.metrics.ingested(ack.points, body_bytes, ack.duplicate);
    Ok(Json(ack.into()))
}
