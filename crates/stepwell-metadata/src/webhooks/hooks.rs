//! The receivers.

use std::fmt;

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{error::MetadataError, store::Metadata, write::audit};

/// Somebody who is told of changes over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub webhook_id: String,
    pub name: String,
    pub description: Option<String>,
    pub url: String,
    /// Names of what it wants to hear.
    pub events: Vec<String>,
    pub is_active: bool,
    /// What is sent is signed with it. It is shown to nobody.
    pub secret: Option<String>,
    pub created_at_us: i64,
    pub updated_at_us: i64,
}

/// Without the secret.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("webhook_id", &self.webhook_id)
            .field("name", &self.name)
            .field("url", &self.url)
            .field("events", &self.events)
            .field("is_active", &self.is_active)
            .finish_non_exhaustive()
    }
}

/// A receiver to be made. Names, URL and events have been checked.
#[derive(Clone, Default)]
pub struct NewWebhook {
    pub webhook_id: String,
    pub name: String,
    pub description: Option<String>,
    pub url: String,
    pub events: Vec<String>,
    pub is_active: bool,
    pub secret: Option<String>,
}

/// Changes of a receiver; what is `None` stays.
#[derive(Clone, Default)]
pub struct WebhookPatch {
    pub name: Option<String>,
    pub description: Option<String>,
    pub url: Option<String>,
    pub events: Option<Vec<String>>,
    pub is_active: Option<bool>,
    pub secret: Option<String>,
}

fn no_webhook(webhook_id: &str) -> MetadataError {
    MetadataError::WebhookNotFound { webhook_id: webhook_id.to_owned() }
}

impl Metadata {
    /// Makes a receiver.
    pub async fn create_webhook(&self, new: NewWebhook, now_us: i64) -> Result<Webhook, MetadataError> {
        let mut tx = self.writer.begin().await?;
        sqlx::query(
            "INSERT INTO webhooks (webhook_id, name, description, url, events, is_active, secret, created_at_us, \
             updated_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
        )
        .bind(&new.webhook_id)
        .bind(&new.name)
        .bind(&new.description)
        .bind(&new.url)
        .bind(json!(new.events).to_string())
        .bind(new.is_active)
        .bind(&new.secret)
        .bind(now_us)
        .execute(&mut *tx)
        .await?;
        let detail = json!({"name": new.name, "url": new.url, "events": new.events});
        audit(&mut tx, now_us, "create_webhook", &new.webhook_id, &detail).await?;
        let made = read(&mut tx, &new.webhook_id).await?.ok_or_else(|| no_webhook(&new.webhook_id))?;
        self.commit_beside_runs(tx, made).await
    }

    /// Changes a receiver.
    pub async fn update_webhook(
        &self,
        webhook_id: &str,
        patch: WebhookPatch,
        now_us: i64,
    ) -> Result<Webhook, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let old = read(&mut tx, webhook_id).await?.ok_or_else(|| no_webhook(webhook_id))?;
        let is_secret_new = patch.secret.is_some();
        let new = Webhook {
            name: patch.name.unwrap_or(old.name),
            description: patch.description.or(old.description),
            url: patch.url.unwrap_or(old.url),
            events: patch.events.unwrap_or(old.events),
            is_active: patch.is_active.unwrap_or(old.is_active),
            secret: patch.secret.or(old.secret),
            updated_at_us: now_us,
            ..old
        };
        sqlx::query(
            "UPDATE webhooks SET name = ?, description = ?, url = ?, events = ?, is_active = ?, secret = ?, \
             updated_at_us = ? WHERE webhook_id = ?",
        )
        .bind(&new.name)
        .bind(&new.description)
        .bind(&new.url)
        .bind(json!(new.events).to_string())
        .bind(new.is_active)
        .bind(&new.secret)
        .bind(now_us)
        .bind(webhook_id)
        .execute(&mut *tx)
        .await?;
        let detail = json!({"name": new.name, "url": new.url, "events": new.events, "is_active": new.is_active,
                            "new_secret": is_secret_new});
        audit(&mut tx, now_us, "update_webhook", webhook_id, &detail).await?;
        self.commit_beside_runs(tx, new).await
    }

    /// Ends a receiver; what it was still to be told goes with it.
    pub async fn delete_webhook(&self, webhook_id: &str, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let untold = sqlx::query("DELETE FROM outbox WHERE webhook_id = ?").bind(webhook_id);
        let untold = untold.execute(&mut *tx).await?.rows_affected();
        let gone = sqlx::query("DELETE FROM webhooks WHERE webhook_id = ?").bind(webhook_id);
        if gone.execute(&mut *tx).await?.rows_affected() == 0 {
            return Err(no_webhook(webhook_id));
        }
        audit(&mut tx, now_us, "delete_webhook", webhook_id, &json!({"untold": untold})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// One receiver.
    pub async fn webhook(&self, webhook_id: &str) -> Result<Option<Webhook>, MetadataError> {
        read(&mut *self.readers.acquire().await?, webhook_id).await
    }

    /// Receivers, the newest first: `limit` of them behind the first `offset`.
    pub async fn webhooks(&self, limit: u64, offset: u64) -> Result<Vec<Webhook>, MetadataError> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let rows = sqlx::query("SELECT * FROM webhooks ORDER BY created_at_us DESC, rowid DESC LIMIT ? OFFSET ?");
        let rows = rows.bind(number(limit)).bind(number(offset)).fetch_all(&self.readers).await?;
        rows.iter().map(webhook).collect()
    }
}

pub(super) async fn read(
    connection: &mut SqliteConnection,
    webhook_id: &str,
) -> Result<Option<Webhook>, MetadataError> {
    let row = sqlx::query("SELECT * FROM webhooks WHERE webhook_id = ?").bind(webhook_id);
    row.fetch_optional(connection).await?.as_ref().map(webhook).transpose()
}

fn webhook(row: &SqliteRow) -> Result<Webhook, MetadataError> {
    let webhook_id: String = row.try_get("webhook_id")?;
    let events: String = row.try_get("events")?;
    let events = serde_json::from_str(&events).map_err(|error| MetadataError::Damaged {
        what: "events",
        subject: webhook_id.clone(),
        detail: error.to_string(),
    })?;
    Ok(Webhook {
        webhook_id,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        url: row.try_get("url")?,
        events,
        is_active: row.try_get("is_active")?,
        secret: row.try_get("secret")?,
        created_at_us: row.try_get("created_at_us")?,
        updated_at_us: row.try_get("updated_at_us")?,
    })
}
