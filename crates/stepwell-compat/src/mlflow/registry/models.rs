//! Registered models.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwell_app::{App, AppError, ErrorCode, RegisteredModel};

use super::{
    events, json,
    names::{self, IS_PROMPT},
};
use crate::mlflow::{
    args::{Args, list_json},
    failure::Failure,
    python,
};

/// MLflow's words for a registered model that is not there.
pub(super) fn not_found(name: &str) -> Failure {
    Failure::absent(format!("Registered Model with name={name} not found"))
}

/// The same, if that is what an error says.
fn or_not_found(name: &str) -> impl Fn(AppError) -> Failure + '_ {
    move |error| match error.code {
        ErrorCode::RegisteredModelNotFound => not_found(name),
        _ => error.into(),
    }
}

/// The registered model of that name.
pub(super) async fn find(app: &App, name: &str) -> Result<RegisteredModel, Failure> {
    names::check_model(name, "name")?;
    app.registered_model(name).await?.ok_or_else(|| not_found(name))
}

/// A registered model as MLflow shows it.
async fn shown(app: &App, model: &RegisteredModel) -> Result<Value, Failure> {
    let newest = app.newest_versions(std::slice::from_ref(&model.name)).await?.remove(&model.name);
    Ok(json!({"registered_model": json::model(model, &newest.unwrap_or_default())}))
}

pub(super) async fn create(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let name = args.required("name")?;
    let tags: BTreeMap<String, String> = args.pairs("tags")?.into_iter().collect();
    let description = args.text("description")?.unwrap_or_default();
    names::check_model(name, "name")?;
    tags.iter().try_for_each(|(key, value)| names::check_model_tag(key, value))?;
    match app.create_registered_model(name, Some(description), &tags, &events::model_created).await {
        Ok(model) => Ok(json!({"registered_model": json::model(&model, &[])})),
        Err(error) if error.code == ErrorCode::RegisteredModelExists => {
            let is_old_prompt =
                app.registered_model(name).await?.is_some_and(|model| model.tags.contains_key(IS_PROMPT));
            Err(taken(name, is_old_prompt, tags.contains_key(IS_PROMPT)))
        }
        Err(error) => Err(error.into()),
    }
}

fn taken(name: &str, is_old_prompt: bool, is_new_prompt: bool) -> Failure {
    if is_old_prompt == is_new_prompt {
        let what = if is_new_prompt { "Prompt" } else { "Registered Model" };
        return Failure::exists(format!("{what} (name={name}) already exists."));
    }
    let what = |is_prompt| if is_prompt { "prompt" } else { "registered model" };
    Failure::exists(format!(
        "Tried to create a {} with name {}, but the name is already taken by a {}. MLflow does not allow creating a model and a \
         prompt with the same name.",
        what(is_new_prompt),
        python::text(name),
        what(is_old_prompt)
    ))
}

pub(super) async fn get(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let model = find(app, args.required("name")?).await?;
    shown(app, &model).await
}

pub(super) async fn update(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let name = args.required("name")?;
    let description = args.text("description")?.unwrap_or_default();
    names::check_model(name, "name")?;
    let model = app.describe_registered_model(name, Some(description)).await.map_err(or_not_found(name))?;
    shown(app, &model).await
}

pub(super) async fn rename(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, new_name) = (args.required("name")?, args.required("new_name")?);
    names::check_model(new_name, "new_name")?;
    names::check_model(name, "name")?;
    match app.rename_registered_model(name, new_name).await {
        Ok(model) => shown(app, &model).await,
        Err(error) if error.code == ErrorCode::RegisteredModelExists => {
            Err(Failure::exists(format!("Registered Model (name={new_name}) already exists.")))
        }
        Err(error) => Err(or_not_found(name)(error)),
    }
}

pub(super) async fn delete(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let name = args.required("name")?;
    names::check_model(name, "name")?;
    app.delete_registered_model(name).await.map_err(or_not_found(name))?;
    Ok(json!({}))
}

pub(super) async fn latest_versions(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, stages) = (args.required("name")?, args.texts("stages")?);
    let model = find(app, name).await?;
    let stages = stages.into_iter().map(names::stage).collect::<Result<Vec<_>, _>>()?;
    let newest = app.newest_versions(std::slice::from_ref(&model.name)).await?.remove(name).unwrap_or_default();
    let wanted = newest.iter().filter(|version| stages.is_empty() || stages.contains(&version.stage));
    Ok(list_json("model_versions", wanted.map(|version| json::version(version, true)).collect(), None))
}

pub(super) async fn set_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, key) = (args.required("name")?, args.required("key")?);
    let value = args.text("value")?.unwrap_or_default();
    names::check_model(name, "name")?;
    names::check_model_tag(key, value)?;
    let told = |model: &RegisteredModel| events::model_tagged(model, key, Some(value));
    app.tag_registered_model(name, key, Some(value), &told).await.map_err(or_not_found(name))?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, key) = (args.required("name")?, args.required("key")?);
    names::check_model(name, "name")?;
    crate::mlflow::names::check(key, || "key".to_owned())?;
    let told = |model: &RegisteredModel| events::model_tagged(model, key, None);
    app.tag_registered_model(name, key, None, &told).await.map_err(or_not_found(name))?;
    Ok(json!({}))
}

pub(super) async fn set_alias(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, alias, given) = (args.required("name")?, args.required("alias")?, args.required("version")?);
    names::check_model(name, "name")?;
    names::check_alias(alias)?;
    names::check_alias_is_free(alias)?;
    let version = names::version(given)?;
    let told = |model: &RegisteredModel| events::alias_changed(model, alias, Some(given));
    app.set_model_alias(name, alias, Some(version), &told).await.map_err(|error| match error.code {
        ErrorCode::ModelVersionNotFound => super::versions::not_found(name, version),
        _ => or_not_found(name)(error),
    })?;
    Ok(json!({}))
}

pub(super) async fn delete_alias(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, alias) = (args.required("name")?, args.required("alias")?);
    names::check_model(name, "name")?;
    names::check_alias(alias)?;
    let told = |model: &RegisteredModel| events::alias_changed(model, alias, None);
    app.set_model_alias(name, alias, None, &told).await.map_err(or_not_found(name))?;
    Ok(json!({}))
}
