//! Versions of registered models.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwell_app::{App, AppError, ErrorCode, ModelVersion, NewModelVersion, RegisteredModel, Stage};

use super::{
    events, json, models,
    names::{self, LATEST},
    source::{self, Named, Origin},
};
use crate::mlflow::{args::Args, failure::Failure};

/// Sources that stand for the text in a prompt's tags.
const PROMPT_SOURCES: [&str; 2] = ["dummy-source", "prompt-template"];
/// The tag of a logged model that says which versions publish it.
const PUBLISHED_AS: &str = "mlflow.modelVersions";

/// MLflow's words for a version that is not there.
pub(super) fn not_found(name: &str, version: i64) -> Failure {
    Failure::absent(format!("Model Version (name={name}, version={version}) not found"))
}

fn or_not_found(name: &str, version: i64) -> impl Fn(AppError) -> Failure + '_ {
    move |error| match error.code {
        ErrorCode::ModelVersionNotFound | ErrorCode::RegisteredModelNotFound => not_found(name, version),
        _ => error.into(),
    }
}

/// The version that a request names.
fn named<'a>(args: &'a Args<'_>) -> Result<(&'a str, i64), Failure> {
    let (name, version) = (args.required("name")?, args.required("version")?);
    names::check_model(name, "name")?;
    Ok((name, names::version(version)?))
}

/// One version.
pub(super) async fn find(app: &App, name: &str, version: i64) -> Result<ModelVersion, Failure> {
    app.model_version(name, version).await?.ok_or_else(|| not_found(name, version))
}

/// The version that an alias names; `latest` is the newest.
pub(super) async fn of_alias(app: &App, model: &RegisteredModel, alias: &str) -> Result<ModelVersion, Failure> {
    let name = &model.name;
    if alias.eq_ignore_ascii_case(LATEST) {
        let newest = app.newest_versions(std::slice::from_ref(name)).await?.remove(name).unwrap_or_default();
        let newest = newest.into_iter().max_by_key(|version| version.version);
        return newest.ok_or_else(|| Failure::absent(format!("Latest version not found for model {name}.")));
    }
    match model.aliases.get(alias) {
        Some(version) => find(app, name, *version).await,
        None => Err(Failure::invalid(format!("Registered model alias {alias} not found."))),
    }
}

fn shown(version: &ModelVersion) -> Value {
    json!({"model_version": json::version(version, true)})
}

pub(super) async fn create(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, source) = (args.required("name")?, args.required("source")?);
    let (run_id, model_id) = (args.text("run_id")?, args.text("model_id")?);
    let tags: BTreeMap<String, String> = args.pairs("tags")?.into_iter().collect();
    let run_link = args.text("run_link")?.filter(|link| !link.is_empty());
    let description = args.text("description")?.unwrap_or_default();
    let is_prompt = names::is_prompt(&tags);
    let origin = if is_prompt {
        if !PROMPT_SOURCES.contains(&source) {
            return Err(Failure::invalid(format!(
                "Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder."
            )));
        }
        let given = |id: Option<&str>| id.filter(|id| !id.is_empty()).map(ToOwned::to_owned);
        Origin {
            source: source.to_owned(),
            location: source.to_owned(),
            run_id: given(run_id),
            model_id: given(model_id),
        }
    } else {
        source::resolve(app, Named { source, run_id, model_id }).await?
    };
    names::check_model(name, "name")?;
    tags.iter().try_for_each(|(key, value)| names::check_version_tag(key, value))?;
    let new = NewModelVersion {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        source: origin.source,
        location: origin.location,
        run_id: origin.run_id,
        run_link: run_link.map(ToOwned::to_owned),
        model_id: origin.model_id,
        tags,
    };
    let told = |made: &(RegisteredModel, ModelVersion)| events::version_created(&made.1);
    let version = app.create_model_version(&new, &told).await.map_err(|error| match error.code {
        ErrorCode::RegisteredModelNotFound => models::not_found(name),
        _ => error.into(),
    })?;
    if let (false, Some(model_id)) = (is_prompt, &version.model_id) {
        note_published(app, model_id, &version).await?;
    }
    Ok(shown(&version))
}

/// Adds a version to what a logged model says it is published as.
async fn note_published(app: &App, model_id: &str, version: &ModelVersion) -> Result<(), Failure> {
    let model = app.logged_model(model_id).await?.ok_or_else(|| source::no_logged_model(model_id))?;
    let known = model.tags.get(PUBLISHED_AS).and_then(|text| serde_json::from_str(text).ok());
    let mut published: Vec<Value> = known.unwrap_or_default();
    let this = json!({"name": version.name, "version": version.version});
    if !published.contains(&this) {
        published.push(this);
    }
    let tag = BTreeMap::from([(PUBLISHED_AS.to_owned(), Value::from(published).to_string())]);
    app.tag_logged_model(model_id, &tag).await?;
    Ok(())
}

pub(super) async fn get(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, version) = named(args)?;
    Ok(shown(&find(app, name, version).await?))
}

pub(super) async fn get_by_alias(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, alias) = (args.required("name")?, args.required("alias")?);
    names::check_model(name, "name")?;
    names::check_alias(alias)?;
    let model = models::find(app, name).await?;
    Ok(shown(&of_alias(app, &model, alias).await?))
}

pub(super) async fn update(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let description = args.text("description")?;
    let (name, version) = named(args)?;
    let changed = app.describe_model_version(name, version, description).await.map_err(or_not_found(name, version))?;
    Ok(shown(&changed))
}

pub(super) async fn transition(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    args.required("name")?;
    args.required("version")?;
    let given = args.required("stage")?;
    let archive_others = args.flag("archive_existing_versions")?.unwrap_or(false);
    let stage = names::stage(given)?;
    if archive_others && !matches!(stage, Stage::Staging | Stage::Production) {
        return Err(Failure::invalid(format!(
            "Model version transition cannot archive existing model versions because '{given}' is not an Active stage. Valid \
             stages are ['Staging', 'Production']"
        )));
    }
    let (name, version) = named(args)?;
    let moved = app.move_model_version(name, version, stage, archive_others).await;
    Ok(shown(&moved.map_err(or_not_found(name, version))?))
}

pub(super) async fn delete(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, version) = named(args)?;
    app.delete_model_version(name, version).await.map_err(or_not_found(name, version))?;
    Ok(json!({}))
}

pub(crate) async fn download_uri(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let name = args.text("name")?.unwrap_or_default();
    names::check_model(name, "name")?;
    let version = find(app, name, names::version(args.text("version")?.unwrap_or_default())?).await?;
    Ok(json!({"artifact_uri": version.location}))
}

pub(super) async fn set_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (given, key) = (args.required("version")?, args.required("key")?);
    let value = args.text("value")?.unwrap_or_default();
    let (name, version) = named(args)?;
    names::check_version_tag(key, value)?;
    let told = |of: &(RegisteredModel, ModelVersion)| events::version_tagged(&of.0, given, key, Some(value));
    let tagged = app.tag_model_version(name, version, (key, Some(value)), &told).await;
    tagged.map_err(or_not_found(name, version))?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (given, key) = (args.required("version")?, args.required("key")?);
    let (name, version) = named(args)?;
    crate::mlflow::names::check(key, || "key".to_owned())?;
    let told = |of: &(RegisteredModel, ModelVersion)| events::version_tagged(&of.0, given, key, None);
    app.tag_model_version(name, version, (key, None), &told).await.map_err(or_not_found(name, version))?;
    Ok(json!({}))
}
