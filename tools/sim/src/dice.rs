//! Choices by seed.

use std::time::Duration;

use stepwell_env::{Random, SeededRandom};

/// A seeded sequence of choices.
pub(crate) struct Dice(SeededRandom);

impl Dice {
    /// The sequence of a seed for one use: sequences of other uses of the seed do not change with it.
    pub(crate) fn new(seed: u64, of: u64) -> Self {
        let random = SeededRandom::new(seed ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(SeededRandom::new(random.next_u64()))
    }

    pub(crate) fn any(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&self, n: u64) -> u64 {
        self.any() % n
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// Up to `most`.
    pub(crate) fn duration(&self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as u64 + 1))
    }
}
