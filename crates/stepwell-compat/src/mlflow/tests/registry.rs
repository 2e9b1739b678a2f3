//! The model registry.

use serde_json::{Value, json};

use super::Server;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn version(server: &Server, body: Value) -> Value {
    server.post("model-versions/create", body).await["model_version"].clone()
}

/// A registered model with versions that have a source nobody needs to check.
async fn with_versions(server: &Server, name: &str, versions: usize) {
    server.post("registered-models/create", json!({"name": name})).await;
    for _ in 0..versions {
        version(server, json!({"name": name, "source": "s3://bucket/model"})).await;
    }
}

#[tokio::test]
async fn registered_models_are_made_described_renamed_and_ended() {
    let server = Server::start().await;
    let tags = json!([{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]);
    let made = server.post("registered-models/create", json!({"name": "m", "tags": tags, "description": "d"})).await;
    let model = &made["registered_model"];
    assert_eq!((text(&model["name"]), text(&model["description"])), ("m", "d"));
    assert_eq!(model["tags"], json!([{"key": "k", "value": "2"}]));
    let (code, message) = server.refusal("registered-models/create", json!({"name": "m"})).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("RESOURCE_ALREADY_EXISTS", "Registered Model (name=m) already exists.")
    );
    let prompt = json!({"name": "m", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]});
    let (_, message) = server.refusal("registered-models/create", prompt).await;
    assert!(
        message.starts_with(
            "Tried to create a prompt with name 'm', but the name is already taken by a registered model."
        )
    );
    let (code, message) = server.refusal("registered-models/get?name=x", Value::Null).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("RESOURCE_DOES_NOT_EXIST", "Registered Model with name=x not found")
    );
    server.send("PATCH", "registered-models/update", json!({"name": "m", "description": "e"})).await;
    server.post("registered-models/rename", json!({"name": "m", "new_name": "n"})).await;
    let shown = server.get("registered-models/get?name=n").await["registered_model"].clone();
    assert_eq!(text(&shown["description"]), "e");
    server.send("DELETE", "registered-models/delete-tag", json!({"name": "n", "key": "k"})).await;
    server.send("DELETE", "registered-models/delete-tag", json!({"name": "n", "key": "none"})).await;
    assert_eq!(server.get("registered-models/get?name=n").await["registered_model"]["tags"], json!([]));
    server.send("DELETE", "registered-models/delete", json!({"name": "n"})).await;
    server.refusal("registered-models/get?name=n", Value::Null).await;
}

/// An import that does not know it uses up a number to learn it.
#[tokio::test]
async fn a_registered_model_tells_the_number_that_was_given_last() {
    let server = Server::start().await;
    with_versions(&server, "m", 3).await;
    for version in ["2", "3"] {
        server.send("DELETE", "model-versions/delete", json!({"name": "m", "version": version})).await;
    }
    let found = server.get("registered-models/search").await["registered_models"][0].clone();
    assert_eq!((text(&found["name"]), &found["last_version"]), ("m", &json!(3)));
}

#[tokio::test]
async fn versions_have_stages_aliases_and_numbers_of_their_own() {
    let server = Server::start().await;
    with_versions(&server, "m", 3).await;
    let stage = |version: &str, stage: &str, archive: bool| json!({"name": "m", "version": version, "stage": stage, "archive_existing_versions": archive});
    server.post("model-versions/transition-stage", stage("1", "production", false)).await;
    let moved = server.post("model-versions/transition-stage", stage("2", "Production", true)).await;
    assert_eq!(text(&moved["model_version"]["current_stage"]), "Production");
    let latest = server.post("registered-models/get-latest-versions", json!({"name": "m"})).await;
    let shown: Vec<(&str, &str)> = latest["model_versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (text(&version["version"]), text(&version["current_stage"])))
        .collect();
    assert_eq!(shown, [("1", "Archived"), ("2", "Production"), ("3", "None")]);
    let one = server.get("registered-models/get-latest-versions?name=m&stages=archived").await;
    assert_eq!(text(&one["model_versions"][0]["version"]), "1");
    let (_, message) = server.refusal("model-versions/transition-stage", stage("1", "Live", false)).await;
    assert!(message.starts_with("Invalid Model Version stage: Live."), "{message}");
    let (code, message) = server.refusal("model-versions/transition-stage", stage("1", "None", true)).await;
    assert_eq!(code, "INVALID_PARAMETER_VALUE");
    assert!(message.contains("'None' is not an Active stage. Valid stages are ['Staging', 'Production']"), "{message}");
    server.post("registered-models/alias", json!({"name": "m", "alias": "best", "version": "3"})).await;
    let best = server.get("registered-models/alias?name=m&alias=best").await["model_version"].clone();
    assert_eq!((text(&best["version"]), &best["aliases"]), ("3", &json!(["best"])));
    assert_eq!(text(&server.get("registered-models/alias?name=m&alias=LATEST").await["model_version"]["version"]), "3");
    server.send("DELETE", "model-versions/delete", json!({"name": "m", "version": "3"})).await;
    let (code, message) = server.refusal("registered-models/alias?name=m&alias=best", Value::Null).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("INVALID_PARAMETER_VALUE", "Registered model alias best not found.")
    );
    let (code, message) = server.refusal("model-versions/get?name=m&version=3", Value::Null).await;
    assert_eq!(code, "RESOURCE_DOES_NOT_EXIST");
    assert_eq!(message, "Model Version (name=m, version=3) not found");
    let next = version(&server, json!({"name": "m", "source": "s3://bucket/model"})).await;
    assert_eq!(text(&next["version"]), "4");
    server.post("model-versions/set-tag", json!({"name": "m", "version": "4", "key": "k", "value": "v"})).await;
    server.send("PATCH", "model-versions/update", json!({"name": "m", "version": "4", "description": "d"})).await;
    let shown = server.get("model-versions/get?name=m&version=4").await["model_version"].clone();
    assert_eq!((text(&shown["description"]), &shown["tags"]), ("d", &json!([{"key": "k", "value": "v"}])));
    assert_eq!(
        (text(&shown["status"]), text(&shown["run_id"]), text(&shown["source"])),
        ("READY", "", "s3://bucket/model")
    );
}

