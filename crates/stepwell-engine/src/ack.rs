//! What the sender of a batch hears when it is durable and visible.

use stepwell_types::{Batch, Lsn};

/// What an acknowledged batch became: durable and visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestAck {
    pub points: u64,
    /// `None` for an empty batch, and for a duplicate older than the producer's last sequence.
    pub first_lsn: Option<Lsn>,
    pub last_lsn: Option<Lsn>,
    /// The batch had been applied before and was not applied again (I3).
    pub duplicate: bool,
}

impl IngestAck {
    pub(crate) fn of(batch: &Batch, first_lsn: Lsn, duplicate: bool) -> Self {
        let points = batch.len() as u64;
        let is_some = points > 0;
        Self {
            points,
            first_lsn: is_some.then_some(first_lsn),
            last_lsn: is_some.then(|| Lsn(first_lsn.0 + points - 1)),
            duplicate,
        }
    }

    /// Of a duplicate that was applied before the producer's last batch.
    pub(crate) fn of_older(points: u64) -> Self {
        Self { points, first_lsn: None, last_lsn: None, duplicate: true }
    }
}
