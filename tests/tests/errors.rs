//! Each error of the API provoked: stable code, status, and where it is.

use std::{io::Write, sync::Arc};

use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, StringArray},
    record_batch::RecordBatch,
};
use serde_json::{Value, json};
use stepwell_tests::{
    Http, Reply, Server, ServerOptions,
    arrow_stream::{self, Row},
};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const ARROW: (&str, &str) = ("content-type", arrow_stream::MEDIA_TYPE);

fn server() -> Server {
    let server = Server::start().unwrap();
    let run = json!({"project": "p", "run_id": "r", "params": {"lr": 0.1}});
    server.http().post("/api/v1/runs", &run).unwrap().expect(201).unwrap();
    server
}

/// Checks the form that every error has, and this one's code and status; the body for further checks.
#[track_caller]
fn refused(reply: Reply, status: u16, code: &str) -> Value {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{}", reply.text());
    let problem = reply.json().unwrap();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 15), "a sentence says what is wrong: {problem}");
    problem
}

fn ingest(http: &Http, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    http.send("POST", "/api/v1/ingest", headers, body).unwrap()
}

fn sql(http: &Http, query: &str) -> Reply {
    http.post("/api/v1/sql", &json!({"query": query, "project": "p"})).unwrap()
}

fn points(http: &Http) -> Value {
    http.sql("p", "SELECT count(*) AS n FROM points").unwrap()[0]["n"].clone()
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().collect::<StringArray>())
}

fn columns(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    arrow_stream::encode(&[RecordBatch::try_from_iter(columns).unwrap()]).unwrap()
}

#[test]
fn malformed_arrow() {
    let server = server();
    let http = server.http();
    refused(ingest(&http, &[ARROW], b"not an arrow stream at all"), 400, "malformed_arrow");
    refused(ingest(&http, &[ARROW], b""), 400, "malformed_arrow");
    let good = columns(vec![
        ("run_id", text(&[Some("r")])),
        ("metric", text(&[Some("m")])),
        ("step", Arc::new(Int64Array::from(vec![1]))),
        ("value", Arc::new(Float64Array::from(vec![1.0]))),
    ]);
    // A stream cut anywhere is refused or, where only the end mark is missing, taken; the server lives on.
    for cut in (0..good.len()).step_by(7) {
        assert!([200, 400].contains(&ingest(&http, &[ARROW], &good[..cut]).status), "cut at {cut}");
    }
    // So is one with any byte changed.
    for position in (0..good.len()).step_by(5) {
        let mut bytes = good.clone();
        bytes[position] ^= 0xff;
        let status = ingest(&http, &[ARROW], &bytes).status;
        assert!([200, 400, 404, 413].contains(&status), "{status} at byte {position}");
    }
    assert_eq!(http.get("/health").unwrap().status, 200);
}

#[test]
fn missing_column_and_wrong_type() {
    let server = server();
    let http = server.http();
    let body = columns(vec![("run_id", text(&[Some("r")])), ("metric", text(&[Some("m")]))]);
    let problem = refused(ingest(&http, &[ARROW], &body), 400, "missing_field");
    assert!(["step", "value"].contains(&problem["field"].as_str().unwrap()), "{problem}");
    let body = columns(vec![
        ("run_id", text(&[Some("r")])),
        ("metric", text(&[Some("m")])),
        ("step", text(&[Some("one")])),
        ("value", Arc::new(Float64Array::from(vec![1.0]))),
    ]);
    let problem = refused(ingest(&http, &[ARROW], &body), 400, "wrong_type");
    assert_eq!(problem["field"], "step");
    let line = b"{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":1}\n{\"run_id\":\"r\",\"metric\":\"m\",\"step\":\"x\",\"value\":1}\n";
    let problem = refused(ingest(&http, &[NDJSON], line), 400, "wrong_type");
    assert_eq!((&problem["field"], &problem["row"]), (&json!("step"), &json!(2)));
    assert_eq!(points(&http), 0, "I4: refused whole");
}

#[test]
fn malformed_json() {
    let server = server();
    let http = server.http();
    let line = b"{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":1}\n{\"run_id\":\n";
    let problem = refused(ingest(&http, &[NDJSON], line), 400, "malformed_json");
    assert_eq!(problem["row"], 2);
    let reply = http.send("POST", "/api/v1/sql", &[("content-type", "application/json")], b"{").unwrap();
    refused(reply, 400, "malformed_json");
    assert_eq!(points(&http), 0, "I4: refused whole");
}

