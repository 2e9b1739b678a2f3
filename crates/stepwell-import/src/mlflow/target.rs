//! Stepwell, which keeps what is imported: written through its own API and MLflow's, read back through MLflow's.

use std::{collections::BTreeSet, io::Read, time::Duration};

use serde_json::{Value, json};
use stepwell_client::{Client, ClientError, NewRunRequest, Points, encoded_path};
use stepwell_types::{ErrorKind, ProducerSequence, format_utc_us};

use super::{
    ImportError,
    api::{Api, logged_model},
    entities::{Experiment, File, LoggedModel, ModelVersion, Pairs, Point, RegisteredModel, Run},
    place::below_server,
};

/// Params and tags of one call; MLflow's limits.
const PAIRS_MAX: usize = 100;
/// The tag of a logged model that keeps its id in the source: here it gets another, by which no later import could know it.
const ORIGIN_TAG: &str = "stepwell.import.mlflow.model_id";
/// The tag of one that says which versions publish it; a server keeps it itself.
const PUBLISHED_TAG: &str = "mlflow.modelVersions";
/// How long a server that does not answer is waited for, per batch.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server that is written to.
pub(super) struct Target {
    pub(super) api: Api,
    client: Client,
    /// Of this import; batches are numbered, so that one that is sent again is applied once (I3).
    producer: String,
    sequence: u64,
}

impl Target {
    pub(super) fn new(client: &Client, producer: String) -> Result<Self, ImportError> {
        Ok(Self { api: Api::new(client.base_url())?, client: client.clone(), producer, sequence: 0 })
    }

    /// The project of an experiment, made if absent; active, so that it can be written to.
    pub(super) fn experiment(&self, wanted: &Experiment) -> Result<(Experiment, bool), ImportError> {
        let found = self.api.experiment(&wanted.name)?;
        let is_new = found.is_none();
        let project = match found {
            Some(project) => project,
            None => {
                let made = self.api.post("experiments/create", &json!({"name": wanted.name}))?;
                let id = made["experiment_id"].as_str().unwrap_or_default().to_owned();
                Experiment { id, name: wanted.name.clone(), is_deleted: false, tags: Pairs::new() }
            }
        };
        if project.is_deleted {
            self.api.post("experiments/restore", &json!({"experiment_id": project.id}))?;
        }
        for (key, value) in missing(&wanted.tags, &project.tags) {
            let body = json!({"experiment_id": project.id, "key": key, "value": value});
            self.api.post("experiments/set-experiment-tag", &body)?;
        }
        Ok((project, is_new))
    }

    pub(super) fn delete_experiment(&self, project: &Experiment) -> Result<(), ImportError> {
        self.api.post("experiments/delete", &json!({"experiment_id": project.id})).map(|_| ())
    }

    /// The run of the same id, made if absent, and whether it was.
    pub(super) fn run(&self, project: &Experiment, wanted: &Run) -> Result<(Run, bool), ImportError> {
        if let Some(run) = self.api.run(&wanted.id)? {
            if run.is_deleted {
                self.api.post("runs/restore", &json!({"run_id": wanted.id}))?;
            }
            return Ok((run, false));
        }
        let mut new = NewRunRequest::new(&project.name);
        new.run_id = Some(wanted.id.clone());
        new.name = (!wanted.name.is_empty()).then(|| wanted.name.clone());
        new.started_at = wanted.start_ms.map(|ms| format_utc_us(ms.saturating_mul(1_000)));
        match self.client.create_run(&new) {
            Ok(_) => {}
            // Of an import beside this one.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(ImportError::ask(&format!("make run {}", wanted.id), error)),
        }
        let made = self.api.run(&wanted.id)?;
        Ok((made.ok_or_else(|| ImportError::odd(format!("run {} was made and is not there", wanted.id)))?, true))
    }

    /// Params and tags that are not there yet; how many there were of each.
    pub(super) fn pairs(&self, wanted: &Run, found: &Run) -> Result<(usize, usize), ImportError> {
        let (params, tags) = (missing(&wanted.params, &found.params), missing(&wanted.tags, &found.tags));
        for part in params.chunks(PAIRS_MAX) {
            self.api.post("runs/log-batch", &json!({"run_id": wanted.id, "params": as_json(part)}))?;
        }
        for part in tags.chunks(PAIRS_MAX) {
            self.api.post("runs/log-batch", &json!({"run_id": wanted.id, "tags": as_json(part)}))?;
        }
        if !wanted.datasets.is_empty() && wanted.datasets.len() > found.datasets.len() {
            self.api.post("runs/log-inputs", &json!({"run_id": wanted.id, "datasets": wanted.datasets}))?;
        }
        Ok((params.len(), tags.len()))
    }

