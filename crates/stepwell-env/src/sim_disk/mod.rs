//! A disk in memory that forgets what was not synced, tears it, fills up, is slow, and fails on demand or by chance.
//!
//! It keeps two states: what programs see (the page cache), and what a loss of power leaves (the platter). Bytes reach the
//! platter by a sync of their file, names by a sync of their directory. [`SimDisk::crash`] is the loss of power: of what had
//! not been synced, a seeded choice survives: bytes in whole sectors, in any order; creations, renames and removals each whole.
//! Each operation is a point at which another thread of a simulation may run, or its process be killed; a killed process
//! leaves what programs see as it is.

mod access;
mod faults;
mod file;
mod names;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use self::faults::{DiskOperation, DiskTrouble, SimFault};
use self::{
    faults::{Faults, Strike},
    file::File,
    names::{FileId, Names},
};
use crate::{Random, SeededRandom, simulation};

struct State {
    files: BTreeMap<FileId, File>,
    next_file: FileId,
    names: Names,
    directories: Vec<PathBuf>,
    has_power: bool,
    faults: Faults,
    space: Option<u64>,
    /// How many more can be made; `None` is any number.
    files_left: Option<u64>,
    /// Operations that found the disk full.
    found_full: u64,
    random: SeededRandom,
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

fn power_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}

fn failed(operation: DiskOperation, path: &Path, reason: io::ErrorKind) -> io::Error {
    io::Error::new(reason, format!("simulated {operation:?} error of {}", path.display()))
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// An empty disk whose troubles are those of `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::of(State {
            files: BTreeMap::new(),
            next_file: 0,
            names: Names::default(),
            directories: Vec::new(),
            has_power: true,
            faults: Faults::default(),
            space: None,
            files_left: None,
            found_full: 0,
            random: SeededRandom::new(seed),
        })
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation: others may run before it, it may take long, and may have to fail.
    fn begin(&self, operation: DiskOperation, path: &Path) -> io::Result<(MutexGuard<'_, State>, Option<Strike>)> {
        simulation::yield_now();
        // What a killed process has not begun is not done, not even by what cleans up after it.
        let is_killed_here = !simulation::is_ending() && self.state().faults.kills(operation);
        if is_killed_here {
            simulation::note(|| format!("killed at {operation:?} {}", path.display()));
            simulation::kill_own_process();
        }
        if simulation::is_ending() {
            return Err(power_off());
        }
        let delay = {
            let mut state = self.state();
            let State { faults, random, .. } = &mut *state;
            faults.delay(random)
        };
        if let Some(delay) = delay {
            simulation::sleep(delay);
        }
        let mut state = self.state();
        if !state.has_power {
            return Err(power_off());
        }
        let State { faults, random, .. } = &mut *state;
        let Ok(strike) = faults.next(operation, random) else {
            state.has_power = false;
            return Err(power_off());
        };
        simulation::note(|| match strike {
            None => format!("{operation:?} {}", path.display()),
            Some(Strike { has_effect, reason }) => {
                let effect = if has_effect { "with" } else { "without" };
                format!("{operation:?} {} fails {effect} effect: {reason}", path.display())
            }
        });
        Ok((state, strike))
    }

    /// Syncs of files and directories so far.
    pub fn syncs(&self) -> u64 {
        self.state().faults.syncs
    }

    /// Operations that failed by an error of the device, by kind.
    pub fn failures(&self) -> BTreeMap<DiskOperation, u64> {
        self.state().faults.struck.clone()
    }

    /// Operations that took long, and that found the disk full or said so.
    pub fn slow_and_full(&self) -> (u64, u64) {
        let state = self.state();
        (state.faults.slowed, state.found_full + state.faults.said_full)
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().faults.operations()
    }

    /// Makes something fail.
    pub fn inject(&self, fault: SimFault) {
        let mut state = self.state();
        match fault {
            SimFault::PowerLossAtSync(n) => state.faults.power_loss_at_sync(n),
            SimFault::SyncError(n) => state.faults.sync_error(n),
            SimFault::AppendError(n) => state.faults.error(DiskOperation::Append, n),
            SimFault::Error(operation, n) => state.faults.error(operation, n),
            SimFault::Space(bytes) => state.space = Some(bytes),
            SimFault::Files(files) => state.files_left = Some(files),
            SimFault::NoLimit => (state.space, state.files_left) = (None, None),
        }
    }

    /// Has the simulated process that comes to the n-th operation of a kind from now killed there, before that is done.
    pub fn kill_at(&self, at: Option<(DiskOperation, u64)>) {
        self.state().faults.kill_at(at);
    }

    /// Sets what goes wrong by chance from now on.
    pub fn set_trouble(&self, trouble: DiskTrouble) {
        self.state().faults.trouble = trouble;
    }

    /// The disk as it is after the power went and came back: synced bytes and names, and of the rest what `seed` chooses.
    pub fn crash(&self, seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let old = self.state();
        let names = old.names.after_power_loss(&random);
        let survivors = old.files.iter().map(|(id, file)| (*id, file.after_power_loss(&random)));
        let files = survivors.filter(|(id, _)| names.has(*id)).collect();
        Self::of(old.with(files, names, SeededRandom::new(random.next_u64())))
    }

    /// Another disk with the same content, for what is only to be tried.
    pub fn copy(&self, seed: u64) -> Self {
        let old = self.state();
        Self::of(old.with(old.files.clone(), old.names.clone(), SeededRandom::new(seed)))
    }

    /// All files, with their lengths in bytes, sorted by path.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state();
        let length = |id: FileId| state.files.get(&id).map_or(0, |file| file.cached.len());
        state.names.all().map(|(path, id)| (path.clone(), length(id))).collect()
    }

    /// Inverts one bit of a file, durably.
    pub fn flip_bit(&self, path: &Path, byte: usize, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let id = state.id(path)?;
        if let Some(file) = state.files.get_mut(&id) {
            file.flip(byte, bit);
        }
        Ok(())
    }
}

impl State {
    fn with(&self, files: BTreeMap<FileId, File>, names: Names, random: SeededRandom) -> Self {
        Self {
            files,
            next_file: self.next_file,
            names,
            directories: self.directories.clone(),
            has_power: true,
            faults: Faults::default(),
            space: None,
            files_left: None,
            found_full: 0,
            random,
        }
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        self.names.id(path).ok_or_else(|| not_found(path))
    }
}

#[cfg(test)]
mod tests;