#[test]
fn empty_and_over_long_names() {
    let server = server();
    let http = server.http();
    let line = |run: &str, metric: &str| json!({"run_id": run, "metric": metric, "step": 1, "value": 1.0}).to_string();
    let problem = refused(ingest(&http, &[NDJSON], line("r", "").as_bytes()), 400, "invalid_name");
    assert_eq!((&problem["field"], &problem["row"]), (&json!("metric"), &json!(1)));
    let problem = refused(ingest(&http, &[NDJSON], line("r", &"m".repeat(1_025)).as_bytes()), 400, "invalid_name");
    assert_eq!((&problem["field"], &problem["limit"]), (&json!("metric"), &json!(1_024)));
    assert_eq!(ingest(&http, &[NDJSON], line("r", &"m".repeat(1_024)).as_bytes()).status, 200);
    for bad in [String::new(), "x".repeat(769), "a\u{7}b".to_owned()] {
        let reply = http.post("/api/v1/runs", &json!({"project": "p", "run_id": bad})).unwrap();
        let problem = refused(reply, 400, "invalid_name");
        assert_eq!(problem["field"], "run_id");
    }
    let reply = http.post("/api/v1/projects", &json!({"name": ""})).unwrap();
    refused(reply, 400, "invalid_name");
}

#[test]
fn null_values() {
    let server = server();
    let http = server.http();
    let body = columns(vec![
        ("run_id", text(&[Some("r"), Some("r")])),
        ("metric", text(&[Some("m"), Some("m")])),
        ("step", Arc::new(Int64Array::from(vec![1, 2]))),
        ("value", Arc::new(Float64Array::from(vec![Some(1.0), None]))),
    ]);
    let problem = refused(ingest(&http, &[ARROW], &body), 400, "null_value");
    assert_eq!((&problem["field"], &problem["row"]), (&json!("value"), &json!(2)));
    let line = b"{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":null}";
    let problem = refused(ingest(&http, &[NDJSON], line), 400, "null_value");
    assert_eq!((&problem["field"], &problem["row"]), (&json!("value"), &json!(1)));
    assert_eq!(points(&http), 0, "I4: refused whole");
}

#[test]
fn bodies_over_the_limits() {
    let flags = ["--body-limit-bytes", "100000", "--decoded-limit-bytes", "200000"].map(str::to_owned).to_vec();
    let server = Server::start_with(&ServerOptions { flags, ..ServerOptions::default() }).unwrap();
    let http = server.http();
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
    let line = "{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":1}\n";
    let problem = refused(ingest(&http, &[NDJSON], line.repeat(4_000).as_bytes()), 413, "body_too_large");
    assert_eq!(problem["limit"], 100_000);
    let packed = zstd::encode_all(line.repeat(10_000).as_bytes(), 3).unwrap();
    let problem = refused(ingest(&http, &[NDJSON, ("content-encoding", "zstd")], &packed), 413, "decoded_too_large");
    assert_eq!(problem["limit"], 200_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; 50_000_000]).unwrap();
    let bomb = gzip.finish().unwrap();
    refused(ingest(&http, &[NDJSON, ("content-encoding", "gzip")], &bomb), 413, "decoded_too_large");
    assert_eq!(points(&http), 0, "I4: refused whole");
}

#[test]
fn encodings_and_media_types_that_are_not_known() {
    let server = server();
    let http = server.http();
    refused(ingest(&http, &[("content-type", "text/plain")], b"x"), 415, "unsupported_media_type");
    refused(ingest(&http, &[NDJSON, ("content-encoding", "br")], b"x"), 415, "unsupported_encoding");
    refused(ingest(&http, &[NDJSON, ("content-encoding", "gzip")], b"this is not gzip"), 400, "malformed_encoding");
}

