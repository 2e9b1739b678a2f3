//! Waiting for others to change something.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::simulation::{Resource, yield_now};

/// Raised whenever something that others may wait for has changed.
pub struct Signal {
    raised: Mutex<u64>,
    changed: Condvar,
    simulated: Option<Resource>,
}

impl Signal {
    /// One that was never raised.
    #[expect(clippy::new_without_default, reason = "it belongs to the simulation of the thread that makes it")]
    pub fn new() -> Self {
        Self { raised: Mutex::new(0), changed: Condvar::new(), simulated: Resource::of_current() }
    }

    /// Lets all who wait look again.
    pub fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        match &self.simulated {
            None => self.changed.notify_all(),
            Some(simulated) => {
                simulated.wake();
                yield_now();
            }
        }
    }

    /// Waits until `done` holds. It looks after each raise, and at least each `look_every`: for what changes without one.
    pub fn wait_until(&self, look_every: Duration, mut done: impl FnMut() -> bool) {
        loop {
            let seen = self.raised();
            if done() {
                return;
            }
            match &self.simulated {
                Some(simulated) if self.raised() == seen => drop(simulated.wait("a change", Some(look_every))),
                Some(_) => {}
                None => {
                    let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
                    if *raised == seen {
                        // A timed-out or poisoned wait only means one more look.
                        drop(self.changed.wait_timeout(raised, look_every));
                    }
                }
            }
        }
    }

    fn raised(&self) -> u64 {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
