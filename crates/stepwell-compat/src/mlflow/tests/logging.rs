//! Metrics, params and tags of runs.

use serde_json::{Value, json};
use stepwell_app::ParamValue;

use super::{Server, value_of};

#[tokio::test]
async fn a_batch_is_there_whole_at_the_answer() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let batch = json!({"run_id": run_id,
        "metrics": [{"key": "loss", "value": 0.25, "timestamp": 789, "step": 3}, {"key": "acc", "value": "NaN", "timestamp": 1},
            {"key": "top", "value": "Infinity", "timestamp": 2, "step": -7}],
        "params": [{"key": "lr", "value": "1e-05"}, {"key": "none"}], "tags": [{"key": "mlflow.note.content", "value": "n"}]});
    server.post("runs/log-batch", batch.clone()).await;
    server.post("runs/log-batch", batch).await;
    let data = server.read_run(&run_id).await["data"].take();
    let metrics = ["loss", "acc", "top"].map(|key| value_of(&data["metrics"], key).unwrap().clone());
    assert_eq!(metrics, [json!(0.25), json!("NaN"), json!("Infinity")]);
    assert_eq!(value_of(&data["params"], "lr"), Some(&json!("1e-05")));
    assert_eq!(value_of(&data["params"], "none"), Some(&json!("")));
    let own = server.app.get_run(&run_id).await.unwrap();
    assert_eq!((&own.params["lr"], own.notes.as_deref()), (&ParamValue::Float(1e-5), Some("n")));
    assert_eq!(server.app.stats().points, 3, "what is sent again is not stored again");
}

#[tokio::test]
async fn what_is_sent_again_is_stored_again_once_its_points_were_deleted() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let metric = json!({"run_id": run_id, "key": "loss", "value": 1, "timestamp": 1});
    server.post("runs/log-metric", metric.clone()).await;
    server.app.delete_metric("Default", "loss").await.unwrap();
    assert_eq!(server.read_run(&run_id).await["data"]["metrics"], Value::Null);
    server.post("runs/log-metric", metric).await;
    assert_eq!(server.read_run(&run_id).await["data"]["metrics"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_sent_again_before_it_was_answered_is_stored_once() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let send = async |step: i64| {
        let metrics = json!([{"key": "loss", "value": 1, "timestamp": 1, "step": step}]);
        server.post("runs/log-batch", json!({"run_id": run_id, "metrics": metrics})).await
    };
    tokio::join!(send(0), send(0), send(0));
    assert_eq!(server.app.stats().points, 1);
    // Who sent it gives up as soon as it is in the queue.
    let given_up = tokio::time::timeout(std::time::Duration::ZERO, send(1)).await;
    send(1).await;
    assert_eq!(server.app.stats().points, 2, "{given_up:?}");
}

#[tokio::test]
async fn a_param_is_set_once_and_its_very_text_counts() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let param = |key: &str, value: &str| json!({"run_id": run_id, "key": key, "value": value});
    for _ in 0..2 {
        server.post("runs/log-parameter", param("depth", "1.0")).await;
    }
    let (code, text) = server.refusal("runs/log-parameter", param("depth", "1")).await;
    assert_eq!(code, "INVALID_PARAMETER_VALUE");
    assert_eq!(
        text,
        format!(
            "Changing param values is not allowed. Param with key='depth' was already logged with value='1.0' for run \
             ID='{run_id}'. Attempted logging new value '1'."
        )
    );
    let params = json!([{"key": "new", "value": "x"}, {"key": "depth", "value": "it's"}]);
    let batch = json!({"run_id": run_id, "params": params, "metrics": [{"key": "m", "value": 1, "timestamp": 1}]});
    let (_, text) = server.refusal("runs/log-batch", batch).await;
    let conflicts = "[{'key': 'depth', 'old_value': '1.0', 'new_value': \"it's\"}]";
    assert_eq!(
        text,
        format!(
            "Changing param values is not allowed. Params were already logged='{conflicts}' for run ID='{run_id}'."
        )
    );
    let data = server.read_run(&run_id).await["data"].take();
    assert_eq!((&data["params"], &data["metrics"]), (&json!([{"key": "depth", "value": "1.0"}]), &Value::Null));
}

