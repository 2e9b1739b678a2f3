//! Batches that may come again: of clients that number nothing and send anew what they had no answer to.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;
use stepwell_engine::IngestAck;
use stepwell_types::Batch;
use tokio::sync::watch;

use crate::{
    app::App,
    error::AppError,
    ingest::{Done, Queued},
};

/// Batches that are remembered, 32 bytes each.
const BATCHES_MAX: usize = 65_536;

/// Fingerprints of batches applied lately, and of those that are on their way.
pub(crate) struct Recent {
    seeds: [RandomState; 2],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashSet<u128, RandomState>,
    /// Of `known`, oldest first.
    order: VecDeque<u128>,
    /// Not applied or refused yet; who waits for one hears of its end by the loss of the sender.
    pending: HashMap<u128, watch::Receiver<()>, RandomState>,
    /// Times that all was forgotten.
    deletions: u64,
}

/// What is to be done with a batch.
enum Found {
    /// Nothing: it was applied lately.
    Known,
    /// To be waited for: the same one is on its way.
    Pending(watch::Receiver<()>),
    New(Pending),
}

/// A batch on its way. Dropped, it is not.
struct Pending {
    recent: Arc<Recent>,
    fingerprint: u128,
    deletions: u64,
    _end: watch::Sender<()>,
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
            hash_names(batch, &mut hasher);
            (batch.series_index(), batch.step(), batch.timestamp_us()).hash(&mut hasher);
            batch.value().iter().for_each(|value| hasher.write_u64(value.to_bits()));
            u128::from(hasher.finish())
        };
        half(&self.seeds[0]) << 64 | half(&self.seeds[1])
    }

    fn begin(self: &Arc<Self>, fingerprint: u128) -> Found {
        let mut state = self.state();
        if state.known.contains(&fingerprint) {
            return Found::Known;
        }
        if let Some(end) = state.pending.get(&fingerprint) {
            return Found::Pending(end.clone());
        }
        let (sender, end) = watch::channel(());
        state.pending.insert(fingerprint, end);
        Found::New(Pending { recent: self.clone(), fingerprint, deletions: state.deletions, _end: sender })
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
        state.deletions += 1;
        state.known.clear();
        state.order.clear();
    }
}

/// Names of series; those that are the same for all are hashed once.
fn hash_names(batch: &Batch, hasher: &mut impl Hasher) {
    let mut last = None;
    for key in batch.series() {
        let same = last.is_some_and(|(project_id, run_id)| {
            Arc::ptr_eq(project_id, &key.project_id) && Arc::ptr_eq(run_id, &key.run_id)
        });
        last = Some((&key.project_id, &key.run_id));
        same.hash(hasher);
        if !same {
            (&key.project_id, &key.run_id).hash(hasher);
        }
        key.metric.hash(hasher);
    }
}

impl Pending {
    /// It has been applied: from now on it is known.
    fn applied(self) {
        self.recent.remember(self.fingerprint, self.deletions);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.recent.state().pending.remove(&self.fingerprint);
    }
}

impl App {
    /// Takes a batch as [`App::ingest`] does, unless one with the very same points was taken lately: then it is there already,
    /// and `None` says so. Where the same one is on its way, whoever sent it may have given up waiting: its end is waited for.
    pub async fn ingest_unless_known(&self, batch: Batch) -> Result<Option<IngestAck>, AppError> {
        let fingerprint = self.parts.recent.fingerprint(&batch);
        let pending = loop {
            match self.parts.recent.begin(fingerprint) {
                Found::Known => return Ok(None),
                // An error is its end.
                Found::Pending(mut end) => drop(end.changed().await),
                Found::New(pending) => break pending,
            }
        };
        let (answer, queued) = Queued::pair();
        // Not by the caller, who may be gone by then: the same batch would be taken again.
        let done: Done = Box::new(move |result| {
            match result {
                Ok(_) => pending.applied(),
                Err(_) => drop(pending),
            }
            answer(result);
        });
        self.queue(batch, |batch| self.parts.engine.ingest(batch, None, done)).await??;
        queued.acknowledged().await.map(Some)
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
    fn names_are_told_apart_however_they_are_shared() {
        let recent = Recent::default();
        let of = |series: Vec<SeriesKey>| {
            let index = (0..series.len() as u32).collect();
            let zeros = vec![0; series.len()];
            recent.fingerprint(&Batch::new(series, index, zeros.clone(), zeros, vec![0.0; 2]).unwrap())
        };
        let run: Arc<str> = "r".into();
        let project: Arc<str> = "".into();
        let key = |metric: &str| SeriesKey::new(project.clone(), metric, run.clone());
        let shared = of(vec![key("a"), key("b")]);
        assert_eq!(shared, of(vec![key("a"), key("b")]));
        assert_ne!(shared, of(vec![key("a"), SeriesKey::new("", "b", "other")]));
        assert_ne!(shared, of(vec![key("b"), key("a")]));
        assert_ne!(shared, of(vec![key("ab"), key("")]));
    }

    #[test]
    fn a_batch_on_its_way_is_waited_for_and_may_fail() {
        let recent = Arc::new(Recent::default());
        let Found::New(first) = recent.begin(7) else { panic!("nothing is known") };
        let Found::Pending(end) = recent.begin(7) else { panic!("it is on its way") };
        assert!(end.has_changed().is_ok(), "it has not ended");
        drop(first);
        assert!(end.has_changed().is_err(), "it was refused");
        let Found::New(second) = recent.begin(7) else { panic!("it was not applied") };
        second.applied();
        assert!(matches!(recent.begin(7), Found::Known));
        assert!(recent.state().pending.is_empty());
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
