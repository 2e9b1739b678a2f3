//! MLflow's calls whose bodies are files: its proxy of artifacts, and the older calls about those of one run.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use stepwell_compat::mlflow::{
    Failure,
    artifacts::{self, Parts},
};

use super::mlflow::{Reply, charge, refusal};
use crate::{
    artifacts::{receive_artifact, send_artifact, turn_away},
    body::receive,
    problem::Problem,
    router::Shared,
    state::ServerState,
};

/// The spellings under which clients ask.
const PREFIXES: [&str; 4] = [
    "/api/2.0/mlflow-artifacts",
    "/api/3.0/mlflow-artifacts",
    "/ajax-api/2.0/mlflow-artifacts",
    "/ajax-api/3.0/mlflow-artifacts",
];
/// One more than the largest file of `upload-artifact` has, bytes.
const UPLOAD_BYTES_TOO_MANY: u64 = (10 << 20) + 1;

/// All of them.
pub(crate) fn routes(router: Router<Arc<ServerState>>) -> Router<Arc<ServerState>> {
    let proxy = |router: Router<Arc<ServerState>>, prefix: &&str| {
        router
            .route(&format!("{prefix}/artifacts"), get(list))
            .route(&format!("{prefix}/artifacts/{{*path}}"), get(download).put(upload).delete(delete))
            .route(&format!("{prefix}/mpu/create/{{*path}}"), post(create))
            .route(&format!("{prefix}/mpu/complete/{{*path}}"), post(complete))
            .route(&format!("{prefix}/mpu/abort/{{*path}}"), post(abort))
            .route(&format!("{prefix}/mpu/part/{{upload_id}}/{{number}}"), put(part))
            .route(&format!("{prefix}/presigned/{{*path}}"), get(presigned))
    };
    let of_runs = |router: Router<Arc<ServerState>>, prefix: &&str| {
        router.route(&format!("{prefix}/upload-artifact"), post(upload_of_run))
    };
    let router = PREFIXES.iter().fold(router, proxy);
    super::mlflow::PREFIXES
        .iter()
        .fold(router, of_runs)
        .route("/get-artifact", get(download_of_run))
        .route(OF_MODEL_VERSION, get(download_of_model_version))
        .route(SPANS, post(spans))
}

const OF_MODEL_VERSION: &str = "/model-versions/get-artifact";
/// Where clients try to send spans one by one.
const SPANS: &str = "/v1/traces";

/// Whether a path is one of theirs that has no prefix.
pub(crate) fn is_of(path: &str) -> bool {
    ["/get-artifact", OF_MODEL_VERSION, SPANS].contains(&path)
}

