//! `stepwell import mlflow`: what MLflow's own client wrote, into an `mlruns` directory, an SQLite file or to a server, is in Stepwell afterwards as it
//! was, and once however often it is imported.

use std::{path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use stepwell_tests::{Server, command, mlflow::Client, repository};

/// What `fill.py` writes: points of six runs of 1,504 each, six files of each run, and so on.
const COUNTS: [(&str, u64); 6] =
    [("runs", 6), ("params", 18), ("points", 6 * 1_504), ("files", 18), ("registered models", 1), ("versions", 3)];

/// Has MLflow's client write something of everything. In `directory` are the files that a client without a server keeps.
fn fill(tracking_uri: &str, directory: &Path) {
    let script = repository().join("tests/python/mlflow/fill.py");
    let mut python = Command::new(Client::Newest.python().unwrap());
    let output =
        python.current_dir(directory).arg(script).arg(tracking_uri).env("NO_PROXY", "127.0.0.1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Imports, and says what the import says.
fn import(source: &str, server: &Server) -> String {
    let output = command().unwrap().args(["import", "mlflow", source, "--server", server.url()]).output().unwrap();
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

#[test]
fn what_is_no_source_is_said_to_be_none() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Server::start().unwrap());
    std::fs::write(directory.path().join("torn.db"), b"SQLite format 3\0").unwrap();
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
