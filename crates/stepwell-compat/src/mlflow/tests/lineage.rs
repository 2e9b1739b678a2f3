//! Datasets, logged models, inputs and outputs of runs.

use serde_json::{Value, json};

use super::Server;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn run_id(server: &Server) -> String {
    let made = server.post("runs/create", json!({"experiment_id": "0"})).await;
    text(&made["run"]["info"]["run_id"]).to_owned()
}

fn dataset(name: &str, context: &str) -> Value {
    json!({
        "dataset": {"name": name, "digest": "1", "source_type": "local", "source": "s", "profile": "p"},
        "tags": [{"key": "mlflow.data.context", "value": context}],
    })
}

#[tokio::test]
async fn a_run_shows_what_it_read_and_made() {
    let server = Server::start().await;
    let run_id = run_id(&server).await;
    let inputs = json!({"run_id": run_id, "datasets": [dataset("a", "train"), dataset("b", "eval"), dataset("a", "x")],
                        "models": [{"model_id": "m-1"}]});
    for _ in 0..2 {
        server.post("runs/log-inputs", inputs.clone()).await;
    }
    server.post("runs/outputs", json!({"run_id": run_id, "models": [{"model_id": "m-2", "step": 3}]})).await;
    let run = server.get(&format!("runs/get?run_id={run_id}")).await["run"].clone();
    let shown = &run["inputs"]["dataset_inputs"];
    assert_eq!(shown.as_array().unwrap().len(), 2);
    assert_eq!(
        shown[0]["dataset"],
        json!({"name": "a", "digest": "1", "source_type": "local", "source": "s", "profile": "p"})
    );
    assert_eq!(shown[1]["tags"], json!([{"key": "mlflow.data.context", "value": "eval"}]));
    assert_eq!(run["inputs"]["model_inputs"], json!([{"model_id": "m-1"}]));
    assert_eq!(run["outputs"]["model_outputs"], json!([{"model_id": "m-2", "step": 3}]));
    let found = server.post("experiments/search-datasets", json!({"experiment_ids": ["0"]})).await;
    assert_eq!(
        found["dataset_summaries"][0],
        json!({"experiment_id": "0", "name": "a", "digest": "1", "context": "train"})
    );
    let (_, message) = server.refusal("experiments/search-datasets", json!({})).await;
    assert_eq!(message, "SearchDatasets request must specify at least one experiment_id.");
    let long = json!({"run_id": run_id, "datasets": [{"dataset": {"name": "x".repeat(501)}}]});
    let (_, message) = server.refusal("runs/log-inputs", long).await;
    assert_eq!(message, "'name' exceeds the maximum length of 500 characters");
    let (code, _) = server.refusal("runs/log-inputs", json!({"run_id": "0".repeat(32), "datasets": []})).await;
    assert_eq!(code, "RESOURCE_DOES_NOT_EXIST");
    server.post("runs/delete", json!({"run_id": run_id})).await;
    let (_, message) = server.refusal("runs/log-inputs", inputs).await;
    assert!(message.contains("must be in the 'active' state"), "{message}");
}

#[tokio::test]
async fn logged_models_are_made_measured_finished_and_deleted() {
    let server = Server::start().await;
    let run_id = run_id(&server).await;
    let made = server
        .post(
            "logged-models",
            json!({"experiment_id": "0", "name": "net", "model_type": "cnn", "source_run_id": run_id,
                   "params": [{"key": "lr", "value": "0.1"}], "tags": [{"key": "a/b", "value": "x"}]}),
        )
        .await["model"]
        .clone();
    let info = &made["info"];
    let id = text(&info["model_id"]).to_owned();
    assert_eq!((text(&info["status"]), text(&info["name"])), ("LOGGED_MODEL_PENDING", "net"));
    assert_eq!(text(&info["artifact_uri"]), format!("mlflow-artifacts:/0/models/{id}/artifacts"));
    let metric = json!({"run_id": run_id, "key": "acc", "value": 0.5, "timestamp": 7, "step": 2, "model_id": id,
                        "dataset_name": "d", "dataset_digest": "1"});
    for _ in 0..2 {
        server.post("runs/log-metric", metric.clone()).await;
    }
    let batch = json!({"run_id": run_id, "metrics": [
        {"key": "acc", "value": "NaN", "timestamp": 8, "step": 3, "model_id": id}, {"key": "loss", "value": 1, "timestamp": 8}]});
    server.post("runs/log-batch", batch).await;
    server.send("PATCH", &format!("logged-models/{id}"), json!({"model_id": id, "status": "LOGGED_MODEL_READY"})).await;
    server.post(&format!("logged-models/{id}/params"), json!({"params": [{"key": "depth", "value": "3"}]})).await;
    server.send("PATCH", &format!("logged-models/{id}/tags"), json!({"tags": [{"key": "b", "value": "y"}]})).await;
    server.send("DELETE", &format!("logged-models/{id}/tags/a%2Fb"), json!({})).await;
    let shown = server.get(&format!("logged-models/{id}")).await["model"].clone();
    assert_eq!(text(&shown["info"]["status"]), "LOGGED_MODEL_READY");
    assert_eq!(shown["info"]["tags"], json!([{"key": "b", "value": "y"}]));
    assert_eq!(shown["data"]["params"], json!([{"key": "depth", "value": "3"}, {"key": "lr", "value": "0.1"}]));
    let (first, second) = (&shown["data"]["metrics"][0], &shown["data"]["metrics"][1]);
    assert_eq!(
        first,
        &json!({"key": "acc", "value": 0.5, "timestamp": 7, "step": 2, "model_id": id, "run_id": run_id,
                              "dataset_name": "d", "dataset_digest": "1"})
    );
    assert_eq!((&second["value"], shown["data"]["metrics"].as_array().unwrap().len()), (&json!("NaN"), 2));
    // The points are the run's like any others.
    let run = server.get(&format!("runs/get?run_id={run_id}")).await["run"].clone();
    assert_eq!(run["data"]["metrics"].as_array().unwrap().len(), 2);
    let (code, message) = server.refusal_of("DELETE", &format!("logged-models/{id}/tags/none"), json!({})).await;
    assert_eq!(code, "RESOURCE_DOES_NOT_EXIST");
    assert_eq!(message, format!("No tag with key 'none' found for model with ID '{id}'."));
    server.send("DELETE", &format!("logged-models/{id}"), json!({})).await;
    let (_, message) = server.refusal(&format!("logged-models/{id}"), Value::Null).await;
    assert_eq!(message, format!("Logged model with ID '{id}' not found."));
    server.get(&format!("logged-models/{id}?allow_deleted=true")).await;
    let (_, message) = server.refusal("logged-models", json!({"experiment_id": "0", "name": "a/b"})).await;
    assert_eq!(
        message,
        "Invalid model name ('a/b') provided. Model name must be a non-empty string and cannot contain the following characters: \
         ('/', ':', '.', '%', '\"', \"'\")"
    );
}