/// A refusal by either layer, in MLflow's words.
struct Refusal(Reply);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(refusal(&problem))
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(Reply(failure.answer()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

async fn list(State(state): Shared, RawQuery(query): RawQuery) -> Result<Reply, Refusal> {
    Ok(Reply(artifacts::list(state.app()?, query.as_deref()).await))
}

async fn download(State(state): Shared, uri: Uri, headers: HeaderMap) -> Result<Response, Refusal> {
    state.app()?;
    send(&state, &artifacts::path_of(behind(&uri, "/artifacts/"))?, &headers).await
}

async fn upload(State(state): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let app = state.app()?;
    let place = app.artifact_place(&artifacts::path_of(behind(&uri, "/artifacts/"))?).await.map_err(Failure::from)?;
    let upload = receive_artifact(&state, &headers, body).await?;
    app.put_artifact(&place, upload).await.map_err(Failure::from)?;
    Ok(empty())
}

async fn delete(State(state): Shared, uri: Uri) -> Result<Reply, Refusal> {
    Ok(Reply(artifacts::delete(state.app()?, behind(&uri, "/artifacts/")).await))
}

async fn create(State(state): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Result<Reply, Refusal> {
    parts(&state, Parts::Create, behind(&uri, "/create/"), &headers, body).await
}

async fn complete(State(state): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Result<Reply, Refusal> {
    parts(&state, Parts::Complete, behind(&uri, "/complete/"), &headers, body).await
}

async fn abort(State(state): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Result<Reply, Refusal> {
    parts(&state, Parts::Abort, behind(&uri, "/abort/"), &headers, body).await
}

async fn parts(
    state: &ServerState,
    what: Parts,
    path: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Reply, Refusal> {
    let app = state.app()?;
    let (body, budget) = receive(state, headers, body).await?.decode_held(|bytes, _| Ok(bytes)).await?;
    let budget = Mutex::new(budget);
    let charge = |bytes| charge(&budget, bytes);
    let base = format!("{}{}/mpu/part", address(headers), PREFIXES[0]);
    let url = |upload_id: &str, number: u32| format!("{base}/{upload_id}/{number}");
    Ok(Reply(artifacts::parts(app, what, path, (&body, &charge), url).await))
}

/// A part of an upload; its receipt is the ETag.
async fn part(
    State(state): Shared,
    Path((upload_id, number)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let app = state.app()?;
    let number = number.parse().unwrap_or(0);
    app.check_parts(&upload_id).map_err(Failure::from)?;
    let upload = receive_artifact(&state, &headers, body).await?;
    let sha256 = app.put_part(&upload_id, number, upload).await.map_err(Failure::from)?;
    let mut response = empty();
    if let Ok(etag) = HeaderValue::try_from(format!("\"{sha256}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// There is no storage behind this server that a client could be sent to.
async fn presigned() -> Reply {
    Reply(Failure::not_implemented("Presigned download is not supported for the current artifact repository").answer())
}

/// Spans come as an artifact of their trace; these words tell a client so.
async fn spans() -> Reply {
    Reply(Failure::not_implemented("REST OTLP span logging is not supported by this server").answer())
}

async fn download_of_run(
    State(state): Shared,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let path = artifacts::of_run(state.app()?, query.as_deref()).await?;
    send(&state, &path, &headers).await
}

async fn download_of_model_version(
    State(state): Shared,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let path = artifacts::of_model_version(state.app()?, query.as_deref()).await?;
    send(&state, &path, &headers).await
}

async fn upload_of_run(
    State(state): Shared,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let app = state.app()?;
    let place = app.artifact_place(&artifacts::of_run(app, query.as_deref()).await?).await.map_err(Failure::from)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let upload = match announced {
        Some(UPLOAD_BYTES_TOO_MANY..) => {
            turn_away(&state, &headers, body).await;
            None
        }
        _ => Some(receive_artifact(&state, &headers, body).await?),
    };
    let Some(upload) = upload.filter(|upload| upload.bytes() < UPLOAD_BYTES_TOO_MANY) else {
        return Err(Failure::invalid("Artifact size is too large. Max size is 10MB.").into());
    };
    if upload.bytes() == 0 {
        return Err(Failure::invalid("Request must specify data.").into());
    }
    app.put_artifact(&place, upload).await.map_err(Failure::from)?;
    Ok(empty())
}

async fn send(state: &ServerState, path: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let app = state.app()?;
    match app.open_artifact(path).await {
        Ok(download) => Ok(send_artifact(state, headers, download).await?),
        Err(error) => Err(artifacts::absent(app, path, error).await.into()),
    }
}

/// An object without members.
fn empty() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], "{}").into_response()
}

/// What follows a part of the path, as it was sent: still percent-encoded.
fn behind<'a>(uri: &'a Uri, part: &str) -> &'a str {
    uri.path()
        .split_once("/mlflow-artifacts/")
        .and_then(|(_, rest)| rest.split_once(&part[1..]))
        .map_or("", |found| found.1)
}

/// How the client reaches this server: a proxy says so, or the request itself does.
fn address(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let host = text("x-forwarded-host").or_else(|| text("host")).unwrap_or("127.0.0.1");
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    format!("{scheme}://{host}")
}
