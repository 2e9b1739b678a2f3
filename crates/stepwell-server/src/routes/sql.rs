//! SQL: one query in, its rows out as they come.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt, stream};
use serde_json::Value;
use stepwell_app::AppError;
use stepwell_query::{
    QueryRequest, QueryStream,
    encode::{ResultEncoder, ResultFormat},
};
use utoipa::ToSchema;

use crate::{
    accept,
    body::receive_json,
    metrics::Door,
    problem::{Problem, ProblemDetails},
    router::Shared,
    state::ServerState,
};

const FORMS: [&str; 5] = [
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
];

/// A query.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read member by member")]
pub(crate) struct SqlRequest {
    /// One SELECT (or EXPLAIN of one) over points, runs, params, tags and summaries.
    query: String,
    /// Name of the project whose tables need no prefix.
    project: Option<String>,
    /// Values of the placeholders $1, $2, … in order.
    params: Option<Vec<Value>>,
}

/// Rows with their schema. Other forms by Accept: NDJSON, CSV, Arrow, Parquet.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which is streamed")]
pub(crate) struct SqlResult {
    schema: Vec<SqlColumn>,
    /// By column name; NaN, Infinity and -Infinity as text.
    rows: Vec<serde_json::Map<String, Value>>,
    /// Only if the query failed after rows had been sent; NDJSON has it as a last line `{"error": …}`. The other forms break
    /// the connection off instead.
    error: Option<ProblemDetails>,
}

/// A column of a result.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which is streamed")]
pub(crate) struct SqlColumn {
    name: String,
    /// The Arrow type.
    r#type: String,
    nullable: bool,
}

/// Answers a query over one snapshot. It ends when the client goes away.
#[utoipa::path(post, path = "/api/v1/sql", tag = "query", request_body = SqlRequest, responses(
    (status = 200, content((SqlResult = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet"))),
    (status = 400, description = "Syntax (with position), unknown table or column (with the nearest names)", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Not a query", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The project does not exist", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 406, body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Over the memory or time of a query", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn sql(State(state): Shared, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let app = state.app()?;
    let form = accept::choose(&headers, &FORMS)?;
    let mut fields = receive_json(&state, &headers, body, &["query", "project", "params"]).await?;
    let request = QueryRequest {
        sql: fields.required("query")?,
        project: fields.optional("project")?,
        params: fields.optional("params")?.unwrap_or_default(),
    };
    let rows = app.sql(request).await?;
    let answer = Answer::start(state, rows, format(form)).await?;
    let content_type = if form == "text/csv" { "text/csv; charset=utf-8" } else { form };
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(answer.into_stream())).into_response())
}

fn format(form: &str) -> ResultFormat {
    match form {
        "application/x-ndjson" => ResultFormat::Ndjson,
        "text/csv" => ResultFormat::Csv,
        "application/vnd.apache.arrow.stream" => ResultFormat::Arrow,
        "application/vnd.apache.parquet" => ResultFormat::Parquet,
        _ => ResultFormat::Json,
    }
}

/// A result on its way. Dropping it ends the query.
struct Answer {
    state: Arc<ServerState>,
    rows: QueryStream,
    format: ResultFormat,
    /// `None` once the end is written.
    encoder: Option<ResultEncoder>,
    /// Bytes of the first batch: it is awaited before the answer starts, so that most errors have a status of their own.
    first: Option<Vec<u8>>,
}

impl Answer {
    async fn start(state: Arc<ServerState>, mut rows: QueryStream, format: ResultFormat) -> Result<Self, Problem> {
        let mut encoder = ResultEncoder::new(format, rows.schema()).map_err(AppError::from)?;
        let first = match rows.next().await {
            Some(batch) => encoder.push(&batch.map_err(AppError::from)?).map_err(AppError::from)?,
            None => {
                return Ok(Self {
                    state,
                    rows,
                    format,
                    first: Some(encoder.finish().map_err(AppError::from)?),
                    encoder: None,
                });
            }
        };
        Ok(Self { state, rows, format, encoder: Some(encoder), first: Some(first) })
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Broken>> {
        stream::unfold(self, |mut answer| async move {
            let chunk = answer.next_chunk().await?;
            Some((chunk.map(Bytes::from), answer))
        })
    }

    async fn next_chunk(&mut self) -> Option<Result<Vec<u8>, Broken>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let encoder = self.encoder.as_mut()?;
        let chunk = match self.rows.next().await {
            Some(Ok(batch)) => encoder.push(&batch).map_err(AppError::from),
            Some(Err(error)) => Err(AppError::from(error)),
            None => match self.encoder.take() {
                Some(encoder) => encoder.finish().map_err(AppError::from),
                None => return None,
            },
        };
        Some(chunk.or_else(|error| self.fail(error)))
    }

    /// The status is sent already: the forms that can say so end with the problem, the others break off.
    fn fail(&mut self, error: AppError) -> Result<Vec<u8>, Broken> {
        self.encoder = None;
        let problem = Problem::from(error);
        self.state.metrics.refused(Door::Sql, &problem);
        let problem = problem.to_json();
        match self.format {
            ResultFormat::Json => Ok(format!("],\"error\":{problem}}}").into_bytes()),
            ResultFormat::Ndjson => Ok(format!("{{\"error\":{problem}}}\n").into_bytes()),
            _ => Err(Broken { problem }),
        }
    }
}

/// Ends the connection in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the query failed after rows had been sent: {problem}")]
struct Broken {
    problem: String,
}