    /// Sends points until they are acknowledged.
    pub(super) fn points(&mut self, run_id: &str, points: &Points) -> Result<(), ImportError> {
        let what = || format!("points of run {run_id}");
        let stream = points.encode().map_err(|source| ImportError::ask(&what(), source))?;
        self.sequence += 1;
        let producer = ProducerSequence { producer: self.producer.as_str().into(), sequence: self.sequence };
        let mut waited = Duration::ZERO;
        let ack = self.client.ingest_until_acked(&stream, &producer, |_: &ClientError, pause| {
            waited += pause;
            let patient = waited <= PATIENCE;
            if patient {
                std::thread::sleep(pause);
            }
            patient
        });
        ack.map(|_| ()).map_err(|source| ImportError::ask(&what(), source))
    }

    /// Status and end, as they were.
    pub(super) fn finish(&self, wanted: &Run, found: &Run) -> Result<(), ImportError> {
        if wanted.status != found.status || wanted.end_ms != found.end_ms {
            let mut body = json!({"run_id": wanted.id, "status": wanted.status});
            if let Some(end_ms) = wanted.end_ms {
                body["end_time"] = end_ms.into();
            }
            self.api.post("runs/update", &body)?;
        }
        if wanted.is_deleted {
            self.api.post("runs/delete", &json!({"run_id": wanted.id}))?;
        }
        Ok(())
    }

    /// Sends a file that is to be below a URI of Stepwell's artifacts.
    pub(super) fn file(&self, location: &str, file: &File, bytes: &mut dyn Read) -> Result<(), ImportError> {
        let directory = below_server(location)
            .ok_or_else(|| ImportError::odd(format!("files at {location} are not kept by Stepwell")))?;
        let path = encoded_path(&format!("{directory}/{}", file.path));
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
        self.api.told(&file.path, self.api.rest().upload(&path, bytes))
    }

    /// The logged model that an import before this one made of one of the source.
    pub(super) fn found_logged_model(
        &self,
        project: &str,
        wanted: &LoggedModel,
    ) -> Result<Option<LoggedModel>, ImportError> {
        let filter = format!("tags.`{ORIGIN_TAG}` = '{}'", wanted.id);
        let answer = self.api.post("logged-models/search", &json!({"experiment_ids": [project], "filter": filter}))?;
        Ok(answer["models"].get(0).map(logged_model))
    }

    pub(super) fn make_logged_model(&self, project: &str, wanted: &LoggedModel) -> Result<LoggedModel, ImportError> {
        let body = json!({"experiment_id": project, "name": wanted.name, "model_type": wanted.kind,
            "source_run_id": wanted.source_run_id, "params": as_json(&wanted.params), "tags": as_json(&tags_of(wanted))});
        Ok(logged_model(&self.api.post("logged-models", &body)?["model"]))
    }

    /// What is missing of a logged model whose files are there, and its status as it was.
    pub(super) fn complete_logged_model(&self, wanted: &LoggedModel, made: &LoggedModel) -> Result<(), ImportError> {
        let call = format!("logged-models/{}", encoded_path(&made.id));
        let (params, tags) = (missing(&wanted.params, &made.params), missing(&tags_of(wanted), &made.tags));
        if !params.is_empty() {
            self.api.post(&format!("{call}/params"), &json!({"params": as_json(&params)}))?;
        }
        if !tags.is_empty() {
            self.api.patch(&format!("{call}/tags"), &json!({"tags": as_json(&tags)}))?;
        }
        if wanted.status != made.status {
            self.api.patch(&call, &json!({"model_id": made.id, "status": wanted.status}))?;
        }
        Ok(())
    }

    /// A registered model, made if absent, with its description, tags and aliases.
    pub(super) fn model(&self, wanted: &RegisteredModel, found: Option<&RegisteredModel>) -> Result<(), ImportError> {
        let Some(found) = found else {
            let body = json!({"name": wanted.name, "description": wanted.description, "tags": as_json(&wanted.tags)});
            return self.api.post("registered-models/create", &body).map(|_| ());
        };
        for (key, value) in missing(&wanted.tags, &found.tags) {
            self.api.post("registered-models/set-tag", &json!({"name": wanted.name, "key": key, "value": value}))?;
        }
        Ok(())
    }

