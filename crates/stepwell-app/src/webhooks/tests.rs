//! Webhooks against a receiver on this machine.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stepwell_env::Env;
use stepwell_metadata::{Announcement, NewWebhook, RegisteredModel, WebhookPatch};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{WebhookConfig, WebhookTest, signature};
use crate::{App, AppConfig, ErrorCode};

/// A request as it came.
#[derive(Debug, Clone)]
struct Heard {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Answers with statuses as they are given, then with 200.
#[derive(Clone)]
struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver =
            Self { url, heard: Arc::default(), answers: Arc::new(Mutex::new(answers.iter().copied().collect())) };
        let listening = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(listening.clone().serve(stream));
            }
        });
        receiver
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut text = String::new();
        loop {
            let (headers, length) = match text.split_once("\r\n\r\n") {
                Some((head, body)) => {
                    let headers: BTreeMap<String, String> = head
                        .lines()
                        .filter_map(|line| line.split_once(": "))
                        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                        .collect();
                    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                    (Some((headers, body.to_owned())), length)
                }
                None => (None, 0),
            };
            if let Some((headers, body)) = headers
                && body.len() >= length
            {
                self.heard.lock().unwrap().push(Heard { headers, body });
                break;
            }
            let mut bytes = [0; 4_096];
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(read) => text.push_str(&String::from_utf8_lossy(&bytes[..read])),
            }
        }
        let status = self.answers.lock().unwrap().pop_front().unwrap_or(200);
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsaid");
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn count(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    async fn heard(&self, count: usize) -> Vec<Heard> {
        for _ in 0..1_000 {
            if self.count() >= count {
                return self.heard.lock().unwrap().clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} requests of {count}: {:?}", self.count(), self.heard.lock().unwrap());
    }
}

async fn open(dir: &Path, allow_private: bool) -> App {
    let mut config = AppConfig::new(dir);
    config.webhooks =
        WebhookConfig { allow_private, timeout: Duration::from_secs(5), retry_first: Duration::from_millis(20) };
    App::open(Env::real(), config).await.unwrap()
}

fn hook(url: &str) -> NewWebhook {
    NewWebhook {
        name: "hook".into(),
        url: url.into(),
        events: vec!["model.made".into()],
        is_active: true,
        secret: Some("shh".into()),
        ..NewWebhook::default()
    }
}

fn told(model: &RegisteredModel) -> Option<Announcement> {
    Some(Announcement { event: "model.made", data: json!({"name": model.name}) })
}

async fn make(app: &App, name: &str) {
    app.create_registered_model(name, None, &BTreeMap::new(), &told).await.unwrap();
}

/// Waits until nothing is left to be told.
async fn settled(app: &App) {
    for _ in 0..1_000 {
        if app.parts.metadata.next_delivery_us().await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("something is still to be told");
}

#[tokio::test]
async fn a_change_is_told_signed_and_once_if_the_receiver_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (app, receiver) = (open(dir.path(), true).await, Receiver::start(&[]).await);
    app.create_webhook(hook(&receiver.url)).await.unwrap();
    for name in ["m1", "m2"] {
        make(&app, name).await;
    }
    let heard = receiver.heard(2).await;
    settled(&app).await;
    assert_eq!(receiver.count(), 2);
    for (heard, name) in heard.iter().zip(["m1", "m2"]) {
        let said = heard.json();
        assert_eq!(
            (&said["entity"], &said["action"], &said["data"]["name"]),
            (&json!("model"), &json!("made"), &json!(name))
        );
        assert!(said["timestamp"].as_str().unwrap().ends_with("+00:00"));
        let (id, at) = (&heard.headers["x-mlflow-delivery-id"], &heard.headers["x-mlflow-timestamp"]);
        let signature = &heard.headers["x-mlflow-signature"];
        assert_eq!(signature, &signature::sign("shh", id, at, &heard.body));
        assert_eq!(STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap().len(), 32);
        assert_eq!(heard.headers["content-type"], "application/json");
    }
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_again_under_the_same_id_and_one_that_refuses_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (app, receiver) = (open(dir.path(), true).await, Receiver::start(&[500, 503, 429, 200, 400]).await);
    let webhook = app.create_webhook(hook(&receiver.url)).await.unwrap();
    make(&app, "m1").await;
    let heard = receiver.heard(4).await;
    settled(&app).await;
    let ids: Vec<&String> = heard.iter().map(|heard| &heard.headers["x-mlflow-delivery-id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    make(&app, "m2").await;
    receiver.heard(5).await;
    settled(&app).await;
    assert_eq!(receiver.count(), 5, "400 is an answer");
    // Who is not active is told nothing, and later what it missed is not told either.
    let off = WebhookPatch { is_active: Some(false), ..WebhookPatch::default() };
    app.update_webhook(&webhook.webhook_id, off).await.unwrap();
    make(&app, "m3").await;
    settled(&app).await;
    assert_eq!(receiver.count(), 5);
    app.shutdown().await.unwrap();
}

/// Between the change and the telling the process ends: the outbox is in the metadata.
#[tokio::test]
async fn i1_what_was_to_be_told_before_a_restart_is_told_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    // Connections are refused from here on.
    drop(nobody);
    let app = open(dir.path(), true).await;
    app.create_webhook(hook(&format!("http://{address}/hook"))).await.unwrap();
    make(&app, "m1").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    app.shutdown().await.unwrap();
    drop(app);
    let app = open(dir.path(), true).await;
    let receiver = Receiver::start(&[]).await;
    let id = app.webhooks(1, 0).await.unwrap()[0].webhook_id.clone();
    let moved = WebhookPatch { url: Some(receiver.url.clone()), ..WebhookPatch::default() };
    app.update_webhook(&id, moved).await.unwrap();
    assert_eq!(receiver.heard(1).await[0].json()["data"], json!({"name": "m1"}));
    settled(&app).await;
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_receiver_that_hangs_does_not_keep_the_others_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path(), true).await;
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    app.create_webhook(hook(&format!("http://{}/", silent.local_addr().unwrap()))).await.unwrap();
    let receiver = Receiver::start(&[]).await;
    app.create_webhook(hook(&receiver.url)).await.unwrap();
    for name in ["m1", "m2", "m3"] {
        make(&app, name).await;
    }
    let names: Vec<Value> = receiver.heard(3).await.iter().map(|heard| heard.json()["data"]["name"].clone()).collect();
    assert_eq!(names, ["m1", "m2", "m3"], "in the order of the changes");
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn only_public_targets_are_taken_unless_the_operator_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&[]).await;
    let app = open(dir.path(), true).await;
    let webhook = app.create_webhook(hook(&receiver.url)).await.unwrap();
    make(&app, "m1").await;
    receiver.heard(1).await;
    settled(&app).await;
    app.shutdown().await.unwrap();
    drop(app);
    let app = open(dir.path(), false).await;
    for url in
        [receiver.url.as_str(), "https://127.0.0.1/", "https://[::1]/", "https://localhost/x", "file:///etc/passwd"]
    {
        let refused = app.create_webhook(hook(url)).await.unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (ErrorCode::InvalidValue, Some("url")), "{url}");
    }
    // One from before is not asked either.
    let tested = app.test_webhook(webhook, "model.made", json!({})).await.unwrap();
    assert!(matches!(&tested, WebhookTest::Failed { reason } if reason.contains("scheme")), "{tested:?}");
    make(&app, "m2").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.count(), 1);
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_test_says_what_the_receiver_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (app, receiver) = (open(dir.path(), true).await, Receiver::start(&[302, 500]).await);
    let webhook = app.create_webhook(hook(&receiver.url)).await.unwrap();
    for status in [302, 500, 200] {
        let tested = app.test_webhook(webhook.clone(), "model.made", json!({"x": 1})).await.unwrap();
        assert_eq!(tested, WebhookTest::Answered { status, body: "said".into() }, "redirects are not followed");
    }
    assert_eq!(receiver.count(), 3, "and nothing is tried twice");
    app.shutdown().await.unwrap();
}
