//! Counting batches that were refused, by why (I4).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::EngineError;

/// The reasons, as they are called in the figures.
const REASONS: [&str; 11] = [
    "queue_full",
    "log_failed",
    "disk_full",
    "flush_fails",
    "too_many_series",
    "too_many_metrics",
    "frame_too_large",
    "lane_broken",
    "shutting_down",
    "read_only",
    "other",
];

/// Running totals since start.
#[derive(Default)]
pub(crate) struct Refusals {
    counts: [AtomicU64; REASONS.len()],
}

impl Refusals {
    pub(crate) fn count(&self, error: &EngineError) {
        let reason = reason(error);
        let at = REASONS.iter().position(|known| *known == reason).unwrap_or(REASONS.len() - 1);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Every reason with its count, those never met included.
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        REASONS.iter().zip(&self.counts).map(|(reason, count)| (*reason, count.load(Ordering::Relaxed))).collect()
    }
}

fn reason(error: &EngineError) -> &'static str {
    use stepwell_wal::WalError;
    match error {
        EngineError::QueueFull { .. } => "queue_full",
        EngineError::Poisoned { .. } => "log_failed",
        EngineError::DiskFull { .. } => "disk_full",
        EngineError::FlushFails { .. } => "flush_fails",
        EngineError::TooManySeries { .. } => "too_many_series",
        EngineError::TooManyMetrics { .. } => "too_many_metrics",
        EngineError::Wal(WalError::FrameTooLarge { .. }) => "frame_too_large",
        EngineError::LaneBroken => "lane_broken",
        EngineError::ShuttingDown => "shutting_down",
        EngineError::ReadOnly => "read_only",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_every_reason_has_a_counter_of_its_own() {
        let refusals = Refusals::default();
        refusals.count(&EngineError::LaneBroken);
        refusals.count(&EngineError::RowsMissing);
        let met: Vec<_> = refusals.read().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(met, [("lane_broken", 1), ("other", 1)]);
    }
}
