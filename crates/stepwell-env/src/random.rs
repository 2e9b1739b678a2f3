//! Randomness: the machine's, or a seeded sequence.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Mutex,
};

/// A source of random 64-bit numbers.
pub trait Random: Send + Sync {
    fn next_u64(&self) -> u64;
}

/// Seeded per call from the operating system's randomness, as the standard library's hasher keys are.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same sequence.
pub struct SeededRandom {
    state: Mutex<u64>,
}

impl SeededRandom {
    /// Starts the sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