#[tokio::test]
async fn long_values_are_cut_and_long_names_refused() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let (param, tag) = ("ä".repeat(6_001), "ö".repeat(8_001));
    let batch =
        json!({"run_id": run_id, "params": [{"key": "p", "value": param}], "tags": [{"key": "t", "value": tag}]});
    server.post("runs/log-batch", batch.clone()).await;
    server.post("runs/log-batch", batch).await;
    let data = server.read_run(&run_id).await["data"].take();
    let chars = |pairs: &Value, key: &str| value_of(pairs, key).unwrap().as_str().unwrap().chars().count();
    assert_eq!((chars(&data["params"], "p"), chars(&data["tags"], "t")), (6_000, 8_000));
    let long = "k".repeat(251);
    for (path, body, expected) in [
        (
            "runs/log-metric",
            json!({"key": long, "value": 1, "timestamp": 1}),
            "'Metric name' exceeds the maximum length of 250 characters",
        ),
        ("runs/log-parameter", json!({"key": long}), "'Param key' exceeds the maximum length of 250 characters"),
        ("runs/set-tag", json!({"key": long}), "'key' exceeds the maximum length of 250 characters"),
        (
            "runs/log-batch",
            json!({"tags": [{"key": long}]}),
            "'tags[0].key' exceeds the maximum length of 250 characters",
        ),
    ] {
        let mut body = body;
        body["run_id"] = json!(run_id);
        assert_eq!(server.refusal(path, body).await.1, expected);
    }
}

#[tokio::test]
async fn limits_and_refusals_of_a_batch_are_those_of_mlflow() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let metrics = |count: usize| -> Vec<Value> {
        (0..count).map(|step| json!({"key": "m", "value": step, "timestamp": 1, "step": step})).collect()
    };
    let pairs =
        |count: usize| -> Vec<Value> { (0..count).map(|at| json!({"key": format!("k{at}"), "value": ""})).collect() };
    let at_most = |max: usize, what: &str, got: usize| {
        format!(
            "A batch logging request can contain at most {max} {what}. Got {got} {what}. Please split up {what} across multiple \
             requests and try again."
        )
    };
    let all = json!({"metrics": metrics(801), "params": pairs(100), "tags": pairs(100)});
    for (body, expected) in [
        (json!({"metrics": metrics(1_001)}), at_most(1_000, "metrics", 1_001)),
        (json!({"params": pairs(101)}), at_most(100, "params", 101)),
        (json!({"tags": pairs(101)}), at_most(100, "tags", 101)),
        (all, at_most(1_000, "metrics, params, and tags", 1_001)),
        (
            json!({"params": [{"key": "a", "value": "1"}, {"key": "a", "value": "1"}]}),
            "Duplicate parameter keys have been submitted: ['a']. Please ensure the request contains only one param value per \
             param key."
                .to_owned(),
        ),
        (
            json!({"metrics": [{"key": "loss", "value": 0.5, "timestamp": -5}]}),
            "Invalid value -5 for parameter 'metrics[0].timestamp' supplied: metric 'loss' (value=0.5). Timestamp must be a \
             nonnegative long (64-bit integer) "
                .to_owned(),
        ),
        (
            json!({"metrics": [{"key": "../x", "value": 1, "timestamp": 1}]}),
            "Invalid value \"../x\" for parameter 'metrics[0].name' supplied: Names may be treated as files in certain cases, and \
             must not resolve to other names when treated as such. This name would resolve to '../x'"
                .to_owned(),
        ),
    ] {
        let mut body = body;
        body["run_id"] = json!(run_id);
        assert_eq!(server.refusal("runs/log-batch", body).await.1, expected);
    }
    let (_, text) = server.refusal("runs/log-batch", json!({"run_id": "a b"})).await;
    assert_eq!(text, "Invalid value \"a b\" for parameter 'run_id' supplied.");
    let late = json!({"run_id": run_id, "key": "m", "value": 1, "timestamp": i64::MAX});
    assert!(server.refusal("runs/log-metric", late).await.1.contains("milliseconds"));
    server.post("runs/log-batch", json!({"run_id": run_id, "metrics": metrics(1_000)})).await;
    server.post("runs/log-batch", json!({"run_id": run_id, "metrics": null})).await;
    assert_eq!(server.app.stats().points, 1_000);
}

