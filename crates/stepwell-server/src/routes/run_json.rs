//! Runs as JSON, both ways.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use stepwell_app::{ForkPoint, ParamValue};
use stepwell_types::format_utc_us;
use utoipa::ToSchema;

use crate::{fields::Fields, json_float::JsonFloat, problem::Problem};

/// One execution that reports.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Run {
    run_id: String,
    project_id: String,
    name: Option<String>,
    status: Status,
    /// RFC 3339, UTC.
    started_at: String,
    ended_at: Option<String>,
    created_at: String,
    /// Inputs: booleans, integers, floats (NaN, Infinity and -Infinity as text), texts, or any JSON.
    params: Map<String, Value>,
    tags: BTreeMap<String, String>,
    /// Who started it.
    user_name: Option<String>,
    notes: Option<String>,
    git_commit: Option<String>,
    dataset_version: Option<String>,
    environment: Option<Value>,
    parent_run_id: Option<String>,
    forked_from: Option<Fork>,
}

/// Where a run stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Made, but not begun.
    Scheduled,
    Running,
    Finished,
    Failed,
    Killed,
}

/// The run that another continues, and the last step it takes over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fork {
    run_id: String,
    step: i64,
}

/// One page of runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Runs {
    pub(super) runs: Vec<Run>,
    /// For the parameter of the same name; null on the last page.
    pub(super) next_page_token: Option<String>,
}

/// A run to be created.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read member by member")]
pub(crate) struct CreateRun {
    /// Name of the project, which is created if absent.
    project: String,
    /// 1 to 768 bytes of UTF-8 without control characters; made (UUIDv7) if absent.
    run_id: Option<String>,
    name: Option<String>,
    params: Option<Map<String, Value>>,
    tags: Option<BTreeMap<String, String>>,
    /// Who starts it.
    user_name: Option<String>,
    notes: Option<String>,
    git_commit: Option<String>,
    dataset_version: Option<String>,
    environment: Option<Value>,
    /// Microseconds since 1970 UTC, or RFC 3339 text; now if absent.
    started_at: Option<i64>,
    parent_run_id: Option<String>,
    forked_from: Option<Fork>,
}

/// A change of a run. Absent members stay as they are.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read member by member")]
pub(crate) struct UpdateRun {
    status: Option<Status>,
    /// Microseconds since 1970 UTC, or RFC 3339 text.
    ended_at: Option<i64>,
    name: Option<String>,
    /// Params to be added; one that is set already may be given again with the same value only.
    params: Option<Map<String, Value>>,
    /// Tags to be set; null deletes one.
    tags: Option<BTreeMap<String, Option<String>>>,
    notes: Option<String>,
}

/// The members of [`CreateRun`].
pub(super) const CREATE_FIELDS: [&str; 13] = [
    "project",
    "run_id",
    "name",
    "params",
    "tags",
    "user_name",
    "notes",
    "git_commit",
    "dataset_version",
    "environment",
    "started_at",
    "parent_run_id",
    "forked_from",
];
/// The members of [`UpdateRun`].
pub(super) const UPDATE_FIELDS: [&str; 6] = ["status", "ended_at", "name", "params", "tags", "notes"];

impl From<stepwell_app::Run> for Run {
    fn from(run: stepwell_app::Run) -> Self {
        let status = match run.status {
            stepwell_app::RunStatus::Scheduled => Status::Scheduled,
            stepwell_app::RunStatus::Running => Status::Running,
            stepwell_app::RunStatus::Finished => Status::Finished,
            stepwell_app::RunStatus::Failed => Status::Failed,
            stepwell_app::RunStatus::Killed => Status::Killed,
        };
        Self {
            run_id: run.run_id,
            project_id: run.project_id,
            name: run.name,
            status,
            started_at: format_utc_us(run.started_at_us),
            ended_at: run.ended_at_us.map(format_utc_us),
            created_at: format_utc_us(run.created_at_us),
            params: run.params.into_iter().map(|(key, value)| (key, param_to_json(value))).collect(),
            tags: run.tags,
            user_name: run.user_name,
            notes: run.notes,
            git_commit: run.git_commit,
            dataset_version: run.dataset_version,
            environment: run.environment,
            parent_run_id: run.parent_run_id,
            forked_from: run.forked_from.map(|fork| Fork { run_id: fork.run_id, step: fork.step }),
        }
    }
}

fn param_to_json(value: ParamValue) -> Value {
    match value {
        ParamValue::Bool(value) => Value::Bool(value),
        ParamValue::Int(value) => Value::from(value),
        ParamValue::Float(value) => serde_json::to_value(JsonFloat(value)).unwrap_or(Value::Null),
        ParamValue::String(value) => Value::String(value),
        ParamValue::Json(value) => value,
    }
}

/// The member `params`: the type of each follows from its JSON.
pub(super) fn params(fields: &mut Fields) -> Result<BTreeMap<String, ParamValue>, Problem> {
    let given: Map<String, Value> = fields.optional("params")?.unwrap_or_default();
    given.into_iter().map(|(key, value)| Ok((key.clone(), param_from_json(&key, value)?))).collect()
}

fn param_from_json(key: &str, value: Value) -> Result<ParamValue, Problem> {
    Ok(match value {
        Value::Null => {
            let detail = format!("the param {key:?} is null: leave it out, or give it a value");
            return Err(
                Problem::new(axum::http::StatusCode::BAD_REQUEST, "null_value", detail).field(format!("params.{key}"))
            );
        }
        Value::Bool(value) => ParamValue::Bool(value),
        Value::String(value) => ParamValue::String(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => ParamValue::Int(value),
            // Integers beyond i64, such as unsigned seeds, keep their digits.
            (None, Some(value)) if number.is_f64() => ParamValue::Float(value),
            _ => ParamValue::Json(Value::Number(number)),
        },
        value => ParamValue::Json(value),
    })
}

/// The member `forked_from`.
pub(super) fn forked_from(fields: &mut Fields) -> Result<Option<ForkPoint>, Problem> {
    let Some(value) = fields.value("forked_from").filter(|value| !value.is_null()) else { return Ok(None) };
    let mut fork = Fields::of("forked_from", value, &["run_id", "step"])?;
    Ok(Some(ForkPoint { run_id: fork.required("run_id")?, step: fork.required("step")? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_are_typed_by_their_json() {
        let body = br#"{"params":{"b":true,"i":1,"f":1.0,"z":-0.0,"s":"NaN","o":{"a":[1]},"u":18446744073709551615}}"#;
        let mut fields = Fields::read(body, &["params"]).unwrap();
        let params = params(&mut fields).unwrap();
        assert_eq!(params["b"], ParamValue::Bool(true));
        assert_eq!(params["i"], ParamValue::Int(1));
        assert_eq!(params["f"], ParamValue::Float(1.0));
        assert!(matches!(params["z"], ParamValue::Float(z) if z.is_sign_negative()));
        assert_eq!(params["s"], ParamValue::String("NaN".into()));
        assert!(matches!(&params["o"], ParamValue::Json(Value::Object(_))));
        assert_eq!(param_to_json(params["u"].clone()).to_string(), "18446744073709551615");
        assert_eq!(param_to_json(ParamValue::Float(f64::NAN)), Value::from("NaN"));
    }
}