#[tokio::test]
async fn a_version_comes_only_from_where_it_says() {
    let server = Server::start().await;
    server.post("registered-models/create", json!({"name": "m"})).await;
    let run = server.post("runs/create", json!({"experiment_id": "0"})).await["run"]["info"].clone();
    let (run_id, root) = (text(&run["run_id"]).to_owned(), text(&run["artifact_uri"]).to_owned());
    let made = version(&server, json!({"name": "m", "source": format!("{root}/model"), "run_id": run_id})).await;
    assert_eq!((text(&made["version"]), text(&made["run_id"])), ("1", run_id.as_str()));
    version(&server, json!({"name": "m", "source": format!("runs:/{run_id}/model"), "run_id": run_id})).await;
    let other = server.post("runs/create", json!({"experiment_id": "0"})).await["run"]["info"]["run_id"].clone();
    for (source, run_id) in [
        (format!("{root}/model"), json!(other)),
        (format!("{root}/model"), Value::Null),
        (format!("{root}/../model"), json!(run_id)),
        (format!("runs:/{run_id}/model"), json!(other)),
        ("/etc".to_owned(), json!(run_id)),
        ("file:///etc".to_owned(), Value::Null),
        ("models:/none/1".to_owned(), Value::Null),
        ("models:".to_owned(), Value::Null),
        ("models://host/m/1".to_owned(), Value::Null),
        ("models:/m-0000".to_owned(), Value::Null),
        ("dummy-source".to_owned(), Value::Null),
        ("https://host/m".to_owned(), json!(run_id)),
        (format!("mlflow-artifacts://host/0/{run_id}/artifacts"), json!(run_id)),
    ] {
        server.refusal("model-versions/create", json!({"name": "m", "source": source, "run_id": run_id})).await;
    }
    // A copy is where its original is, whatever name it was found by.
    server.post("registered-models/create", json!({"name": "copy"})).await;
    server.post("registered-models/alias", json!({"name": "m", "alias": "a", "version": "1"})).await;
    for source in ["models:/m/1", "models:/m@a"] {
        let copy = version(&server, json!({"name": "copy", "source": source})).await;
        assert_eq!((text(&copy["source"]), text(&copy["run_id"])), ("models:/m/1", run_id.as_str()));
        let number = text(&copy["version"]);
        let found = server.get(&format!("model-versions/get-download-uri?name=copy&version={number}")).await;
        assert_eq!(text(&found["artifact_uri"]), format!("{root}/model"));
    }
    let (_, message) =
        server.refusal("model-versions/create", json!({"name": "copy", "source": "models:/m/1", "run_id": "x"})).await;
    assert!(message.contains("must match the referenced model version"), "{message}");
}

