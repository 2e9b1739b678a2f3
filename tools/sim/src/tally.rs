//! What happened in worlds, in numbers.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

/// Totals of any number of worlds.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub worlds: u64,
    /// Starts of an engine.
    pub lives: u64,
    pub turns: u64,
    /// Batches sent, flushes, deletions and changes of what is hidden.
    pub calls: u64,
    /// Operations of the disk.
    pub operations: u64,
    pub simulated: Duration,
    pub kills: u64,
    pub losses_of_power: u64,
    /// Operations of the disk that failed, and what else was made to go wrong, by kind.
    pub faults: BTreeMap<String, u64>,
    pub batches_acked: u64,
    pub duplicates: u64,
    pub refused: u64,
    /// Snapshots compared with the model, and read again after they were held.
    pub checks: u64,
    pub held: u64,
    /// Distinct states seen: health, segments, generations, log files, deletions, failures and batches on their way, each cut to a few.
    pub states: HashSet<u64>,
}

impl Tally {
    /// Counts something that was made to go wrong.
    pub(crate) fn fault(&mut self, kind: impl fmt::Display, times: u64) {
        if times > 0 {
            *self.faults.entry(kind.to_string()).or_default() += times;
        }
    }

    /// Adds what happened in others.
    pub fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.lives += other.lives;
        self.turns += other.turns;
        self.calls += other.calls;
        self.operations += other.operations;
        self.simulated += other.simulated;
        self.kills += other.kills;
        self.losses_of_power += other.losses_of_power;
        other.faults.into_iter().for_each(|(kind, times)| self.fault(kind, times));
        self.batches_acked += other.batches_acked;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.checks += other.checks;
        self.held += other.held;
        self.states.extend(other.states);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} worlds, {} lives, {} calls, {} operations of the disk, {} turns, {} s simulated; {} kills, {} losses of power",
            self.worlds,
            self.lives,
            self.calls,
            self.operations,
            self.turns,
            self.simulated.as_secs(),
            self.kills,
            self.losses_of_power
        )?;
        writeln!(
            f,
            "{} batches acknowledged, {} duplicates, {} refusals; {} snapshots checked, {} held and read again; {} states",
            self.batches_acked,
            self.duplicates,
            self.refused,
            self.checks,
            self.held,
            self.states.len()
        )?;
        let faults: Vec<String> = self.faults.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
        write!(f, "faults: {}", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") })
    }
}
