//! Runs.

use std::sync::{Arc, mpsc};

use serde_json::{Value, json};
use stepwell_app::{AppError, CreateRun, ParamValue, RunPatch, RunStatus};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{Server, value_of};

#[tokio::test]
async fn a_run_has_what_it_was_made_with_and_our_own_fields_are_filled() {
    let server = Server::start().await;
    let parent = server.run().await;
    let tags = [
        ("mlflow.user", "ann"),
        ("mlflow.source.name", "train.py"),
        ("mlflow.source.git.commit", "abc"),
        ("mlflow.note.content", "first"),
        ("mlflow.parentRunId", &parent),
        ("team", "vision"),
    ];
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let body = json!({"experiment_id": "0", "user_id": "ann", "start_time": 456, "run_name": "my name", "tags": tags});
    let made = server.post("runs/create", body).await["run"].take();
    let run_id = made["info"]["run_id"].as_str().unwrap();
    assert!(run_id.len() == 32 && run_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(made["info"]["artifact_uri"], format!("mlflow-artifacts:/0/{run_id}/artifacts"));
    let info = json!({"run_name": "my name", "user_id": "ann", "status": "RUNNING", "start_time": 456,
        "lifecycle_stage": "active", "experiment_id": "0", "run_uuid": run_id});
    for (name, value) in info.as_object().unwrap() {
        assert_eq!(made["info"][name], *value);
    }
    assert_eq!(made["info"].get("end_time"), None);
    assert_eq!(value_of(&made["data"]["tags"], "mlflow.runName"), Some(&json!("my name")));
    assert_eq!(server.read_run(run_id).await, made);
    let own = server.app.get_run(run_id).await.unwrap();
    assert_eq!((own.name.as_deref(), own.user_name.as_deref()), (Some("my name"), Some("ann")));
    assert_eq!((own.notes.as_deref(), own.git_commit.as_deref()), (Some("first"), Some("abc")));
    assert_eq!((own.parent_run_id.as_deref(), own.started_at_us), (Some(parent.as_str()), 456_000));
    assert_eq!(own.tags["team"], "vision");
}

#[tokio::test]
async fn a_run_without_a_name_gets_one_and_two_names_must_agree() {
    let server = Server::start().await;
    let made = server.post("runs/create", json!({"tags": [{"key": "mlflow.parentRunId", "value": "7"}]})).await;
    let name = made["run"]["info"]["run_name"].as_str().unwrap();
    assert_eq!(name.split('-').count(), 3);
    assert_eq!(value_of(&made["run"]["data"]["tags"], "mlflow.runName"), Some(&json!(name)));
    assert_eq!(value_of(&made["run"]["data"]["tags"], "mlflow.parentRunId"), Some(&json!("7")), "a tag all the same");
    let tag = |value: &str| json!([{"key": "mlflow.runName", "value": value}]);
    let named = server.post("runs/create", json!({"tags": tag("of the tag")})).await;
    assert_eq!(named["run"]["info"]["run_name"], "of the tag");
    let (_, text) = server.refusal("runs/create", json!({"run_name": "a", "tags": tag("b")})).await;
    assert!(text.ends_with("different values (run_name='a', mlflow.runName='b')."), "{text}");
}

#[tokio::test]
async fn status_end_and_name_change_as_told() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let update = |mut body: Value| {
        body["run_id"] = json!(run_id);
        let server = &server;
        async move { server.post("runs/update", body).await["run_info"].take() }
    };
    for (status, own) in [
        ("SCHEDULED", RunStatus::Scheduled),
        ("KILLED", RunStatus::Killed),
        ("RUNNING", RunStatus::Running),
        ("FAILED", RunStatus::Failed),
    ] {
        let info = update(json!({"status": status})).await;
        assert_eq!((&info["status"], info.get("end_time")), (&json!(status), None), "no end but the one given");
        assert_eq!(server.app.get_run(&run_id).await.unwrap().status, own);
    }
    let info = update(json!({"status": "FINISHED", "end_time": 99, "run_name": "new"})).await;
    assert_eq!((&info["end_time"], &info["run_name"]), (&json!(99), &json!("new")));
    let info = update(json!({"run_name": "", "status": 1})).await;
    assert_eq!((&info["run_name"], &info["status"], &info["end_time"]), (&json!("new"), &json!("RUNNING"), &json!(99)));
    let run = server.read_run(&run_id).await;
    assert_eq!(value_of(&run["data"]["tags"], "mlflow.runName"), Some(&json!("new")));
    let (_, text) = server.refusal("runs/update", json!({"run_id": run_id, "status": "DONE"})).await;
    assert!(text.starts_with("Invalid value \"DONE\" for parameter 'status' supplied"), "{text}");
}