#[tokio::test]
async fn a_logged_model_knows_what_it_is_published_as() {
    let server = Server::start().await;
    server.post("registered-models/create", json!({"name": "m"})).await;
    let made = server.post("logged-models", json!({"experiment_id": "0", "source_run_id": "r"})).await["model"].clone();
    let (id, location) = (text(&made["info"]["model_id"]), text(&made["info"]["artifact_uri"]));
    let published = version(&server, json!({"name": "m", "source": format!("models:/{id}"), "model_id": id})).await;
    assert_eq!((text(&published["source"]), text(&published["run_id"])), (format!("models:/{id}").as_str(), "r"));
    let found = server.get("model-versions/get-download-uri?name=m&version=1").await;
    assert_eq!(text(&found["artifact_uri"]), location);
    let shown = server.get(&format!("logged-models/{id}")).await["model"]["info"]["tags"].clone();
    assert_eq!(shown, json!([{"key": "mlflow.modelVersions", "value": r#"[{"name":"m","version":1}]"#}]));
    let body = json!({"name": "m", "source": format!("models:/{id}"), "model_id": "m-0"});
    server.refusal("model-versions/create", body).await;
    server.refusal("model-versions/create", json!({"name": "m", "source": format!("models:/{id}")})).await;
}

#[tokio::test]
async fn prompts_are_registered_models_with_a_tag() {
    let server = Server::start().await;
    let mark = json!({"key": "mlflow.prompt.is_prompt", "value": "true"});
    server.post("registered-models/create", json!({"name": "p", "tags": [mark]})).await;
    let tags = json!([mark, {"key": "mlflow.prompt.text", "value": "Hi {{name}}"}]);
    let made = version(&server, json!({"name": "p", "source": "dummy-source", "tags": tags})).await;
    assert_eq!((text(&made["version"]), text(&made["source"])), ("1", "dummy-source"));
    let (_, message) =
        server.refusal("model-versions/create", json!({"name": "p", "source": "s3://b/x", "tags": tags})).await;
    assert_eq!(message, "Invalid prompt source: 's3://b/x'. Prompt sources must use an MLflow placeholder.");
    let long = json!([mark, {"key": "mlflow.prompt.text", "value": "x".repeat(100_001)}]);
    let (_, message) =
        server.refusal("model-versions/create", json!({"name": "p", "source": "dummy-source", "tags": long})).await;
    assert_eq!(message, "Prompt text exceeds max length of 100000 characters.");
    server.post("registered-models/create", json!({"name": "m"})).await;
    server.refusal("model-versions/create", json!({"name": "m", "source": "models:/p/1"})).await;
}

#[tokio::test]
async fn registered_models_and_versions_are_found_prompts_only_when_asked_for() {
    let server = Server::start().await;
    for (name, kind) in [("apple", "stone"), ("Apricot", "soft"), ("banana", "soft")] {
        let tags = json!([{"key": "kind", "value": kind}]);
        server.post("registered-models/create", json!({"name": name, "tags": tags})).await;
        for _ in 0..2 {
            version(&server, json!({"name": name, "source": format!("s3://b/{name}")})).await;
        }
    }
    let mark = json!({"key": "mlflow.prompt.is_prompt", "value": "true"});
    server.post("registered-models/create", json!({"name": "prompt", "tags": [mark]})).await;
    version(&server, json!({"name": "prompt", "source": "dummy-source", "tags": [mark]})).await;
    let names = |found: &Value| -> Vec<String> {
        let found = found["registered_models"].as_array().into_iter().flatten();
        found.map(|model| text(&model["name"]).to_owned()).collect()
    };
    for (query, expected) in [
        ("", &["Apricot", "apple", "banana"][..]),
        ("filter=name+ILIKE+'a%25'", &["Apricot", "apple"]),
        ("filter=tags.kind+!=+'soft'", &["apple"]),
        ("filter=tags.%60mlflow.prompt.is_prompt%60+=+'true'", &["prompt"]),
        ("filter=tags.%60mlflow.prompt.is_prompt%60+!=+'true'", &["Apricot", "apple", "banana"]),
        ("order_by=name+DESC&max_results=2", &["banana", "apple"]),
    ] {
        assert_eq!(names(&server.get(&format!("registered-models/search?{query}")).await), expected, "{query}");
    }
    let page = server.get("registered-models/search?max_results=2").await;
    assert_eq!(page["registered_models"][0]["latest_versions"][0]["version"], json!("2"));
    let next = text(&page["next_page_token"]).replace('=', "%3D");
    assert_eq!(
        names(&server.get(&format!("registered-models/search?max_results=2&page_token={next}")).await),
        ["banana"]
    );
    let versions = |found: &Value| -> Vec<String> {
        let found = found["model_versions"].as_array().into_iter().flatten();
        found.map(|version| format!("{}/{}", text(&version["name"]), text(&version["version"]))).collect()
    };
    for (query, expected) in [
        ("filter=name='apple'&order_by=version_number", &["apple/1", "apple/2"][..]),
        ("filter=version_number>1&order_by=name+DESC", &["banana/2", "apple/2", "Apricot/2"]),
        ("filter=source_path='s3://b/banana'&max_results=1&order_by=version_number+DESC", &["banana/2"]),
        ("filter=name='prompt'", &[]),
        ("filter=name='prompt'+AND+tags.%60mlflow.prompt.is_prompt%60='true'", &["prompt/1"]),
    ] {
        assert_eq!(versions(&server.get(&format!("model-versions/search?{query}")).await), expected, "{query}");
    }
    for query in [
        "registered-models/search?max_results=1001",
        "model-versions/search?max_results=0",
        "model-versions/search?filter=nothing='x'",
        "registered-models/search?order_by=nothing",
    ] {
        server.refusal(query, Value::Null).await;
    }
}
