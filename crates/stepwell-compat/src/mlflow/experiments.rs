//! Experiments: our projects. Experiment 0 is the project that runs of no experiment go to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwell_app::{App, NewProject, Project, trace_part};

use super::{
    args::Args,
    failure::{Failure, Kind},
    lineage, names,
    routes::Call,
    run_json::{artifacts_uri_below, lifecycle_stage, url_part},
    search_experiments,
    text::Text,
};

/// The experiment that is there before anyone makes one.
const DEFAULT_ID: i64 = 0;
const DEFAULT_NAME: &str = "Default";
const ARTIFACT_LOCATION_CHARS_MAX: usize = 2_048;

pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Text, Failure> {
    let answer = match (call.method, call.path) {
        ("POST", [_, "create"]) => create(app, call.args).await,
        ("GET", [_, "get"]) => get(app, call.args).await,
        ("GET", [_, "get-by-name"]) => get_by_name(app, call.args).await,
        ("POST", [_, "search-datasets"]) => lineage::search_datasets(app, call.args).await,
        ("POST", [_, "update"]) => update(app, call.args).await,
        ("POST", [_, "delete"]) => delete(app, call.args).await,
        ("POST", [_, "restore"]) => restore(app, call.args).await,
        ("POST", [_, "set-experiment-tag"]) => set_tag(app, call.args).await,
        ("POST", [_, "delete-experiment-tag"]) => delete_tag(app, call.args).await,
        ("POST" | "GET", [_, "search"]) => return search_experiments::search(app, call.args, call.reader).await,
        _ => call.unknown(),
    };
    Text::of(call.reader, &answer?)
}

/// An experiment as MLflow shows it.
pub(crate) fn experiment_json(project: &Project) -> Value {
    let tags: Vec<Value> = project.tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    json!({
        "experiment_id": project.project_id,
        "name": project.name,
        "artifact_location": artifact_location(project),
        "lifecycle_stage": lifecycle_stage(project.deleted_at_us),
        "creation_time": project.created_at_us.div_euclid(1_000),
        "last_update_time": project.updated_at_us.div_euclid(1_000),
        "tags": tags,
    })
}

/// Where artifacts of an experiment's runs go.
pub(crate) fn artifact_location(project: &Project) -> String {
    project.artifact_location.clone().unwrap_or_else(|| format!("mlflow-artifacts:/{}", project.project_id))
}

/// Where artifacts of a trace go; its experiment must be active.
pub(crate) async fn trace_location(app: &App, experiment_id: &str, trace_id: &str) -> Result<String, Failure> {
    let project = by_id(app, experiment_id).await?;
    check_is_active(&project)?;
    Ok(artifacts_uri_below(&project, &format!("traces/{}", url_part(&trace_part(trace_id)))))
}

/// The experiment of that id, active or deleted.
pub(crate) async fn by_id(app: &App, experiment_id: &str) -> Result<Project, Failure> {
    let (id, project) = find(app, experiment_id).await?;
    project.ok_or_else(|| no_experiment(id))
}

/// The same, if there is one, and its number.
pub(crate) async fn find(app: &App, experiment_id: &str) -> Result<(i64, Option<Project>), Failure> {
    let not_a_number =
        || Failure::invalid(format!("Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer."));
    let id: i64 = match experiment_id {
        "" => DEFAULT_ID,
        given => given.parse().map_err(|_| not_a_number())?,
    };
    let project = match id {
        DEFAULT_ID => app.first_project().await?,
        id => app.project_by_id(&id.to_string()).await?,
    };
    Ok((id, project))
}

/// Refuses to go on with a deleted experiment.
pub(crate) fn check_is_active(project: &Project) -> Result<(), Failure> {
    match project.deleted_at_us {
        None => Ok(()),
        Some(_) => Err(Failure::invalid(format!(
            "The experiment {} must be in the 'active' state. Current state is deleted.",
            project.project_id
        ))),
    }
}

async fn create(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let name = args.required("name")?;
    let artifact_location = args.text("artifact_location")?.filter(|location| !location.is_empty());
    let tags: BTreeMap<String, String> = args.pairs("tags")?.into_iter().collect();
    if let Some(location) = artifact_location {
        check_artifact_location(location)?;
    }
    names::check_length("name", names::EXPERIMENT_NAME_CHARS_MAX, name)?;
    tags.iter().try_for_each(|(key, value)| check_tag(key, value))?;
    if name == DEFAULT_NAME {
        app.first_project().await?;
    }
    let new = NewProject { name: name.to_owned(), artifact_location: artifact_location.map(ToOwned::to_owned), tags };
    match app.create_project(new).await {
        Ok(project) => Ok(json!({"experiment_id": project.project_id})),
        Err(error) => Err(taken(app, name).await.unwrap_or_else(|| error.into())),
    }
}