#[tokio::test]
async fn a_deleted_run_is_shown_takes_nothing_and_comes_back() {
    let server = Server::start().await;
    let run_id = server.run().await;
    let metric = json!({"run_id": run_id, "key": "loss", "value": 0.5, "timestamp": 7, "step": 3});
    server.post("runs/log-metric", metric.clone()).await;
    for _ in 0..2 {
        server.post("runs/delete", json!({"run_id": run_id})).await;
    }
    let run = server.read_run(&run_id).await;
    assert_eq!(run["info"]["lifecycle_stage"], "deleted");
    assert_eq!(run["data"]["metrics"], json!([{"key": "loss", "value": 0.5, "timestamp": 7, "step": 3}]));
    let history = server.get(&format!("metrics/get-history?run_id={run_id}&metric_key=loss")).await;
    assert_eq!(history["metrics"].as_array().unwrap().len(), 1);
    let expected = format!("The run {run_id} must be in the 'active' state. Current state is deleted.");
    for (path, body) in [
        ("runs/log-metric", metric.clone()),
        ("runs/log-parameter", json!({"run_id": run_id, "key": "a", "value": "b"})),
        ("runs/set-tag", json!({"run_id": run_id, "key": "a", "value": "b"})),
        ("runs/delete-tag", json!({"run_id": run_id, "key": "a"})),
        ("runs/update", json!({"run_id": run_id, "status": "FAILED"})),
        ("runs/log-batch", json!({"run_id": run_id})),
        ("runs/log-batch", json!({"run_id": run_id, "metrics": [{"key": "a", "value": 1, "timestamp": 1}]})),
    ] {
        assert_eq!(server.refusal(path, body).await, ("INVALID_PARAMETER_VALUE".into(), expected.clone()), "{path}");
    }
    for _ in 0..2 {
        server.post("runs/restore", json!({"run_id": run_id})).await;
    }
    assert_eq!(server.read_run(&run_id).await["info"]["lifecycle_stage"], "active");
    server.post("runs/log-metric", metric).await;
    for path in ["runs/delete", "runs/restore", "runs/log-batch"] {
        let missing = server.refusal(path, json!({"run_id": "nobody"})).await;
        assert_eq!(missing, ("RESOURCE_DOES_NOT_EXIST".into(), "Run with id=nobody not found".into()), "{path}");
    }
}

/// A client that hears nothing for long sends its call again. The second found the run as it was, waited for the first, and answered that
/// there is no such run.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_a_restore_that_come_again_while_the_first_waits_are_answered_like_it() {
    let server = Arc::new(Server::start().await);
    let run_id = server.run().await;
    let trace = json!({"trace": {"trace_info": {
        "trace_id": "t",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }}});
    server.post("traces", trace).await;
    for (path, stage) in [("runs/delete", "active"), ("runs/restore", "deleted")] {
        // Nothing is changed as long as this change is not over.
        let (release, released) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel();
        let (app, runtime) = (server.app.clone(), Handle::current());
        let changing = spawn_blocking(move || {
            runtime.block_on(app.edit_assessments("t", |_| {
                began.send(()).unwrap();
                let _ = released.recv();
                Ok::<_, AppError>(())
            }))
        });
        spawn_blocking(move || begun.recv()).await.unwrap().unwrap();
        let calls = [(); 2].map(|()| {
            let (server, run_id) = (server.clone(), run_id.clone());
            tokio::spawn(async move { server.post(path, json!({"run_id": run_id})).await })
        });
        // One that does not wait has the time to end.
        for _ in 0..200 {
            assert_eq!(server.read_run(&run_id).await["info"]["lifecycle_stage"], stage);
        }
        drop(release);
        changing.await.unwrap().unwrap();
        for call in calls {
            assert_eq!(call.await.unwrap(), json!({}));
        }
    }
}

#[tokio::test]
async fn a_run_made_by_other_means_looks_like_one_of_mlflow() {
    let server = Server::start().await;
    let run = CreateRun {
        project: "native".into(),
        name: Some("ours".into()),
        params: [("lr", ParamValue::Float(1e-5)), ("bn", ParamValue::Bool(true)), ("n", ParamValue::Int(3))]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        user_name: Some("bob".into()),
        git_commit: Some("def".into()),
        ..CreateRun::default()
    };
    let run_id = server.app.create_run(run).await.unwrap().run_id;
    let patch = RunPatch { notes: Some("a note".into()), status: Some(RunStatus::Finished), ..RunPatch::default() };
    server.app.update_run(&run_id, patch).await.unwrap();
    let run = server.read_run(&run_id).await;
    assert_eq!((&run["info"]["status"], &run["info"]["user_id"]), (&json!("FINISHED"), &json!("bob")));
    assert!(run["info"]["end_time"].as_i64() >= run["info"]["start_time"].as_i64());
    let params = ["lr", "bn", "n"].map(|key| value_of(&run["data"]["params"], key).unwrap().as_str().unwrap());
    assert_eq!(params, ["1e-05", "True", "3"]);
    let tags = ["mlflow.runName", "mlflow.user", "mlflow.source.git.commit", "mlflow.note.content"];
    let shown = tags.map(|key| value_of(&run["data"]["tags"], key).unwrap().as_str().unwrap());
    assert_eq!(shown, ["ours", "bob", "def", "a note"]);
    let own = server.get("experiments/get-by-name?experiment_name=native").await;
    assert_eq!(own["experiment"]["experiment_id"], run["info"]["experiment_id"]);
}
