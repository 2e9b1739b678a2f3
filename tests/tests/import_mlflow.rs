//! `stepwell import mlflow`: what MLflow's own client wrote, into an `mlruns` directory, an SQLite file or to a server, is in Stepwell afterwards as it
//! was, and once however often it is imported.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};
use stepwell_tests::{Server, command, mlflow::Client, repository};

/// What `fill.py` writes: points of six runs of 1,504 each, three files of each run and two of a logged model, and so on.
const COUNTS: [(&str, u64); 7] = [
    ("runs", 6),
    ("params", 18),
    ("points", 6 * 1_504),
    ("files", 20),
    ("registered models", 3),
    ("versions", 5),
    ("logged models", 1),
];

/// Has MLflow's client write something of everything. In `directory` are the files that a client without a server keeps.
fn fill(tracking_uri: &str, directory: &Path) {
    let script = repository().join("tests/python/mlflow/fill.py");
    let mut python = Command::new(Client::Newest.python().unwrap());
    let output =
        python.current_dir(directory).arg(script).arg(tracking_uri).env("NO_PROXY", "127.0.0.1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn output(source: &str, server: &Server) -> Output {
    command().unwrap().args(["import", "mlflow", source, "--server", server.url()]).output().unwrap()
}

/// Imports, and says what the import says.
fn import(source: &str, server: &Server) -> String {
    let output = output(source, server);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("read back and compared"), "{text}");
    text
}

#[track_caller]
fn counts(text: &str, are_new: bool) {
    for (what, count) in COUNTS {
        let line = format!("{what}: {count}, {} of them new\n", if are_new { count } else { 0 });
        assert!(text.contains(&line), "no {line:?} in\n{text}");
    }
    if !are_new {
        assert!(text.lines().filter(|line| line.ends_with("new")).all(|line| line.contains(", 0 of them")), "{text}");
    }
}

/// Everything that `fill.py` wrote, as the server has it.
fn check(server: &Server) {
    let rows = server
        .http()
        .sql("imported 0", "SELECT count(*) AS points, sum(CAST(isnan(value) AS INT)) AS nans FROM points");
    assert_eq!(rows.unwrap(), [json!({"points": 2 * 1_504, "nans": 2})]);
    let sql = "SELECT name, status, params['text'] AS text, tags['team'] AS team, started_at FROM runs ORDER BY name";
    let runs = server.http().sql("imported 0", sql).unwrap();
    assert_eq!(runs[0]["name"], "run: 0's");
    assert_eq!(runs[0]["status"], "finished");
    assert_eq!((&runs[0]["text"], &runs[0]["team"]), (&json!("line\nline: ü"), &json!("a: 'b' \"c\"")));
    let api = |path: &str| server.http().get(&format!("/api/2.0/mlflow/{path}")).unwrap().expect(200).unwrap();
    let experiment = api("experiments/get-by-name?experiment_name=imported%202");
    assert_eq!(experiment["experiment"]["lifecycle_stage"], "deleted");
    let model = &api("registered-models/get?name=model%20one")["registered_model"];
    assert_eq!(model["aliases"], json!([{"alias": "champion", "version": "4"}]));
    let version = &api("model-versions/get?name=model%20one&version=4")["model_version"];
    let source = version["source"].as_str().unwrap();
    assert!(source.starts_with("mlflow-artifacts:/") && source.ends_with("/artifacts/notes"), "{source}");
    let run_id = version["run_id"].as_str().unwrap();
    let file = server.http().get(&format!("/get-artifact?run_id={run_id}&path=notes/a.txt")).unwrap();
    assert_eq!(file.text(), "of 5");
    let version = &api("model-versions/get?name=model%20three&version=1")["model_version"];
    let model_id = version["source"].as_str().unwrap().strip_prefix("models:/").unwrap();
    let model = &api(&format!("logged-models/{model_id}"))["model"];
    assert_eq!(model["info"]["name"], "logged");
    assert_eq!(
        (&model["info"]["status"], &model["info"]["source_run_id"]),
        (&json!("LOGGED_MODEL_READY"), &json!(run_id))
    );
    assert_eq!(model["data"]["params"], json!([{"key": "p", "value": "1"}]));
    let path = "/model-versions/get-artifact?name=model%20three&version=1&path=deep/%C3%BCn%C3%AF.bin";
    assert_eq!(server.http().get(path).unwrap().body.len(), 25_600);
    let prompt = &api("model-versions/get?name=prompt&version=1")["model_version"];
    let tags = prompt["tags"].as_array().unwrap();
    assert!(tags.contains(&json!({"key": "mlflow.prompt.text", "value": "say {{ what }}"})), "{tags:?}");
    server.check_log(&[]).unwrap();
}

