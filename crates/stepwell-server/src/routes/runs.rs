//! Runs: create, read, update, list.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
};
use stepwell_app::{CreateRun, ListRuns, RunPatch, RunStatus};

use super::{
    query_string::Query,
    run_json::{self, CREATE_FIELDS, Run, Runs, UPDATE_FIELDS},
};
use crate::{
    body::receive_json,
    problem::{Problem, ProblemDetails},
    router::Shared,
};

/// Runs on a page unless the request says otherwise, and the most it may ask for.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Creates a run, and its project if that is absent.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = run_json::CreateRun, responses(
    (status = 201, body = Run),
    (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The parent, or the run forked from, does not exist", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "The run_id is taken", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(state): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Run>), Problem> {
    let mut fields = receive_json(&state, &headers, body, &CREATE_FIELDS).await?;
    let run = CreateRun {
        project: fields.required("project")?,
        run_id: fields.optional("run_id")?,
        name: fields.optional("name")?,
        params: run_json::params(&mut fields)?,
        tags: fields.optional("tags")?.unwrap_or_default(),
        user_name: fields.optional("user_name")?,
        notes: fields.optional("notes")?,
        git_commit: fields.optional("git_commit")?,
        dataset_version: fields.optional("dataset_version")?,
        environment: fields.optional("environment")?,
        started_at_us: fields.time_us("started_at")?,
        parent_run_id: fields.optional("parent_run_id")?,
        forked_from: run_json::forked_from(&mut fields)?,
        ..CreateRun::default()
    };
    let run = state.app()?.create_run(run).await?;
    Ok((StatusCode::CREATED, Json(run.into())))
}

/// Reads a run.
#[utoipa::path(get, path = "/api/v1/runs/{run_id}", tag = "runs",
    params(("run_id" = String, Path, description = "Percent-encoded")),
    responses(
        (status = 200, body = Run),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn read(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Run>, Problem> {
    let run = state.app()?.get_run(&run_id_of(path)?).await?;
    Ok(Json(run.into()))
}

/// Changes a run. Params can be added, but not changed.
#[utoipa::path(patch, path = "/api/v1/runs/{run_id}", tag = "runs", request_body = run_json::UpdateRun,
    params(("run_id" = String, Path, description = "Percent-encoded")),
    responses(
        (status = 200, body = Run),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "A param is set to another value", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn update(
    State(state): Shared,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Run>, Problem> {
    let run_id = run_id_of(path)?;
    let mut fields = receive_json(&state, &headers, body, &UPDATE_FIELDS).await?;
    let tags: Option<BTreeMap<String, Option<String>>> = fields.optional("tags")?;
    let patch = RunPatch {
        status: fields.optional::<String>("status")?.map(|text| status(&text)).transpose()?,
        ended_at_us: fields.time_us("ended_at")?,
        name: fields.optional("name")?,
        params: run_json::params(&mut fields)?,
        tags: tags.unwrap_or_default(),
        notes: fields.optional("notes")?,
        ..RunPatch::default()
    };
    let run = state.app()?.update_run(&run_id, patch).await?;
    Ok(Json(run.into()))
}

/// Lists the runs of a project, a page at a time.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs",
    params(
        ("project" = String, Query, description = "Name of the project"),
        ("filter" = Option<String>, Query, description = "A boolean SQL expression over the columns of the table runs, such as params['lr'] < 0.01"),
        ("order_by" = Option<String>, Query, description = "SQL expressions over the columns of runs, such as started_at DESC"),
        ("limit" = Option<usize>, Query, description = "1 to 1,000; 100 if absent"),
        ("page_token" = Option<String>, Query, description = "next_page_token of the page before"),
    ),
    responses(
        (status = 200, body = Runs),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The project does not exist", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(state): Shared, RawQuery(query): RawQuery) -> Result<Json<Runs>, Problem> {
    let mut query = Query::parse(query.as_deref(), &["project", "filter", "order_by", "limit", "page_token"])?;
    let limit = query.integer("limit")?.unwrap_or(LIMIT_DEFAULT as i64);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    let request = ListRuns {
        project: query.required("project")?,
        filter: query.one("filter")?,
        order_by: query.one("order_by")?,
        limit: limit
            .ok_or_else(|| Problem::invalid("limit", format!("limit must be 1 to {LIMIT_MAX}")).limit(LIMIT_MAX))?,
        page_token: query.one("page_token")?,
    };
    let page = state.app()?.list_runs(request).await?;
    Ok(Json(Runs { runs: page.runs.into_iter().map(Run::from).collect(), next_page_token: page.next_page_token }))
}

/// The run id in a path, percent-decoded once and checked.
pub(super) fn run_id_of(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(run_id) = path.map_err(|rejection| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_name",
            format!("the run id in the path: {}", rejection.body_text()),
        )
        .field("run_id")
    })?;
    stepwell_types::check_run_id(&run_id).map_err(|error| Problem::from(crate::decode::DecodeError::name(&error)))?;
    Ok(run_id)
}

fn status(text: &str) -> Result<RunStatus, Problem> {
    let detail = "status must be scheduled, running, finished, failed or killed";
    RunStatus::parse(text).ok_or_else(|| Problem::invalid("status", detail))
}
