//! What goes wrong, when asked to, and by chance.

use std::{collections::BTreeMap, io, time::Duration};

use crate::{Random, SeededRandom};

/// What a disk is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskOperation {
    Create,
    Append,
    Sync,
    Truncate,
    Map,
    Read,
    List,
    Rename,
    Remove,
    SyncDir,
}

impl DiskOperation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Append,
        Self::Sync,
        Self::Truncate,
        Self::Map,
        Self::Read,
        Self::List,
        Self::Rename,
        Self::Remove,
        Self::SyncDir,
    ];

    /// Those that need no room, so that none fails for want of it.
    fn is_reading(self) -> bool {
        matches!(self, Self::Map | Self::Read | Self::List | Self::Remove)
    }

    /// Those that the old name of "sync" counts.
    fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::SyncDir | Self::Truncate)
    }
}

/// What to make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// Power goes at the n-th sync from now (0 is the next): it and everything after it fails.
    PowerLossAtSync(u64),
    /// The n-th sync from now, of a file, a length or a directory, fails once; what it should have written is never written (the
    /// pages are marked clean).
    SyncError(u64),
    /// The n-th append from now fails once, after half of its bytes.
    AppendError(u64),
    /// The n-th operation of a kind from now fails once, without an effect (of an append, half of it).
    Error(DiskOperation, u64),
    /// Files may hold this many bytes more in all; then appends fail as on a full disk, after the bytes that fit.
    Space(u64),
    /// This many files may still be made; then that fails as on a disk without inodes, while appends go on.
    Files(u64),
    /// There is space again, for bytes and files.
    NoLimit,
}

/// What goes wrong by chance, until it is set again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskTrouble {
    /// Operations that may fail, with how many of 10,000 do. Half of those that change something change it nevertheless.
    pub errors: BTreeMap<DiskOperation, u64>,
    /// How many of 10,000 of those failures say that the disk is full, where that can be a reason.
    pub full: u64,
    /// Syncs say that they have synced, and have not. No program survives that: it is for tests of what looks for losses.
    pub lies: bool,
    /// How many of 10,000 operations take long.
    pub slow: u64,
    /// How long those take at most.
    pub slowest: Duration,
}

/// How an operation is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strike {
    /// What was asked for happens all the same, or some of it.
    pub(super) has_effect: bool,
    pub(super) reason: io::ErrorKind,
}

impl Strike {
    const WITHOUT_EFFECT: Self = Self { has_effect: false, reason: io::ErrorKind::Other };

    /// Whether an operation changes anything.
    pub(super) fn lets(strike: Option<Self>) -> bool {
        strike.is_none_or(|strike| strike.has_effect)
    }
}

/// Operations so far, and what is to become of those to come.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    pub(super) trouble: DiskTrouble,
    /// Operations so far.
    counts: BTreeMap<DiskOperation, u64>,
    /// Operations that failed, but for those counted by `said_full`.
    pub(super) struck: BTreeMap<DiskOperation, u64>,
    pub(super) slowed: u64,
    /// Operations that failed as on a full disk, whatever room there was.
    pub(super) said_full: u64,
    pub(super) syncs: u64,
    power_loss_at: Option<u64>,
    sync_error_at: Option<u64>,
    errors_at: Vec<(DiskOperation, u64)>,
    kill_at: Option<(DiskOperation, u64)>,
}

impl Faults {
    pub(super) fn power_loss_at_sync(&mut self, n: u64) {
        self.power_loss_at = Some(self.syncs + n);
    }

    pub(super) fn sync_error(&mut self, n: u64) {
        self.sync_error_at = Some(self.syncs + n);
    }

    pub(super) fn error(&mut self, operation: DiskOperation, n: u64) {
        let at = self.counts.get(&operation).copied().unwrap_or(0) + n;
        self.errors_at.push((operation, at));
    }

    pub(super) fn kill_at(&mut self, at: Option<(DiskOperation, u64)>) {
        let count = |operation| self.counts.get(&operation).copied().unwrap_or(0);
        self.kill_at = at.map(|(operation, n)| (operation, count(operation) + n));
    }

    /// Whether the next operation is the one at which its process is killed.
    pub(super) fn kills(&mut self, operation: DiskOperation) -> bool {
        let count = self.counts.get(&operation).copied().unwrap_or(0);
        let kills = self.kill_at == Some((operation, count));
        if kills {
            self.kill_at = None;
        }
        kills
    }

    /// How long the next operation takes.
    pub(super) fn delay(&mut self, random: &SeededRandom) -> Option<Duration> {
        if self.trouble.slow == 0 || random.next_u64() % 10_000 >= self.trouble.slow {
            return None;
        }
        self.slowed += 1;
        let most_us = u64::try_from(self.trouble.slowest.as_micros()).unwrap_or(u64::MAX).max(1);
        Some(Duration::from_micros(random.next_u64() % most_us))
    }

    /// Operations so far, of all kinds.
    pub(super) fn operations(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Counts an operation. `Err` is a loss of power at it, `Ok(Some)` how it fails.
    pub(super) fn next(
        &mut self,
        operation: DiskOperation,
        random: &SeededRandom,
    ) -> Result<Option<Strike>, PowerLoss> {
        let count = self.counts.entry(operation).or_default();
        let at = *count;
        *count += 1;
        let mut strike = None;
        if operation.is_sync() {
            let sync = self.syncs;
            self.syncs += 1;
            if self.power_loss_at.is_some_and(|at| sync >= at) {
                return Err(PowerLoss);
            }
            if self.sync_error_at == Some(sync) {
                self.sync_error_at = None;
                strike = Some(Strike::WITHOUT_EFFECT);
            }
        }
        let before = self.errors_at.len();
        self.errors_at.retain(|planned| *planned != (operation, at));
        if self.errors_at.len() < before {
            strike = Some(Strike::WITHOUT_EFFECT);
        }
        if let Some(chance) = self.trouble.errors.get(&operation)
            && random.next_u64() % 10_000 < *chance
        {
            let has_effect = random.next_u64().is_multiple_of(2);
            let is_full = random.next_u64() % 10_000 < self.trouble.full && !operation.is_reading();
            let reason = if is_full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            strike = Some(Strike { has_effect, reason });
        }
        match strike {
            Some(Strike { reason: io::ErrorKind::StorageFull, .. }) => self.said_full += 1,
            Some(_) => *self.struck.entry(operation).or_default() += 1,
            None => {}
        }
        Ok(strike)
    }
}

/// The power goes.
pub(super) struct PowerLoss;