#[test]
fn unknown_runs_and_projects() {
    let server = server();
    let http = server.http();
    let lines = b"{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":1}\n{\"run_id\":\"nobody\",\"metric\":\"m\",\"step\":1,\"value\":1}\n";
    let problem = refused(ingest(&http, &[NDJSON], lines), 404, "run_not_found");
    assert!(problem["detail"].as_str().unwrap().contains("nobody"), "{problem}");
    assert_eq!(points(&http), 0, "I4: refused whole");
    refused(http.get("/api/v1/runs/nobody").unwrap(), 404, "run_not_found");
    refused(http.get("/api/v1/runs?project=nothing").unwrap(), 404, "project_not_found");
    let reply = http.post("/api/v1/sql", &json!({"query": "SELECT 1", "project": "nothing"})).unwrap();
    refused(reply, 404, "project_not_found");
    let reply = http.post("/api/v1/series", &json!({"project": "p", "run_ids": ["nobody"], "metrics": ["m"]})).unwrap();
    refused(reply, 404, "run_not_found");
    refused(http.post("/api/v1/runs/nobody/log", &json!({"metrics": {"m": 1}})).unwrap(), 404, "run_not_found");
}

#[test]
fn conflicts() {
    let server = server();
    let http = server.http();
    refused(http.post("/api/v1/projects", &json!({"name": "p"})).unwrap(), 409, "project_exists");
    refused(http.post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap(), 409, "run_exists");
    let problem =
        refused(http.patch("/api/v1/runs/r", &json!({"params": {"lr": 0.2}})).unwrap(), 409, "param_conflict");
    assert!(problem["detail"].as_str().unwrap().contains("lr"), "{problem}");
}

#[test]
fn wrong_fields() {
    let server = server();
    let http = server.http();
    let problem = refused(http.patch("/api/v1/runs/r", &json!({"status": "sleeping"})).unwrap(), 400, "invalid_value");
    assert_eq!(problem["field"], "status");
    refused(http.post("/api/v1/runs", &json!({"projekt": "p"})).unwrap(), 400, "unknown_field");
    let series = json!({"project": "p", "run_ids": ["r"], "metrics": ["m"], "buckets": 0});
    let problem = refused(http.post("/api/v1/series", &series).unwrap(), 400, "invalid_value");
    assert_eq!(problem["field"], "buckets");
    let line = b"{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"value\":1}";
    refused(ingest(&http, &[NDJSON, ("stepwell-producer", "p")], line), 400, "missing_field");
    refused(
        ingest(&http, &[NDJSON, ("stepwell-producer", "p"), ("stepwell-sequence", "-1")], line),
        400,
        "invalid_value",
    );
    refused(http.get("/api/v1/nowhere").unwrap(), 404, "unknown_route");
    refused(http.send("DELETE", "/api/v1/projects", &[], b"").unwrap(), 405, "method_not_allowed");
}

#[test]
fn sql_syntax_has_a_position() {
    let server = server();
    let problem = refused(sql(&server.http(), "SELECT *\nFROM points GROUP step"), 400, "sql_syntax");
    assert_eq!(problem["position"]["line"], 2, "{problem}");
    assert!(problem["position"]["column"].as_u64().unwrap() > 1, "{problem}");
}

#[test]
fn sql_that_is_not_a_query() {
    let server = server();
    let http = server.http();
    for statement in [
        "CREATE TABLE t AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "DROP TABLE points",
        "INSERT INTO points SELECT * FROM points",
        "DELETE FROM points",
        "UPDATE points SET value = 1",
        "COPY points TO '/tmp/x.csv'",
        "SET datafusion.execution.batch_size = 1",
    ] {
        refused(sql(&http, statement), 403, "not_a_query");
    }
    assert_eq!(sql(&http, "EXPLAIN ANALYZE SELECT * FROM points").status, 200);
    assert_ne!(sql(&http, "SELECT * FROM '/etc/passwd'").status, 200);
}

#[test]
fn unknown_tables_and_columns_come_with_the_nearest_names() {
    let server = server();
    let http = server.http();
    let problem = refused(sql(&http, "SELECT * FROM point"), 404, "unknown_table");
    assert!(problem["nearest"].as_array().unwrap().contains(&json!("points")), "{problem}");
    let problem = refused(sql(&http, "SELECT valeu FROM points"), 400, "unknown_column");
    assert!(problem["nearest"].to_string().contains("value"), "{problem}");
}

#[test]
fn a_filter_is_one_expression() {
    let server = server();
    let http = server.http();
    let filter = "status%20%3D%20%27running%27%3B%20DROP%20TABLE%20runs";
    let reply = http.get(&format!("/api/v1/runs?project=p&filter={filter}")).unwrap();
    refused(reply, 400, "sql_syntax");
    let filter = "nmae%20%3D%20%27x%27";
    refused(http.get(&format!("/api/v1/runs?project=p&filter={filter}")).unwrap(), 400, "unknown_column");
}

