//! Webhooks: who is told of changes, and the telling.
//!
//! A change of the registry puts what is to be told into the outbox of the metadata, in its own transaction. `deliver` is the task
//! that empties it: first what happened first, one request at a time to each receiver, again and again until the receiver answers or
//! three days are over. So everything is told at least once, also across restarts; the id of a delivery stays the same, so that a
//! receiver can tell a repetition. `target` decides where requests may go, `send` signs and sends one.

mod deliver;
mod send;
mod signature;
mod target;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::Value;
use stepwell_metadata::{NewWebhook, Webhook, WebhookPatch};

pub(crate) use self::deliver::{Outbox, keep_delivering};
use self::{send::Message, target::Targets};
use crate::{app::App, code::ErrorCode, error::AppError};

/// What an operator may set of webhooks.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Whether requests may go over plain HTTP and to addresses that are not public: the machine itself, private networks.
    pub allow_private: bool,
    /// How long a receiver may take for its answer.
    pub timeout: Duration,
    /// Before the first repetition; doubled for each that follows.
    pub retry_first: Duration,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { allow_private: false, timeout: Duration::from_secs(30), retry_first: Duration::from_secs(1) }
    }
}

/// What came of a request that was only to try a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookTest {
    /// It answered, with that HTTP status and body (its beginning).
    Answered { status: u16, body: String },
    /// It could not be asked.
    Failed { reason: String },
}

impl App {
    /// Makes a receiver; its id is given here.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<Webhook, AppError> {
        self.check_writable()?;
        self.check_target(&new.url).await?;
        let new = NewWebhook { webhook_id: self.random_uuid().to_string(), ..new };
        Ok(self.parts.metadata.create_webhook(new, self.now_us()).await?)
    }

    /// Changes a receiver.
    pub async fn update_webhook(&self, webhook_id: &str, patch: WebhookPatch) -> Result<Webhook, AppError> {
        self.check_writable()?;
        if let Some(url) = &patch.url {
            self.check_target(url).await?;
        }
        let changed = self.parts.metadata.update_webhook(webhook_id, patch, self.now_us()).await?;
        // It may be active again.
        self.outbox_filled();
        Ok(changed)
    }

    /// Ends a receiver; what it was still to be told goes with it.
    pub async fn delete_webhook(&self, webhook_id: &str) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.delete_webhook(webhook_id, self.now_us()).await?)
    }

    /// One receiver.
    pub async fn webhook(&self, webhook_id: &str) -> Result<Option<Webhook>, AppError> {
        Ok(self.parts.metadata.webhook(webhook_id).await?)
    }

    /// Receivers, the newest first: `limit` of them behind the first `offset`.
    pub async fn webhooks(&self, limit: u64, offset: u64) -> Result<Vec<Webhook>, AppError> {
        Ok(self.parts.metadata.webhooks(limit, offset).await?)
    }

    /// Sends a receiver one request, once, and says what came of it.
    pub async fn test_webhook(&self, webhook: Webhook, event: &str, data: Value) -> Result<WebhookTest, AppError> {
        let message = Message {
            id: self.random_uuid().to_string(),
            event: event.to_owned(),
            data,
            happened_at_us: self.now_us(),
            sent_at_us: self.now_us(),
        };
        let sender = self.parts.outbox.sender();
        let sent = tokio::task::spawn_blocking(move || sender.send(&webhook, &message)).await;
        Ok(match sent.map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))? {
            Ok(answer) => WebhookTest::Answered { status: answer.status, body: answer.body },
            Err(error) => WebhookTest::Failed { reason: error.to_string() },
        })
    }

    /// Refuses a URL to which no request may go. Names are looked up, which takes a thread.
    async fn check_target(&self, url: &str) -> Result<(), AppError> {
        let (url, targets) = (url.to_owned(), Targets { allow_private: self.parts.outbox.config().allow_private });
        let checked = tokio::task::spawn_blocking(move || targets.check(&url)).await;
        let checked = checked.map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))?;
        checked.map_err(|error| AppError::new(ErrorCode::InvalidValue, error.to_string()).field("url"))
    }

    /// Something may be in the outbox.
    pub(crate) fn outbox_filled(&self) {
        self.parts.outbox.filled();
    }
}
