//! MLflow's REST API: requests go to `stepwell-compat` as they came, answers come back as MLflow gives them.

use std::sync::{Mutex, PoisonError};

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use stepwell_app::AppError;
use stepwell_compat::mlflow::{self, Answer, Failure};

use crate::{body::receive, decode::Budget, held_body, problem::Problem, router::Shared, state::ServerState};

/// The spellings under which clients ask; each has the same endpoints.
pub(crate) const PREFIXES: [&str; 4] =
    ["/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/2.0/mlflow", "/ajax-api/3.0/mlflow"];

/// Answers shorter than that are bounded by the number of connections.
const HELD_BYTES_MIN: usize = 256 << 10;

/// Whether a path is one of theirs.
pub(crate) fn is_of(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// The version that clients compare before they use what older servers lack.
pub(crate) async fn version() -> &'static str {
    mlflow::MLFLOW_VERSION
}

/// Any endpoint.
pub(crate) async fn call(
    State(state): Shared,
    Path(path): Path<String>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answered = answer(&state, &method, &path, query.as_deref(), &headers, body).await;
    let answered = answered.and_then(|reply| held(&state, reply));
    answered.unwrap_or_else(|problem| refusal(&problem).into_response())
}

/// Counts a long answer as memory of those who read: a history, or a thousand runs with all they have.
fn held(state: &ServerState, reply: Reply) -> Result<Response, Problem> {
    if reply.0.body.len() < HELD_BYTES_MIN {
        return Ok(reply.into_response());
    }
    let reader = state.app()?.reader();
    reader.hold(reply.0.body.len()).map_err(AppError::from)?;
    let Reply(Answer { body, .. }) = reply;
    let mut response = held_body::response(body, reader);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn answer(
    state: &ServerState,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Reply, Problem> {
    let app = state.app()?;
    let (body, budget) = receive(state, headers, body).await?.decode_held(|bytes, _| Ok(bytes)).await?;
    let budget = Mutex::new(budget);
    let charge = |bytes| charge(&budget, bytes);
    let request = mlflow::Request { method: method.as_str(), path, query, body: &body, charge: &charge };
    Ok(Reply(mlflow::answer(app, request).await))
}

/// Charges the budget of a request with what reading its body takes.
pub(super) fn charge(budget: &Mutex<Budget>, bytes: usize) -> Result<(), Failure> {
    let charged = budget.lock().unwrap_or_else(PoisonError::into_inner).decode(bytes);
    charged.map_err(|error| failure(&error.into()))
}

/// What the network's layer refuses, in MLflow's words.
pub(super) fn refusal(problem: &Problem) -> Reply {
    Reply(failure(problem).answer())
}

fn failure(problem: &Problem) -> Failure {
    Failure::of_status(problem.status(), problem.detail(), problem.retry_after_seconds())
}

/// An answer of the dialect.
pub(super) struct Reply(pub(super) Answer);

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], self.0.body).into_response();
        if let Some(seconds) = self.0.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
