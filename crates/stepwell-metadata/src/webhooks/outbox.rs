//! What is still to be told.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Announcement, Webhook, hooks};
use crate::{error::MetadataError, store::Metadata, write::audit};

/// Most rows for one receiver: behind one that never answers the oldest go, with an audit row each.
pub const OUTBOX_ROWS_MAX: i64 = 10_000;

/// One thing to be told to one receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub outbox_id: i64,
    pub webhook: Webhook,
    pub event: String,
    pub data: Value,
    /// When it happened, microseconds since the Unix epoch.
    pub created_at_us: i64,
    /// How often it was tried.
    pub attempts: u32,
}

/// Puts an announcement into the outbox of everyone who wants to hear it.
pub(crate) async fn announce(
    connection: &mut SqliteConnection,
    told: Option<Announcement>,
    now_us: i64,
) -> Result<(), MetadataError> {
    let Some(told) = told else { return Ok(()) };
    let receivers = sqlx::query(
        "SELECT webhook_id FROM webhooks WHERE is_active AND ? IN (SELECT value FROM json_each(webhooks.events))",
    );
    for row in &receivers.bind(told.event).fetch_all(&mut *connection).await? {
        let webhook_id: &str = row.try_get(0)?;
        sqlx::query("INSERT INTO outbox (webhook_id, event, data, created_at_us, next_at_us) VALUES (?, ?, ?, ?4, ?4)")
            .bind(webhook_id)
            .bind(told.event)
            .bind(told.data.to_string())
            .bind(now_us)
            .execute(&mut *connection)
            .await?;
        bound(connection, webhook_id, now_us).await?;
    }
    Ok(())
}

/// Drops what is past the limit for one receiver.
async fn bound(connection: &mut SqliteConnection, webhook_id: &str, now_us: i64) -> Result<(), MetadataError> {
    let dropped = sqlx::query(
        "DELETE FROM outbox WHERE webhook_id = ?1 AND outbox_id <= \
         (SELECT outbox_id FROM outbox WHERE webhook_id = ?1 ORDER BY outbox_id DESC LIMIT 1 OFFSET ?2) \
         RETURNING event",
    );
    for row in &dropped.bind(webhook_id).bind(OUTBOX_ROWS_MAX).fetch_all(&mut *connection).await? {
        let detail = json!({"event": row.try_get::<&str, _>(0)?, "reason": "too much is still to be told"});
        audit(connection, now_us, "drop_delivery", webhook_id, &detail).await?;
    }
    Ok(())
}

impl Metadata {
    /// Of each active receiver the first thing that is due, those that wait longest first.
    pub async fn due_deliveries(&self, now_us: i64) -> Result<Vec<Delivery>, MetadataError> {
        let mut tx = self.readers.begin().await?;
        let rows = sqlx::query(
            "SELECT * FROM outbox WHERE outbox_id IN (SELECT min(outbox_id) FROM outbox JOIN webhooks USING (webhook_id) \
             WHERE next_at_us <= ? AND is_active GROUP BY webhook_id) ORDER BY next_at_us, outbox_id",
        );
        let rows = rows.bind(now_us).fetch_all(&mut *tx).await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(webhook) = hooks::read(&mut tx, row.try_get("webhook_id")?).await? {
                due.push(delivery(row, webhook)?);
            }
        }
        Ok(due)
    }

    /// When the next thing is due, microseconds since the Unix epoch; `None` if nothing is to be told.
    pub async fn next_delivery_us(&self) -> Result<Option<i64>, MetadataError> {
        let next = sqlx::query("SELECT min(next_at_us) FROM outbox JOIN webhooks USING (webhook_id) WHERE is_active");
        Ok(next.fetch_one(&self.readers).await?.try_get(0)?)
    }

    /// The receiver was told.
    pub async fn delivered(&self, outbox_id: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        sqlx::query("DELETE FROM outbox WHERE outbox_id = ?").bind(outbox_id).execute(&mut *tx).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// The receiver was not told: it is tried again then.
    pub async fn try_delivery_again(&self, outbox_id: i64, next_at_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        sqlx::query("UPDATE outbox SET attempts = attempts + 1, next_at_us = ? WHERE outbox_id = ?")
            .bind(next_at_us)
            .bind(outbox_id)
            .execute(&mut *tx)
            .await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// The receiver cannot be told, for that reason: it is not tried again.
    pub async fn give_up_delivery(&self, outbox_id: i64, reason: &str, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let gone = sqlx::query("DELETE FROM outbox WHERE outbox_id = ? RETURNING webhook_id, event");
        if let Some(row) = gone.bind(outbox_id).fetch_optional(&mut *tx).await? {
            let (webhook_id, event): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let detail = json!({"event": event, "reason": reason});
            audit(&mut tx, now_us, "drop_delivery", &webhook_id, &detail).await?;
        }
        self.commit_beside_runs(tx, ()).await
    }
}

fn delivery(row: &SqliteRow, webhook: Webhook) -> Result<Delivery, MetadataError> {
    let data: String = row.try_get("data")?;
    Ok(Delivery {
        outbox_id: row.try_get("outbox_id")?,
        event: row.try_get("event")?,
        data: serde_json::from_str(&data).map_err(|error| MetadataError::Damaged {
            what: "data of a delivery",
            subject: webhook.webhook_id.clone(),
            detail: error.to_string(),
        })?,
        created_at_us: row.try_get("created_at_us")?,
        attempts: row.try_get("attempts")?,
        webhook,
    })
}
