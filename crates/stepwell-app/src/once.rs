//! Batches that may come again: of clients that number nothing and send anew what they had no answer to.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;
use stepwell_engine::IngestAck;
use stepwell_types::Batch;

use crate::{app::App, error::AppError};

/// Batches that are remembered, 32 bytes each.
const BATCHES_MAX: usize = 65_536;

/// Fingerprints of batches applied lately.
pub(crate) struct Recent {
    seeds: [RandomState; 2],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashSet<u128>,
    /// Of `known`, oldest first.
    order: VecDeque<u128>,
    /// Times that all was forgotten.
    deletions: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { seeds: [RandomState::new(), RandomState::new()], state: Mutex::default() }
    }
}

impl Recent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of all points, with their names. Two batches of one fingerprint are the same but for one chance in 2^128.
    fn fingerprint(&self, batch: &Batch) -> u128 {
        let half = |seed: &RandomState| {
            let mut hasher = seed.build_hasher();
            (batch.series(), batch.series_index(), batch.step(), batch.timestamp_us()).hash(&mut hasher);
            batch.value().iter().for_each(|value| hasher.write_u64(value.to_bits()));
            u128::from(hasher.finish())
        };
        half(&self.seeds[0]) << 64 | half(&self.seeds[1])
    }

    fn remember(&self, fingerprint: u128, deletions: u64) {
        let mut state = self.state();
        // Its points may be among those that were deleted: the same batch is a new one then.
        if state.deletions != deletions || !state.known.insert(fingerprint) {
            return;
        }
        state.order.push_back(fingerprint);
        if state.order.len() > BATCHES_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
    }

    /// After points were deleted.
    pub(crate) fn forget_all(&self) {
        let mut state = self.state();
        *state = State { deletions: state.deletions + 1, ..State::default() };
    }
}

impl App {
    /// Takes a batch as [`App::ingest`] does, unless one with the very same points was taken lately: then it is there already,
    /// and `None` says so.
    pub async fn ingest_unless_known(&self, batch: Batch) -> Result<Option<IngestAck>, AppError> {
        let recent = &self.parts.recent;
        let fingerprint = recent.fingerprint(&batch);
        let (is_known, deletions) = {
            let state = recent.state();
            (state.known.contains(&fingerprint), state.deletions)
        };
        if is_known {
            return Ok(None);
        }
        let ack = self.ingest(batch, None).await?;
        recent.remember(fingerprint, deletions);
        Ok(Some(ack))
    }
}

#[cfg(test)]
mod tests {
    use stepwell_types::SeriesKey;

    use super::*;

    fn batch(value: f64) -> Batch {
        Batch::new(vec![SeriesKey::new("", "loss", "r")], vec![0], vec![1], vec![2], vec![value]).unwrap()
    }

    #[test]
    fn a_batch_is_known_by_all_of_its_points_until_some_are_deleted() {
        let recent = Recent::default();
        let (one, other) = (recent.fingerprint(&batch(0.0)), recent.fingerprint(&batch(-0.0)));
        assert_ne!(one, other);
        recent.remember(one, 0);
        assert!(recent.state().known.contains(&one) && !recent.state().known.contains(&other));
        recent.forget_all();
        recent.remember(one, 0);
        assert!(!recent.state().known.contains(&one), "it was applied before the deletion");
    }

    #[test]
    fn i9_only_so_many_batches_are_remembered() {
        let recent = Recent::default();
        (0..=BATCHES_MAX as u128).for_each(|fingerprint| recent.remember(fingerprint, 0));
        let state = recent.state();
        assert_eq!((state.known.len(), state.order.len()), (BATCHES_MAX, BATCHES_MAX));
        assert!(!state.known.contains(&0) && state.known.contains(&1));
    }
}
