//! A run as MLflow shows it, written without a tree of values: a page may have many, with many metrics each.

use std::{borrow::Cow, collections::BTreeMap};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use stepwell_app::{LatestMetric, ParamValue, Project, Run, RunLinks, RunStatus, run_part};

use super::{args::write_float, experiments::artifact_location, lineage, params, tags};

/// What a segment of a path may have as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A run with its latest metrics and all else.
#[derive(Serialize)]
pub(crate) struct RunJson<'a> {
    info: RunInfoJson<'a>,
    data: RunData<'a>,
    inputs: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Value>,
}

/// What a run is, without what it logged.
#[derive(Serialize)]
pub(crate) struct RunInfoJson<'a> {
    run_id: &'a str,
    run_uuid: &'a str,
    run_name: &'a str,
    experiment_id: &'a str,
    user_id: &'a str,
    status: &'static str,
    /// Milliseconds since the Unix epoch, as all times.
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: String,
    lifecycle_stage: &'static str,
}

/// As in protocol buffers: an empty list is not there.
#[derive(Serialize)]
struct RunData<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricJson<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "write_params")]
    params: &'a BTreeMap<String, ParamValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "write_tags")]
    tags: BTreeMap<&'a str, Cow<'a, str>>,
}

#[derive(Serialize)]
struct MetricJson<'a> {
    key: &'a str,
    #[serde(serialize_with = "write_float")]
    value: f64,
    timestamp: i64,
    step: i64,
}

/// A param or tag.
#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: Cow<'a, str>,
}

impl<'a> RunJson<'a> {
    /// A run of a project.
    pub(crate) fn new(
        run: &'a Run,
        project: &'a Project,
        metrics: &'a [LatestMetric],
        links: Option<&RunLinks>,
    ) -> Self {
        let metric = |metric: &'a LatestMetric| MetricJson {
            key: &metric.metric,
            value: metric.value,
            timestamp: metric.timestamp_us.div_euclid(1_000),
            step: metric.step,
        };
        Self {
            info: RunInfoJson::new(run, project),
            data: RunData {
                metrics: metrics.iter().map(metric).collect(),
                params: &run.params,
                tags: tags::shown(run),
            },
            inputs: links.map_or_else(|| Value::Object(Map::new()), lineage::run_inputs),
            outputs: links.map(lineage::run_outputs),
        }
    }
}

impl<'a> RunInfoJson<'a> {
    /// A run of a project.
    pub(crate) fn new(run: &'a Run, project: &'a Project) -> Self {
        Self {
            run_id: &run.run_id,
            run_uuid: &run.run_id,
            run_name: run.name.as_deref().or(run.tags.get(tags::RUN_NAME).map(String::as_str)).unwrap_or_default(),
            experiment_id: &run.project_id,
            user_id: run.user_name.as_deref().unwrap_or_default(),
            status: status_text(run.status),
            start_time: run.started_at_us.div_euclid(1_000),
            end_time: run.ended_at_us.map(|ended_at_us| ended_at_us.div_euclid(1_000)),
            artifact_uri: run_artifact_uri(project, &run.run_id),
            lifecycle_stage: lifecycle_stage(run.deleted_at_us),
        }
    }
}

fn write_params<S: Serializer>(of_run: &BTreeMap<String, ParamValue>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(of_run.iter().map(|(key, value)| Pair { key, value: params::text(value).into() }))
}

fn write_tags<S: Serializer>(tags: &BTreeMap<&str, Cow<'_, str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tags.iter().map(|(key, value)| Pair { key, value: value.as_ref().into() }))
}

/// Where artifacts of a run go: below those of its project.
pub(crate) fn run_artifact_uri(project: &Project, run_id: &str) -> String {
    artifacts_uri_below(project, &url_part(&run_part(run_id)))
}

/// A part of a path as one of a URI.
pub(crate) fn url_part(part: &str) -> String {
    utf8_percent_encode(part, &PLAIN).to_string()
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
