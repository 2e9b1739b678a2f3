//! MLflow's REST API, of a tracking server and of Stepwell.

use std::io::Read;

use serde_json::{Map, Value, json};
use stepwell_client::{ClientError, Rest, encoded_path};

use super::{
    ImportError,
    entities::{Experiment, File, LoggedModel, ModelVersion, Pairs, Point, RegisteredModel, Run, Source},
    place::below_server,
};

/// Of one page of runs, models and points; as many as servers give.
const RUNS_PAGE: u64 = 1_000;
const MODELS_PAGE: u64 = 1_000;
const POINTS_PAGE: &str = "25000";
/// Searches of the registry leave prompts out where nobody asks for them.
const PROMPTS: &str = "tag.`mlflow.prompt.is_prompt` = 'true'";

/// A server that speaks it.
#[derive(Debug, Clone)]
pub(super) struct Api {
    rest: Rest,
}

impl Api {
    pub(super) fn new(url: &str) -> Result<Self, ImportError> {
        Ok(Self { rest: Rest::new(url).map_err(|source| ImportError::ask(url, source))? })
    }

    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ImportError> {
        self.told(path, self.rest.get(&full(path), query))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, ImportError> {
        self.told(path, self.rest.post(&full(path), body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, ImportError> {
        self.told(path, self.rest.patch(&full(path), body))
    }

    pub(super) fn told<T>(&self, what: &str, answer: Result<T, ClientError>) -> Result<T, ImportError> {
        answer.map_err(|source| ImportError::ask(what, source))
    }

    /// All pages of a search.
    fn all(&self, path: &str, mut body: Value, member: &str) -> Result<Vec<Value>, ImportError> {
        let mut found = Vec::new();
        loop {
            let mut page = self.post(path, &body)?;
            found.extend(list(&mut page, member));
            match text(&page, "next_page_token") {
                "" => return Ok(found),
                token => body["page_token"] = token.into(),
            }
        }
    }

    /// All of a kind that the registry has, prompts too.
    fn registered(&self, path: &str, member: &str) -> Result<Vec<Value>, ImportError> {
        let mut found = self.all_by_get(path, "", member)?;
        match self.all_by_get(path, PROMPTS, member) {
            Ok(prompts) => found.extend(prompts),
            // Servers from before there were prompts may know no filter by tags.
            Err(ImportError::Ask { source, .. }) if matches!(*source, ClientError::Problem { status: 400, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    /// All pages of a search that is asked for by GET.
    fn all_by_get(&self, path: &str, filter: &str, member: &str) -> Result<Vec<Value>, ImportError> {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let most = MODELS_PAGE.to_string();
            let mut query = vec![("max_results", most.as_str())];
            query.extend(
                [("filter", filter), ("page_token", &token)].into_iter().filter(|(_, value)| !value.is_empty()),
            );
            let mut page = self.get(path, &query)?;
            found.extend(list(&mut page, member));
            token = text(&page, "next_page_token").to_owned();
            if token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// One run, if it is there.
    pub(super) fn run(&self, run_id: &str) -> Result<Option<Run>, ImportError> {
        match self.rest.get(&full("runs/get"), &[("run_id", run_id)]) {
            Ok(answer) => Ok(Some(run(&answer["run"]))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(ImportError::ask("runs/get", error)),
        }
    }

    /// One experiment by its name, also a deleted one.
    pub(super) fn experiment(&self, name: &str) -> Result<Option<Experiment>, ImportError> {
        match self.rest.get(&full("experiments/get-by-name"), &[("experiment_name", name)]) {
            Ok(answer) => Ok(Some(experiment(&answer["experiment"]))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(ImportError::ask("experiments/get-by-name", error)),
        }
    }

    /// The files of an owner, by path.
    fn all_files(&self, listing: &Listing<'_>) -> Result<Vec<File>, ImportError> {
        let mut found = Vec::new();
        self.files_below(listing, "", &mut found)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn files_below(&self, listing: &Listing<'_>, path: &str, found: &mut Vec<File>) -> Result<(), ImportError> {
        let mut token = String::new();
        loop {
            let query = [("run_id", listing.run_id), (listing.directory, path), ("page_token", &token)];
            let query: Vec<_> = query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            let mut page = self.get(listing.call, &query)?;
            for file in list(&mut page, "files") {
                let path = text(&file, "path").to_owned();
                match file["is_dir"].as_bool() {
                    Some(true) => self.files_below(listing, &path, found)?,
                    _ => found.push(File { path, bytes: integer(&file, "file_size").unwrap_or(0).unsigned_abs() }),
                }
            }
            token = text(&page, "next_page_token").to_owned();
            if token.is_empty() {
                return Ok(());
            }
        }
    }
}

/// How files are listed.
struct Listing<'a> {
    call: &'a str,
    /// Empty if they are not a run's.
    run_id: &'a str,
    /// What the directory is called in the call.
    directory: &'a str,
}

impl Source for Api {
    fn experiments(&self) -> Result<Vec<Experiment>, ImportError> {
        let body = json!({"view_type": "ALL", "max_results": RUNS_PAGE, "order_by": ["experiment_id ASC"]});
        Ok(self.all("experiments/search", body, "experiments")?.iter().map(experiment).collect())
    }

    fn runs(&self, experiment: &Experiment) -> Result<Vec<Run>, ImportError> {
        let body = json!({"experiment_ids": [experiment.id], "run_view_type": "ALL", "max_results": RUNS_PAGE,
            "order_by": ["attributes.start_time ASC"]});
        Ok(self.all("runs/search", body, "runs")?.iter().map(run).collect())
    }

    fn history(&self, run: &Run, metric: &str) -> Result<Vec<Point>, ImportError> {
        let (mut points, mut token) = (Vec::new(), String::new());
        loop {
            let mut query = vec![("run_id", run.id.as_str()), ("metric_key", metric), ("max_results", POINTS_PAGE)];
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let mut page = self.get("metrics/get-history", &query)?;
            for point in list(&mut page, "metrics") {
                let value = number(&point["value"]).ok_or_else(|| ImportError::odd(format!("{metric}: {point}")))?;
                let at = |name: &str| integer(&point, name).unwrap_or(0);
                points.push(Point::new(at("step"), at("timestamp"), value));
            }
            token = text(&page, "next_page_token").to_owned();
            if token.is_empty() {
                break;
            }
        }
        points.sort_unstable();
        points.dedup();
        Ok(points)
    }

    fn files(&self, run: &Run) -> Result<Vec<File>, ImportError> {
        self.all_files(&Listing { call: "artifacts/list", run_id: &run.id, directory: "path" })
    }

    fn open(&self, run: &Run, file: &File) -> Result<Box<dyn Read>, ImportError> {
        let answer = self.rest.download("/get-artifact", &[("run_id", &run.id), ("path", &file.path)]);
        Ok(Box::new(self.told(&file.path, answer)?))
    }

    fn models(&self) -> Result<Vec<RegisteredModel>, ImportError> {
        let found = self.registered("registered-models/search", "registered_models")?;
        let mut models: Vec<_> = found.iter().map(registered_model).collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        // Where prompts are models like others, both searches find them.
        models.dedup_by(|a, b| a.name == b.name);
        for value in self.registered("model-versions/search", "model_versions")? {
            if let Some(model) = models.iter_mut().find(|model| model.name == text(&value, "name")) {
                model.versions.push(model_version(&value));
            }
        }
        for model in &mut models {
            model.versions.sort_by_key(|version| version.number);
            model.versions.dedup_by_key(|version| version.number);
        }
        Ok(models)
    }

    fn logged_model(&self, id: &str) -> Result<Option<LoggedModel>, ImportError> {
        match self.rest.get(&full(&of_model(id)), &[]) {
            Ok(answer) => Ok(Some(logged_model(&answer["model"]))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(ImportError::ask(&of_model(id), error)),
        }
    }

    fn model_files(&self, model: &LoggedModel) -> Result<Vec<File>, ImportError> {
        let call = format!("{}/artifacts/directories", of_model(&model.id));
        self.all_files(&Listing { call: &call, run_id: "", directory: "artifact_directory_path" })
    }

    fn open_of_model(&self, model: &LoggedModel, file: &File) -> Result<Box<dyn Read>, ImportError> {
        let answer = match below_server(&model.location) {
            Some(directory) => {
                let path = encoded_path(&format!("{directory}/{}", file.path));
                self.rest.download(&format!("/api/2.0/mlflow-artifacts/artifacts/{path}"), &[])
            }
            // What the server keeps elsewhere it gives only to who asks as its web pages do.
            None => {
                let path = format!("/ajax-api/2.0/mlflow/{}/artifacts/files", of_model(&model.id));
                self.rest.download(&path, &[("artifact_file_path", &file.path)])
            }
        };
        Ok(Box::new(self.told(&file.path, answer)?))
    }
}

fn of_model(id: &str) -> String {
    format!("logged-models/{}", encoded_path(id))
}

fn full(path: &str) -> String {
    format!("/api/2.0/mlflow/{path}")
}

pub(super) fn is_absent(error: &ClientError) -> bool {
    matches!(error, ClientError::Problem { status: 404, .. })
}

fn experiment(value: &Value) -> Experiment {
    Experiment {
        id: text(value, "experiment_id").to_owned(),
        name: text(value, "name").to_owned(),
        is_deleted: text(value, "lifecycle_stage") == "deleted",
        tags: pairs(value, "tags"),
    }
}

fn run(value: &Value) -> Run {
    let (info, data) = (&value["info"], &value["data"]);
    let owned = |name: &str| text(info, name).to_owned();
    let mut metrics: Vec<String> = items(data, "metrics").map(|metric| text(metric, "key").to_owned()).collect();
    metrics.sort();
    let mut sorted = [pairs(data, "params"), pairs(data, "tags")];
    sorted.iter_mut().for_each(|pairs| pairs.sort());
    let [params, tags] = sorted;
    Run {
        id: owned("run_id"),
        name: owned("run_name"),
        user: owned("user_id"),
        status: owned("status"),
        start_ms: integer(info, "start_time"),
        end_ms: integer(info, "end_time"),
        is_deleted: text(info, "lifecycle_stage") == "deleted",
        params,
        tags,
        metrics,
        datasets: items(&value["inputs"], "dataset_inputs").cloned().collect(),
    }
}

fn registered_model(value: &Value) -> RegisteredModel {
    let alias = |alias: &Value| (text(alias, "alias").to_owned(), text(alias, "version").to_owned());
    RegisteredModel {
        name: text(value, "name").to_owned(),
        description: text(value, "description").to_owned(),
        tags: pairs(value, "tags"),
        aliases: items(value, "aliases").map(alias).collect(),
        versions: Vec::new(),
        last_version: integer(value, "last_version").unwrap_or(0).unsigned_abs(),
    }
}

fn model_version(value: &Value) -> ModelVersion {
    ModelVersion {
        number: text(value, "version").parse().unwrap_or(0),
        source: text(value, "source").to_owned(),
        run_id: text(value, "run_id").to_owned(),
        description: text(value, "description").to_owned(),
        stage: text(value, "current_stage").to_owned(),
        tags: pairs(value, "tags"),
    }
}

/// A logged model as an answer has it.
pub(super) fn logged_model(value: &Value) -> LoggedModel {
    let (info, data) = (&value["info"], &value["data"]);
    let owned = |name: &str| text(info, name).to_owned();
    LoggedModel {
        id: owned("model_id"),
        experiment_id: owned("experiment_id"),
        name: owned("name"),
        kind: owned("model_type"),
        source_run_id: owned("source_run_id"),
        status: owned("status"),
        location: owned("artifact_uri"),
        params: pairs(data, "params"),
        tags: pairs(info, "tags"),
    }
}

/// A text, empty where there is none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// An integer, which protocol buffers may write as text.
fn integer(value: &Value, name: &str) -> Option<i64> {
    match &value[name] {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

/// A number, which may be one of those that JSON has not.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn list(page: &mut Value, name: &str) -> Vec<Value> {
    match page.as_object_mut().and_then(|members: &mut Map<String, Value>| members.remove(name)) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

fn pairs(value: &Value, name: &str) -> Pairs {
    items(value, name).map(|pair| (text(pair, "key").to_owned(), text(pair, "value").to_owned())).collect()
}
