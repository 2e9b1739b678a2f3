//! What the routes answer over an open application.

use axum::body::Body;
use serde_json::Value;
use stepwell_app::{App, AppConfig};
use stepwell_env::Env;

use super::{tests::send, *};
use crate::state::{AppSlot, ServerConfig};

/// The routes over a new data directory, which goes with the first value.
async fn open(config: ServerConfig) -> (tempfile::TempDir, Router) {
    let dir = tempfile::tempdir().unwrap();
    let app = App::open(Env::real(), AppConfig::new(dir.path())).await.unwrap();
    (dir, router(Arc::new(ServerState::new(AppSlot::from(app), config))))
}

/// Method, path, headers, body; status and code of the refusal.
type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16, &'a str);

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

#[tokio::test]
async fn i4_every_refusal_has_its_code() {
    let config = ServerConfig { body_limit_bytes: 1000, decoded_limit_bytes: 2000, ..Default::default() };
    let (_dir, router) = open(config).await;
    let zeros = zstd::encode_all(&[b' '; 5000][..], 3).unwrap();
    let zstd = ("content-encoding", "zstd");
    let cases: Vec<Case<'_>> = vec![
        ("GET", "/nothing", vec![], vec![], 404, "unknown_route"),
        ("GET", "/api/v1/runs/", vec![], vec![], 404, "unknown_route"),
        ("DELETE", "/api/v1/projects", vec![], vec![], 405, "method_not_allowed"),
        ("GET", "/api/v1/projects", vec![("accept", "text/html")], vec![], 406, "not_acceptable"),
        ("POST", "/api/v1/sql", vec![("accept", "image/png"), JSON], b"{}".into(), 406, "not_acceptable"),
        ("POST", "/api/v1/projects", vec![], b"{}".into(), 415, "unsupported_media_type"),
        ("POST", "/api/v1/ingest", vec![("content-type", "text/plain")], vec![], 415, "unsupported_media_type"),
        ("POST", "/api/v1/ingest", vec![NDJSON, ("content-encoding", "br")], vec![], 415, "unsupported_encoding"),
        ("POST", "/api/v1/ingest", vec![NDJSON, zstd], b"not zstd".into(), 400, "malformed_encoding"),
        ("POST", "/api/v1/ingest", vec![NDJSON], vec![b' '; 1001], 413, "body_too_large"),
        ("POST", "/api/v1/ingest", vec![NDJSON, zstd], zeros, 413, "decoded_too_large"),
        ("POST", "/api/v1/ingest", vec![NDJSON, ("stepwell-producer", "p")], vec![], 400, "missing_field"),
        (
            "POST",
            "/api/v1/ingest",
            vec![NDJSON, ("stepwell-producer", "p"), ("stepwell-sequence", "-1")],
            vec![],
            400,
            "invalid_value",
        ),
        (
            "POST",
            "/api/v1/ingest",
            vec![NDJSON, ("stepwell-producer", "a b"), ("stepwell-sequence", "1")],
            vec![],
            400,
            "invalid_value",
        ),
        ("POST", "/api/v1/projects", vec![JSON], b"{\"nam\":\"p\"}".into(), 400, "unknown_field"),
        ("POST", "/api/v1/projects", vec![JSON], b"{\"name\":1}".into(), 400, "wrong_type"),
        ("POST", "/api/v1/projects", vec![JSON], b"{".into(), 400, "malformed_json"),
        // What values take in memory counts, not what their text does.
        ("POST", "/api/v1/sql", vec![JSON], b"[{},{},{}]".into(), 413, "decoded_too_large"),
        ("PATCH", "/api/v1/runs/r", vec![JSON], b"{\"status\":\"done\"}".into(), 400, "invalid_value"),
        ("GET", "/api/v1/runs", vec![], vec![], 400, "missing_field"),
        ("GET", "/api/v1/runs?project=p&limit=0", vec![], vec![], 400, "invalid_value"),
        ("GET", "/api/v1/runs?projekt=p", vec![], vec![], 400, "unknown_field"),
        ("GET", "/api/v1/runs/a%0Ab", vec![], vec![], 400, "invalid_name"),
        ("GET", "/api/v1/runs/%ff", vec![], vec![], 400, "invalid_name"),
        ("GET", "/api/v1/runs/missing", vec![], vec![], 404, "run_not_found"),
        ("GET", "/api/v1/series?project=p&run_ids=r&metrics=m&x=epoch", vec![], vec![], 400, "invalid_value"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let (got, answered, bytes) = send(&router, method, path, &headers, body).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{method} {path}: {text}");
        assert_eq!(answered["content-type"], "application/problem+json", "{path}");
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
        if status == 405 {
            let allow = answered["allow"].to_str().unwrap();
            assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");
        }
    }
    let (_, _, metrics) = send(&router, "GET", "/metrics", &[], Body::empty()).await;
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("stepwell_refusals_total{code=\"body_too_large\",door=\"ingest\"} 1"), "{metrics}");
}

