//! Whole imports of an MLflow registry into a server that keeps what they need of one, and refuses what Stepwell refuses.

mod http;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use http::{Request, serve};
use serde_json::{Value, json};
use stepwell_client::Client;
use stepwell_import::mlflow::{Artifacts, ImportReport, import};

/// What the server has. Versions by model and number.
#[derive(Default)]
struct Registry {
    deleted: Vec<Value>,
    models: BTreeMap<String, Value>,
    /// Numbers that were given.
    last: BTreeMap<String, u64>,
    /// Searches do not tell it.
    is_silent: bool,
    refuses_stages: bool,
    versions: BTreeMap<(String, u64), Value>,
    logged: Vec<Value>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Registry {
    fn start() -> (Client, Arc<Mutex<Self>>) {
        let registry = Arc::new(Mutex::new(Self::default()));
        let shared = registry.clone();
        let url = serve(move |request| shared.lock().unwrap().answer(request));
        (Client::new(&url).unwrap(), registry)
    }

    fn answer(&mut self, request: &Request) -> (u16, Vec<u8>) {
        let (path, query) = request.path_and_query.split_once('?').unwrap_or((&request.path_and_query, ""));
        if let Some(file) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/") {
            if request.method == "GET" {
                return (200, self.files[file].clone());
            }
            self.files.insert(file.to_owned(), request.body.clone());
            return (200, b"{}".to_vec());
        }
        let call = path.strip_prefix("/api/2.0/mlflow/").unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match self.call(&request.method, call, query, &body) {
            Some(answer) => (200, answer.to_string().into_bytes()),
            None => {
                (400, json!({"error_code": "INVALID_PARAMETER_VALUE", "message": "refused"}).to_string().into_bytes())
            }
        }
    }

    fn call(&mut self, method: &str, call: &str, query: &str, body: &Value) -> Option<Value> {
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        Some(match (method, call) {
            ("GET", "experiments/get-by-name") => {
                json!({"experiment": {"experiment_id": "7", "name": "e", "lifecycle_stage": "active"}})
            }
            ("POST", "experiments/delete") => {
                self.deleted.push(body["experiment_id"].clone());
                json!({})
            }
            // Prompts, of which there are none.
            ("GET", _) if query.contains("filter=") => json!({}),
            ("GET", "registered-models/search") => {
                let told = |model: &Value| {
                    let mut told = model.clone();
                    if !self.is_silent {
                        told["last_version"] = json!(self.last.get(model["name"].as_str().unwrap()).unwrap_or(&0));
                    }
                    told
                };
                json!({"registered_models": self.models.values().map(told).collect::<Vec<_>>()})
            }
            ("GET", "model-versions/search") => json!({"model_versions": self.versions.values().collect::<Vec<_>>()}),
            ("POST", "registered-models/create") => {
                self.models.insert(name.clone(), body.clone());
                json!({"registered_model": body})
            }
            ("POST", "model-versions/create") => {
                if !self.is_taken(body) {
                    return None;
                }
                let last = self.last.entry(name.clone()).or_default();
                *last += 1;
                let mut version = body.clone();
                version["version"] = last.to_string().into();
                version["current_stage"] = "None".into();
                self.versions.insert((name, *last), version.clone());
                json!({"model_version": version})
            }
            ("POST", "model-versions/transition-stage") => {
                if self.refuses_stages {
                    return None;
                }
                let number = body["version"].as_str().unwrap().parse().unwrap();
                self.versions.get_mut(&(name, number)).unwrap()["current_stage"] = body["stage"].clone();
                json!({})
            }
            ("DELETE", "model-versions/delete") => {
                let number = body["version"].as_str().unwrap().parse().unwrap();
                self.versions.remove(&(name, number)).unwrap();
                json!({})
            }
            ("POST", "logged-models/search") => json!({"models": self.logged}),
            ("POST", "logged-models") => {
                let mut info = body.clone();
                (info["model_id"], info["status"]) = ("m-new".into(), "LOGGED_MODEL_PENDING".into());
                info["artifact_uri"] = "mlflow-artifacts:/7/models/m-new/artifacts".into();
                self.logged.push(json!({"info": info, "data": {"params": body["params"]}}));
                json!({"model": self.logged[0]})
            }
            ("GET", "logged-models/m-new") => json!({"model": self.logged[0]}),
            ("PATCH", "logged-models/m-new") => {
                self.logged[0]["info"]["status"] = body["status"].clone();
                json!({})
            }
            ("GET", "logged-models/m-new/artifacts/directories") => {
                let file = |(path, bytes): (&String, &Vec<u8>)| json!({"path": path.rsplit('/').next(), "file_size": bytes.len()});
                json!({"files": self.files.iter().map(file).collect::<Vec<_>>()})
            }
            _ => panic!("{method} {call} {body}"),
        })
    }