    /// A version, and placeholders for those before it that the source has no more: its number stays.
    pub(super) fn version(
        &self,
        model: &str,
        wanted: &ModelVersion,
        source: &str,
        model_id: Option<&str>,
    ) -> Result<(), ImportError> {
        let mut body = json!({"name": model, "source": source, "run_id": wanted.run_id, "description": wanted.description,
            "tags": as_json(&wanted.tags)});
        if let Some(model_id) = model_id {
            body["model_id"] = model_id.into();
        }
        loop {
            let made = self.api.post("model-versions/create", &body)?;
            let version = made["model_version"]["version"].as_str().unwrap_or_default().to_owned();
            let number: u64 = version
                .parse()
                .map_err(|_| ImportError::odd(format!("{model}: a version was made whose number is {version:?}")))?;
            if number == wanted.number {
                return Ok(());
            }
            let gone = json!({"name": model, "version": version});
            let answer = self.api.rest().delete("/api/2.0/mlflow/model-versions/delete", &gone);
            self.api.told("model-versions/delete", answer)?;
            if number > wanted.number {
                return Err(ImportError::VersionTaken { model: model.to_owned(), wanted: wanted.number, made: number });
            }
        }
    }

    /// The stage of a version, as it was.
    pub(super) fn stage(&self, model: &str, wanted: &ModelVersion) -> Result<(), ImportError> {
        if !has_no_stage(wanted) {
            let body = json!({"name": model, "version": wanted.number.to_string(), "stage": wanted.stage,
                "archive_existing_versions": false});
            self.api.post("model-versions/transition-stage", &body)?;
        }
        Ok(())
    }

    pub(super) fn alias(&self, model: &str, alias: &str, version: &str) -> Result<(), ImportError> {
        let body = json!({"name": model, "alias": alias, "version": version});
        self.api.post("registered-models/alias", &body).map(|_| ())
    }
}

/// Points as Stepwell keeps them, sorted, and how many of them had another time: sent and looked for alike, so that they are found again.
pub(super) fn fitted(mut points: Vec<Point>) -> (Vec<Point>, u64) {
    let mut changed = 0;
    for point in &mut points {
        let kept = point.fitted();
        changed += u64::from(kept != *point);
        *point = kept;
    }
    points.sort_unstable();
    (points, changed)
}

/// Points of `wanted` that `found` lacks; both are sorted.
pub(super) fn missing_points(wanted: &[Point], found: &[Point]) -> Vec<Point> {
    let found: BTreeSet<&Point> = found.iter().collect();
    wanted.iter().filter(|point| !found.contains(point)).copied().collect()
}

/// What the tags of a logged model are to be.
pub(super) fn tags_of(wanted: &LoggedModel) -> Pairs {
    let own = wanted.tags.iter().filter(|(key, _)| ![ORIGIN_TAG, PUBLISHED_TAG].contains(&key.as_str())).cloned();
    own.chain([(ORIGIN_TAG.to_owned(), wanted.id.clone())]).collect()
}

pub(super) fn has_no_stage(version: &ModelVersion) -> bool {
    matches!(version.stage.as_str(), "" | "None")
}

fn missing(wanted: &Pairs, found: &Pairs) -> Pairs {
    wanted.iter().filter(|pair| !found.contains(pair)).cloned().collect()
}

fn as_json(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_points_with_times_that_do_not_fit_are_found_again_as_they_were_sent() {
        let nanoseconds = 1_700_000_000_000_000_000;
        let largest = i64::MAX / 1_000;
        let times =
            [i64::MIN, -nanoseconds, -largest, 0, 1_700_000_000_000, largest, largest + 1, nanoseconds, i64::MAX];
        let history: Vec<Point> = times.iter().zip(1..).map(|(time, step)| Point::new(step, *time, 0.5)).collect();
        let (sent, changed) = fitted(history.clone());
        assert_eq!((sent.len(), changed), (history.len(), 5));
        let read_back = |point: &Point| Point { timestamp_ms: point.timestamp_us().div_euclid(1_000), ..*point };
        let there: Vec<Point> = sent.iter().map(read_back).collect();
        assert_eq!(missing_points(&fitted(history).0, &there), []);
        assert_eq!(
            there.iter().map(|point| point.timestamp_ms).collect::<Vec<_>>()[2..6],
            times[2..6],
            "those that fit stay"
        );
    }
}
