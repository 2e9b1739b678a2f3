//! Logged models: their making, state, params and tags.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};
use stepwell_app::{App, AppError, ErrorCode, LoggedModel, LoggedModelStatus, ModelMetric, NewLoggedModel, Reader};

use super::json;
use crate::mlflow::{
    args::{Args, invalid_value, missing},
    artifacts::listed,
    batch::Metric,
    experiments,
    failure::{Failure, Kind},
    python,
    runs::micros,
    text::Text,
};

/// MLflow's words for a logged model that is not there.
fn not_found(id: &str) -> Failure {
    Failure::absent(format!("Logged model with ID '{id}' not found."))
}

fn or_not_found(id: &str) -> impl Fn(AppError) -> Failure + '_ {
    move |error| match error.code {
        ErrorCode::LoggedModelNotFound => not_found(id),
        _ => error.into(),
    }
}

fn shown(model: &LoggedModel) -> Value {
    json!({"model": json::model(model)})
}

pub(super) async fn create(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let experiment_id = args.required("experiment_id")?;
    let name = args.given("name")?;
    let params: BTreeMap<String, String> = args.pairs("params")?.into_iter().collect();
    let tags: BTreeMap<String, String> = args.pairs("tags")?.into_iter().collect();
    if let Some(name) = name.as_deref().filter(|name| name.contains(['/', ':', '.', '%', '"', '\''])) {
        return Err(Failure::invalid(format!(
            "Invalid model name ({}) provided. Model name must be a non-empty string and cannot contain the following characters: \
             ('/', ':', '.', '%', '\"', \"'\")",
            python::text(name)
        )));
    }
    let project = experiments::by_id(app, experiment_id).await?;
    experiments::check_is_active(&project)?;
    let model_id = app.new_model_id();
    let root = experiments::artifact_location(&project);
    let (path, query) = root.find('?').map_or((root.as_str(), ""), |at| root.split_at(at));
    let new = NewLoggedModel {
        location: format!("{}/models/{model_id}/artifacts{query}", path.trim_end_matches('/')),
        model_id,
        project_id: project.project_id,
        name: name.unwrap_or_else(|| app.new_run_name()),
        kind: args.given("model_type")?,
        source_run_id: args.given("source_run_id")?,
        params,
        tags,
    };
    Ok(shown(&app.create_logged_model(&new).await?))
}

pub(super) async fn get(app: &App, id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let allow_deleted = args.text("allow_deleted")?.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    match app.logged_model(id).await? {
        Some(model) if allow_deleted || !model.is_deleted => Ok(shown(&model)),
        _ => Err(not_found(id)),
    }
}

/// The list of a directory of a model's artifacts.
pub(super) async fn artifacts(app: &App, id: &str, args: &Args<'_>, reader: &Reader) -> Result<Text, Failure> {
    let model = app.logged_model(id).await?.filter(|model| !model.is_deleted).ok_or_else(|| not_found(id))?;
    listed(app, reader, &model.location, args.text("artifact_directory_path")?).await
}

pub(super) async fn finalize(app: &App, id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let status = args.value("status").ok_or_else(|| missing("status"))?;
    let status = match (status.as_str(), status.as_i64()) {
        (Some("LOGGED_MODEL_STATUS_UNSPECIFIED"), _) | (_, Some(0)) => LoggedModelStatus::Unspecified,
        (Some("LOGGED_MODEL_PENDING"), _) | (_, Some(1)) => LoggedModelStatus::Pending,
        (Some("LOGGED_MODEL_READY"), _) | (_, Some(2)) => LoggedModelStatus::Ready,
        (Some("LOGGED_MODEL_UPLOAD_FAILED"), _) | (_, Some(3)) => LoggedModelStatus::Failed,
        _ => return Err(invalid_value("status", status)),
    };
    Ok(shown(&app.set_logged_model_status(id, status).await.map_err(or_not_found(id))?))
}

pub(super) async fn delete(app: &App, id: &str) -> Result<Value, Failure> {
    app.delete_logged_model(id).await.map_err(or_not_found(id))?;
    Ok(json!({}))
}

pub(super) async fn set_tags(app: &App, id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let tags: BTreeMap<String, String> = args.pairs("tags")?.into_iter().collect();
    app.tag_logged_model(id, &tags).await.map_err(or_not_found(id))?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(app: &App, id: &str, key: &str) -> Result<Value, Failure> {
    match app.untag_logged_model(id, key).await.map_err(or_not_found(id))? {
        true => Ok(json!({})),
        false => {
            let (key, id) = (python::text(key), python::text(id));
            Err(Failure::absent(format!("No tag with key {key} found for model with ID {id}.")))
        }
    }
}

pub(super) async fn log_params(app: &App, id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let params: BTreeMap<String, String> = args.pairs("params")?.into_iter().collect();
    app.add_logged_model_params(id, &params).await.map_err(|error| match error.code {
        ErrorCode::ParamConflict => Failure::new(Kind::BadRequest, error.message),
        _ => or_not_found(id)(error),
    })?;
    Ok(json!({}))
}

/// Notes which of the points that a run logged measure a model; the points are logged already.
pub(crate) async fn log_model_metrics(app: &App, run_id: &str, metrics: &[Metric<'_>]) -> Result<(), Failure> {
    let owned = |text: &Option<Cow<'_, str>>| text.as_deref().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let mut measured = Vec::new();
    for metric in metrics {
        let Some(model_id) = owned(&metric.model_id) else { continue };
        measured.push(ModelMetric {
            model_id,
            metric: metric.key.to_string(),
            timestamp_us: micros("timestamp", metric.timestamp)?,
            step: metric.step,
            run_id: run_id.to_owned(),
            value: metric.value,
            dataset_name: owned(&metric.dataset_name),
            dataset_digest: owned(&metric.dataset_digest),
        });
    }
    if measured.is_empty() {
        return Ok(());
    }
    app.add_model_metrics(&measured).await.map_err(|error| match error.code {
        ErrorCode::LoggedModelNotFound => Failure::absent(format!("{}.", error.message)),
        _ => error.into(),
    })
}
