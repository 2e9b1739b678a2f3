//! Who is told of changes, and what is still to be told.
//!
//! What is to be told of a change is a row of the outbox for each receiver, written in the transaction of the change: either both
//! are durable or neither. The row goes when the receiver has answered, so that it is told at least once.

mod hooks;
mod outbox;

use serde_json::Value;

pub use hooks::{NewWebhook, Webhook, WebhookPatch};
pub(crate) use outbox::announce;
pub use outbox::{Delivery, OUTBOX_ROWS_MAX};

/// Something that receivers may want to hear.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// The name that receivers ask for.
    pub event: &'static str,
    /// What happened.
    pub data: Value,
}

/// Says what is to be told of a change, given what was changed as it is afterwards. It runs within the transaction.
pub type Announce<'a, T> = &'a (dyn Fn(&T) -> Option<Announcement> + Send + Sync);