#[test]
fn a_small_arrow_stream_that_claims_two_to_the_62_bytes_is_refused() {
    let server = server();
    let http = server.http();
    let body =
        std::fs::read(stepwell_tests::repository().join("tests/fixtures/hostile/claims_2_62_bytes.arrows")).unwrap();
    let reply = ingest(&http, &[ARROW], &body);
    assert!([400, 413].contains(&reply.status), "{} {}", reply.status, reply.text());
    assert_eq!(http.get("/health").unwrap().status, 200, "the server lives on");
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let flags = ["--queue-bytes", "1048576"].map(str::to_owned).to_vec();
    let server = Server::start_with(&ServerOptions { flags, ..ServerOptions::default() }).unwrap();
    server.http().post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
    let rows: Vec<Row> = (0..100_000)
        .map(|step| Row { run_id: "r".into(), metric: "m".into(), step, timestamp_us: 0, value: 1.0 })
        .collect();
    let body = Arc::new(arrow_stream::encode_rows(&rows).unwrap());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (http, body) = (server.http(), body.clone());
            stepwell_env::spawn("writer", move || (0..6).map(|_| ingest(&http, &[ARROW], &body)).collect::<Vec<_>>())
                .unwrap()
        })
        .collect();
    let replies: Vec<Reply> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    let full: Vec<&Reply> = replies.iter().filter(|reply| reply.status != 200).collect();
    assert!(taken > 0 && !full.is_empty(), "{taken} of {} taken", replies.len());
    for reply in full {
        refused(reply.clone(), 429, "queue_full");
        assert!(reply.header("retry-after").unwrap().parse::<u64>().is_ok(), "{reply:?}");
    }
    assert_eq!(points(&server.http()), taken * 100_000, "I4: taken or refused whole");
    let counted = server.http().get("/metrics").unwrap().text();
    assert!(
        counted.lines().any(|line| line.contains("refused") && !line.starts_with('#') && !line.ends_with(" 0")),
        "{counted}"
    );
}

#[test]
fn not_ready_while_replaying() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_in(directory.path(), &ServerOptions::default()).unwrap();
    let http = server.http();
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
    for batch in 0..8 {
        let rows: Vec<Row> = (0..100_000)
            .map(|step| Row {
                run_id: "r".into(),
                metric: format!("m{}", step % 50),
                step: batch * 100_000 + step,
                timestamp_us: 0,
                value: 1.0,
            })
            .collect();
        assert_eq!(ingest(&http, &[ARROW], &arrow_stream::encode_rows(&rows).unwrap()).status, 200);
    }
    server.kill().unwrap();
    let server = Server::spawn(directory.path(), &ServerOptions::default()).unwrap();
    let http = server.http();
    refused(http.get("/ready").unwrap(), 503, "not_ready");
    let reply = sql(&http, "SELECT 1");
    assert!(reply.status == 200 || reply.header("retry-after").is_some(), "{reply:?}");
    assert_eq!(http.get("/health").unwrap().status, 200);
    for _ in 0..3_000 {
        if http.get("/ready").unwrap().status == 200 {
            assert_eq!(points(&http), 800_000);
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("not ready after a minute");
}

/// Codes are a promise: each one that this suite provokes is listed for people in the error index, or in the description
/// of the API.
#[test]
fn every_code_is_listed() {
    let read = |name: &str| std::fs::read_to_string(stepwell_tests::repository().join("schemas").join(name)).unwrap();
    let (index, openapi) = (read("errors.md"), read("openapi.json"));
    // In this file a code follows a status: `, 404, "run_not_found"`.
    let is_status =
        |text: &str| text.ends_with(", ") && text.trim_end_matches(", ").ends_with(|c: char| c.is_ascii_digit());
    let parts: Vec<&str> = include_str!("errors.rs").split('"').collect();
    let codes = parts.windows(2).filter(|pair| is_status(pair[0])).map(|pair| pair[1]);
    let codes: Vec<&str> =
        codes.filter(|code| code.len() > 4 && code.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect();
    assert!(codes.len() > 30, "{codes:?}");
    let missing: Vec<&&str> =
        codes.iter().filter(|code| !index.contains(&format!("`{code}`")) && !openapi.contains(**code)).collect();
    assert!(missing.is_empty(), "neither in schemas/errors.md nor in schemas/openapi.json: {missing:?}");
}