#[tokio::test]
async fn wrong_types_are_named() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let metric = json!({"run_id": run_id, "key": "m", "value": 31, "timestamp": 59, "step": 26});
    for (member, value, expected) in [
        ("run_id", json!(31), "Invalid value 31 for parameter 'run_id' supplied"),
        ("key", json!(31), "Invalid value 31 for parameter 'key' supplied"),
        ("step", json!("foo"), "Invalid value \"foo\" for parameter 'step' supplied"),
        ("timestamp", json!("foo"), "Invalid value \"foo\" for parameter 'timestamp' supplied"),
        ("value", json!(true), "Invalid value true for parameter 'value' supplied"),
        ("run_id", Value::Null, "Missing value for required parameter 'run_id'"),
        ("key", Value::Null, "Missing value for required parameter 'key'"),
        ("value", Value::Null, "Missing value for required parameter 'value'"),
    ] {
        let mut body = metric.clone();
        body[member] = value;
        let (code, text) = server.refusal("runs/log-metric", body).await;
        assert!(code == "INVALID_PARAMETER_VALUE" && text.starts_with(expected), "{text}");
    }
    let tag = json!({"run_uuid": run_id, "key": "k", "value": 41});
    assert!(server.refusal("runs/set-tag", tag).await.1.starts_with("Invalid value 41 for parameter 'value' supplied"));
}

#[tokio::test]
async fn tags_change_and_go_and_those_of_mlflow_change_the_run() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let set = |key: &str, value: &str| json!({"run_uuid": run_id, "key": key, "value": value});
    for (key, value) in [("t", "1"), ("t", "2"), ("mlflow.runName", "renamed"), ("mlflow.note.content", "note")] {
        server.post("runs/set-tag", set(key, value)).await;
    }
    let run = server.read_run(&run_id).await;
    assert_eq!((value_of(&run["data"]["tags"], "t"), &run["info"]["run_name"]), (Some(&json!("2")), &json!("renamed")));
    assert_eq!(server.app.get_run(&run_id).await.unwrap().notes.as_deref(), Some("note"));
    for key in ["t", "mlflow.note.content"] {
        server.post("runs/delete-tag", json!({"run_id": run_id, "key": key})).await;
        let run = server.read_run(&run_id).await;
        assert_eq!(value_of(&run["data"]["tags"], key), None);
        let gone = server.refusal("runs/delete-tag", json!({"run_id": run_id, "key": key})).await;
        assert_eq!(
            gone,
            ("RESOURCE_DOES_NOT_EXIST".into(), format!("No tag with name: {key} in run with id {run_id}"))
        );
    }
    assert_eq!(server.app.get_run(&run_id).await.unwrap().notes.as_deref(), Some(""));
}

#[tokio::test]
async fn models_that_were_logged_are_a_tag() {
    let server = Server::start().await;
    let run_id = server.run().await;
    for at in 0..2 {
        let model = json!({"artifact_path": format!("m{at}"), "run_id": run_id, "utc_time_created": "now", "signature": {},
            "flavors": {"sklearn": {"version": "1", "config": {"a": 1}}, "python_function": "x"}});
        server.post("runs/log-model", json!({"run_id": run_id, "model_json": model.to_string()})).await;
    }
    let run = server.read_run(&run_id).await;
    let history = value_of(&run["data"]["tags"], "mlflow.log-model.history").unwrap().as_str().unwrap();
    let history: Value = serde_json::from_str(history).unwrap();
    assert_eq!((history.as_array().unwrap().len(), &history[1]["artifact_path"]), (2, &json!("m1")));
    assert_eq!(history[0]["flavors"], json!({"sklearn": {"version": "1"}, "python_function": "x"}));
    assert_eq!(history[0].get("signature"), None);
    let refusal = |text: &str| json!({"run_id": run_id, "model_json": text});
    let (_, text) = server.refusal("runs/log-model", refusal("{")).await;
    assert_eq!(text, "Malformed model info. \n { \n is not a valid JSON.");
    let (_, text) = server.refusal("runs/log-model", refusal(r#"{"flavors": {}, "run_id": ""}"#)).await;
    assert_eq!(text, "Model json is missing mandatory fields: {'artifact_path', 'utc_time_created'}");
}