#[tokio::test]
async fn i9_bodies_past_the_budget_of_the_server_are_told_to_come_back() {
    let (_dir, router) = open(ServerConfig { in_flight_limit_bytes: 100, ..Default::default() }).await;
    let (status, answered, bytes) = send(&router, "POST", "/api/v1/ingest", &[NDJSON], vec![b' '; 101]).await;
    let problem: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((status, problem["code"].as_str()), (429, Some("queue_full")));
    assert_eq!(answered["retry-after"], "1");
    let (status, _, _) = send(&router, "POST", "/api/v1/ingest", &[NDJSON], vec![b' '; 100]).await;
    assert_eq!(status, 200, "the refused body gave its bytes back");
}

/// A request of a few KiB, inflated, was read into gigabytes of values.
#[tokio::test]
async fn i9_json_of_mlflow_is_charged_to_its_request() {
    let config = ServerConfig { decoded_limit_bytes: 2000, ..Default::default() };
    let (_dir, router) = open(config).await;
    let model = r#"{"run_id":"r","model_json":"[\u007b},\u007b},\u007b}]"}"#;
    for (path, body) in [
        ("/api/2.0/mlflow/runs/search", r#"{"a":[{},{},{}]}"#),
        ("/api/2.0/mlflow/nothing", r#"{"a":[{},{},{}]}"#),
        ("/api/2.0/mlflow/runs/log-batch", r#"{"metrics":[{},{},{},{},{},{},{}]}"#),
        ("/api/2.0/mlflow/runs/log-model", model),
        ("/api/2.0/mlflow-artifacts/mpu/create/d", r#"{"a":[{},{},{}]}"#),
    ] {
        let (status, _, bytes) = send(&router, "POST", path, &[JSON], body).await;
        let refusal: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((status, &refusal["error_code"]), (400, &Value::from("BAD_REQUEST")), "{path}: {refusal}");
        assert!(refusal["message"].as_str().unwrap().contains("more than 2000 bytes"), "{path}: {refusal}");
    }
}

#[tokio::test]
async fn i9_json_of_mlflow_past_the_budget_of_the_server_is_told_to_come_back() {
    let (_dir, router) = open(ServerConfig { in_flight_limit_bytes: 2000, ..Default::default() }).await;
    let path = "/api/2.0/mlflow/runs/search";
    for (body, expected) in [(r#"{"a":[{},{},{}]}"#, 429), (r#"{}"#, 200)] {
        let (status, answered, bytes) = send(&router, "POST", path, &[JSON], body).await;
        assert_eq!(status, expected, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(answered.contains_key("retry-after"), expected == 429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_honest_batches_of_mlflow_have_room() {
    let (_dir, router) = open(ServerConfig::default()).await;
    let created = send(&router, "POST", "/api/2.0/mlflow/runs/create", &[JSON], r#"{"experiment_id":"0"}"#).await;
    let created: Value = serde_json::from_slice(&created.2).unwrap();
    let run_id = &created["run"]["info"]["run_id"];
    let metric = |step: usize, key: &str| serde_json::json!({"key": key, "value": 0.5, "timestamp": 1, "step": step});
    // The second is long enough to be read beside other requests.
    for key in ["loss".to_owned(), "k".repeat(250)] {
        let metrics: Vec<Value> = (0..1_000).map(|step| metric(step, &key)).collect();
        let padding = "x".repeat(if key.len() > 4 { 512 << 10 } else { 0 });
        let body = serde_json::json!({"run_id": run_id, "metrics": metrics, "padding": padding}).to_string();
        let (status, _, bytes) =
            send(&router, "POST", "/api/2.0/mlflow/runs/log-batch", &[JSON], body.into_bytes()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
    }
}
