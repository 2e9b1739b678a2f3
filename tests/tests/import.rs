//! `stepwell import tensorboard` of real files through the real server, compared with what they are known to hold.

use std::{fs, path::Path, process::Output};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use stepwell_tests::{Http, Server, command, repository};

fn fixture() -> std::path::PathBuf {
    repository().join("tests/fixtures/tensorboard")
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(fixture().join("expected.json")).unwrap()).unwrap()
}

fn import(server: &Server, logdir: &Path) -> Output {
    let mut command = command().unwrap();
    command.args(["import", "tensorboard", "--project", "tb", "--server", server.url()]).arg(logdir).output().unwrap()
}

fn import_ok(server: &Server, logdir: &Path) -> String {
    let output = import(server, logdir);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

/// The run id of the run that lies at `path` below the log directory: its name is that path.
fn run_id(http: &Http, path: &str) -> String {
    let rows = http.sql("tb", &format!("SELECT run_id FROM runs WHERE name = '{path}'")).unwrap();
    assert_eq!(rows.len(), 1, "{path}: {rows:?}");
    rows[0]["run_id"].as_str().unwrap().to_owned()
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some(text) => text.parse().unwrap(),
        None => value.as_f64().unwrap_or(f64::NAN),
    }
}

fn count(http: &Http) -> u64 {
    http.sql("tb", "SELECT count(*) AS n FROM points").unwrap()[0]["n"].as_u64().unwrap()
}

fn raw_total(expected: &Value) -> u64 {
    let runs = expected["runs"].as_array().unwrap();
    runs.iter()
        .flat_map(|run| run["scalars"].as_object().unwrap().values())
        .map(|scalar| scalar["raw_count"].as_u64().unwrap())
        .sum()
}

#[test]
fn every_scalar_arrives_as_expected_and_a_second_import_adds_nothing() {
    let server = Server::start().unwrap();
    let (http, expected) = (server.http(), expected());
    import_ok(&server, &fixture().join("logdir"));
    assert_eq!(count(&http), raw_total(&expected), "I6: every stored point");
    for run in expected["runs"].as_array().unwrap() {
        let run_id = run_id(&http, run["run"].as_str().unwrap());
        for (metric, scalar) in run["scalars"].as_object().unwrap() {
            check_series(&http, &run_id, metric, scalar);
        }
    }
    let before = http.sql("tb", "SELECT max(lsn) AS lsn FROM points").unwrap();
    import_ok(&server, &fixture().join("logdir"));
    assert_eq!(http.sql("tb", "SELECT max(lsn) AS lsn FROM points").unwrap(), before, "I3: nothing was added");
    server.check_log(&[]).unwrap();
}

fn check_series(http: &Http, run_id: &str, metric: &str, scalar: &Value) {
    let what = format!("{run_id} {metric}");
    let query = format!("SELECT count(*) AS n FROM points WHERE run_id = '{run_id}' AND metric = '{metric}'");
    assert_eq!(http.sql("tb", &query).unwrap()[0]["n"], scalar["raw_count"], "{what}");
    let ask = json!({"project": "tb", "run_ids": [run_id], "metrics": [metric], "buckets": 1000});
    let answer = http.post("/api/v1/series", &ask).unwrap().expect(200).unwrap();
    let series = &answer["series"][0];
    assert_eq!(series["points"], scalar["count"], "{what}");
    let columns = &series["columns"];
    let (steps, values) = (columns["step"].as_array().unwrap(), columns["value"].as_array().unwrap());
    for (end, row) in [("first", 0), ("last", steps.len() - 1)] {
        assert_eq!(steps[row], scalar[end][0], "{what} {end}");
        assert_eq!(number(&values[row]).to_bits(), number(&scalar[end][2]).to_bits(), "{what} {end}: I5");
    }
    let finite: Vec<f64> = values.iter().map(number).filter(|value| value.is_finite()).collect();
    assert_eq!((values.len() - finite.len()) as u64, scalar["non_finite"].as_u64().unwrap(), "{what}");
    if !finite.is_empty() {
        assert_eq!(finite.iter().copied().fold(f64::INFINITY, f64::min), number(&scalar["min"]), "{what}");
        assert_eq!(finite.iter().copied().fold(f64::NEG_INFINITY, f64::max), number(&scalar["max"]), "{what}");
        let sum: f64 = finite.iter().sum();
        assert!((sum - number(&scalar["sum"])).abs() <= 1e-9 * sum.abs().max(1.0), "{what}: sum {sum}");
    }
}

