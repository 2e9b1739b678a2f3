//! Projects.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use stepwell_types::format_utc_us;
use utoipa::ToSchema;

use crate::{
    body::receive_json,
    problem::{Problem, ProblemDetails},
    router::Shared,
};

const DAY_US: i64 = 86_400_000_000;

/// A project to be created.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read member by member")]
pub(crate) struct CreateProject {
    /// 1 to 2,000 bytes of UTF-8 without control characters; unique.
    name: String,
}

/// A container of runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Project {
    /// Stable for the life of the project.
    project_id: String,
    name: String,
    /// RFC 3339, UTC.
    created_at: String,
    /// Points are deleted when their timestamp is so many days old; null keeps all.
    keep_days: Option<i64>,
}

/// All projects.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Projects {
    projects: Vec<Project>,
}

impl From<stepwell_app::Project> for Project {
    fn from(project: stepwell_app::Project) -> Self {
        Self {
            project_id: project.project_id,
            name: project.name,
            created_at: format_utc_us(project.created_at_us),
            keep_days: project.retention_us.map(|us| us / DAY_US),
        }
    }
}

/// Creates a project.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", request_body = CreateProject, responses(
    (status = 201, body = Project),
    (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "A project of this name exists", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(state): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Project>), Problem> {
    let name: String = receive_json(&state, &headers, body, &["name"]).await?.required("name")?;
    let project = state.app()?.create_project(name.as_str()).await?;
    Ok((StatusCode::CREATED, Json(project.into())))
}

/// Lists all projects.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects", responses((status = 200, body = Projects)))]
pub(crate) async fn list(State(state): Shared) -> Result<Json<Projects>, Problem> {
    let projects = state.app()?.list_projects().await?;
    Ok(Json(Projects { projects: projects.into_iter().map(Project::from).collect() }))
}
