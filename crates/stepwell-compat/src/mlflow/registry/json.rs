//! Registered models and versions as MLflow shows them. Times are milliseconds.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwell_app::{ModelVersion, RegisteredModel};

use super::names::stage_text;

/// A registered model with the newest version of each stage. `last_version` is no member of MLflow's, whose clients pass it over: imports
/// go by it, since no number is given twice.
pub(super) fn model(model: &RegisteredModel, newest: &[ModelVersion]) -> Value {
    let aliases: Vec<Value> =
        model.aliases.iter().map(|(alias, version)| json!({"alias": alias, "version": version.to_string()})).collect();
    let mut shown = json!({
        "name": model.name,
        "creation_timestamp": model.created_at_us.div_euclid(1_000),
        "last_updated_timestamp": model.updated_at_us.div_euclid(1_000),
        "latest_versions": newest.iter().map(|newest| version(newest, false)).collect::<Vec<_>>(),
        "tags": tags(&model.tags),
        "aliases": aliases,
        "last_version": model.last_version,
    });
    if let Some(description) = model.description.as_deref().filter(|description| !description.is_empty()) {
        shown["description"] = Value::from(description);
    }
    shown
}

/// A version. In lists MLflow does not say which aliases name it.
pub(super) fn version(version: &ModelVersion, with_aliases: bool) -> Value {
    let aliases: &[String] = if with_aliases { &version.aliases } else { &[] };
    let mut shown = json!({
        "name": version.name,
        "version": version.version.to_string(),
        "creation_timestamp": version.created_at_us.div_euclid(1_000),
        "last_updated_timestamp": version.updated_at_us.div_euclid(1_000),
        "current_stage": stage_text(version.stage),
        "source": version.source,
        "run_id": version.run_id.as_deref().unwrap_or_default(),
        "run_link": version.run_link.as_deref().unwrap_or_default(),
        "status": "READY",
        "tags": tags(&version.tags),
        "aliases": aliases,
    });
    if let Some(description) = &version.description {
        shown["description"] = Value::from(description.as_str());
    }
    shown
}

fn tags(tags: &BTreeMap<String, String>) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}
