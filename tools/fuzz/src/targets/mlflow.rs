//! MLflow's REST API: bodies and query strings, filters, orders and page tokens, whatever the endpoint.

use std::{error::Error, sync::OnceLock};

use serde_json::{Value, json};
use stepwell_app::{App, AppConfig, CreateRun};
use stepwell_compat::mlflow::{Request, answer};
use stepwell_env::Env;
use tokio::runtime::Runtime;

use crate::Target;

/// The first byte is the endpoint, what follows is the query string of a GET, else the body. Nothing is written: the data directory is
/// open for reading only, so that an input means the same each time.
pub(super) const REQUEST: Target = Target {
    name: "mlflow",
    run: request,
    seeds,
    words: &WORDS,
    // Trees of JSON; the first input also opens the data directory.
    memory_bytes: (32 << 20, 512),
    replayed: 2_000,
};

/// Longer ones are only slower.
const INPUT_BYTES_MAX: usize = 16 << 10;
const NAME: &str = "kept";

/// Method, path, and an honest request.
#[rustfmt::skip]
const ENDPOINTS: [(&str, &str, &str); 37] = [
    ("POST", "runs/log-batch", r#"{"run_id": "kept", "metrics": [{"key": "loss", "value": 0.1, "timestamp": 5, "step": -3}, {"key": "a\u00e4", "value": "NaN", "timestamp": "9007199254740993", "model_id": "m-1", "dataset_name": "d", "dataset_digest": "e"}], "params": [{"key": "lr", "value": "1e-05"}], "tags": [{"key": "t", "value": "\n"}]}"#),
    ("POST", "runs/search", r#"{"experiment_ids": ["0", "1"], "filter": "metrics.loss < 1 and params.`lr` = '0.1' and tags.a LIKE 'b%' and attributes.start_time >= 5", "order_by": ["metrics.loss DESC", "params.lr"], "max_results": 5, "run_view_type": "ALL"}"#),
    ("POST", "runs/search", r#"{"experiment_ids": ["1"], "filter": "run_id IN ('a', \"kept\") AND status != 'FAILED' AND params.x IS NOT NULL AND dataset.name ILIKE '%D_'", "page_token": "eyJvZmZzZXQiOjF9"}"#),
    ("POST", "runs/create", r#"{"experiment_id": "1", "user_id": "u", "run_name": "r", "start_time": 5, "tags": [{"key": "k", "value": "v"}]}"#),
    ("GET", "runs/get", "run_id=kept&run_uuid=kept"),
    ("POST", "runs/update", r#"{"run_id": "kept", "status": "FINISHED", "end_time": 9, "run_name": "x"}"#),
    ("POST", "runs/log-metric", r#"{"run_id": "kept", "key": "loss", "value": "-Infinity", "timestamp": 1, "step": "2"}"#),
    ("POST", "runs/log-parameter", r#"{"run_id": "kept", "key": "lr", "value": "0.1"}"#),
    ("POST", "runs/log-inputs", r#"{"run_id": "kept", "datasets": [{"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": {"name": "d", "digest": "e", "source_type": "local", "source": "{}", "schema": "{}", "profile": "{}"}}], "models": [{"model_id": "m-1"}]}"#),
    ("POST", "runs/outputs", r#"{"run_id": "kept", "models": [{"model_id": "m-1", "step": 3}]}"#),
    ("POST", "runs/log-model", r#"{"run_id": "kept", "model_json": "{\"run_id\": \"kept\", \"artifact_path\": \"m\", \"flavors\": {\"x\": {}}, \"utc_time_created\": \"2024-01-01\"}"}"#),
    ("GET", "metrics/get-history", "run_id=kept&metric_key=loss&max_results=2"),
    ("GET", "metrics/get-history-bulk", "run_id=kept&run_id=a&metric_key=loss&max_results=3"),
    ("GET", "metrics/get-history-bulk-interval", "run_ids=kept&metric_key=loss&start_step=-1&end_step=9&max_results=2"),
    ("POST", "experiments/create", r#"{"name": "n", "artifact_location": "mlflow-artifacts:/x", "tags": [{"key": "k", "value": "v"}]}"#),
    ("GET", "experiments/get-by-name", "experiment_name=kept"),
    ("POST", "experiments/search", r#"{"filter": "name LIKE 'k%' AND tags.`a b` = 'c' AND creation_time > 1", "order_by": ["last_update_time ASC", "name"], "max_results": 2, "view_type": "ACTIVE_ONLY"}"#),
    ("GET", "experiments/search", "max_results=1&filter=name%3D'x'&order_by=name&view_type=3"),
    ("POST", "experiments/search-datasets", r#"{"experiment_ids": ["0", "1"]}"#),
    ("GET", "registered-models/search", "filter=name ILIKE 'K%25' and tags.x = 'y'&order_by=name DESC&order_by=last_updated_timestamp&max_results=1"),
    ("GET", "registered-models/get", "name=kept"),
    ("POST", "registered-models/alias", r#"{"name": "kept", "alias": "champion", "version": "1"}"#),
    ("GET", "registered-models/alias", "name=kept&alias=champion"),
    ("GET", "model-versions/search", "filter=name='kept' and run_id IN ('kept') and version_number > 0 and source_path LIKE '%25'&order_by=version_number"),
    ("POST", "model-versions/create", r#"{"name": "kept", "source": "models:/m-1", "run_id": "kept", "tags": [{"key": "k", "value": "v"}]}"#),
    ("POST", "model-versions/transition-stage", r#"{"name": "kept", "version": "1", "stage": "Production", "archive_existing_versions": true}"#),
    ("POST", "logged-models/search", r#"{"experiment_ids": ["1"], "filter": "metrics.loss > 0.1 AND params.a = 'b' AND status = 'READY'", "order_by": [{"field_name": "metrics.loss", "ascending": false, "dataset_name": "d", "dataset_digest": "e"}], "datasets": [{"dataset_name": "d"}]}"#),
    ("POST", "logged-models", r#"{"experiment_id": "1", "name": "m", "model_type": "t", "source_run_id": "kept", "params": [{"key": "a", "value": "b"}]}"#),
    ("POST", "traces", r#"{"trace": {"trace_info": {"trace_id": "tr-1", "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}}, "request_time": "2024-01-01T00:00:00.5Z", "execution_duration": "1.5s", "state": "OK", "tags": {"a": "b"}, "trace_metadata": {"c": "d"}, "assessments": []}}}"#),
    ("POST", "traces", r#"{"experiment_id": "1", "timestamp_ms": 5, "request_metadata": [{"key": "a", "value": "b"}], "tags": []}"#),
    ("POST", "traces/search", r#"{"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}}], "filter": "trace.status = 'OK' AND tags.a = 'b' AND timestamp_ms > 0", "order_by": ["timestamp_ms DESC"], "max_results": 3}"#),
    ("GET", "traces", "experiment_ids=1&filter=status='OK'&order_by=timestamp_ms&max_results=4"),
    ("POST", "traces/delete-traces", r#"{"experiment_id": "1", "max_timestamp_millis": 9, "max_traces": 2, "request_ids": ["tr-1"]}"#),
    ("POST", "traces/tr-kept/assessments", r#"{"assessment": {"assessment_name": "n", "trace_id": "tr-kept", "source": {"source_type": "HUMAN", "source_id": "s"}, "create_time": "2024-01-01T00:00:00Z", "feedback": {"value": {"a": [1, null]}}, "metadata": {"k": "v"}}}"#),
    ("PATCH", "traces/tr-kept/assessments/a-1", r#"{"assessment": {"feedback": {"value": 1}, "rationale": "r"}, "update_mask": "feedback,rationale"}"#),
    ("POST", "webhooks", r#"{"name": "w", "url": "https://example.org/x", "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}], "secret": "s", "status": "ACTIVE"}"#),
    ("GET", "artifacts/list", "run_id=kept&path=a%2Fb&page_token=x"),
];

const WORDS: [&str; 40] = [
    " AND ",
    " IN (",
    " NOT IN (",
    " IS NULL",
    " LIKE ",
    " ILIKE ",
    " != ",
    " >= ",
    "metrics.",
    "params.`",
    "tags.\"",
    "attributes.",
    "dataset.",
    "run_id",
    "start_time",
    " DESC",
    "'%_'",
    "\\\\",
    "\\ud800",
    "\"filter\":",
    "\"order_by\":[",
    "\"page_token\":",
    "\"max_results\":",
    "\"metrics\":[",
    "\"key\":",
    "\"value\":",
    "\"timestamp\":",
    "\"step\":",
    "\"NaN\"",
    "9223372036854775808",
    "1e999",
    "null",
    "[[[[[[[[",
    "{\"\":",
    "&filter=",
    "&order_by=",
    "&page_token=",
    "%00",
    "%ff",
    "%27",
];

struct Fixture {
    runtime: Runtime,
    app: App,
    _dir: tempfile::TempDir,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| open().expect("a temporary directory"))
}

/// One of each thing that there is, then for reading only.
fn open() -> Result<Fixture, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let config = || AppConfig::new(dir.path());
    let app = runtime.block_on(async {
        let app = App::open(Env::real(), config()).await?;
        let run = CreateRun { project: NAME.into(), run_id: Some(NAME.into()), ..CreateRun::default() };
        let project_id = app.create_run(run).await?.project_id;
        for (path, body) in [
            ("runs/log-batch", json!({"run_id": NAME, "tags": [{"key": "a", "value": "b"}],
                "params": [{"key": "lr", "value": "0.1"}], "metrics": [{"key": "loss", "value": 0.5, "timestamp": 1, "step": 1}, {"key": "loss", "value": "NaN", "timestamp": 2, "step": 2}]})),
            ("registered-models/create", json!({"name": NAME})),
            ("model-versions/create", json!({"name": NAME, "source": "s3://elsewhere/m"})),
            ("logged-models", json!({"experiment_id": project_id, "name": "m", "source_run_id": NAME})),
            ("traces", json!({"trace": {"trace_info": {"trace_id": "tr-kept", "request_time": "2024-01-01T00:00:00Z",
                "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": project_id}}, "state": "OK"}}})),
        ] {
            let body = body.to_string();
            let request = Request { method: "POST", path, query: None, body: body.as_bytes(), charge: &|_| Ok(()) };
            let answered = answer(&app, request).await;
            assert_eq!(answered.status, 200, "{path}: {}", String::from_utf8_lossy(&answered.body));
        }
        app.shutdown().await?;
        App::open_read_only(Env::real(), config()).await
    })?;
    Ok(Fixture { runtime, app, _dir: dir })
}

fn seeds() -> Vec<Vec<u8>> {
    ENDPOINTS.iter().enumerate().map(|(at, (_, _, request))| [&[at as u8], request.as_bytes()].concat()).collect()
}

/// Any request is answered in JSON; whoever refuses says why, and none is told as a failure of the server (I9).
fn request(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    if rest.len() > INPUT_BYTES_MAX {
        return;
    }
    let (method, path, _) = ENDPOINTS[usize::from(*first) % ENDPOINTS.len()];
    let query = (method == "GET").then(|| std::str::from_utf8(rest).ok());
    let (query, body) = match query {
        // The network's layer refuses it.
        Some(None) => return,
        Some(query) => (query, &b""[..]),
        None => (None, rest),
    };
    let fixture = fixture();
    let request = Request { method, path, query, body, charge: &|_| Ok(()) };
    let answered = fixture.runtime.block_on(answer(&fixture.app, request));
    let text = || String::from_utf8_lossy(&answered.body).into_owned();
    assert!(answered.status < 500, "{method} {path}: {} {}", answered.status, text());
    let said: Value = serde_json::from_slice(&answered.body).unwrap_or_else(|error| panic!("{error}: {}", text()));
    let is_refusal = said["error_code"].is_string() && said["message"].as_str().is_some_and(|text| !text.is_empty());
    assert_eq!(is_refusal, answered.status != 200, "{method} {path}: {} {}", answered.status, text());
}