#[test]
fn an_mlruns_directory_is_imported_once_however_often() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("mlruns");
    fill(&format!("file://{}", source.display()), directory.path());
    let server = Server::start().unwrap();
    counts(&import(&source.display().to_string(), &server), true);
    check(&server);
    counts(&import(&format!("file://{}", source.display()), &server), false);
    check(&server);
}

#[test]
fn an_sqlite_file_is_imported_once_however_often() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("mlflow.db");
    let uri = format!("sqlite:///{}", source.display());
    fill(&uri, directory.path());
    let server = Server::start().unwrap();
    counts(&import(&source.display().to_string(), &server), true);
    check(&server);
    counts(&import(&uri, &server), false);
    check(&server);
}

#[test]
fn a_server_is_imported_once_however_often_and_a_new_point_alone_is_new() {
    let (source, server, directory) =
        (Server::start().unwrap(), Server::start().unwrap(), tempfile::tempdir().unwrap());
    fill(source.url(), directory.path());
    counts(&import(source.url(), &server), true);
    check(&server);
    counts(&import(source.url(), &server), false);
    let searched = json!({"experiment_ids": ["1"], "max_results": 1});
    let found = source.http().post("/api/2.0/mlflow/runs/search", &searched).unwrap().expect(200).unwrap();
    let run_id = found["runs"][0]["info"]["run_id"].as_str().unwrap().to_owned();
    let point = json!({"run_id": run_id, "key": "train/loss", "value": 0.125, "timestamp": 5, "step": 2_000});
    source.http().post("/api/2.0/mlflow/runs/log-metric", &point).unwrap().expect(200).unwrap();
    let text = import(source.url(), &server);
    assert!(text.contains(&format!("points: {}, 1 of them new\n", 6 * 1_504 + 1)), "{text}");
    let same = |server: &Server| -> Value {
        let path = format!("/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=train/loss");
        server.http().get(&path).unwrap().expect(200).unwrap()
    };
    assert_eq!(same(&server), same(&source));
}

/// I3: an import that is killed in its midst is finished by the next.
#[test]
fn i3_an_import_that_is_killed_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("mlruns");
    fill(&format!("file://{}", source.display()), directory.path());
    let server = Server::start().unwrap();
    for milliseconds in [60, 150, 300, 600] {
        let mut arguments = command().unwrap();
        arguments.args(["import", "mlflow"]).arg(Path::new(&source)).args(["--server", server.url()]);
        let mut child =
            arguments.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    import(&source.display().to_string(), &server);
    check(&server);
    counts(&import(&source.display().to_string(), &server), false);
}

/// Calls a server's MLflow API; the answer.
fn call(server: &Server, path: &str, body: Value) -> Value {
    server.http().post(&format!("/api/2.0/mlflow/{path}"), &body).unwrap().expect(200).unwrap()
}

/// Puts a file into a server's artifacts.
fn put(server: &Server, uri: &Value, name: &str, bytes: &[u8]) {
    let directory = uri.as_str().unwrap().strip_prefix("mlflow-artifacts:/").unwrap();
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/{directory}/{name}");
    assert_eq!(server.http().send("PUT", &path, &[], bytes).unwrap().status, 200);
}

