//! Batches that are queued one behind the other without waiting for acknowledgements.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use stepwell_types::Batch;

use crate::EngineError;

/// The order of batches of one stream. Once the writer has refused one of them it refuses all that were queued behind it:
/// were a later one applied, its sequence would make the retry of the refused one a duplicate, and its points were lost
/// (I4). Clones are the same lane.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    broken: Arc<AtomicBool>,
}

impl Lane {
    /// Whether a batch of it was refused.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Notes a refusal.
    pub(crate) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// A batch that was not queued, handed back so that it can be tried again.
#[derive(Debug)]
pub struct Refused {
    pub error: EngineError,
    pub batch: Batch,
}
