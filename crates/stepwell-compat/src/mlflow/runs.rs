//! Runs: their making, state and end. What they log is in `logging`.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};
use stepwell_app::{App, CreateRun, ErrorCode, Project, Reader, Run, RunPatch, RunStatus};

use super::{
    args::{Args, invalid_value},
    experiments,
    failure::{Failure, Kind},
    lineage, logging,
    routes::Call,
    run_json::{RunInfoJson, RunJson},
    search_runs,
    tags::{self, Fields},
    text::Text,
};

pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Text, Failure> {
    let answer = match (call.method, call.path) {
        ("POST", [_, "create"]) => return create(app, call.args, call.reader).await,
        ("GET", [_, "get"]) => return get(app, call.args, call.reader).await,
        ("POST", [_, "update"]) => return update(app, call.args, call.reader).await,
        ("POST", [_, "search"]) => return search_runs::search(app, call.args, call.reader).await,
        ("POST", [_, "delete"]) => delete(app, call.args).await,
        ("POST", [_, "restore"]) => restore(app, call.args).await,
        ("POST", [_, "set-tag"]) => logging::set_tag(app, call.args).await,
        ("POST", [_, "delete-tag"]) => logging::delete_tag(app, call.args).await,
        ("POST", [_, "log-metric"]) => logging::log_metric(app, call.args).await,
        ("POST", [_, "log-parameter"]) => logging::log_param(app, call.args).await,
        ("POST", [_, "log-inputs"]) => lineage::log_inputs(app, call.args).await,
        ("POST", [_, "outputs"]) => lineage::log_outputs(app, call.args).await,
        ("POST", [_, "log-model"]) => logging::log_model(app, call.args, call.charge).await,
        _ => call.unknown(),
    };
    Text::of(call.reader, &answer?)
}

#[derive(Serialize)]
struct Answer<'a> {
    run: RunJson<'a>,
}

#[derive(Serialize)]
struct InfoAnswer<'a> {
    run_info: RunInfoJson<'a>,
}

/// The run of that id, active or deleted.
pub(crate) async fn by_id(app: &App, run_id: &str) -> Result<Run, Failure> {
    app.find_run(run_id).await?.ok_or_else(|| no_run(run_id))
}

/// The run of that id, which must be active.
pub(crate) async fn active(app: &App, run_id: &str) -> Result<Run, Failure> {
    let run = by_id(app, run_id).await?;
    match run.deleted_at_us {
        None => Ok(run),
        Some(_) => Err(not_active(run_id)),
    }
}

/// The project of a run.
pub(crate) async fn project_of(app: &App, run: &Run) -> Result<Project, Failure> {
    // It may be purged between two questions.
    app.project_by_id(&run.project_id).await?.ok_or_else(|| no_run(&run.run_id))
}

pub(crate) fn no_run(run_id: &str) -> Failure {
    Failure::absent(format!("Run with id={run_id} not found"))
}

pub(crate) fn not_active(run_id: &str) -> Failure {
    Failure::invalid(format!("The run {run_id} must be in the 'active' state. Current state is deleted."))
}

async fn create(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    let experiment_id = args.text("experiment_id")?.unwrap_or_default();
    let started_at_us = args.integer("start_time")?.map(|ms| micros("start_time", ms)).transpose()?;
    let given = args.text("run_name")?.filter(|name| !name.is_empty());
    let user_id = args.text("user_id")?.filter(|user| !user.is_empty());
    let mut tags: BTreeMap<String, String> = args.pairs("tags")?.into_iter().collect();
    let project = experiments::by_id(app, experiment_id).await?;
    experiments::check_is_active(&project)?;
    let of_tag = tags.get(tags::RUN_NAME).filter(|name| !name.is_empty());
    if let (Some(given), Some(of_tag)) = (given, of_tag)
        && given != of_tag
    {
        return Err(Failure::invalid(format!(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
             (run_name='{given}', mlflow.runName='{of_tag}')."
        )));
    }
    let name = given.map(ToOwned::to_owned).or(of_tag.cloned()).unwrap_or_else(|| app.new_run_name());
    tags.insert(tags::RUN_NAME.to_owned(), name.clone());
    let fields = Fields::of(app, &tags).await?;
    let run = CreateRun {
        project_id: Some(project.project_id.clone()),
        run_id: Some(app.new_plain_run_id()),
        name: Some(name),
        tags,
        user_name: user_id.map(ToOwned::to_owned).or(fields.user_name),
        notes: fields.notes,
        git_commit: fields.git_commit,
        started_at_us,
        parent_run_id: fields.parent_run_id,
        ..CreateRun::default()
    };
    let run = app.create_run(run).await?;
    Text::of(reader, &Answer { run: RunJson::new(&run, &project, &[], None) })
}

