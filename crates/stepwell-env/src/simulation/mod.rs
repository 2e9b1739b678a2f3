//! A world in which one seed decides what depends on chance: which thread runs, what time it is, what random numbers come, and,
//! with a [`SimDisk`](crate::SimDisk), what the disk keeps.
//!
//! Threads of a simulation are threads of the operating system of which one runs at a time. At each operation on a channel, a
//! [`Signal`](crate::Signal), a [`Mutex`](crate::Mutex) of this crate, the disk, and at each start and end of a thread, the
//! scheduler may give the turn to another. Where none can run, the clock moves to the next timeout; if there is none, that is a
//! deadlock, and the simulation fails with who waits for what. What lies between two such points is one step: orders of
//! single memory accesses are not searched through. A lock that is never held at such a point may be a plain one of the standard library.
//!
//! A thread belongs to the simulation of the thread that started it, and so does what it makes: code under simulation is the
//! code that ships, and does not know.

mod member;
mod scheduler;
mod sim_clock;
mod trace;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

pub use member::note;
pub(crate) use member::{Member, Resource, current, is_ending, kill_own_process, sleep, yield_now};
pub use scheduler::ProcessId;
pub(crate) use scheduler::Woken;
use scheduler::{ROOT, Scheduler};
use sim_clock::SimClock;

use crate::{Disk, Env, JoinHandle, SeededRandom, threads};

/// Where the wall clock of a simulation begins, microseconds since the Unix epoch.
const WALL_US: i64 = 1_790_000_000_000_000;

/// A running simulation, as its threads see it.
#[derive(Clone)]
pub struct Simulation {
    seed: u64,
    scheduler: Arc<Scheduler>,
}

/// Why a simulation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimFailure {
    pub what: String,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

/// How a simulation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimReport {
    pub turns: u64,
    pub simulated: Duration,
    /// The same for the same seed and body.
    pub trace_hash: u64,
}

/// A process of a simulation: threads that end together.
pub struct SimProcess {
    scheduler: Arc<Scheduler>,
    id: ProcessId,
    main: JoinHandle<()>,
    member: Member,
}

impl Simulation {
    /// Runs `body` as the first thread of a simulation. When it returns, threads that still run are killed. It fails if a thread
    /// panics, if all wait without end, or if it takes more than `turns_max` turns.
    pub fn run<T>(seed: u64, turns_max: u64, body: impl FnOnce(&Self) -> T) -> (Result<T, SimFailure>, SimReport) {
        let scheduler = Arc::new(Scheduler::new(seed, WALL_US, turns_max));
        let root = Member { scheduler: scheduler.clone(), number: ROOT };
        let simulation = Self { seed, scheduler: scheduler.clone() };
        member::set_current(Some(root));
        let result = catch_unwind(AssertUnwindSafe(|| body(&simulation)));
        if let Some(message) = result.as_ref().err().and_then(|panic| member::panic_message(&**panic)) {
            scheduler.fail(message);
        }
        scheduler.end_all();
        member::set_current(None);
        let report =
            SimReport { turns: scheduler.turns(), simulated: scheduler.now(), trace_hash: scheduler.trace_hash() };
        let result = match (result, scheduler.failure()) {
            (Ok(value), None) => Ok(value),
            (_, failure) => {
                let what = failure.unwrap_or_else(|| "killed".to_owned());
                Err(SimFailure { what, trace: scheduler.trace_tail() })
            }
        };
        (result, report)
    }

    /// The effects of this simulation over `disk`.
    pub fn env(&self, disk: Arc<dyn Disk>) -> Env {
        let random = Arc::new(SeededRandom::new(self.seed ^ 0x7261_6e64_6f6d));
        Env { disk, clock: Arc::new(SimClock(self.scheduler.clone())), random }
    }

    /// Simulated time since the start.
    pub fn now(&self) -> Duration {
        self.scheduler.now()
    }

    /// Lets simulated time pass.
    pub fn sleep(&self, duration: Duration) {
        member::sleep(duration);
    }

    /// Sets the wall clock forward or back.
    pub fn step_wall_clock(&self, by_us: i64) {
        self.scheduler.step_wall(by_us);
    }

    /// Which thread waits for what, for the message of a failure.
    pub fn waiters(&self) -> String {
        self.scheduler.waiters()
    }

    /// Turns so far.
    pub fn turns(&self) -> u64 {
        self.scheduler.turns()
    }

    /// Ends the simulation as failed, without unwinding through code under test that might take a panic for its own.
    pub fn fail(&self, what: String) {
        // What a killed thread finds wrong may be that others of its process have been killed too.
        if !is_ending() {
            self.scheduler.fail(what);
        }
        yield_now();
    }

    /// Starts a process with `body` as its main thread. When that returns, the process ends, with all of its threads.
    pub fn start_process(&self, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<SimProcess> {
        let id = self.scheduler.new_process();
        let (main, member) = threads::spawn_simulated(name, Some(id), body)?;
        Ok(SimProcess { scheduler: self.scheduler.clone(), id, main, member })
    }
}

impl SimProcess {
    /// Kills it so many turns from now, as SIGKILL does: each thread ends at its next operation on something shared, and what it was
    /// about to do there is not done.
    pub fn kill_after(&self, turns: u64) {
        self.scheduler.kill_after(self.id, turns);
    }

    /// Waits for the end of its main thread, then ends the others. Returns whether it was killed.
    pub fn wait(self) -> bool {
        self.member.wait_for_end();
        let was_killed = self.scheduler.was_killed(self.member.number);
        self.scheduler.kill(self.id);
        if let Some(me) = current() {
            self.scheduler.wait_for_process(me.number, self.id);
        }
        // What it panicked with is the simulation's failure.
        drop(self.main.join());
        was_killed
    }
}

#[cfg(test)]
mod tests;