#[test]
fn i4_a_version_of_a_logged_model_comes_with_the_models_files() {
    let (source, server) = (Server::start().unwrap(), Server::start().unwrap());
    let deleted = call(&source, "experiments/create", json!({"name": "deleted"}))["experiment_id"].clone();
    call(&source, "experiments/delete", json!({"experiment_id": deleted}));
    let of = call(&source, "experiments/create", json!({"name": "e"}))["experiment_id"].clone();
    let info = call(&source, "logged-models", json!({"experiment_id": of, "name": "logged"}))["model"]["info"].clone();
    put(&source, &info["artifact_uri"], "sub/weights.bin", b"weights");
    let id = info["model_id"].as_str().unwrap();
    call(&source, "registered-models/create", json!({"name": "m"}));
    let version = json!({"name": "m", "source": format!("models:/{id}"), "model_id": id});
    call(&source, "model-versions/create", version);
    for new in [1, 0] {
        let text = import(source.url(), &server);
        for what in ["versions", "logged models", "files"] {
            assert!(text.contains(&format!("{what}: 1, {new} of them new\n")), "{what} in {text}");
        }
        let get = |path: &str| server.http().get(path).unwrap();
        let file = get("/model-versions/get-artifact?name=m&version=1&path=sub/weights.bin");
        assert_eq!((file.status, file.text().as_str()), (200, "weights"));
        let found = get("/api/2.0/mlflow/experiments/get-by-name?experiment_name=deleted").expect(200).unwrap();
        assert_eq!(found["experiment"]["lifecycle_stage"], "deleted");
    }
    server.check_log(&[]).unwrap();
}

/// One version's run was purged, as `mlflow gc` does it; another is a copy of a model that comes later by name.
#[test]
fn i4_a_version_that_is_refused_is_reported_and_all_else_imported() {
    let (source, server) = (Server::start().unwrap(), Server::start().unwrap());
    let deleted = call(&source, "experiments/create", json!({"name": "deleted"}))["experiment_id"].clone();
    call(&source, "experiments/delete", json!({"experiment_id": deleted}));
    let of = call(&source, "experiments/create", json!({"name": "e"}))["experiment_id"].clone();
    let [kept, gone] = [(); 2].map(|()| {
        let info = call(&source, "runs/create", json!({"experiment_id": of}))["run"]["info"].clone();
        put(&source, &info["artifact_uri"], "m/a.txt", b"a");
        info
    });
    ["m", "z"].iter().for_each(|name| drop(call(&source, "registered-models/create", json!({"name": name}))));
    let version = |name: &str, run: &Value, source_uri: String| {
        call(&source, "model-versions/create", json!({"name": name, "run_id": run["run_id"], "source": source_uri}));
    };
    let files = |run: &Value| format!("{}/m", run["artifact_uri"].as_str().unwrap());
    version("z", &kept, files(&kept));
    version("m", &kept, "models:/z/1".to_owned());
    version("m", &gone, files(&gone));
    version("m", &kept, files(&kept));
    let path = format!("/api/v1/runs/{}", gone["run_id"].as_str().unwrap());
    assert_eq!(source.http().send("DELETE", &path, &[], &[]).unwrap().status, 204);
    assert_eq!(source.http().send("POST", &format!("{path}/purge"), &[], &[]).unwrap().status, 204);
    for _ in 0..2 {
        let output = output(source.url(), &server);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains("differs: model \"m\", version 2: "), "{text}");
        let get = |path: &str| server.http().get(&format!("/api/2.0/mlflow/{path}")).unwrap();
        let found = |version: u64| get(&format!("model-versions/get?name=m&version={version}"));
        assert_eq!(found(1).expect(200).unwrap()["model_version"]["source"], "models:/z/1");
        assert_eq!([2, 3, 4].map(|version| found(version).status), [404, 200, 404]);
        let found = get("experiments/get-by-name?experiment_name=deleted").expect(200).unwrap();
        assert_eq!(found["experiment"]["lifecycle_stage"], "deleted");
    }
    server.check_log(&[]).unwrap();
}

