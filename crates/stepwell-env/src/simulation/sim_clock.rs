//! The clock that the scheduler moves.

use std::{sync::Arc, time::Duration};

use super::scheduler::Scheduler;
use crate::Clock;

pub(super) struct SimClock(pub(super) Arc<Scheduler>);

impl Clock for SimClock {
    fn now_us(&self) -> i64 {
        self.0.wall_us()
    }

    fn monotonic(&self) -> Duration {
        self.0.now()
    }
}
