//! The task that empties the outbox.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use sha2::{Digest, Sha256};
use stepwell_metadata::Delivery;
use tokio::{sync::Notify, task::JoinSet};
use uuid::Builder;

use super::{
    WebhookConfig,
    send::{Answer, Message, SendError, Sender},
    target::Targets,
};
use crate::{
    app::{App, Parts},
    error::AppError,
};

/// Receivers that are told something at once.
const IN_FLIGHT_MAX: usize = 10;
/// Between two tries at most.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// At most so long a receiver may ask to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// What was not told for so long is dropped, with an audit row.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 86_400);
/// Looks into the outbox this often without being told to: the clock may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The same while some receiver is being told something.
const BUSY_LOOK_EVERY: Duration = Duration::from_millis(500);
/// After metadata failed.
const PAUSE: Duration = Duration::from_secs(5);

/// What the application knows of the task.
pub(crate) struct Outbox {
    config: WebhookConfig,
    sender: Sender,
    filled: Arc<Notify>,
}

impl Outbox {
    pub(crate) fn new(config: WebhookConfig) -> Self {
        let targets = Targets { allow_private: config.allow_private };
        Self { sender: Sender::new(targets, config.timeout), config, filled: Arc::default() }
    }

    pub(super) fn config(&self) -> &WebhookConfig {
        &self.config
    }

    pub(super) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Something may be in it.
    pub(super) fn filled(&self) {
        self.filled.notify_one();
    }
}

/// What is to become of a delivery.
#[derive(Debug, PartialEq)]
enum Verdict {
    Delivered,
    /// After so long.
    Again(Duration),
    GiveUp(String),
}

type Told = (Delivery, Result<Answer, SendError>);

/// Tells what is to be told, until the application is gone.
pub(crate) async fn keep_delivering(parts: Weak<Parts>) {
    let Some(filled) = parts.upgrade().map(|parts| parts.outbox.filled.clone()) else { return };
    let mut in_flight: JoinSet<Told> = JoinSet::new();
    let mut busy: BTreeSet<String> = BTreeSet::new();
    loop {
        let Some(app) = parts.upgrade().map(|parts| App { parts }) else { return };
        if app.parts.metadata.is_closed() {
            return;
        }
        let wait = match start(&app, &mut in_flight, &mut busy).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "the outbox of webhooks cannot be read; nothing of it is lost, it is read again");
                PAUSE
            }
        };
        drop(app);
        let told = tokio::select! {
            Some(told) = in_flight.join_next() => Some(told),
            () = filled.notified() => None,
            () = tokio::time::sleep(wait) => None,
        };
        let Some(told) = told else { continue };
        let Ok((delivery, outcome)) = told else {
            // A panic: which delivery it was is not known, so all may be tried anew.
            busy.clear();
            continue;
        };
        busy.remove(&delivery.webhook.webhook_id);
        let Some(app) = parts.upgrade().map(|parts| App { parts }) else { return };
        if let Err(error) = settle(&app, &delivery, outcome).await {
            tracing::warn!(%error, "what a webhook was told cannot be noted; it may be told again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Starts what is due, and says when the next is.
async fn start(app: &App, in_flight: &mut JoinSet<Told>, busy: &mut BTreeSet<String>) -> Result<Duration, AppError> {
    let (metadata, now_us) = (&app.parts.metadata, app.now_us());
    for delivery in metadata.due_deliveries(now_us).await? {
        let webhook_id = &delivery.webhook.webhook_id;
        if in_flight.len() >= IN_FLIGHT_MAX || busy.contains(webhook_id) {
            continue;
        }
        busy.insert(webhook_id.clone());
        let (sender, sent_at_us) = (app.parts.outbox.sender(), now_us);
        in_flight.spawn_blocking(move || {
            let outcome = sender.send(&delivery.webhook, &message(&delivery, sent_at_us));
            (delivery, outcome)
        });
    }
    let next_us = metadata.next_delivery_us().await?;
    let wait = next_us.map(|next_us| Duration::from_micros(u64::try_from(next_us - now_us).unwrap_or(0)));
    // What is due may have to wait for the receivers that are busy.
    let least = if busy.is_empty() { Duration::ZERO } else { BUSY_LOOK_EVERY };
    Ok(wait.unwrap_or(LOOK_EVERY).clamp(least, LOOK_EVERY))
}

/// Notes what came of a delivery.
async fn settle(app: &App, delivery: &Delivery, outcome: Result<Answer, SendError>) -> Result<(), AppError> {
    let (metadata, now_us) = (&app.parts.metadata, app.now_us());
    let age_us = now_us.saturating_sub(delivery.created_at_us);
    match verdict(app, delivery, outcome, age_us) {
        Verdict::Delivered => metadata.delivered(delivery.outbox_id).await?,
        Verdict::Again(after) => {
            let next_at_us = now_us.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX));
            metadata.try_delivery_again(delivery.outbox_id, next_at_us).await?;
        }
        Verdict::GiveUp(reason) => {
            let (webhook, event) = (&delivery.webhook.name, &delivery.event);
            tracing::warn!(%webhook, %event, %reason, "a webhook was not told, and will not be: correct its receiver");
            metadata.give_up_delivery(delivery.outbox_id, &reason, now_us).await?;
        }
    }
    Ok(())
}

fn verdict(app: &App, delivery: &Delivery, outcome: Result<Answer, SendError>, age_us: i64) -> Verdict {
    let config = app.parts.outbox.config();
    let (reason, retry_after) = match outcome {
        Ok(answer) if (200..300).contains(&answer.status) => return Verdict::Delivered,
        Ok(answer) if matches!(answer.status, 408 | 429 | 500 | 502..=504) => {
            (format!("it answers {}", answer.status), answer.retry_after)
        }
        Ok(answer) => return Verdict::GiveUp(format!("it answers {}", answer.status)),
        // Its name resolves to another address now, or the operator forbids it: neither is for ever.
        Err(error) => (error.to_string(), None),
    };
    if age_us >= i64::try_from(GIVE_UP_AFTER.as_micros()).unwrap_or(i64::MAX) {
        return Verdict::GiveUp(format!("three days are over: {reason}"));
    }
    if delivery.attempts == 0 {
        let webhook = &delivery.webhook.name;
        tracing::info!(%webhook, %reason, "a webhook was not told yet; it is tried again");
    }
    let doubled = config.retry_first.saturating_mul(1 << delivery.attempts.min(10)).min(RETRY_MAX);
    // So that what failed together does not come back together.
    let jitter = doubled.mul_f64((app.parts.env.random.next_u64() % 1_000) as f64 / 4_000.0);
    Verdict::Again(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX).max(doubled + jitter))
}

fn message(delivery: &Delivery, sent_at_us: i64) -> Message {
    Message {
        id: id(delivery),
        event: delivery.event.clone(),
        data: delivery.data.clone(),
        happened_at_us: delivery.created_at_us,
        sent_at_us,
    }
}

/// The id of a delivery: of what it is, so that it is the same after a restart.
fn id(delivery: &Delivery) -> String {
    let (webhook_id, outbox_id) = (&delivery.webhook.webhook_id, delivery.outbox_id);
    let digest = Sha256::digest(format!("{webhook_id}/{outbox_id}/{}", delivery.created_at_us));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}
