//! Experiments.

use serde_json::{Value, json};
use stepwell_app::CreateRun;

use super::{Server, value_of};

#[tokio::test]
async fn an_experiment_is_a_project_with_a_number_that_stays() {
    let server = Server::start().await;
    let tags = json!([{"key": "team", "value": "vision"}, {"key": "a/b", "value": ""}]);
    let made = server
        .post("experiments/create", json!({"name": "Ümlaut / x", "artifact_location": "s3://bucket/p", "tags": tags}))
        .await;
    assert_eq!(made, json!({"experiment_id": "1"}));
    let experiment = server.get("experiments/get?experiment_id=1").await["experiment"].take();
    assert_eq!(experiment["name"], "Ümlaut / x");
    assert_eq!(
        (&experiment["artifact_location"], &experiment["lifecycle_stage"]),
        (&json!("s3://bucket/p"), &json!("active"))
    );
    assert_eq!(experiment["creation_time"], experiment["last_update_time"]);
    assert_eq!(
        (value_of(&experiment["tags"], "team"), value_of(&experiment["tags"], "a/b")),
        (Some(&json!("vision")), Some(&json!("")))
    );
    server.post("experiments/update", json!({"experiment_id": "1", "new_name": "new"})).await;
    let renamed = server.get("experiments/get-by-name?experiment_name=new").await["experiment"].take();
    assert_eq!(renamed["experiment_id"], "1");
    let native = server.app.list_projects().await.unwrap();
    assert_eq!(native.iter().map(|project| project.name.as_str()).collect::<Vec<_>>(), ["new"]);
    let (code, text) = server.refusal("experiments/get-by-name?experiment_name=old", Value::Null).await;
    assert_eq!(
        (code.as_str(), text.as_str()),
        ("RESOURCE_DOES_NOT_EXIST", "Could not find experiment with name 'old'")
    );
}

#[tokio::test]
async fn experiment_0_is_there_before_anyone_makes_it() {
    let server = Server::start().await;
    assert!(server.app.all_projects().await.unwrap().is_empty(), "it is made when it is asked for");
    for path in ["experiments/get?experiment_id=0", "experiments/get-by-name?experiment_name=Default"] {
        let experiment = server.get(path).await["experiment"].take();
        assert_eq!((&experiment["experiment_id"], &experiment["name"]), (&json!("0"), &json!("Default")));
        assert_eq!(experiment["artifact_location"], "mlflow-artifacts:/0");
    }
    assert_eq!(server.refusal("experiments/create", json!({"name": "Default"})).await.0, "RESOURCE_ALREADY_EXISTS");
    let run = server.post("runs/create", json!({})).await["run"].take();
    assert_eq!(run["info"]["experiment_id"], "0");
    // Another may have the name once it is free, and it is not experiment 0.
    server.post("experiments/update", json!({"experiment_id": "0", "new_name": "mine"})).await;
    let other = server.app.create_project("Default").await.unwrap();
    assert_eq!(other.project_id, "1");
    let by_name = server.get("experiments/get-by-name?experiment_name=Default").await;
    assert_eq!(by_name["experiment"]["experiment_id"], "1");
}

#[tokio::test]
async fn the_native_project_of_that_name_is_experiment_0() {
    let server = Server::start().await;
    let run = CreateRun { project: "Default".into(), ..CreateRun::default() };
    assert_eq!(server.app.create_run(run).await.unwrap().project_id, "0");
    assert_eq!(server.app.create_project("other").await.unwrap().project_id, "1");
}