async fn get(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    let run = by_id(app, args.run_id()?).await?;
    let project = project_of(app, &run).await?;
    let mut metrics = app.latest(reader.clone()).of_runs(&run.project_id, std::slice::from_ref(&run.run_id)).await?;
    let metrics = metrics.remove(&run.run_id).unwrap_or_default();
    let links = app.run_links(std::slice::from_ref(&run.run_id)).await?.remove(&run.run_id);
    Text::of(reader, &Answer { run: RunJson::new(&run, &project, &metrics, links.as_ref()) })
}

async fn update(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    let run_id = args.run_id()?;
    let ended_at_us = args.integer("end_time")?.map(|ms| micros("end_time", ms)).transpose()?;
    let status = args.value("status").map(status).transpose()?;
    let name = args.text("run_name")?.filter(|name| !name.is_empty()).map(ToOwned::to_owned);
    let run = active(app, run_id).await?;
    let project = project_of(app, &run).await?;
    let tags = name.iter().map(|name| (tags::RUN_NAME.to_owned(), Some(name.clone()))).collect();
    let patch = RunPatch { status, ended_at_us, keeps_end: true, name, tags, ..RunPatch::default() };
    let run = app.update_run(run_id, patch).await?;
    Text::of(reader, &InfoAnswer { run_info: RunInfoJson::new(&run, &project) })
}

async fn delete(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let run = by_id(app, args.run_id()?).await?;
    if run.deleted_at_us.is_none()
        && let Err(error) = app.delete_run(&run.run_id).await
    {
        // The call that this one repeats may have been under way.
        let is_done = error.code == ErrorCode::RunNotFound && by_id(app, &run.run_id).await?.deleted_at_us.is_some();
        if !is_done {
            return Err(error.into());
        }
    }
    Ok(json!({}))
}

async fn restore(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let run = by_id(app, args.run_id()?).await?;
    if run.deleted_at_us.is_some() {
        experiments::check_is_active(&project_of(app, &run).await?)?;
        if let Err(error) = app.restore_run(&run.run_id).await {
            let is_done = error.code == ErrorCode::NotInTrash && by_id(app, &run.run_id).await?.deleted_at_us.is_none();
            if !is_done {
                return Err(error.into());
            }
        }
    }
    Ok(json!({}))
}

/// Milliseconds, as MLflow has them, in microseconds.
pub(crate) fn micros(name: &str, ms: i64) -> Result<i64, Failure> {
    ms.checked_mul(1_000).ok_or_else(|| {
        Failure::new(
            Kind::InvalidParameterValue,
            format!(
                "Invalid value {ms} for parameter '{name}' supplied: it is in milliseconds and past the year 290,000."
            ),
        )
    })
}

/// A status by its name or by its number.
fn status(value: &Value) -> Result<RunStatus, Failure> {
    let status = match (value.as_str(), value.as_i64()) {
        (Some("RUNNING"), _) | (_, Some(1)) => RunStatus::Running,
        (Some("SCHEDULED"), _) | (_, Some(2)) => RunStatus::Scheduled,
        (Some("FINISHED"), _) | (_, Some(3)) => RunStatus::Finished,
        (Some("FAILED"), _) | (_, Some(4)) => RunStatus::Failed,
        (Some("KILLED"), _) | (_, Some(5)) => RunStatus::Killed,
        _ => return Err(invalid_value("status", value)),
    };
    Ok(status)
}
