//! Webhooks as MLflow's clients make them. That they are told is tested in the application.

use serde_json::{Value, json};

use super::Server;

fn body() -> Value {
    json!({"name": "hook", "url": "http://127.0.0.1:9/x", "secret": "shh",
           "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}, {"entity": 4, "action": 3}]})
}

#[tokio::test]
async fn webhooks_are_made_listed_changed_tried_and_ended_and_never_show_their_secret() {
    let server = Server::with_private_webhooks().await;
    let made = server.post("webhooks", body()).await["webhook"].clone();
    assert_eq!((&made["status"], &made["secret"]), (&json!("ACTIVE"), &Value::Null));
    let events = json!([{"entity": "MODEL_VERSION", "action": "CREATED"}, {"entity": "MODEL_VERSION_ALIAS", "action": "DELETED"}]);
    assert_eq!(made["events"], events);
    let id = made["webhook_id"].as_str().unwrap().to_owned();
    let patch = json!({"name": "other", "description": "d", "status": "DISABLED", "secret": "new"});
    let changed = server.send("PATCH", &format!("webhooks/{id}"), patch).await["webhook"].clone();
    assert_eq!(
        (&changed["name"], &changed["description"], &changed["status"]),
        (&json!("other"), &json!("d"), &json!("DISABLED"))
    );
    assert_eq!((&changed["url"], &changed["events"]), (&json!("http://127.0.0.1:9/x"), &events));
    assert!(!changed.to_string().contains("new"), "{changed}");
    server.post("webhooks", body()).await;
    let page = server.get("webhooks?max_results=1").await;
    let token = page["next_page_token"].as_str().unwrap();
    let rest = server.get(&format!("webhooks?max_results=1&page_token={token}")).await;
    assert_eq!((&page["webhooks"][0]["name"], &rest["webhooks"][0]["name"]), (&json!("hook"), &json!("other")));
    assert_eq!(rest["next_page_token"], Value::Null);
    // Nobody listens there.
    let tried = server.post(&format!("webhooks/{id}/test"), json!({})).await["result"].clone();
    assert_eq!(tried["success"], json!(false));
    assert!(tried["error_message"].as_str().unwrap().starts_with("Failed to test webhook: "), "{tried}");
    server.send("DELETE", &format!("webhooks/{id}"), json!({})).await;
    let (code, message) = server.refusal(&format!("webhooks/{id}"), Value::Null).await;
    assert_eq!((code.as_str(), message), ("RESOURCE_DOES_NOT_EXIST", format!("Webhook with ID {id} not found.")));
}

#[tokio::test]
async fn webhooks_that_cannot_be_are_refused_in_mlflow_s_words() {
    let server = Server::start().await;
    let with = |name: &str, value: Value| {
        let mut body = body();
        body[name] = value;
        body
    };
    for (changed, words) in [
        (with("name", json!("-x")), "Webhook name '-x' is invalid. It must start and end with a letter or digit"),
        (with("name", json!("x".repeat(64))), "is invalid"),
        (with("url", json!("http://example.org")), "Invalid webhook URL scheme: 'http'. Allowed schemes are: https."),
        (with("url", json!("https://127.0.0.1/")), "Webhook URL must not resolve to a non-public IP address."),
        (with("events", json!([])), "Missing value for required parameter 'events'"),
        (
            with("events", json!([{"entity": "REGISTERED_MODEL", "action": "DELETED"}])),
            "Invalid action 'deleted' for entity 'registered_model'. Valid actions are: ['created']",
        ),
        (
            with("events", json!([{"entity": "TABLE", "action": "SET"}])),
            "Invalid value \"TABLE\" for parameter 'entity'",
        ),
        (with("status", json!("ASLEEP")), "Invalid value \"ASLEEP\" for parameter 'status'"),
    ] {
        let (code, message) = server.refusal("webhooks", changed.clone()).await;
        assert_eq!(code, "INVALID_PARAMETER_VALUE", "{changed}");
        assert!(message.contains(words), "{changed}: {message}");
    }
    let (_, message) = server.refusal("webhooks?max_results=1001", Value::Null).await;
    assert_eq!(message, "max_results must be between 1 and 1000.");
}