#[tokio::test]
async fn deletion_takes_the_runs_along_and_restoring_brings_them_all_back() {
    let server = Server::start().await;
    let id = server.experiment("e").await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let made = server.post("runs/create", json!({"experiment_id": id})).await;
        runs.push(made["run"]["info"]["run_id"].as_str().unwrap().to_owned());
    }
    server.post("runs/delete", json!({"run_id": runs[0]})).await;
    server.post("experiments/delete", json!({"experiment_id": id})).await;
    let deleted = server.get("experiments/get-by-name?experiment_name=e").await;
    assert_eq!(deleted["experiment"]["lifecycle_stage"], "deleted");
    for run in &runs {
        assert_eq!(server.read_run(run).await["info"]["lifecycle_stage"], "deleted");
    }
    let (code, text) = server.refusal("experiments/create", json!({"name": "e"})).await;
    assert!(code == "RESOURCE_ALREADY_EXISTS" && text.contains("deleted state"), "{text}");
    let not_active = format!("The experiment {id} must be in the 'active' state. Current state is deleted.");
    let (_, text) = server.refusal("runs/create", json!({"experiment_id": id})).await;
    assert_eq!(text, not_active);
    let (_, text) = server.refusal("experiments/set-experiment-tag", json!({"experiment_id": id, "key": "a"})).await;
    assert_eq!(text, not_active);
    let rename = server.refusal("experiments/update", json!({"experiment_id": id, "new_name": "f"})).await;
    assert_eq!(rename, ("INVALID_STATE".into(), "Cannot rename a non-active experiment.".into()));
    let again = server.refusal("experiments/delete", json!({"experiment_id": id})).await;
    assert_eq!(again, ("RESOURCE_DOES_NOT_EXIST".into(), format!("No Experiment with id={id} exists")));
    server.post("experiments/restore", json!({"experiment_id": id})).await;
    for run in &runs {
        assert_eq!(server.read_run(run).await["info"]["lifecycle_stage"], "active");
    }
    assert_eq!(server.refusal("experiments/restore", json!({"experiment_id": id})).await.0, "RESOURCE_DOES_NOT_EXIST");
}

#[tokio::test]
async fn tags_are_set_changed_and_removed() {
    let server = Server::start().await;
    let id = server.experiment("e").await;
    let set = |key: &str, value: &str| json!({"experiment_id": id, "key": key, "value": value});
    server.post("experiments/set-experiment-tag", set("a b", "1\n2")).await;
    server.post("experiments/set-experiment-tag", set("a b", "3")).await;
    server.post("experiments/set-experiment-tag", set("c", "")).await;
    server.post("experiments/delete-experiment-tag", json!({"experiment_id": id, "key": "c"})).await;
    let experiment = server.get(&format!("experiments/get?experiment_id={id}")).await["experiment"].take();
    assert_eq!(experiment["tags"], json!([{"key": "a b", "value": "3"}]));
    let gone = server.refusal("experiments/delete-experiment-tag", json!({"experiment_id": id, "key": "c"})).await;
    assert_eq!(gone.1, format!("No tag with name: c in experiment with id {id}"));
    let long = server.refusal("experiments/set-experiment-tag", set("k", &"x".repeat(20_001))).await;
    assert_eq!(long.1, "'value' exceeds the maximum length of 20000 characters");
    assert!(
        server.refusal("experiments/set-experiment-tag", set("a//b", "")).await.1.contains("would resolve to 'a/b'")
    );
}

#[tokio::test]
async fn refusals_are_those_of_mlflow() {
    let server = Server::start().await;
    server.experiment("e").await;
    let docs = " See the API docs for more information about request parameters.";
    for (path, body, expected) in [
        ("experiments/create", json!({}), format!("Missing value for required parameter 'name'.{docs}")),
        (
            "experiments/create",
            json!({"name": "x".repeat(501)}),
            "'name' exceeds the maximum length of 500 characters".into(),
        ),
        ("experiments/create", json!({"name": "e"}), "Experiment(name=e) already exists.".into()),
        (
            "experiments/create",
            json!({"name": "f", "artifact_location": "runs:/a"}),
            "Artifact location cannot be a runs:/ URI. Given: 'runs:/a'".into(),
        ),
        ("experiments/get?experiment_id=7", Value::Null, "No Experiment with id=7 exists".into()),
        (
            "experiments/get?experiment_id=x",
            Value::Null,
            "Invalid experiment ID 'x'. Experiment ID must be a valid integer.".into(),
        ),
        ("experiments/get", Value::Null, format!("Missing value for required parameter 'experiment_id'.{docs}")),
        (
            "experiments/update",
            json!({"experiment_id": "1"}),
            format!("Missing value for required parameter 'new_name'.{docs}"),
        ),
    ] {
        assert_eq!(server.refusal(path, body).await.1, expected);
    }
    assert_eq!(server.experiment(&"ä".repeat(500)).await, "2", "the limit is in characters");
}