#[test]
fn i4_prompts_come_along() {
    let (source, server) = (Server::start().unwrap(), Server::start().unwrap());
    let tags = json!([{"key": "mlflow.prompt.is_prompt", "value": "true"}]);
    call(&source, "registered-models/create", json!({"name": "p", "tags": tags}));
    let version = json!({"name": "p", "source": "prompt-template", "tags": tags});
    call(&source, "model-versions/create", version);
    for new in [1, 0] {
        let text = import(source.url(), &server);
        for what in ["registered models", "versions"] {
            assert!(text.contains(&format!("{what}: 1, {new} of them new\n")), "{what} in {text}");
        }
        let path = "/api/2.0/mlflow/registered-models/get?name=p";
        assert_eq!(server.http().get(path).unwrap().expect(200).unwrap()["registered_model"]["tags"], tags);
    }
}

/// An `mlruns` directory of one run, whose files are at `artifacts`.
fn mlruns(parent: &Path, artifacts: &Path) -> PathBuf {
    let root = parent.join("mlruns");
    let run = root.join("1/r");
    ["params", "metrics", "tags"].iter().for_each(|name| fs::create_dir_all(run.join(name)).unwrap());
    fs::write(root.join("1/meta.yaml"), "experiment_id: '1'\nname: e\nlifecycle_stage: active\n").unwrap();
    let uri = artifacts.display();
    fs::write(
        run.join("meta.yaml"),
        format!("artifact_uri: file://{uri}\nlifecycle_stage: active\nrun_name: n\nstatus: 3\n"),
    )
    .unwrap();
    root
}

#[test]
fn files_outside_of_the_source_are_read_where_that_is_said() {
    let (parent, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let elsewhere = parent.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("a.txt"), "a").unwrap();
    let source = mlruns(parent.path(), &elsewhere).display().to_string();
    let refused = output(&source, &server);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("--artifacts-anywhere"), "{text}");
    let arguments = ["import", "mlflow", &source, "--artifacts-anywhere", "--server", server.url()];
    let taken = command().unwrap().args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&taken.stdout);
    assert!(taken.status.success() && text.contains("files: 1, 1 of them new\n"), "{text}");
}

/// MLflow takes nanoseconds for milliseconds; what microseconds cannot hold was new again with each import.
#[test]
fn i3_a_time_that_does_not_fit_is_imported_once() {
    let (parent, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    let source = mlruns(parent.path(), &parent.path().join("none"));
    fs::write(source.join("1/r/metrics/m"), "1700000000000000000 0.5 1\n5 0.25 2\n").unwrap();
    for new in [2, 0] {
        let text = import(&source.display().to_string(), &server);
        assert!(text.contains(&format!("points: 2, {new} of them new\n")), "{text}");
        assert!(text.contains("times that microseconds do not hold: 1 points"), "{text}");
    }
    assert_eq!(server.http().sql("e", "SELECT count(*) AS n FROM points").unwrap(), [json!({"n": 2})]);
}

#[test]
fn what_is_no_source_is_said_to_be_none() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    fs::write(directory.path().join("torn.db"), b"SQLite format 3\0").unwrap();
    let cases = [
        ("torn.db", "file is not a database"),
        ("nothing", "mlflow server --backend-store-uri"),
        ("", "mlflow server --backend-store-uri"),
    ];
    for (source, why) in cases {
        let source = directory.path().join(source);
        let output = command()
            .unwrap()
            .args(["import", "mlflow"])
            .arg(source)
            .args(["--server", server.url()])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(why), "{text}");
    }
}
