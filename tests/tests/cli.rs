//! The binary's other commands, and how `serve` refuses what it was told wrongly.

use std::{path::Path, process::Output};

use serde_json::{Value, json};
use stepwell_tests::{
    Server, ServerOptions,
    arrow_stream::{self, Row},
    command,
};

fn stepwell(arguments: &[&str]) -> Output {
    command().unwrap().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn fails_with(output: &Output, part: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(part), "wanted {part:?} in {text:?}");
}

/// A server with three points of one run, of which NaN is one.
fn filled(data_dir: &Path) -> Server {
    let server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
    let http = server.http();
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": "r", "params": {"lr": 0.5}}))
        .unwrap()
        .expect(201)
        .unwrap();
    let rows: Vec<Row> = [0.5, f64::NAN, -0.0]
        .iter()
        .zip(1..)
        .map(|(value, step)| Row { run_id: "r".into(), metric: "m".into(), step, timestamp_us: 0, value: *value })
        .collect();
    let body = arrow_stream::encode_rows(&rows).unwrap();
    let reply = http.send("POST", "/api/v1/ingest", &[("content-type", arrow_stream::MEDIA_TYPE)], &body).unwrap();
    reply.expect(200).unwrap();
    server
}

const QUERY: &str = "SELECT step, value FROM points ORDER BY step";

fn check_formats(source: &[&str]) {
    let ask = |format: &str| stepwell(&[&["sql", "--project", "p", "--format", format], source, &[QUERY]].concat());
    let table = stdout(&ask("table"));
    assert!(table.contains("│") && table.contains("NaN") && table.trim_end().ends_with("3 rows"), "{table}");
    assert_eq!(stdout(&ask("csv")).lines().collect::<Vec<_>>(), ["step,value", "1,0.5", "2,NaN", "3,-0.0"]);
    let json: Value = serde_json::from_str(&stdout(&ask("json"))).unwrap();
    assert_eq!(json["rows"][1], json!({"step": 2, "value": "NaN"}));
    assert!(ask("parquet").stdout.starts_with(b"PAR1"));
    let empty = stepwell(
        &[&["sql", "--project", "p", "--format", "csv"], source, &["SELECT step FROM points WHERE step > 9"]].concat(),
    );
    assert_eq!(stdout(&empty).trim_end(), "step", "an empty answer still has its header");
    let wrong = stepwell(&[&["sql", "--project", "p"], source, &["SELECT valeu FROM points"]].concat());
    fails_with(&wrong, "valeu");
}

#[test]
fn sql_asks_a_server_in_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let server = filled(directory.path());
    check_formats(&["--server", server.url()]);
    server.check_log(&[]).unwrap();
}

#[test]
fn sql_reads_a_data_directory_after_and_beside_a_server_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let mut server = filled(directory.path());
    check_formats(&["--data-dir", data_dir]);
    server.terminate().unwrap();
    let before = listing(directory.path());
    check_formats(&["--data-dir", data_dir]);
    assert_eq!(listing(directory.path()), before);
    fails_with(&stepwell(&["sql", "--data-dir", "/nowhere/at/all", "SELECT 1"]), "/nowhere/at/all");
}

