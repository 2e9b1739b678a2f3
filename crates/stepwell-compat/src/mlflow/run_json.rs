//! A run as MLflow shows it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use stepwell_app::{LatestMetric, Project, Run, RunStatus, run_part};

use super::{args::float_json, experiments::artifact_location, params, tags};

/// What a segment of a path may have as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A run with its latest metrics, in its project.
pub(crate) fn run_json(run: &Run, project: &Project, metrics: &[LatestMetric]) -> Value {
    let metrics: Vec<Value> = metrics.iter().map(metric_json).collect();
    let params: Vec<Value> =
        run.params.iter().map(|(key, value)| json!({"key": key, "value": params::text(value)})).collect();
    let tags: Vec<Value> = tags::shown(run).iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let mut data = Map::new();
    for (name, list) in [("metrics", metrics), ("params", params), ("tags", tags)] {
        // As in protocol buffers: an empty list is not there.
        if !list.is_empty() {
            data.insert(name.to_owned(), Value::Array(list));
        }
    }
    json!({"info": run_info_json(run, project), "data": data, "inputs": {}})
}

/// What a run is, without what it logged.
pub(crate) fn run_info_json(run: &Run, project: &Project) -> Value {
    let mut info = json!({
        "run_id": run.run_id,
        "run_uuid": run.run_id,
        "run_name": run.name.as_deref().or(run.tags.get(tags::RUN_NAME).map(String::as_str)).unwrap_or_default(),
        "experiment_id": run.project_id,
        "user_id": run.user_name.as_deref().unwrap_or_default(),
        "status": status_text(run.status),
        "start_time": run.started_at_us.div_euclid(1_000),
        "artifact_uri": run_artifact_uri(project, &run.run_id),
        "lifecycle_stage": lifecycle_stage(run.deleted_at_us),
    });
    if let Some(ended_at_us) = run.ended_at_us {
        info["end_time"] = Value::from(ended_at_us.div_euclid(1_000));
    }
    info
}

/// Where artifacts of a run go: below those of its project.
pub(crate) fn run_artifact_uri(project: &Project, run_id: &str) -> String {
    artifacts_uri_below(project, &url_part(run_id))
}

/// An id as one part of a URI.
pub(crate) fn url_part(id: &str) -> String {
    utf8_percent_encode(&run_part(id), &PLAIN).to_string()
}

/// Where artifacts of a part of a project go.
pub(crate) fn artifacts_uri_below(project: &Project, part: &str) -> String {
    let location = artifact_location(project);
    let (path, query) = match location.find('?') {
        Some(at) => location.split_at(at),
        None => (location.as_str(), ""),
    };
    format!("{}/{part}/artifacts{query}", path.trim_end_matches('/'))
}

/// `active` or `deleted`.
pub(crate) fn lifecycle_stage(deleted_at_us: Option<i64>) -> &'static str {
    if deleted_at_us.is_some() { "deleted" } else { "active" }
}

/// MLflow's word for a status.
pub(crate) fn status_text(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Scheduled => "SCHEDULED",
        RunStatus::Running => "RUNNING",
        RunStatus::Finished => "FINISHED",
        RunStatus::Failed => "FAILED",
        RunStatus::Killed => "KILLED",
    }
}

fn metric_json(metric: &LatestMetric) -> Value {
    json!({
        "key": metric.metric.as_ref(),
        "value": float_json(metric.value),
        "timestamp": metric.timestamp_us.div_euclid(1_000),
        "step": metric.step,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_of_a_run_are_below_those_of_its_project_whatever_its_id() {
        let project = |location: Option<&str>| Project {
            project_id: "7".into(),
            name: "p".into(),
            created_at_us: 0,
            updated_at_us: 0,
            deleted_at_us: None,
            retention_us: None,
            artifact_location: location.map(ToOwned::to_owned),
            tags: Default::default(),
        };
        assert_eq!(run_artifact_uri(&project(None), "a1"), "mlflow-artifacts:/7/a1/artifacts");
        assert_eq!(run_artifact_uri(&project(Some("s3://b/p/?x=1")), "a1"), "s3://b/p/a1/artifacts?x=1");
        assert_eq!(run_artifact_uri(&project(None), "../x"), "mlflow-artifacts:/7/~2e.~2fx/artifacts");
        assert_eq!(run_artifact_uri(&project(None), ".."), "mlflow-artifacts:/7/~2e./artifacts");
    }
}
