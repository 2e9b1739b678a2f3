//! Endpoints over an application in a temporary directory, without a network.

use serde_json::{Value, json};
use stepwell_app::{App, AppConfig};
use stepwell_env::Env;

use super::{Answer, Request, answer};

mod experiments;
mod history;
mod lineage;
mod logging;
mod registry;
mod runs;
mod search;
mod webhooks;

pub(crate) struct Server {
    pub(crate) app: App,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = App::open(Env::real(), AppConfig::new(dir.path())).await.unwrap();
        Self { app, _dir: dir }
    }

    /// One that lets webhooks go to this machine.
    pub(crate) async fn with_private_webhooks() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = AppConfig::new(dir.path());
        config.webhooks.allow_private = true;
        let app = App::open(Env::real(), config).await.unwrap();
        Self { app, _dir: dir }
    }

    /// One whose readers have so many bytes.
    pub(crate) async fn with_read_memory(bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = AppConfig::new(dir.path());
        config.query.memory_bytes = bytes;
        let app = App::open(Env::real(), config).await.unwrap();
        Self { app, _dir: dir }
    }

    async fn request(&self, method: &str, path: &str, query: Option<&str>, body: &[u8]) -> (u16, Value) {
        let answer = self.answer(method, path, query, body).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// What is answered, as it is sent.
    pub(crate) async fn answer(&self, method: &str, path: &str, query: Option<&str>, body: &[u8]) -> Answer {
        answer(&self.app, Request { method, path, query, body, charge: &|_| Ok(()) }).await
    }

    /// What is answered to a POST, which must succeed.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answered) = self.request("POST", path, None, body.to_string().as_bytes()).await;
        assert_eq!(status, 200, "{path} {body}: {answered}");
        answered
    }

    /// The same to another method with a body.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answered) = self.request(method, path, None, body.to_string().as_bytes()).await;
        assert_eq!(status, 200, "{method} {path} {body}: {answered}");
        answered
    }

    /// The code and text of the refusal of a method with a body.
    pub(crate) async fn refusal_of(&self, method: &str, path: &str, body: Value) -> (String, String) {
        let (status, answered) = self.request(method, path, None, body.to_string().as_bytes()).await;
        assert!((400..500).contains(&status), "{method} {path} {body}: {status} {answered}");
        let text = |name: &str| answered[name].as_str().unwrap().to_owned();
        (text("error_code"), text("message"))
    }

    /// The same to a GET; `path` may have a query.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (status, answered) = self.request("GET", path, Some(query), b"").await;
        assert_eq!(status, 200, "{path}?{query}: {answered}");
        answered
    }

    /// The code and text of the refusal of a POST, or of a GET where there is no body.
    pub(crate) async fn refusal(&self, path: &str, body: Value) -> (String, String) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (status, answered) = match &body {
            Value::Null => self.request("GET", path, Some(query), b"").await,
            body => self.request("POST", path, None, body.to_string().as_bytes()).await,
        };
        assert!((400..500).contains(&status), "{path} {body}: {status} {answered}");
        let text = |name: &str| answered[name].as_str().unwrap().to_owned();
        (text("error_code"), text("message"))
    }

    pub(crate) async fn experiment(&self, name: &str) -> String {
        let made = self.post("experiments/create", json!({"name": name})).await;
        made["experiment_id"].as_str().unwrap().to_owned()
    }

    /// A new run of experiment 0.
    pub(crate) async fn run(&self) -> String {
        let made = self.post("runs/create", json!({"experiment_id": "0", "start_time": 5})).await;
        made["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn read_run(&self, run_id: &str) -> Value {
        self.get(&format!("runs/get?run_id={run_id}")).await["run"].take()
    }
}

/// The value of a key in a list of keys and values.
pub(crate) fn value_of<'a>(pairs: &'a Value, key: &str) -> Option<&'a Value> {
    pairs.as_array().unwrap().iter().find(|pair| pair["key"] == key).map(|pair| &pair["value"])
}
