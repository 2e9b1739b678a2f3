//! What is told of a trace, in the words of MLflow 3 and of MLflow 2.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Value, json};
use stepwell_app::{Trace, tree_bytes};

use super::time;
use crate::mlflow::{Charge, args::Args, failure::Failure};

/// The tag that says where spans are.
pub(super) const ARTIFACT_LOCATION: &str = "mlflow.artifactLocation";
const STATES: [&str; 4] = ["STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"];

/// A state, also by its number, as older clients send it.
pub(super) fn state(text: &str) -> Result<String, Failure> {
    let text = if text == "TRACE_STATUS_UNSPECIFIED" { STATES[0] } else { text };
    let known = STATES.contains(&text);
    if known { Ok(text.to_owned()) } else { Err(Failure::invalid(format!("Invalid state of a trace: '{text}'."))) }
}

/// Reads what a client of MLflow 3 sends. Spans elsewhere than here are not known to this server, and neither is their place.
pub(super) fn from_v3(info: &Args<'_>, charge: Charge<'_>) -> Result<Trace, Failure> {
    let location = info.object("trace_location")?.unwrap_or_default();
    let experiment = location.object("mlflow_experiment")?.unwrap_or_default();
    let assessments = info.list("assessments")?;
    // Of which this is another copy.
    charge(assessments.iter().map(|assessment| size_of::<Value>() + tree_bytes(assessment)).sum())?;
    Ok(Trace {
        trace_id: info.required("trace_id")?.to_owned(),
        project_id: experiment.required("experiment_id")?.to_owned(),
        started_at_us: time::timestamp(info, "request_time")?.unwrap_or(0),
        duration_us: time::duration(info, "execution_duration")?,
        state: state(info.text("state")?.unwrap_or(STATES[0]))?,
        client_request_id: info.text("client_request_id")?.map(ToOwned::to_owned),
        request_preview: info.text("request_preview")?.map(ToOwned::to_owned),
        response_preview: info.text("response_preview")?.map(ToOwned::to_owned),
        metadata: texts(info, "trace_metadata")?,
        tags: texts(info, "tags")?,
        assessments: assessments.to_vec(),
        linked_runs: Vec::new(),
    })
}

fn texts(info: &Args<'_>, name: &str) -> Result<BTreeMap<String, String>, Failure> {
    let Some(value) = info.value(name) else { return Ok(BTreeMap::new()) };
    let invalid =
        |_| Failure::invalid(format!("Invalid value for parameter '{name}' supplied: it must map texts to texts."));
    BTreeMap::deserialize(value).map_err(invalid)
}

/// As MLflow 3 has it.
pub(super) fn v3(trace: Trace) -> Value {
    let mut info = json!({
        "trace_id": trace.trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": trace.project_id}},
        "request_time": time::shown(trace.started_at_us),
        "state": trace.state,
        "trace_metadata": trace.metadata,
        "tags": trace.tags,
    });
    let optional = [
        ("client_request_id", &trace.client_request_id),
        ("request_preview", &trace.request_preview),
        ("response_preview", &trace.response_preview),
    ];
    for (name, text) in optional {
        if let Some(text) = text {
            info[name] = json!(text);
        }
    }
    if let Some(duration_us) = trace.duration_us {
        info["execution_duration"] = json!(time::shown_duration(duration_us));
    }
    if !trace.assessments.is_empty() {
        info["assessments"] = Value::from(trace.assessments);
    }
    info
}

/// As MLflow 2 has it.
pub(super) fn v2(trace: Trace) -> Value {
    let pairs = |texts: &BTreeMap<String, String>| -> Vec<Value> {
        texts.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
    };
    let status = if trace.state == STATES[0] { "TRACE_STATUS_UNSPECIFIED" } else { &trace.state };
    let mut info = json!({
        "request_id": trace.trace_id,
        "experiment_id": trace.project_id,
        "timestamp_ms": trace.started_at_us.div_euclid(1_000),
        "status": status,
        "request_metadata": pairs(&trace.metadata),
        "tags": pairs(&trace.tags),
    });
    if let Some(duration_us) = trace.duration_us {
        info["execution_time_ms"] = json!(duration_us.div_euclid(1_000));
    }
    info
}
