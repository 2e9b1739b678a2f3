//! Stepwell, which keeps what is imported: written through its own API and MLflow's, read back through MLflow's.

use std::{collections::BTreeSet, io::Read, time::Duration};

use serde_json::{Value, json};
use stepwell_client::{Client, ClientError, NewRunRequest, Points, encoded_path};
use stepwell_types::{ErrorKind, ProducerSequence, format_utc_us};

use super::{
    ImportError,
    api::Api,
    entities::{Experiment, File, ModelVersion, Pairs, Point, RegisteredModel, Run},
};

/// Params and tags of one call; MLflow's limits.
const PAIRS_MAX: usize = 100;
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

    /// Sends a file of a run.
    pub(super) fn file(
        &self,
        project: &Experiment,
        run: &Run,
        file: &File,
        bytes: &mut dyn Read,
    ) -> Result<(), ImportError> {
        let path = format!(
            "/api/2.0/mlflow-artifacts/artifacts/{}/{}/artifacts/{}",
            project.id,
            run.id,
            encoded_path(&file.path)
        );
        self.api.told(&file.path, self.api.rest().upload(&path, bytes))
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
    pub(super) fn version(&self, model: &str, wanted: &ModelVersion, source: &str) -> Result<(), ImportError> {
        loop {
            let body = json!({"name": model, "source": source, "run_id": wanted.run_id, "description": wanted.description,
                "tags": as_json(&wanted.tags)});
            let made = self.api.post("model-versions/create", &body)?;
            let version = made["model_version"]["version"].as_str().unwrap_or_default().to_owned();
            match version.parse::<u64>() {
                Ok(number) if number < wanted.number => {
                    let gone = json!({"name": model, "version": version});
                    let answer = self.api.rest().delete("/api/2.0/mlflow/model-versions/delete", &gone);
                    self.api.told("model-versions/delete", answer)?;
                }
                Ok(number) if number == wanted.number => break,
                _ => {
                    return Err(ImportError::odd(format!(
                        "{model}: version {} cannot be made, {version} was",
                        wanted.number
                    )));
                }
            }
        }
        if !matches!(wanted.stage.as_str(), "" | "None") {
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

/// Points of `wanted` that `found` lacks; both are sorted.
pub(super) fn missing_points(wanted: &[Point], found: &[Point]) -> Vec<Point> {
    let found: BTreeSet<&Point> = found.iter().collect();
    wanted.iter().filter(|point| !found.contains(point)).copied().collect()
}

fn missing(wanted: &Pairs, found: &Pairs) -> Pairs {
    wanted.iter().filter(|pair| !found.contains(pair)).cloned().collect()
}

fn as_json(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}