    /// Whether a version's source is one that Stepwell takes.
    fn is_taken(&self, version: &Value) -> bool {
        let source = version["source"].as_str().unwrap();
        match source.strip_prefix("models:/") {
            Some(of) => match of.split_once('/') {
                Some((model, number)) => self.versions.contains_key(&(model.to_owned(), number.parse().unwrap())),
                None => version["model_id"] == "m-new" && of == "m-new",
            },
            None => version["model_id"] == "m-new" || !source.starts_with("mlflow-artifacts:"),
        }
    }

    /// Sources of a model's versions, by number.
    fn sources(&self, model: &str) -> Vec<(u64, &str)> {
        let versions = self.versions.iter().filter(|((name, _), _)| name == model);
        versions.map(|((_, number), version)| (*number, version["source"].as_str().unwrap())).collect()
    }
}

/// An `mlruns` directory of a deleted experiment and no runs.
fn mlruns(parent: &Path) -> String {
    let root = parent.join("mlruns");
    write(&root.join(".trash/1/meta.yaml"), "experiment_id: '1'\nname: e\nlifecycle_stage: deleted\n");
    root.to_str().unwrap().to_owned()
}

fn version(source: &str, name: &str, number: u64, of: &str) {
    let folder = Path::new(source).join("models").join(name);
    write(&folder.join("meta.yaml"), &format!("name: {name}\n"));
    let text = format!("name: {name}\nsource: {of}\nrun_id: null\ncurrent_stage: None\nversion: {number}\n");
    write(&folder.join(format!("version-{number}/meta.yaml")), &text);
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn run(source: &str, client: &Client) -> ImportReport {
    import(source, &Artifacts::default(), client, "producer".to_owned(), &mut |_| {}).unwrap()
}

#[test]
fn i4_a_version_that_is_refused_is_reported_and_all_else_imported() {
    let folder = tempfile::tempdir().unwrap();
    let source = mlruns(folder.path());
    version(&source, "copies", 1, "models:/originals/1");
    version(&source, "copies", 2, "s3://bucket/2");
    version(&source, "originals", 1, "s3://bucket/1");
    version(&source, "originals", 2, "mlflow-artifacts:/1/gone/artifacts/m");
    version(&source, "originals", 3, "s3://bucket/3");
    let (client, registry) = Registry::start();
    for import in 0..2 {
        let report = run(&source, &client);
        assert!(report.mismatches[0].starts_with("model \"originals\", version 2: "), "{:?}", report.mismatches);
        assert_eq!((report.versions.all, report.versions.new), (5, if import == 0 { 4 } else { 0 }));
        let registry = registry.lock().unwrap();
        assert_eq!(registry.sources("copies"), [(1, "models:/originals/1"), (2, "s3://bucket/2")]);
        assert_eq!(registry.sources("originals"), [(1, "s3://bucket/1"), (3, "s3://bucket/3")]);
        assert_eq!(registry.last["originals"], 3, "no number is wasted on what cannot be made");
        assert_eq!(registry.deleted.len(), import + 1, "the deleted experiment is deleted again");
    }
}

/// Versions 1 to `last` of a model that Stepwell has, of which all but the first were deleted there; the source has one more.
fn with_deleted_versions(source: &str, last: u64) -> (Client, Arc<Mutex<Registry>>) {
    let (client, registry) = Registry::start();
    (1..=last).for_each(|number| version(source, "m", number, "s3://bucket/m"));
    run(source, &client);
    registry.lock().unwrap().versions.retain(|(_, number), _| *number == 1);
    version(source, "m", last + 1, "s3://bucket/new");
    (client, registry)
}

#[test]
fn i4_versions_that_were_deleted_take_no_number_from_those_that_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let source = mlruns(folder.path());
    let (client, registry) = with_deleted_versions(&source, 3);
    for new in [1, 0] {
        let report = run(&source, &client);
        assert_eq!(report.versions.new, new);
        for (mismatch, number) in report.mismatches.iter().zip([2, 3]) {
            let wanted = format!("model \"m\", version {number}: it cannot be made after version ");
            assert!(mismatch.starts_with(&wanted), "{:?}", report.mismatches);
        }
        let registry = registry.lock().unwrap();
        assert_eq!(registry.sources("m"), [(1, "s3://bucket/m"), (4, "s3://bucket/new")]);
        assert_eq!(registry.last["m"], 4);
    }
}

