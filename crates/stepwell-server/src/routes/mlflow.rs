//! MLflow's REST API: requests go to `stepwell-compat` as they came, answers come back as MLflow gives them.

use std::sync::{Mutex, PoisonError};

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use stepwell_compat::mlflow::{self, Answer, Failure};

use crate::{body::receive, decode::Budget, held_body, problem::Problem, router::Shared, state::ServerState};

/// The spellings under which clients ask; each has the same endpoints.
pub(crate) const PREFIXES: [&str; 4] =
    ["/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/2.0/mlflow", "/ajax-api/3.0/mlflow"];

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
    answered.unwrap_or_else(|problem| refusal(&problem)).into_response()
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
        let Answer { status, body, retry_after_seconds, counted_by } = self.0;
        let mut response = match counted_by {
            Some(reader) => held_body::response(body, reader),
            None => body.into_response(),
        };
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
