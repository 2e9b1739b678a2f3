//! What each producer sent last, so that a retried batch is applied once (I3).

use std::{collections::HashMap, sync::Arc};

use ahash::RandomState;
use stepwell_manifest::ProducerState;
use stepwell_types::{Lsn, ProducerSequence};

/// Producers remembered; past it those silent for longest are forgotten, a tenth at a time.
pub(crate) const PRODUCERS_MAX: usize = 100_000;

/// The last sequence of every producer known.
#[derive(Debug, Default, Clone)]
pub(crate) struct Producers {
    states: HashMap<Arc<str>, ProducerState, RandomState>,
}

impl Producers {
    pub(crate) fn from_states(states: &[ProducerState]) -> Self {
        Self { states: states.iter().map(|state| (state.producer.clone(), state.clone())).collect() }
    }

    /// The state that makes `wanted` a duplicate, if it is one.
    pub(crate) fn applied(&self, wanted: &ProducerSequence) -> Option<&ProducerState> {
        self.states.get(&wanted.producer).filter(|state| wanted.sequence <= state.sequence)
    }

    pub(crate) fn record(&mut self, applied: &ProducerSequence, first: Lsn, last: Lsn, seen_us: i64) {
        let state = ProducerState {
            producer: applied.producer.clone(),
            sequence: applied.sequence,
            first_lsn: first.0,
            last_lsn: last.0,
            seen_us,
        };
        self.states.insert(applied.producer.clone(), state);
    }

    /// Takes over what `newer` knows, and forgets the producers silent for longest where there are too many.
    pub(crate) fn merge(&mut self, newer: &Self) {
        self.states.extend(newer.states.iter().map(|(name, state)| (name.clone(), state.clone())));
        self.bound();
    }

    /// Keeps the number of producers within [`PRODUCERS_MAX`].
    pub(crate) fn bound(&mut self) {
        if self.states.len() <= PRODUCERS_MAX {
            return;
        }
        let mut seen: Vec<i64> = self.states.values().map(|state| state.seen_us).collect();
        let excess = self.states.len() - PRODUCERS_MAX + PRODUCERS_MAX / 10;
        let (_, &mut oldest_kept_us, _) = seen.select_nth_unstable(excess.min(self.states.len() - 1));
        self.states.retain(|_, state| state.seen_us >= oldest_kept_us);
    }

    /// All states, sorted by name.
    pub(crate) fn to_states(&self) -> Vec<ProducerState> {
        let mut states: Vec<ProducerState> = self.states.values().cloned().collect();
        states.sort_by(|a, b| a.producer.cmp(&b.producer));
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_old_sequences_are_duplicates_and_gaps_are_not() {
        let mut producers = Producers::default();
        let at = |sequence| ProducerSequence { producer: "p".into(), sequence };
        producers.record(&at(5), Lsn(1), Lsn(2), 0);
        assert!(producers.applied(&at(5)).is_some() && producers.applied(&at(1)).is_some());
        assert!(producers.applied(&at(9)).is_none());
    }

    #[test]
    fn i9_the_longest_silent_are_forgotten_first() {
        let mut producers = Producers::default();
        for i in 0..=PRODUCERS_MAX {
            let producer = ProducerSequence { producer: i.to_string().into(), sequence: 1 };
            producers.record(&producer, Lsn(1), Lsn(1), i as i64);
        }
        producers.bound();
        let is_known =
            |i: usize| producers.applied(&ProducerSequence { producer: i.to_string().into(), sequence: 1 }).is_some();
        assert!(producers.states.len() <= PRODUCERS_MAX && !is_known(0) && is_known(PRODUCERS_MAX));
    }
}
