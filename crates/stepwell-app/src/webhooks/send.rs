//! One request to a receiver.

use std::{io::Read, time::Duration};

use serde_json::{Value, json};
use stepwell_metadata::Webhook;
use stepwell_types::format_utc_us;
use ureq::{
    Agent,
    unversioned::{resolver::DefaultResolver, transport::DefaultConnector},
};

use super::{
    signature::sign,
    target::{CheckedResolver, TargetError, Targets},
};

/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// The same for every repetition.
    pub(super) id: String,
    pub(super) event: String,
    pub(super) data: Value,
    pub(super) happened_at_us: i64,
    pub(super) sent_at_us: i64,
}

/// What a receiver answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// How long it asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Target(#[from] TargetError),
    #[error("{0}")]
    Http(#[source] Box<ureq::Error>),
}

/// Sends requests; clones share connections.
#[derive(Clone)]
pub(super) struct Sender {
    agent: Agent,
    targets: Targets,
}

impl Sender {
    pub(super) fn new(targets: Targets, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // Through a proxy the address that is checked would be the proxy's.
            .proxy(None)
            .user_agent(concat!("stepwell/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = CheckedResolver { targets, inner: DefaultResolver::default() };
        Self { agent: Agent::with_parts(config, DefaultConnector::default(), resolver), targets }
    }

    /// Sends a message and waits for the answer. Blocks.
    pub(super) fn send(&self, webhook: &Webhook, message: &Message) -> Result<Answer, SendError> {
        self.targets.check(&webhook.url)?;
        let body = body(message);
        let timestamp = message.sent_at_us.div_euclid(1_000_000).to_string();
        let mut request = self
            .agent
            .post(&webhook.url)
            .header("Content-Type", "application/json")
            .header("X-MLflow-Delivery-Id", &message.id)
            .header("X-MLflow-Timestamp", &timestamp);
        if let Some(secret) = webhook.secret.as_deref().filter(|secret| !secret.is_empty()) {
            request = request.header("X-MLflow-Signature", sign(secret, &message.id, &timestamp, &body));
        }
        let response = request.send(body.as_bytes()).map_err(|error| SendError::Http(Box::new(error)))?;
        let retry_after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
        let (status, mut answer) = (response.status().as_u16(), Vec::new());
        // The status says it all; a body that breaks off is shown as far as it came.
        let _ = response.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        let body = String::from_utf8_lossy(&answer).into_owned();
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }
}

/// The JSON of a message. The event's name has two parts: what it is about, and what happened to it.
fn body(message: &Message) -> String {
    let (entity, action) = message.event.split_once('.').unwrap_or((&message.event, ""));
    json!({
        "entity": entity,
        "action": action,
        "timestamp": format_utc_us(message.happened_at_us).replace('Z', "+00:00"),
        "data": message.data,
    })
    .to_string()
}
