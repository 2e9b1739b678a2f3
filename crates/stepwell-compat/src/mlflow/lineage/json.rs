//! Datasets, logged models and links of runs as MLflow shows them. Times are milliseconds.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwell_app::{DatasetInput, LoggedModel, LoggedModelStatus, ModelMetric, RunLinks};

use crate::mlflow::args::float_json;

/// `inputs` of a run.
pub(crate) fn run_inputs(links: &RunLinks) -> Value {
    let models: Vec<Value> = links.model_inputs.iter().map(|model_id| json!({"model_id": model_id})).collect();
    json!({
        "dataset_inputs": links.datasets.iter().map(dataset_input).collect::<Vec<_>>(),
        "model_inputs": models,
    })
}

/// `outputs` of a run.
pub(crate) fn run_outputs(links: &RunLinks) -> Value {
    let models = links.model_outputs.iter().map(|model| json!({"model_id": model.model_id, "step": model.step}));
    json!({"model_outputs": models.collect::<Vec<_>>()})
}

fn dataset_input(input: &DatasetInput) -> Value {
    let dataset = &input.dataset;
    let mut shown = json!({
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
    });
    for (name, value) in [("schema", &dataset.schema), ("profile", &dataset.profile)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            shown[name] = Value::from(value);
        }
    }
    json!({"tags": pairs(&input.tags), "dataset": shown})
}

/// A logged model.
pub(super) fn model(model: &LoggedModel) -> Value {
    let mut info = json!({
        "experiment_id": model.project_id,
        "model_id": model.model_id,
        "name": model.name,
        "artifact_uri": model.location,
        "creation_timestamp_ms": model.created_at_us.div_euclid(1_000),
        "last_updated_timestamp_ms": model.updated_at_us.div_euclid(1_000),
        "model_type": model.kind.as_deref().unwrap_or_default(),
        "source_run_id": model.source_run_id.as_deref().unwrap_or_default(),
        "status": status_text(model.status),
    });
    info["tags"] = Value::from(pairs(&model.tags));
    let metrics: Vec<Value> = model.metrics.iter().map(metric).collect();
    json!({"info": info, "data": {"params": pairs(&model.params), "metrics": metrics}})
}

fn metric(metric: &ModelMetric) -> Value {
    let mut shown = json!({
        "key": metric.metric,
        "value": float_json(metric.value),
        "timestamp": metric.timestamp_us.div_euclid(1_000),
        "step": metric.step,
        "model_id": metric.model_id,
        "run_id": metric.run_id,
    });
    for (name, value) in [("dataset_name", &metric.dataset_name), ("dataset_digest", &metric.dataset_digest)] {
        if let Some(value) = value {
            shown[name] = Value::from(value.as_str());
        }
    }
    shown
}

/// MLflow's word for a status.
pub(super) fn status_text(status: LoggedModelStatus) -> &'static str {
    match status {
        LoggedModelStatus::Unspecified => "LOGGED_MODEL_STATUS_UNSPECIFIED",
        LoggedModelStatus::Pending => "LOGGED_MODEL_PENDING",
        LoggedModelStatus::Ready => "LOGGED_MODEL_READY",
        LoggedModelStatus::Failed => "LOGGED_MODEL_UPLOAD_FAILED",
    }
}

fn pairs(pairs: &BTreeMap<String, String>) -> Vec<Value> {
    pairs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}