async fn get(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let project = by_id(app, args.required("experiment_id")?).await?;
    Ok(json!({"experiment": experiment_json(&project)}))
}

async fn get_by_name(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let name = args.required("experiment_name")?;
    let mut project = app.find_project(name).await?;
    if project.is_none() && name == DEFAULT_NAME {
        project = app.first_project().await?.filter(|project| project.name == name);
    }
    match project {
        Some(project) => Ok(json!({"experiment": experiment_json(&project)})),
        None => Err(Failure::absent(format!("Could not find experiment with name '{name}'"))),
    }
}

async fn update(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (experiment_id, name) = (args.required("experiment_id")?, args.required("new_name")?);
    names::check_length("name", names::EXPERIMENT_NAME_CHARS_MAX, name)?;
    let project = by_id(app, experiment_id).await?;
    if project.deleted_at_us.is_some() {
        return Err(Failure::new(Kind::InvalidState, "Cannot rename a non-active experiment."));
    }
    match app.rename_project(&project.project_id, name).await {
        Ok(_) => Ok(json!({})),
        Err(error) => Err(taken(app, name).await.unwrap_or_else(|| error.into())),
    }
}

async fn delete(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let project = by_id(app, args.required("experiment_id")?).await?;
    if project.deleted_at_us.is_some() {
        return Err(no_experiment(&project.project_id));
    }
    app.delete_project_by_id(&project.project_id).await?;
    Ok(json!({}))
}

async fn restore(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let project = by_id(app, args.required("experiment_id")?).await?;
    if project.deleted_at_us.is_none() {
        return Err(no_experiment(&project.project_id));
    }
    // Runs that were deleted one by one come back too: MLflow does not tell them from the others.
    app.restore_project_by_id(&project.project_id, true).await?;
    Ok(json!({}))
}

async fn set_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (experiment_id, key) = (args.required("experiment_id")?, args.required("key")?);
    let value = args.text("value")?.unwrap_or_default();
    check_tag(key, value)?;
    let project = by_id(app, experiment_id).await?;
    check_is_active(&project)?;
    app.tag_project(&project.project_id, BTreeMap::from([(key.to_owned(), Some(value.to_owned()))])).await?;
    Ok(json!({}))
}

async fn delete_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (experiment_id, key) = (args.required("experiment_id")?, args.required("key")?);
    let project = by_id(app, experiment_id).await?;
    check_is_active(&project)?;
    if !project.tags.contains_key(key) {
        let message = format!("No tag with name: {key} in experiment with id {experiment_id}");
        return Err(Failure::absent(message));
    }
    app.tag_project(&project.project_id, BTreeMap::from([(key.to_owned(), None)])).await?;
    Ok(json!({}))
}

fn check_tag(key: &str, value: &str) -> Result<(), Failure> {
    names::check(key, || "key".to_owned())?;
    names::check_length("key", names::KEY_CHARS_MAX, key)?;
    names::check_length("value", names::EXPERIMENT_TAG_CHARS_MAX, value)
}

fn check_artifact_location(location: &str) -> Result<(), Failure> {
    if location.contains('#') {
        return Err(Failure::invalid("'artifact_location' URL can't include fragments or params."));
    }
    if location.starts_with("runs:") {
        return Err(Failure::invalid(format!("Artifact location cannot be a runs:/ URI. Given: '{location}'")));
    }
    if location.chars().nth(ARTIFACT_LOCATION_CHARS_MAX).is_some() {
        return Err(Failure::invalid(format!(
            "Invalid artifact path length. The length of the artifact path cannot be greater than \
             {ARTIFACT_LOCATION_CHARS_MAX} characters."
        )));
    }
    Ok(())
}

/// The refusal of a name that another experiment has, if one does.
async fn taken(app: &App, name: &str) -> Option<Failure> {
    let project = app.find_project(name).await.ok()??;
    let state = match project.deleted_at_us {
        None => "",
        Some(_) => " It is in the deleted state: restore it, or delete it permanently.",
    };
    Some(Failure::exists(format!("Experiment(name={name}) already exists.{state}")))
}

fn no_experiment(id: impl std::fmt::Display) -> Failure {
    Failure::absent(format!("No Experiment with id={id} exists"))
}
