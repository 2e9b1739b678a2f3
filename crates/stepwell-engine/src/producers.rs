//! What each producer sent last, so that a retried batch is applied once (I3).

use std::{collections::HashMap, sync::Arc};

use ahash::RandomState;
use stepwell_manifest::ProducerState;
use stepwell_types::{Lsn, ProducerSequence};

/// Producers remembered; past it those silent for longest are forgotten, which is those with the smallest LSNs: clocks step back.
pub(crate) const PRODUCERS_MAX: usize = 100_000;
/// How many more there may be before some are forgotten, so that not each new one costs a look at all.
const EXCESS_MAX: usize = PRODUCERS_MAX / 10;

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

    /// Notes a batch, and forgets the producers silent for longest where there are far too many: their number follows from what is
    /// sent, and counts in no budget (I9).
    pub(crate) fn record(&mut self, applied: &ProducerSequence, first: Lsn, last: Lsn, seen_us: i64) {
        let (sequence, first_lsn, last_lsn) = (applied.sequence, first.0, last.0);
        if let Some(known) = self.states.get_mut(&applied.producer) {
            (known.sequence, known.first_lsn, known.last_lsn, known.seen_us) = (sequence, first_lsn, last_lsn, seen_us);
            return;
        }
        let state = ProducerState { producer: applied.producer.clone(), sequence, first_lsn, last_lsn, seen_us };
        self.states.insert(applied.producer.clone(), state);
        if self.states.len() > PRODUCERS_MAX + EXCESS_MAX {
            self.bound();
        }
    }

    /// Takes over what `newer` knows, and forgets the producers silent for longest where there are too many.
    pub(crate) fn merge(&mut self, newer: &Self) {
        self.states.extend(newer.states.iter().map(|(name, state)| (name.clone(), state.clone())));
        self.bound();
    }

    /// Keeps those of the last [`PRODUCERS_MAX`].
    fn bound(&mut self) {
        let Some(excess) = self.states.len().checked_sub(PRODUCERS_MAX).filter(|excess| *excess > 0) else { return };
        let mut lsns: Vec<u64> = self.states.values().map(|state| state.last_lsn).collect();
        let (below, &mut oldest_kept, _) = lsns.select_nth_unstable(excess);
        // Of a restore to an earlier LSN there may be many with one.
        let mut equal_forgotten = excess - below.iter().filter(|lsn| **lsn < oldest_kept).count();
        self.states.retain(|_, state| {
            let is_forgotten = state.last_lsn == oldest_kept && equal_forgotten > 0;
            equal_forgotten -= usize::from(is_forgotten);
            state.last_lsn >= oldest_kept && !is_forgotten
        });
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
        producers.record(&at(9), Lsn(3), Lsn(7), 1);
        let state = ProducerState { producer: "p".into(), sequence: 9, first_lsn: 3, last_lsn: 7, seen_us: 1 };
        assert_eq!((producers.applied(&at(9)), producers.to_states().len()), (Some(&state), 1));
    }

    fn producer(number: usize) -> ProducerSequence {
        ProducerSequence { producer: number.to_string().into(), sequence: 1 }
    }

    /// The producer just acknowledged was the first to be forgotten where the clock had stepped back, and its retry applied twice.
    #[test]
    fn i3_i9_the_longest_silent_are_forgotten_first_whatever_the_clock_says() {
        let mut producers = Producers::default();
        for (number, lsn) in (0..PRODUCERS_MAX).zip(1..) {
            producers.record(&producer(number), Lsn(lsn), Lsn(lsn), 1_000_000);
        }
        let last = Lsn(PRODUCERS_MAX as u64 + 1);
        producers.record(&producer(PRODUCERS_MAX), last, last, 0);
        producers.bound();
        let is_known = |number| producers.applied(&producer(number)).is_some();
        assert_eq!(producers.states.len(), PRODUCERS_MAX);
        assert!(!is_known(0) && (1..=PRODUCERS_MAX).all(is_known));
    }

    /// They were counted only when a generation was frozen, and those of a generation never.
    #[test]
    fn i9_producers_are_bounded_whatever_comes_and_the_last_ones_are_known() {
        let mut producers = Producers::default();
        for (number, lsn) in (0..3 * PRODUCERS_MAX).zip(1..) {
            producers.record(&producer(number), Lsn(lsn), Lsn(lsn), 0);
            assert!(producers.states.len() <= PRODUCERS_MAX + EXCESS_MAX);
        }
        assert!((2 * PRODUCERS_MAX..3 * PRODUCERS_MAX).all(|number| producers.applied(&producer(number)).is_some()));
    }

    /// As after a restore to an earlier LSN, which leaves many with none.
    #[test]
    fn i9_producers_of_one_lsn_are_no_more_than_others() {
        let mut producers = Producers::default();
        (0..PRODUCERS_MAX).for_each(|number| producers.record(&producer(number), Lsn(0), Lsn(0), 0));
        for (number, lsn) in (PRODUCERS_MAX..PRODUCERS_MAX + 10).zip(1..) {
            producers.record(&producer(number), Lsn(lsn), Lsn(lsn), 0);
        }
        producers.bound();
        assert_eq!(producers.states.len(), PRODUCERS_MAX);
        assert!((PRODUCERS_MAX..PRODUCERS_MAX + 10).all(|number| producers.applied(&producer(number)).is_some()));
    }
}
