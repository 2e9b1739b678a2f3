//! Traces and their spans, over sockets: what a client of MLflow 3 does one after the other.

use anyhow::{Context, Result};
use serde_json::json;
use stepwell_tests::Server;

use crate::{files, get, put};

#[test]
fn a_trace_has_its_spans_beside_it_and_goes_with_them() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    let made = http.post("/api/2.0/mlflow/experiments/create", &json!({"name": "traced"}))?.expect(200)?;
    let experiment_id = made["experiment_id"].as_str().context("experiment_id")?;
    // The words by which clients know that spans go into an artifact.
    let spans = http.send("POST", "/v1/traces", &[("content-type", "application/x-protobuf")], b"\x0a\x00")?;
    assert_eq!(spans.status, 501);
    assert!(spans.text().contains("REST OTLP span logging is not supported"), "{}", spans.text());
    let trace = |trace_id: &str| {
        json!({"trace": {"trace_info": {
            "trace_id": trace_id,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}},
            "request_time": "2026-01-01T00:00:00Z",
            "state": "OK",
        }}})
    };
    for trace_id in ["tr-1", "tr-2"] {
        let stored = http.post("/api/3.0/mlflow/traces", &trace(trace_id))?.expect(200)?;
        let location = &stored["trace"]["trace_info"]["tags"]["mlflow.artifactLocation"];
        let location = location.as_str().and_then(|uri| uri.strip_prefix("mlflow-artifacts:/")).context("location")?;
        let path = format!("{location}/traces.json");
        assert_eq!(put(&http, &path, trace_id.as_bytes())?.status, 200);
        assert_eq!(get(&http, &path)?.text(), trace_id);
    }
    let body = json!({"locations": [{"mlflow_experiment": {"experiment_id": experiment_id}}], "filter": "trace.status = 'OK'"});
    let found = http.post("/api/3.0/mlflow/traces/search", &body)?.expect(200)?;
    assert_eq!(found["traces"].as_array().map(Vec::len), Some(2));
    let one = json!({"experiment_id": experiment_id, "request_ids": ["tr-1"]});
    let deleted = http.post("/api/2.0/mlflow/traces/delete-traces", &one)?.expect(200)?;
    assert_eq!((deleted, files(server.data_dir())?.len()), (json!({"traces_deleted": 1}), 1));
    assert_eq!(http.get("/api/3.0/mlflow/traces/tr-1")?.status, 404);
    assert_eq!(http.get("/api/3.0/mlflow/traces/tr-2")?.status, 200);

    assert_eq!(http.send("DELETE", "/api/v1/projects/traced", &[], b"")?.status, 204);
    assert_eq!(http.get("/api/3.0/mlflow/traces/tr-2")?.status, 404, "not from the trash");
    assert_eq!(http.send("POST", "/api/v1/projects/traced/purge", &[], b"")?.status, 204);
    assert_eq!(files(server.data_dir())?.len(), 0);
    server.check_log(&[])
}