#[test]
fn i4_where_nobody_tells_the_last_number_one_is_used_up_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let source = mlruns(folder.path());
    let (client, registry) = with_deleted_versions(&source, 3);
    registry.lock().unwrap().is_silent = true;
    version(&source, "m", 5, "s3://bucket/newer");
    // It waits for that version until a second round, in which what cannot be made is not tried again.
    version(&source, "copies", 1, "models:/m/5");
    let report = run(&source, &client);
    assert_eq!(report.versions.new, 2);
    for (mismatch, number) in report.mismatches.iter().zip([2, 3, 4]) {
        let wanted = format!("model \"m\", version {number}: it cannot be made after version 4");
        assert_eq!(*mismatch, wanted, "{:?}", report.mismatches);
    }
    let registry = registry.lock().unwrap();
    assert_eq!(registry.sources("m"), [(1, "s3://bucket/m"), (5, "s3://bucket/newer")]);
    assert_eq!((registry.last["m"], registry.sources("copies")), (5, vec![(1, "models:/m/5")]));
}

/// An import may be killed between a version and its stage. A stage that somebody gave it stays.
#[test]
fn i7_a_version_that_has_no_stage_yet_gets_it_from_the_next_import() {
    let folder = tempfile::tempdir().unwrap();
    let source = mlruns(folder.path());
    version(&source, "m", 1, "s3://bucket/m");
    let meta = Path::new(&source).join("models/m/version-1/meta.yaml");
    let text = fs::read_to_string(&meta).unwrap().replace("current_stage: None", "current_stage: Production");
    write(&meta, &text);
    let (client, registry) = Registry::start();
    let import = |refuses_stages: bool| {
        registry.lock().unwrap().refuses_stages = refuses_stages;
        let report = run(&source, &client);
        let stage = registry.lock().unwrap().versions[&("m".to_owned(), 1)]["current_stage"].clone();
        (stage, report.mismatches.len())
    };
    assert_eq!(import(true), (json!("None"), 2), "that it was refused, and that the model differs");
    assert_eq!(import(false), (json!("Production"), 0));
    registry.lock().unwrap().versions.get_mut(&("m".to_owned(), 1)).unwrap()["current_stage"] = "Archived".into();
    assert_eq!(import(false), (json!("Archived"), 1));
}

#[test]
fn i4_a_version_of_a_logged_model_comes_with_the_models_files() {
    let folder = tempfile::tempdir().unwrap();
    let source = mlruns(folder.path());
    let model = Path::new(&source).join(".trash/1/models/m-old");
    let meta = "model_id: m-old\nexperiment_id: '1'\nname: logged\nmodel_type: any\nsource_run_id: r\nstatus: 2\n\
                artifact_location: mlflow-artifacts:/1/models/m-old/artifacts\n";
    write(&model.join("meta.yaml"), meta);
    write(&model.join("params/p"), "1");
    write(&model.join("tags/mlflow.modelVersions"), "[]");
    version(&source, "m", 1, "models:/m-old");
    version(&source, "m", 2, "file:///a/mlruns/1/models/m-old/artifacts/sub");
    version(&source, "m", 3, "models:/m-purged");
    let (client, registry) = Registry::start();
    // Its files are out of reach: the versions wait for an import that reaches them.
    let report = run(&source, &client);
    assert_eq!((report.versions.new, report.logged_models.new), (0, 0));
    assert!(report.mismatches[0].contains("mlartifacts is no directory"), "{:?}", report.mismatches);
    write(&folder.path().join("mlartifacts/1/models/m-old/artifacts/weights"), "w");
    for new in [1, 0] {
        let report = run(&source, &client);
        assert_eq!((report.logged_models.all, report.logged_models.new), (1, new));
        assert_eq!((report.files.all, report.files.new), (1, new));
        let of_purged = "model \"m\", version 3: its files are those of the logged model m-purged, ";
        assert!(report.mismatches[0].starts_with(of_purged), "{:?}", report.mismatches);
        let registry = registry.lock().unwrap();
        let of_model = "mlflow-artifacts:/7/models/m-new/artifacts/sub";
        assert_eq!(registry.sources("m"), [(1, "models:/m-new"), (2, of_model)]);
        assert_eq!(registry.files, BTreeMap::from([("7/models/m-new/artifacts/weights".to_owned(), b"w".to_vec())]));
        let (info, data) = (&registry.logged[0]["info"], &registry.logged[0]["data"]);
        assert_eq!(
            (&info["name"], &info["model_type"], &info["source_run_id"]),
            (&json!("logged"), &json!("any"), &json!("r"))
        );
        assert_eq!((&info["status"], &info["experiment_id"]), (&json!("LOGGED_MODEL_READY"), &json!("7")));
        assert_eq!(data["params"], json!([{"key": "p", "value": "1"}]));
        assert_eq!(info["tags"], json!([{"key": "stepwell.import.mlflow.model_id", "value": "m-old"}]));
    }
}
