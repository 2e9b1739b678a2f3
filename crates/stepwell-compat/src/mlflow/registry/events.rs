//! What MLflow's webhooks are told of changes of the registry, and the examples they are tried with.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwell_app::{Announcement, ModelVersion, RegisteredModel};

use super::names::{IS_PROMPT, PROMPT_TEXT, PROMPT_TYPE, is_prompt};

type Tags = BTreeMap<String, String>;

fn told(event: &'static str, data: Value) -> Option<Announcement> {
    Some(Announcement { event, data })
}

/// One event for models, another for prompts.
fn of(model: &RegisteredModel, for_model: &'static str, for_prompt: &'static str, data: Value) -> Option<Announcement> {
    told(if is_prompt(&model.tags) { for_prompt } else { for_model }, data)
}

pub(super) fn model_created(model: &RegisteredModel) -> Option<Announcement> {
    let description = model.description.as_deref().unwrap_or_default();
    let tags = |is_shown: &dyn Fn(&str) -> bool| -> Tags {
        let shown = model.tags.iter().filter(|(key, _)| is_shown(key));
        shown.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (event, tags) = match is_prompt(&model.tags) {
        true => ("prompt.created", tags(&|key| key != IS_PROMPT && key != PROMPT_TYPE)),
        false => ("registered_model.created", tags(&|_| true)),
    };
    told(event, json!({"name": model.name, "tags": tags, "description": description}))
}

/// Of the tags of registered models only those of prompts are told.
pub(super) fn model_tagged(model: &RegisteredModel, key: &str, value: Option<&str>) -> Option<Announcement> {
    let name = &model.name;
    match (is_prompt(&model.tags), value) {
        (false, _) => None,
        (true, Some(value)) => told("prompt_tag.set", json!({"name": name, "key": key, "value": value})),
        (true, None) => told("prompt_tag.deleted", json!({"name": name, "key": key})),
    }
}

/// `version` is as the request has it.
pub(super) fn alias_changed(model: &RegisteredModel, alias: &str, version: Option<&str>) -> Option<Announcement> {
    let name = &model.name;
    match version {
        Some(version) => {
            let data = json!({"name": name, "alias": alias, "version": version});
            of(model, "model_version_alias.created", "prompt_alias.created", data)
        }
        None => {
            let data = json!({"name": name, "alias": alias});
            of(model, "model_version_alias.deleted", "prompt_alias.deleted", data)
        }
    }
}

pub(super) fn version_created(version: &ModelVersion) -> Option<Announcement> {
    let number = version.version.to_string();
    let description = version.description.as_deref().filter(|description| !description.is_empty());
    if !is_prompt(&version.tags) {
        let data = json!({
            "name": version.name,
            "version": number,
            "source": version.source,
            "run_id": version.run_id,
            "tags": version.tags,
            "description": description,
        });
        return told("model_version.created", data);
    }
    let own = |key: &&String| ![IS_PROMPT, PROMPT_TYPE, PROMPT_TEXT].contains(&key.as_str());
    let tags: BTreeMap<&String, &String> = version.tags.iter().filter(|(key, _)| own(key)).collect();
    let data = json!({
        "name": version.name,
        "version": number,
        "template": version.tags.get(PROMPT_TEXT),
        "tags": tags,
        "description": description,
    });
    told("prompt_version.created", data)
}

/// `version` is as the request has it.
pub(super) fn version_tagged(
    model: &RegisteredModel,
    version: &str,
    key: &str,
    value: Option<&str>,
) -> Option<Announcement> {
    let name = &model.name;
    match value {
        Some(value) => {
            let data = json!({"name": name, "version": version, "key": key, "value": value});
            of(model, "model_version_tag.set", "prompt_version_tag.set", data)
        }
        None => {
            let data = json!({"name": name, "version": version, "key": key});
            of(model, "model_version_tag.deleted", "prompt_version_tag.deleted", data)
        }
    }
}

/// What a webhook is tried with.
pub(crate) fn example(event: &str) -> Value {
    let (entity, action) = event.split_once('.').unwrap_or((event, ""));
    let name = if entity.starts_with("prompt") { "example_prompt" } else { "example_model" };
    let tags = json!({"example_key": "example_value"});
    match (entity, action) {
        ("registered_model", _) => {
            json!({"name": name, "tags": tags, "description": "An example registered model"})
        }
        ("model_version", _) => json!({
            "name": name,
            "version": "1",
            "source": "models:/123",
            "run_id": "abcd1234abcd5678",
            "tags": tags,
            "description": "An example model version",
        }),
        ("prompt", _) => json!({"name": name, "tags": tags, "description": "An example prompt"}),
        ("prompt_version", _) => json!({
            "name": name,
            "version": "1",
            "template": "Hello {{name}}!",
            "tags": tags,
            "description": "An example prompt version",
        }),
        ("model_version_alias" | "prompt_alias", "created") => {
            json!({"name": name, "alias": "example_alias", "version": "1"})
        }
        ("model_version_alias" | "prompt_alias", _) => json!({"name": name, "alias": "example_alias"}),
        ("prompt_tag", "set") => json!({"name": name, "key": "example_key", "value": "example_value"}),
        ("prompt_tag", _) => json!({"name": name, "key": "example_key"}),
        ("budget_policy", _) => json!({
            "budget_policy_id": "bp-abc123",
            "budget_unit": "USD",
            "budget_amount": 100.0,
            "current_spend": 105.5,
            "duration_unit": "MONTHS",
            "duration_value": 1,
            "target_scope": "ENDPOINT",
            "workspace": "default",
            "target_value": "ep-abc123",
            "window_start": 1_704_067_200_000_i64,
        }),
        (_, "set") => json!({"name": name, "version": "1", "key": "example_key", "value": "example_value"}),
        _ => json!({"name": name, "version": "1", "key": "example_key"}),
    }
}
