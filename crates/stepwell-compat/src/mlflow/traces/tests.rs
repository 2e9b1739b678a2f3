//! Traces through the dialect.

use serde_json::{Value, json};
use stepwell_app::{App, AppConfig};
use stepwell_env::Env;

use crate::mlflow::{Answer, Request, answer};

async fn open(dir: &tempfile::TempDir) -> App {
    App::open(Env::real(), AppConfig::new(dir.path())).await.unwrap()
}

async fn call(app: &App, method: &str, path: &str, body: Value) -> (u16, Value) {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let body = body.to_string();
    let Answer { status, body, .. } =
        answer(app, Request { method, path, query, body: body.as_bytes(), charge: &|_| Ok(()) }).await;
    (status, serde_json::from_slice(&body).unwrap())
}

fn trace(trace_id: &str, at: i64, state: &str) -> Value {
    json!({"trace": {"trace_info": {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": format!("2026-01-01T00:00:{at:02}.250Z"),
        "execution_duration": "1.5s",
        "state": state,
        "request_preview": "{\"q\": 1}",
        "trace_metadata": {"mlflow.sourceRun": "r", "user": "ada"},
        "tags": {"mlflow.traceName": format!("name-{trace_id}"), "kind": "test"},
    }}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_stored_told_of_changed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(&dir).await;
    let (status, stored) = call(&app, "POST", "traces", trace("tr-1", 1, "OK")).await;
    assert_eq!(status, 200, "{stored}");
    let info = &stored["trace"]["trace_info"];
    assert_eq!(info["tags"]["mlflow.artifactLocation"], "mlflow-artifacts:/0/traces/tr-1/artifacts");
    assert_eq!((&info["execution_duration"], &info["state"]), (&json!("1.500000s"), &json!("OK")));
    assert_eq!(call(&app, "GET", "traces/tr-1", json!({})).await, (200, stored.clone()));
    let (_, old) = call(&app, "GET", "traces/tr-1/info", json!({})).await;
    assert_eq!(
        (&old["trace_info"]["request_id"], &old["trace_info"]["execution_time_ms"]),
        (&json!("tr-1"), &json!(1_500))
    );
    let (status, absent) = call(&app, "GET", "traces/tr-2", json!({})).await;
    assert_eq!((status, &absent["message"]), (404, &json!("Trace with ID 'tr-2' not found.")));

    let tags = "traces/tr-1/tags";
    assert_eq!(call(&app, "PATCH", tags, json!({"key": "a", "value": "b"})).await, (200, json!({})));
    let (_, tagged) = call(&app, "GET", "traces/tr-1", json!({})).await;
    assert_eq!(tagged["trace"]["trace_info"]["tags"]["a"], "b");
    assert_eq!(call(&app, "DELETE", tags, json!({"key": "a"})).await.0, 200);
    assert_eq!(call(&app, "DELETE", tags, json!({"key": "a"})).await.0, 404);
    assert_eq!(call(&app, "PATCH", tags, json!({"key": "mlflow.trace.spansLocation", "value": "x"})).await.0, 400);

    for (body, status) in [
        (json!({"trace": {"trace_info": {"trace_id": "x"}}}), 400),
        (json!({"trace": {}}), 400),
        (json!({"trace": 5}), 400),
        (
            json!({"trace": {"trace_info": {"trace_id": "x", "trace_location": {"mlflow_experiment": {"experiment_id": "999"}}}}}),
            404,
        ),
        (
            json!({"trace": {"trace_info": {"trace_id": "../x", "state": "FINE", "trace_location": {"mlflow_experiment": {"experiment_id": "0"}}}}}),
            400,
        ),
    ] {
        assert_eq!(call(&app, "POST", "traces", body.clone()).await.0, status, "{body}");
    }
    assert_eq!(call(&app, "GET", "traces/get?trace_id=tr-1", json!({})).await.0, 501);
    let (_, infos) = call(&app, "POST", "traces/batchGetInfos", json!({"trace_ids": ["tr-1", "none"]})).await;
    assert_eq!(infos["trace_infos"].as_array().unwrap().len(), 1);

    let delete = json!({"experiment_id": "0", "request_ids": ["tr-1", "tr-9"]});
    assert_eq!(call(&app, "POST", "traces/delete-traces", delete).await, (200, json!({"traces_deleted": 1})));
    assert_eq!(call(&app, "POST", "traces/delete-traces", json!({"experiment_id": "0"})).await.0, 400);
    assert_eq!(call(&app, "GET", "traces/tr-1", json!({})).await.0, 404);
    app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_searched_filtered_ordered_and_paged() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(&dir).await;
    for (at, state) in [(1, "OK"), (2, "ERROR"), (3, "OK"), (4, "OK")] {
        assert_eq!(call(&app, "POST", "traces", trace(&format!("tr-{at}"), at, state)).await.0, 200);
    }
    let search = async |more: Value| {
        let mut body =
            json!({"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, found) = call(&app, "POST", "traces/search", body).await;
        let ids = found["traces"].as_array().cloned().unwrap_or_default();
        let ids: Vec<String> = ids.iter().map(|trace| trace["trace_id"].as_str().unwrap()[3..].to_owned()).collect();
        (status, ids.join(" "), found["next_page_token"].clone())
    };
    for (filter, expected) in [
        ("", "4 3 2 1"),
        ("status = 'ERROR'", "2"),
        ("trace.status != 'ERROR' AND timestamp_ms > 1767225602000", "4 3 2"),
        ("attributes.name = 'name-tr-3'", "3"),
        ("name LIKE 'name-tr-%' AND tags.kind = 'test'", "4 3 2 1"),
        ("metadata.user = 'ada'", "4 3 2 1"),
        ("request_metadata.`user` = 'eve'", ""),
        ("run_id = 'r'", "4 3 2 1"),
        ("execution_time_ms >= 1500", "4 3 2 1"),
        ("tags.none IS NULL", "4 3 2 1"),
        ("request_id IN ('tr-1', 'tr-4')", "4 1"),
    ] {
        let expected = if filter.contains("timestamp_ms") { "4 3" } else { expected };
        assert_eq!(search(json!({"filter": filter})).await.1, expected, "{filter}");
    }
    for filter in ["status", "feedback.x = '1'", "span.name = 'x'", "nothing = 'x'"] {
        assert_eq!(search(json!({"filter": filter})).await.0, 400, "{filter}");
    }
    let (_, first, token) = search(json!({"max_results": 3, "order_by": ["timestamp_ms ASC"]})).await;
    let second = search(json!({"max_results": 3, "order_by": ["timestamp_ms ASC"], "page_token": token})).await;
    assert_eq!((first.as_str(), second.1.as_str(), &second.2), ("1 2 3", "4", &Value::Null));
    assert_eq!(search(json!({"max_results": 501})).await.0, 400);
    let experiment = json!({"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}});
    let twice = search(json!({"locations": [experiment, experiment]})).await;
    assert_eq!(twice.1, "4 3 2 1", "each once, however often its experiment is named");
    let (_, spelt) = call(&app, "GET", "traces?experiment_ids=0&experiment_ids=00&experiment_ids=x", json!({})).await;
    assert_eq!(spelt["traces"].as_array().unwrap().len(), 4, "and however it is spelt");
    let (_, old) = call(&app, "GET", "traces?experiment_ids=0&max_results=1", json!({})).await;
    assert_eq!((&old["traces"][0]["request_id"], old["next_page_token"].is_string()), (&json!("tr-4"), true));
    let by_time = json!({"experiment_id": "0", "max_timestamp_millis": 1_767_225_699_000_i64, "max_traces": 2});
    assert_eq!(call(&app, "POST", "traces/delete-traces", by_time).await.1, json!({"traces_deleted": 2}));
    assert_eq!(search(json!({})).await.1, "4 3", "the oldest went");
    app.shutdown().await.unwrap();
}

async fn search(app: &App, more: Value) -> (u16, Value) {
    let mut body = json!({"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(app, "POST", "traces/search", body).await
}

fn ids(found: &Value) -> Vec<String> {
    let traces = found["traces"].as_array().cloned().unwrap_or_default();
    traces.iter().map(|trace| trace["trace_id"].as_str().unwrap().to_owned()).collect()
}

/// All pages of a search.
async fn pages(app: &App, mut body: Value) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let (status, found) = search(app, body.clone()).await;
        assert_eq!(status, 200, "{found}");
        pages.push(ids(&found));
        match found["next_page_token"].as_str() {
            Some(token) => body["page_token"] = json!(token),
            None => return pages,
        }
    }
}

/// A search stops reading behind its page, which must not show where traces began in the same millisecond, in whatever order.
#[tokio::test(flavor = "multi_thread")]
async fn traces_of_one_millisecond_are_paged_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(&dir).await;
    for (id, micros) in [("d", 400), ("a", 900), ("c", 100), ("b", 500), ("e", 1_000), ("z", 999_999), ("y", 50)] {
        let mut one = trace(id, 1, if id == "b" { "ERROR" } else { "OK" });
        one["trace"]["trace_info"]["request_time"] = json!(format!("2026-01-01T00:00:01.{micros:06}Z"));
        assert_eq!(call(&app, "POST", "traces", one).await.0, 200);
    }
    let all = ["z", "e", "a", "b", "c", "d", "y"];
    for most in 1..=8 {
        assert_eq!(pages(&app, json!({"max_results": most})).await.concat(), all, "{most}");
        let filter = json!({"max_results": most, "filter": "status = 'OK'"});
        assert_eq!(pages(&app, filter).await.concat(), ["z", "e", "a", "c", "d", "y"], "{most}");
        let by_name = json!({"max_results": most, "order_by": ["name ASC"]});
        assert_eq!(pages(&app, by_name).await.concat(), ["a", "b", "c", "d", "e", "y", "z"], "{most}");
        let by_tag = json!({"max_results": most, "order_by": ["tags.`mlflow.traceName` DESC"]});
        assert_eq!(pages(&app, by_tag).await.concat(), ["z", "y", "e", "d", "c", "b", "a"], "{most}");
        let by_user = json!({"max_results": most, "order_by": ["metadata.user ASC", "timestamp_ms ASC"]});
        assert_eq!(pages(&app, by_user).await.concat(), ["a", "b", "c", "d", "y", "e", "z"], "{most}");
    }
    app.shutdown().await.unwrap();
}

/// I9: pages of long texts are short, and what does not fit into the memory of those who read is refused.
#[tokio::test(flavor = "multi_thread")]
async fn i9_long_traces_are_told_of_in_short_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = AppConfig::new(dir.path());
    config.query.memory_bytes = 32 << 20;
    let app = App::open(Env::real(), config).await.unwrap();
    for at in 0..40 {
        let mut one = trace(&format!("tr-{at:02}"), at, "OK");
        one["trace"]["trace_info"]["request_preview"] = json!("x".repeat(1 << 20));
        assert_eq!(call(&app, "POST", "traces", one).await.0, 200);
    }
    let pages = pages(&app, json!({"max_results": 100})).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [8; 5], "eight megabytes each");
    let expected: Vec<String> = (0..40).rev().map(|at| format!("tr-{at:02}")).collect();
    assert_eq!(pages.concat(), expected, "each once");
    let batch = async |count: usize| {
        let ids: Vec<String> = (0..count).map(|at| format!("tr-{at:02}")).collect();
        call(&app, "POST", "traces/batchGetInfos", json!({"trace_ids": ids})).await
    };
    assert_eq!(batch(12).await.0, 200);
    let (status, refused) = batch(40).await;
    assert_eq!((status, &refused["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")), "{refused}");
    assert_eq!(batch(12).await.0, 200, "what was refused is not held");
    app.shutdown().await.unwrap();
}

/// I9: a short request that names a short trace often was told of it in a tree of objects each time, in no budget.
#[tokio::test(flavor = "multi_thread")]
async fn i9_short_traces_count_as_what_telling_of_them_takes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = AppConfig::new(dir.path());
    config.query.memory_bytes = 8 << 20;
    let app = App::open(Env::real(), config).await.unwrap();
    assert_eq!(call(&app, "POST", "traces", trace("t", 1, "OK")).await.0, 200);
    for (count, status) in [(100, 200), (3_000, 400), (100, 200)] {
        let ids = vec!["t"; count];
        let (answered, told) = call(&app, "POST", "traces/batchGetInfos", json!({"trace_ids": ids})).await;
        assert_eq!(answered, status, "{count}: {}", told["message"]);
    }
    app.shutdown().await.unwrap();
}

/// I9: many tags and assessments of a few bytes each were trees of fifteen to a hundred times as much, counted as their text.
#[tokio::test(flavor = "multi_thread")]
async fn i9_traces_of_many_short_values_count_as_their_trees() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = AppConfig::new(dir.path());
    config.query.memory_bytes = 8 << 20;
    let app = App::open(Env::real(), config).await.unwrap();
    let with = |trace_id: &str, name: &str, value: Value| {
        let mut one = trace(trace_id, 1, "OK");
        one["trace"]["trace_info"][name] = value;
        one
    };
    let tags = |count: usize| -> Value { (0..count).map(|tag| (format!("{tag:06}"), json!(""))).collect() };
    let assessments = |count: usize| json!(vec![json!({"a": 0}); count]);
    assert_eq!(call(&app, "POST", "traces", with("assessed", "assessments", assessments(5_000))).await.0, 200);
    for (count, status) in [(1, 200), (50, 400)] {
        let ids = vec!["assessed"; count];
        assert_eq!(call(&app, "POST", "traces/batchGetInfos", json!({"trace_ids": ids})).await.0, status, "{count}");
    }
    assert_eq!(call(&app, "POST", "traces", with("tagged", "tags", tags(15_000))).await.0, 200);
    for path in ["traces?experiment_ids=0", "traces/tagged/info"] {
        assert_eq!(call(&app, "GET", path, json!({})).await.0, 400, "{path}");
    }
    // Members of an object take less.
    assert_eq!(call(&app, "GET", "traces/tagged", json!({})).await.0, 200);

    // A trace of this size is none, however it would come to be.
    assert_eq!(call(&app, "POST", "traces", with("other", "tags", tags(25_000))).await.0, 400);
    let more = (15_000..25_000).map(|tag| (format!("{tag:06}"), json!(""))).collect();
    assert_eq!(call(&app, "POST", "traces", with("tagged", "tags", more)).await.0, 400);
    assert_eq!(call(&app, "POST", "traces", with("another", "assessments", assessments(25_000))).await.0, 400);
    let given = json!({"assessment_name": "n", "feedback": {"value": assessments(20_000)}});
    let path = "traces/assessed/assessments";
    assert_eq!(call(&app, "POST", path, json!({"assessment": given})).await.0, 400);
    app.shutdown().await.unwrap();
}

/// As clients of MLflow 2 do it: begun, then ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_mlflow_2_begins_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(&dir).await;
    let pairs = |key: &str| json!([{"key": key, "value": "1"}]);
    let begin =
        json!({"experiment_id": "0", "timestamp_ms": 1_000, "request_metadata": pairs("m"), "tags": pairs("t")});
    let (status, begun) = call(&app, "POST", "traces", begin).await;
    assert_eq!((status, &begun["trace_info"]["status"]), (200, &json!("IN_PROGRESS")));
    let path = format!("traces/{}", begun["trace_info"]["request_id"].as_str().unwrap());
    let end = json!({"timestamp_ms": 1_250, "status": "OK", "request_metadata": pairs("m2"), "tags": pairs("t2")});
    let (_, ended) = call(&app, "PATCH", &path, end).await;
    let info = &ended["trace_info"];
    assert_eq!(
        (&info["status"], &info["execution_time_ms"], &info["timestamp_ms"]),
        (&json!("OK"), &json!(250), &json!(1_000))
    );
    assert_eq!((info["tags"].as_array().unwrap().len(), info["request_metadata"].as_array().unwrap().len()), (3, 2));
    app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn assessments_are_kept_changed_overridden_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(&dir).await;
    call(&app, "POST", "traces", trace("tr-1", 1, "OK")).await;
    let all = "traces/tr-1/assessments";
    let given = json!({"assessment_name": "correct", "source": {"source_type": "HUMAN", "source_id": "ada"}, "feedback": {"value": 0.5},
        "rationale": "so", "metadata": {"a": "1"}, "unknown": 1});
    let (status, made) = call(&app, "POST", all, json!({"assessment": given})).await;
    let first = made["assessment"].clone();
    let id = first["assessment_id"].as_str().unwrap().to_owned();
    assert!(
        status == 200 && id.starts_with("a-") && first["valid"] == true && first.get("unknown").is_none(),
        "{made}"
    );
    let one = format!("{all}/{id}");
    assert_eq!(call(&app, "GET", &one, json!({})).await, (200, made.clone()));

    let change = json!({"assessment": {"feedback": {"value": false}, "rationale": "no", "metadata": {"b": "2"}},
        "update_mask": "feedback,metadata"});
    let (_, changed) = call(&app, "PATCH", &one, change).await;
    let changed = &changed["assessment"];
    assert_eq!(
        (&changed["feedback"], &changed["rationale"]),
        (&json!({"value": false}), &json!("so")),
        "the mask decides"
    );
    assert_eq!((&changed["metadata"], &changed["create_time"]), (&json!({"a": "1", "b": "2"}), &first["create_time"]));
    let wrong = json!({"assessment": {"expectation": {"value": 1}}, "update_mask": {"paths": ["expectation"]}});
    let (status, refused) = call(&app, "PATCH", &one, wrong).await;
    let message = json!("Cannot update expectation value on a Feedback assessment.");
    assert_eq!((status, &refused["message"]), (400, &message));

    let mut over = given.clone();
    over["overrides"] = json!(id);
    let (_, second) = call(&app, "POST", all, json!({"assessment": over})).await;
    let valid = async |path: &str| call(&app, "GET", path, json!({})).await.1["assessment"]["valid"].clone();
    assert_eq!(valid(&one).await, false);
    let second = format!("{all}/{}", second["assessment"]["assessment_id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(call(&app, "DELETE", &second, json!({})).await, (200, json!({})));
    }
    assert_eq!(valid(&one).await, true);
    let (_, told) = call(&app, "GET", "traces/tr-1", json!({})).await;
    assert_eq!(told["trace"]["trace_info"]["assessments"].as_array().unwrap().len(), 1);

    for (method, path, body, status) in [
        ("POST", all, json!({}), 400),
        ("POST", all, json!({"assessment": {"assessment_name": "x"}}), 400),
        ("POST", all, json!({"assessment": {"feedback": {"value": 1}}}), 400),
        ("POST", "traces/tr-9/assessments", json!({"assessment": given}), 404),
        ("GET", second.as_str(), json!({}), 404),
        ("PATCH", second.as_str(), json!({"assessment": {}, "update_mask": "rationale"}), 404),
        ("PATCH", one.as_str(), json!({"assessment": {}}), 400),
        ("PUT", one.as_str(), json!({}), 404),
    ] {
        let (answered, body) = call(&app, method, path, body).await;
        assert_eq!(answered, status, "{method} {path}: {body}");
    }
}
