//! Deletion: into the trash, out of it, or for good.

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use stepwell_types::format_utc_us;
use utoipa::ToSchema;

use super::{projects::Project, run_json::Run, runs::run_id_of};
use crate::{
    body::receive_json,
    problem::{Problem, ProblemDetails},
    router::Shared,
};

/// What can be restored, or purged.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trash {
    runs: Vec<TrashedRun>,
    projects: Vec<TrashedProject>,
}

/// A run in the trash.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrashedRun {
    run_id: String,
    project: String,
    /// RFC 3339, UTC.
    deleted_at: String,
}

/// A project in the trash, with all of its runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrashedProject {
    name: String,
    /// RFC 3339, UTC.
    deleted_at: String,
}

/// How long points are kept.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read member by member")]
pub(crate) struct Retention {
    /// 1 to 36,500, or null to keep all.
    keep_days: Option<i64>,
}

/// Lists the trash, what was deleted last first.
#[utoipa::path(get, path = "/api/v1/trash", tag = "deletion", responses((status = 200, body = Trash)))]
pub(crate) async fn list(State(state): Shared) -> Result<Json<Trash>, Problem> {
    let trash = state.app()?.trash().await?;
    let run = |run: stepwell_app::TrashedRun| TrashedRun {
        run_id: run.run_id,
        project: run.project,
        deleted_at: format_utc_us(run.deleted_at_us),
    };
    let project = |project: stepwell_app::TrashedProject| TrashedProject {
        name: project.name,
        deleted_at: format_utc_us(project.deleted_at_us),
    };
    Ok(Json(Trash {
        runs: trash.runs.into_iter().map(run).collect(),
        projects: trash.projects.into_iter().map(project).collect(),
    }))
}

/// Puts a run into the trash: nothing shows it or its points any more, and it takes no more.
#[utoipa::path(delete, path = "/api/v1/runs/{run_id}", tag = "deletion",
    params(("run_id" = String, Path, description = "Percent-encoded")),
    responses((status = 204), (status = 404, body = ProblemDetails, content_type = "application/problem+json")),
)]
pub(crate) async fn delete_run(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    state.app()?.delete_run(&run_id_of(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a run out of the trash, with all it had.
#[utoipa::path(post, path = "/api/v1/runs/{run_id}/restore", tag = "deletion",
    params(("run_id" = String, Path, description = "Percent-encoded")),
    responses((status = 200, body = Run), (status = 404, body = ProblemDetails, content_type = "application/problem+json")),
)]
pub(crate) async fn restore_run(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(state.app()?.restore_run(&run_id_of(path)?).await?.into()))
}

/// Deletes a run that is in the trash, and its points, for good.
#[utoipa::path(post, path = "/api/v1/runs/{run_id}/purge", tag = "deletion",
    params(("run_id" = String, Path, description = "Percent-encoded")),
    responses((status = 204), (status = 404, body = ProblemDetails, content_type = "application/problem+json")),
)]
pub(crate) async fn purge_run(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    state.app()?.purge_run(&run_id_of(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a project into the trash, with all of its runs.
#[utoipa::path(delete, path = "/api/v1/projects/{project}", tag = "deletion",
    params(("project" = String, Path, description = "Name, percent-encoded")),
    responses((status = 204), (status = 404, body = ProblemDetails, content_type = "application/problem+json")),
)]
pub(crate) async fn delete_project(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    state.app()?.delete_project(&name_of(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a project out of the trash.
#[utoipa::path(post, path = "/api/v1/projects/{project}/restore", tag = "deletion",
    params(("project" = String, Path, description = "Name, percent-encoded")),
    responses((status = 200, body = Project), (status = 404, body = ProblemDetails, content_type = "application/problem+json")),
)]
pub(crate) async fn restore_project(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Project>, Problem> {
    Ok(Json(state.app()?.restore_project(&name_of(path)?).await?.into()))
}

/// Deletes a project that is in the trash, its runs and their points, for good.
#[utoipa::path(post, path = "/api/v1/projects/{project}/purge", tag = "deletion",
    params(("project" = String, Path, description = "Name, percent-encoded")),
    responses((status = 204), (status = 404, body = ProblemDetails, content_type = "application/problem+json")),
)]
pub(crate) async fn purge_project(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    state.app()?.purge_project(&name_of(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes the points so far of one metric in all runs of a project, for good.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/metrics/{metric}", tag = "deletion",
    params(
        ("project" = String, Path, description = "Name, percent-encoded"),
        ("metric" = String, Path, description = "Percent-encoded"),
    ),
    responses((status = 204), (status = 404, body = ProblemDetails, content_type = "application/problem+json")),
)]
pub(crate) async fn delete_metric(
    State(state): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((project, metric)) = path.map_err(|rejection| not_text(&rejection))?;
    state.app()?.delete_metric(&project, &metric).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets for how many days a project keeps its points; older ones are deleted now, and every hour.
#[utoipa::path(put, path = "/api/v1/projects/{project}/retention", tag = "deletion", request_body = Retention,
    params(("project" = String, Path, description = "Name, percent-encoded")),
    responses(
        (status = 200, body = Project),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set_retention(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Project>, Problem> {
    let name = name_of(path)?;
    let keep_days: Option<i64> = receive_json(&state, &headers, body, &["keep_days"]).await?.optional("keep_days")?;
    Ok(Json(state.app()?.set_retention(&name, keep_days).await?.into()))
}

fn name_of(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    path.map(|Path(name)| name).map_err(|rejection| not_text(&rejection))
}

fn not_text(rejection: &PathRejection) -> Problem {
    let message = format!("the name in the path: {}", rejection.body_text());
    Problem::new(StatusCode::BAD_REQUEST, "invalid_name", message).field("project")
}