/// Names and sizes of the files of the points; SQLite keeps its own side files.
fn listing(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for folder in ["", "wal", "segments"] {
        for entry in std::fs::read_dir(directory.join(folder)).unwrap().map(Result::unwrap) {
            let name = entry.path().display().to_string();
            if entry.file_type().unwrap().is_file() && !name.contains("sqlite") {
                found.push((name, entry.metadata().unwrap().len()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn inspect_describes_a_directory_and_each_of_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = filled(directory.path());
    let wal = std::fs::read_dir(directory.path().join("wal")).unwrap().next().unwrap().unwrap().path();
    assert!(stdout(&stepwell(&["inspect", wal.to_str().unwrap()])).contains('3'), "three points are in the log");
    server.terminate().unwrap();
    let path = directory.path().to_str().unwrap();
    let json: Value = serde_json::from_str(&stdout(&stepwell(&["inspect", "--json", "--verify", path]))).unwrap();
    assert_eq!((&json["points_in_segments"], &json["segments"][0]["points"]), (&json!(3), &json!(3)), "{json}");
    assert_eq!(json["segments"][0]["state"], "every byte verified");
    assert_eq!(json["segments"][0]["step"], json!([1, 3]));
    let words = stdout(&stepwell(&["inspect", path]));
    assert!(words.contains("wal floor: 4") && words.contains("step: 1 to 3"), "{words}");
    let manifest = directory.path().join("MANIFEST");
    assert!(stdout(&stepwell(&["inspect", manifest.to_str().unwrap()])).contains("live segments: 1"));
    let segment = directory.path().join("segments").join(json["segments"][0]["file"].as_str().unwrap());
    assert!(stdout(&stepwell(&["inspect", segment.to_str().unwrap()])).contains("points: 3"));

    // I11: one changed byte is seen, and said with the file's name.
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let json: Value = serde_json::from_str(&stdout(&stepwell(&["inspect", "--json", "--verify", path]))).unwrap();
    assert!(json["segments"][0]["state"].as_str().unwrap().starts_with("damaged"), "{json}");
    fails_with(&stepwell(&["inspect", "/nowhere"]), "does not exist");
}

#[test]
fn serve_refuses_unknown_keys_variables_flags_and_reachable_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let file = directory.path().join("s.toml");
    std::fs::write(&file, "listne = \"127.0.0.1:0\"\n").unwrap();
    fails_with(
        &stepwell(&["serve", "--data-dir", data_dir, "--config", file.to_str().unwrap()]),
        "`listne` is unknown",
    );
    fails_with(&stepwell(&["serve", "--data-dir", data_dir, "--listne", "x"]), "--listne");
    fails_with(&stepwell(&["serve", "--data-dir", data_dir, "--listen", "0.0.0.0:0"]), "--allow-remote");
    fails_with(&stepwell(&["serve"]), "`data_dir` is not set");
    let output =
        command().unwrap().args(["serve", "--data-dir", data_dir]).env("STEPWELL_LISTNE", "x").output().unwrap();
    fails_with(&output, "STEPWELL_LISTNE is unknown");
}

#[test]
fn flag_beats_environment_beats_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.toml");
    std::fs::write(&file, "body_limit_bytes = 1024\nlog_format = \"json\"\ndecoded_limit_bytes = 2048\n").unwrap();
    let options = ServerOptions {
        flags: ["--config", file.to_str().unwrap(), "--log-format", "text"].map(str::to_owned).to_vec(),
        variables: vec![
            ("STEPWELL_BODY_LIMIT_BYTES".into(), "4096".into()),
            ("STEPWELL_LOG_FORMAT".into(), "json".into()),
        ],
        ..ServerOptions::default()
    };
    let server = Server::start_with(&options).unwrap();
    let limit = |encoding: &str, body: &[u8]| {
        let headers = [("content-type", "application/x-ndjson"), ("content-encoding", encoding)];
        server.http().send("POST", "/api/v1/ingest", &headers, body).unwrap().json().unwrap()["limit"].clone()
    };
    assert_eq!(limit("zstd", &[b' '; 5_000]), 4096, "the variable beats the file");
    let small = zstd::encode_all(&[b' '; 3_000][..], 3).unwrap();
    assert_eq!(limit("zstd", &small), 2048, "the file's key is heard");
    assert!(server.log().iter().all(|line| !line.starts_with('{')), "the flag beats the variable");
}

#[test]
fn the_demonstration_streams_asks_and_draws() {
    let server = Server::start().unwrap();
    let text = stdout(&stepwell(&["demo", "--seconds", "1", "--imported", "demo", "--server", server.url()]));
    assert!(text.contains("6 live runs, all acknowledged"), "{text}");
    assert_eq!(text.matches(" rows\n").count(), 3, "three tables: {text}");
    assert!(text.contains('└') && text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "a chart: {text}");
    let runs = server.http().sql("demo", "SELECT count(*) AS n FROM runs WHERE status = 'finished'").unwrap();
    assert_eq!(runs[0]["n"], 6);
    server.check_log(&[]).unwrap();
}
