//! What happened, as a number to compare and as lines to read.

use std::{collections::VecDeque, time::Duration};

/// Lines kept.
const TAIL_LINES: usize = 400;

#[derive(Default)]
pub(crate) struct Trace {
    hash: u64,
    tail: VecDeque<String>,
}

impl Trace {
    /// A thread's turn.
    pub(crate) fn turn(&mut self, thread: usize, now: Duration) {
        self.mix(thread as u64);
        self.mix(now.as_micros() as u64);
    }

    /// Something worth a line.
    pub(crate) fn note(&mut self, now: Duration, thread: &str, text: String) {
        for piece in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.mix(u64::from_le_bytes(word));
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(format!("{:>12.6} s {thread}: {text}", now.as_secs_f64()));
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}
