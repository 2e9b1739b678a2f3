//! The effects: clock, randomness, disk, segment store, threads; real and simulated; the home of mmap.

mod clock;
mod disk;
mod huge_pages;
mod lock;
mod mapped;
mod priority;
mod random;
mod real_disk;
mod sim_disk;
mod threads;

use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{DirEntry, Disk, WriteFile, write_atomically};
pub use huge_pages::forgo_huge_pages;
pub use lock::{DirLock, LockError};
pub use mapped::MappedFile;
pub use priority::work_in_background;
pub use random::{Random, SeededRandom, SystemRandom};
pub use real_disk::RealDisk;
pub use sim_disk::{SimDisk, SimFault};
pub use threads::{JoinHandle, beside, in_parallel, spawn};

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
