//! Real faults on the real binary. Every kind checks the same: what was acknowledged is there, once and bit for bit, nothing is
//! there that was not sent, refusals say why, a restart recovers, nothing hangs.
//!
//! A kind is a function from a plan (how much, which seed) to a report; suites run small plans, `stepwell-faults` large ones.

pub mod clients;
pub mod clock;
pub mod forgetful;
pub mod full;
pub mod inject;
pub mod kills;
pub mod memory;
mod place;
pub mod power;
pub mod sectors;

pub use place::{Mount, has_program, is_root, skip};

use std::{collections::BTreeMap, fmt};

/// How much of a kind, and its seed.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Cycles, cuts or injections; each kind says what it counts.
    pub rounds: u64,
    pub seed: u64,
}

/// What happened, in counts. That nothing was lost, doubled, altered or wrongly served is what a report instead of an error says.
#[derive(Debug, Default)]
pub struct Report {
    pub counts: BTreeMap<String, u64>,
}

impl Report {
    /// Counts one more.
    pub fn count(&mut self, what: impl Into<String>) {
        self.add(what, 1);
    }

    /// Counts some more.
    pub fn add(&mut self, what: impl Into<String>, how_many: u64) {
        *self.counts.entry(what.into()).or_default() += how_many;
    }

    /// Takes in what another one counted.
    pub fn merge(&mut self, other: Self) {
        other.counts.into_iter().for_each(|(what, how_many)| self.add(what, how_many));
    }

    /// A count.
    pub fn get(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:>10}  {what}")?;
        }
        write!(f, "         0  lost, doubled, altered, wrongly served")
    }
}
