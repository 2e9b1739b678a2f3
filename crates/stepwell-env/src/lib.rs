//! The effects: clock, randomness, disk, segment store, threads; real and simulated; the home of mmap.

pub mod channel;
mod clock;
mod disk;
mod huge_pages;
mod lock;
mod mapped;
mod mutex;
mod open_files;
mod patient_disk;
mod process;
mod random;
mod real_disk;
mod signal;
mod sim_disk;
mod simulation;
mod sync;
mod threads;
mod turns;

use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{DirEntry, Disk, DiskSpace, ReadFile, WriteFile, write_atomically};
pub use huge_pages::forgo_huge_pages;
pub use lock::{DirLock, LockError};
pub use mapped::{MappedFile, Unreadable};
pub use mutex::{Mutex, MutexGuard};
pub use open_files::{is_out_of_files, raise_open_files};
pub use patient_disk::{PatientDisk, Readable, UnreadablePart, read_what_can_be};
pub use process::ProcessFigures;
pub use random::{Random, SeededRandom, SystemRandom};
pub use real_disk::RealDisk;
pub use signal::Signal;
pub use sim_disk::{DiskOperation, DiskTrouble, SimDisk, SimFault};
pub use simulation::{ProcessId, SimFailure, SimProcess, SimReport, Simulation, note};
pub use threads::{JoinHandle, beside, in_parallel, spawn};
pub use turns::{Turn, Turns};

/// Everything the engine may touch outside its own memory.
#[derive(Clone)]
pub struct Env {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The machine's own clock, randomness and file system.
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) }
    }
}
