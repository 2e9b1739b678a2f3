//! Artifacts of a run, in this server's own words.

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use stepwell_app::ArtifactEntry;
use stepwell_types::check_artifact_path;
use utoipa::ToSchema;

use super::{query_string::Query, runs::run_id_of};
use crate::{
    artifacts::{receive_artifact, send_artifact},
    decode::DecodeError,
    problem::{Problem, ProblemDetails},
    router::Shared,
};

/// What is right below a directory of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactList {
    artifacts: Vec<ArtifactItem>,
}

/// A file, or a directory of some.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactItem {
    /// Below the run.
    path: String,
    is_directory: bool,
    /// Absent of a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// What was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoredArtifact {
    /// Below the run.
    path: String,
    bytes: u64,
    /// 64 lower-case hexadecimal digits; the ETag of downloads, too.
    sha256: String,
}

/// Lists a directory of a run's artifacts.
#[utoipa::path(get, path = "/api/v1/runs/{run_id}/artifacts", tag = "artifacts",
    params(
        ("run_id" = String, Path, description = "Percent-encoded"),
        ("path" = Option<String>, Query, description = "The directory; the top if absent"),
    ),
    responses(
        (status = 200, description = "Empty where there is no such directory", body = ArtifactList),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<ArtifactList>, Problem> {
    let app = state.app()?;
    let root = app.artifacts_of_run(&run_id_of(path)?).await?;
    let mut query = Query::parse(query.as_deref(), &["path"])?;
    let directory = query.one("path")?.filter(|path| !path.is_empty());
    let directory = directory.map(checked).transpose()?;
    let (below, shown) = match &directory {
        Some(path) => (format!("{root}/{path}"), format!("{path}/")),
        None => (root, String::new()),
    };
    let item = |entry: ArtifactEntry| ArtifactItem {
        path: format!("{shown}{}", entry.name()),
        is_directory: matches!(entry, ArtifactEntry::Directory(_)),
        bytes: if let ArtifactEntry::File(_, bytes) = entry { Some(bytes) } else { None },
    };
    Ok(Json(ArtifactList { artifacts: app.artifacts_in(&below).await?.into_iter().map(item).collect() }))
}

/// Stores an artifact, in place of the one that is there.
#[utoipa::path(put, path = "/api/v1/runs/{run_id}/artifacts/{path}", tag = "artifacts",
    params(
        ("run_id" = String, Path, description = "Percent-encoded"),
        ("path" = String, Path, description = "Any depth, with / between the parts"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "Any size"),
    responses(
        (status = 201, description = "It is durable", body = StoredArtifact),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "An artifact is where a directory would have to be", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The disk is full", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn put(
    State(state): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (run_id, path) = names(path)?;
    let app = state.app()?;
    let place = app.artifact_of_run(&run_id, &path).await?;
    let upload = receive_artifact(&state, &headers, body).await?;
    let stored = app.put_artifact(&place, upload).await?;
    let etag = HeaderValue::try_from(format!("\"{}\"", stored.sha256));
    let mut response = (StatusCode::CREATED, Json(StoredArtifact { path, bytes: stored.bytes, sha256: stored.sha256 }))
        .into_response();
    if let Ok(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Reads an artifact, or a range of its bytes.
#[utoipa::path(get, path = "/api/v1/runs/{run_id}/artifacts/{path}", tag = "artifacts",
    params(
        ("run_id" = String, Path, description = "Percent-encoded"),
        ("path" = String, Path, description = "Any depth, with / between the parts"),
        ("Range" = Option<String>, Header, description = "bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH"),
        ("If-None-Match" = Option<String>, Header, description = "ETags of what the client has"),
    ),
    responses(
        (status = 200, description = "Each chunk is checked before it is sent; a damaged one ends the connection", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "The client has it"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 416, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 500, description = "data_damaged", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(state): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (run_id, path) = names(path)?;
    let app = state.app()?;
    let root = app.artifacts_of_run(&run_id).await?;
    send_artifact(&state, &headers, app.open_artifact(&format!("{root}/{path}")).await?).await
}

/// Deletes an artifact, or a directory with all below it, for good.
#[utoipa::path(delete, path = "/api/v1/runs/{run_id}/artifacts/{path}", tag = "artifacts",
    params(
        ("run_id" = String, Path, description = "Percent-encoded"),
        ("path" = String, Path, description = "Any depth, with / between the parts"),
    ),
    responses(
        (status = 204, description = "There is none now"),
        (status = 404, description = "There is no such run", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(state): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (run_id, path) = names(path)?;
    let app = state.app()?;
    let root = app.artifacts_of_run(&run_id).await?;
    app.delete_artifacts(&format!("{root}/{path}")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The run id and the path below it, checked.
fn names(path: Result<Path<(String, String)>, PathRejection>) -> Result<(String, String), Problem> {
    match path {
        Ok(Path((run_id, path))) => Ok((run_id_of(Ok(Path(run_id)))?, checked(path)?)),
        Err(rejection) => run_id_of(Err(rejection)).map(|run_id| (run_id, String::new())),
    }
}

fn checked(path: String) -> Result<String, Problem> {
    check_artifact_path(&path).map_err(|error| Problem::from(DecodeError::name(&error)))?;
    Ok(path)
}