#[test]
fn i4_a_purged_run_is_imported_anew() {
    let server = Server::start().unwrap();
    let (http, expected) = (server.http(), expected());
    import_ok(&server, &fixture().join("logdir"));
    for row in http.sql("tb", "SELECT run_id FROM runs").unwrap() {
        let run_id = utf8_percent_encode(row["run_id"].as_str().unwrap(), NON_ALPHANUMERIC);
        let path = format!("/api/v1/runs/{run_id}");
        assert_eq!(http.send("DELETE", &path, &[], &[]).unwrap().status, 204);
        assert_eq!(http.send("POST", &format!("{path}/purge"), &[], &[]).unwrap().status, 204);
    }
    assert_eq!(count(&http), 0);
    import_ok(&server, &fixture().join("logdir"));
    assert_eq!(count(&http), raw_total(&expected), "I4: every stored point is there again");
    server.check_log(&[]).unwrap();
}

/// Which import made a run is known by its tags alone.
#[test]
fn i3_points_of_a_run_without_its_tags_are_not_sent_again() {
    let server = Server::start().unwrap();
    let (http, expected) = (server.http(), expected());
    import_ok(&server, &fixture().join("logdir"));
    for row in http.sql("tb", "SELECT DISTINCT run_id, key FROM tags").unwrap() {
        let run_id = utf8_percent_encode(row["run_id"].as_str().unwrap(), NON_ALPHANUMERIC);
        let update = json!({"tags": {row["key"].as_str().unwrap(): null}}).to_string();
        let json = [("content-type", "application/json")];
        let reply = http.send("PATCH", &format!("/api/v1/runs/{run_id}"), &json, update.as_bytes()).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let output = import(&server, &fixture().join("logdir"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("no record of the import"), "{text}");
    assert_eq!(count(&http), raw_total(&expected), "I3: nothing was added");
    server.check_log(&[]).unwrap();
}

#[test]
fn wall_times_and_hparams_are_kept() {
    let server = Server::start().unwrap();
    let http = server.http();
    import_ok(&server, &fixture().join("logdir"));
    let torch = run_id(&http, "resnet/torch");
    let query = format!(
        "SELECT CAST(timestamp AS BIGINT) AS us FROM points WHERE run_id = '{torch}' AND metric = 'train/loss' AND step = 1"
    );
    assert_eq!(http.sql("tb", &query).unwrap()[0]["us"], json!(1_790_000_000_500_000_i64));
    let rows = http.sql("tb", "SELECT name FROM runs WHERE params['lr'] > 0.05 AND params['opt'] = 'sgd'").unwrap();
    assert_eq!(rows, [json!({"name": "hp/trial_0"})]);
}

#[test]
fn damaged_files_lose_only_the_damaged_records_and_the_report_says_so() {
    for run in expected()["runs"].as_array().unwrap() {
        for file in run["files"].as_array().unwrap() {
            let Some(derived) = file["derived"].as_array() else { continue };
            let source =
                fixture().join("logdir").join(run["run"].as_str().unwrap()).join(file["name"].as_str().unwrap());
            let original = fs::read(&source).unwrap();
            for damage in derived {
                check_damage(&original, file, damage);
            }
        }
    }
}

fn check_damage(original: &[u8], file: &Value, damage: &Value) {
    let logdir = tempfile::tempdir().unwrap();
    let mut bytes = original.to_vec();
    if let Some(byte) = damage["byte"].as_u64() {
        bytes[usize::try_from(byte).unwrap()] ^= 0xff;
    } else {
        bytes.truncate(usize::try_from(damage["bytes"].as_u64().unwrap()).unwrap());
    }
    fs::create_dir_all(logdir.path().join("run")).unwrap();
    let target = logdir.path().join("run").join(file["name"].as_str().unwrap());
    fs::write(&target, &bytes).unwrap();

    let server = Server::start().unwrap();
    let report = import_ok(&server, logdir.path());
    let found = count(&server.http());
    let whole = file["scalar_points"].as_u64().unwrap();
    if let Some(lost) = damage["lost_points"].as_u64() {
        assert_eq!(found, whole - lost, "{damage}: {report}");
        assert!(report.contains("skipped"), "{report}");
    } else {
        assert!(found < whole && found > 0, "{damage}: {found} of {whole}");
        // The writer goes on: the rest arrives, and nothing twice.
        fs::write(&target, original).unwrap();
        import_ok(&server, logdir.path());
        assert_eq!(count(&server.http()), whole, "{damage}");
    }
}
