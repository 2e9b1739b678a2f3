//! Charts: many series over a range, downsampled to a number of buckets.

use std::{fmt::Display, sync::Arc};

use arrow::error::ArrowError;
use axum::{
    BoxError,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use stepwell_app::{AppError, PointsMode, SeriesAnswer, SeriesRequest, XAxis};
use tokio::task::{JoinHandle, spawn_blocking};
use utoipa::ToSchema;

use super::{query_string::Query, series_arrow::ArrowAnswer, series_json};
use crate::{
    accept,
    body::receive_json,
    fields::Fields,
    held_body,
    metrics::Door,
    problem::{Problem, ProblemDetails},
    router::Shared,
    state::ServerState,
};

const JSON: &str = "application/json";
const ARROW: &str = "application/vnd.apache.arrow.stream";
/// Buckets unless the request says otherwise: about the pixels of a chart.
const BUCKETS_DEFAULT: u64 = 1_000;
pub(crate) const FIELDS: [&str; 8] =
    ["project", "run_ids", "metrics", "from_step", "to_step", "x", "buckets", "points"];

/// Which series, and how much of them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read member by member")]
pub(crate) struct SeriesBody {
    /// Name of the project.
    project: String,
    run_ids: Vec<String>,
    metrics: Vec<String>,
    /// First and last step wanted.
    from_step: Option<i64>,
    to_step: Option<i64>,
    /// `step` (if absent) or `time`.
    x: Option<String>,
    /// 1,000 if absent.
    buckets: Option<u64>,
    /// `last` (if absent): of points at one step the one written last; `all`: every point.
    points: Option<String>,
}

/// Reads series. As Arrow, a table of buckets with run_id, metric and raw; a raw point is a bucket of one.
#[utoipa::path(post, path = "/api/v1/series", tag = "query", request_body = SeriesBody, responses(
    (status = 304, description = "The points are those of the ETag given as If-None-Match"),
    (status = 200, content((series_json::SeriesAnswer = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
    (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The project or a run does not exist", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 406, body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "The answer would take more memory than all who read may have", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Others hold that memory", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn post(State(state): Shared, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let form = accept::choose(&headers, &[JSON, ARROW])?;
    let mut fields = receive_json(&state, &headers, body, &FIELDS).await?;
    answer(state, read_fields(&mut fields)?, form, &headers).await
}

/// Reads the members of a body.
pub(crate) fn read_fields(fields: &mut Fields) -> Result<SeriesRequest, Problem> {
    Ok(SeriesRequest {
        project: fields.required("project")?,
        run_ids: fields.required("run_ids")?,
        metrics: fields.required("metrics")?,
        from_step: fields.optional("from_step")?,
        to_step: fields.optional("to_step")?,
        x: x_axis(fields.optional("x")?)?,
        buckets: buckets(fields.optional("buckets")?)?,
        points: points_mode(fields.optional("points")?)?,
    })
}

/// The same with parameters. run_ids and metrics are repeated, or given once with commas between.
#[utoipa::path(get, path = "/api/v1/series", tag = "query",
    params(
        ("project" = String, Query, description = "Name of the project"),
        ("run_ids" = Vec<String>, Query, description = "Repeated, or once with commas between"),
        ("metrics" = Vec<String>, Query, description = "Repeated, or once with commas between"),
        ("from_step" = Option<i64>, Query, description = "First step wanted"),
        ("to_step" = Option<i64>, Query, description = "Last step wanted"),
        ("x" = Option<String>, Query, description = "step (if absent) or time"),
        ("buckets" = Option<u64>, Query, description = "1,000 if absent"),
        ("points" = Option<String>, Query, description = "last (if absent) or all"),
    ),
    responses(
        (status = 304, description = "The points are those of the ETag given as If-None-Match"),
    (status = 200, content((series_json::SeriesAnswer = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The project or a run does not exist", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 406, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The answer would take more memory than all who read may have", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Others hold that memory", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(state): Shared,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let form = accept::choose(&headers, &[JSON, ARROW])?;
    answer(state, read_query(query.as_deref())?, form, &headers).await
}

/// Reads the parameters of a URL.
pub(crate) fn read_query(text: Option<&str>) -> Result<SeriesRequest, Problem> {
    let mut query = Query::parse(text, &FIELDS)?;
    let unsigned =
        |value: i64| u64::try_from(value).map_err(|_| Problem::invalid("buckets", "buckets must be at least 1"));
    Ok(SeriesRequest {
        project: query.required("project")?,
        run_ids: query.list("run_ids"),
        metrics: query.list("metrics"),
        from_step: query.integer("from_step")?,
        to_step: query.integer("to_step")?,
        x: x_axis(query.one("x")?)?,
        buckets: buckets(query.integer("buckets")?.map(unsigned).transpose()?)?,
        points: points_mode(query.one("points")?)?,
    })
}

async fn answer(
    state: Arc<ServerState>,
    request: SeriesRequest,
    form: &'static str,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    // Weak: the same points in another order of arrival of other series' points are the same answer.
    let weak = |tag: &str| format!("W/\"{tag}-{}\"", if form == ARROW { "arrow" } else { "json" });
    let given = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = given.and_then(|given| given.strip_prefix("W/\"")?.split_once('-'));
    let known = known.filter(|(tag, _)| given == Some(weak(tag).as_str())).map(|(tag, _)| tag);
    let (tag, series) = match state.app()?.series(request, known).await? {
        SeriesAnswer::Unchanged { tag } => {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, weak(&tag))]).into_response());
        }
        SeriesAnswer::Read { tag, response } => (tag, response),
    };
    // The first bytes are made before the answer starts, so that an error has a status of its own.
    let answer = match form {
        ARROW => {
            let (first, answer) = work(move || encode_next(ArrowAnswer::new(series)?)).await?;
            in_chunks(state, first, answer).into_response()
        }
        _ => {
            let reader = series.reader.clone();
            reader.hold(series_json::bytes_estimate(&series)).map_err(AppError::from)?;
            held_body::response(work(move || series_json::encode(&series)).await?, reader)
        }
    };
    let headers = [(header::CONTENT_TYPE, form.to_owned()), (header::ETAG, weak(&tag))];
    Ok((headers, [(header::CACHE_CONTROL, "no-cache")], answer).into_response())
}

/// Writing megabytes of numbers takes long enough to hold up other requests of this thread.
async fn work<T: Send + 'static, E: Display + Send + 'static>(
    encode: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem> {
    let done = spawn_blocking(encode).await.map_err(|_| internal("encoding the series failed"))?;
    done.map_err(|error| internal(&error.to_string()))
}

/// The next bytes of an answer, and what is left of it.
type Chunk = Result<(Vec<u8>, ArrowAnswer), ArrowError>;

fn encode_next(mut answer: ArrowAnswer) -> Chunk {
    Ok((answer.next_chunk()?, answer))
}

/// While the client reads a chunk the next one is made.
fn in_chunks(state: Arc<ServerState>, first: Vec<u8>, answer: ArrowAnswer) -> Body {
    let start = |answer: ArrowAnswer| (!answer.is_complete()).then(|| spawn_blocking(|| encode_next(answer)));
    let Some(next) = start(answer) else { return Body::from(first) };
    let rest =
        stream::unfold(Some((state, next)), move |rest: Option<(Arc<ServerState>, JoinHandle<Chunk>)>| async move {
            let (state, next) = rest?;
            Some(match next.await.map_err(BoxError::from).and_then(|chunk| chunk.map_err(BoxError::from)) {
                Ok((bytes, answer)) => (Ok(bytes), start(answer).map(|next| (state, next))),
                // The status is sent already: the answer breaks off.
                Err(error) => {
                    state.metrics.refused(Door::Series, &internal(&error.to_string()));
                    (Err(error), None)
                }
            })
        });
    Body::from_stream(stream::once(async { Ok(first) }).chain(rest))
}

fn internal(detail: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

fn x_axis(given: Option<String>) -> Result<XAxis, Problem> {
    match given.as_deref() {
        None | Some("step") => Ok(XAxis::Step),
        Some("time") => Ok(XAxis::Time),
        Some(_) => Err(Problem::invalid("x", "x must be step or time")),
    }
}

fn points_mode(given: Option<String>) -> Result<PointsMode, Problem> {
    match given.as_deref() {
        None | Some("last") => Ok(PointsMode::Last),
        Some("all") => Ok(PointsMode::All),
        Some(_) => Err(Problem::invalid("points", "points must be last or all")),
    }
}

fn buckets(given: Option<u64>) -> Result<usize, Problem> {
    let limit = stepwell_types::limits::BUCKETS_MAX;
    let buckets = usize::try_from(given.unwrap_or(BUCKETS_DEFAULT)).ok().filter(|count| (1..=limit).contains(count));
    buckets.ok_or_else(|| Problem::invalid("buckets", format!("buckets must be 1 to {limit}")).limit(limit))
}