#[tokio::test]
async fn logged_models_are_found_and_ordered_by_what_measures_them() {
    let server = Server::start().await;
    let run_id = run_id(&server).await;
    for number in 0..4 {
        let made = server
            .post(
                "logged-models",
                json!({"experiment_id": "0", "name": format!("net{number}"), "source_run_id": run_id,
                       "params": [{"key": "lr", "value": format!("0.{number}")}]}),
            )
            .await;
        if number == 3 {
            continue;
        }
        for (dataset, value) in [("a", number), ("b", 10 - number)] {
            let metric = json!({"run_id": run_id, "key": "acc", "value": value, "timestamp": 1, "step": number * 10 + value,
                                "model_id": made["model"]["info"]["model_id"], "dataset_name": dataset});
            server.post("runs/log-metric", metric).await;
        }
    }
    let names = |found: &Value| -> Vec<String> {
        let found = found["models"].as_array().into_iter().flatten();
        found.map(|model| text(&model["info"]["name"]).to_owned()).collect()
    };
    let by = |field: &str, ascending: bool, dataset: &str| json!([{"field_name": field, "ascending": ascending, "dataset_name": dataset}]);
    for (asked, expected) in [
        (json!({"order_by": by("name", true, "")}), &["net0", "net1", "net2", "net3"][..]),
        (json!({"order_by": by("metrics.acc", false, "a")}), &["net2", "net1", "net0", "net3"]),
        (json!({"order_by": by("metrics.acc", false, "b")}), &["net0", "net1", "net2", "net3"]),
        (json!({"filter": "metrics.acc > 8", "order_by": by("name", true, "")}), &["net0", "net1"]),
        (
            json!({"filter": "metrics.acc < 2", "datasets": [{"dataset_name": "a"}], "order_by": by("name", true, "")}),
            &["net0", "net1"],
        ),
        (json!({"datasets": [{"dataset_name": "b"}], "order_by": by("name", false, "")}), &["net2", "net1", "net0"]),
        (json!({"filter": "params.lr = '0.2' AND name LIKE 'net%'"}), &["net2"]),
        (json!({"experiment_ids": ["4711"]}), &[]),
    ] {
        let mut asked = asked;
        if asked["experiment_ids"].is_null() {
            asked["experiment_ids"] = json!(["0"]);
        }
        assert_eq!(names(&server.post("logged-models/search", asked.clone()).await), expected, "{asked}");
    }
    let mut asked = json!({"experiment_ids": ["0"], "max_results": 3, "order_by": by("name", true, "")});
    let page = server.post("logged-models/search", asked.clone()).await;
    asked["page_token"] = page["next_page_token"].clone();
    let rest = server.post("logged-models/search", asked.clone()).await;
    assert_eq!((names(&rest), &rest["next_page_token"]), (vec!["net3".to_owned()], &Value::Null));
    asked["filter"] = json!("name = 'net1'");
    let (_, message) = server.refusal("logged-models/search", asked).await;
    assert!(message.starts_with("Filter string in the page token does not match"), "{message}");
    for wrong in [
        json!({"filter": "nothing = 'x'"}),
        json!({"order_by": by("params.lr", true, "")}),
        json!({"experiment_ids": []}),
        json!({"order_by": by("nothing", true, "")}),
        json!({"datasets": [{}]}),
        json!({"max_results": -1}),
    ] {
        let mut asked = wrong;
        if asked["experiment_ids"].is_null() {
            asked["experiment_ids"] = json!(["0"]);
        }
        server.refusal("logged-models/search", asked).await;
    }
}
