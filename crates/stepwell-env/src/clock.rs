//! Time: what the wall shows, and what only ever rises.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The two clocks the product reads.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch, UTC. May jump.
    fn now_us(&self) -> i64;
    /// Time since some fixed moment of this process; never falls.
    fn monotonic(&self) -> Duration;
    /// Blocks the calling thread for that long.
    fn sleep(&self, duration: Duration);
}

/// The machine's clock.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::new_without_default, reason = "a clock has no default moment")]
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the machine's clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one door to the machine's clock")]
impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A clock that moves only when told to.
pub struct ManualClock {
    now_us: AtomicI64,
    start_us: i64,
}

impl ManualClock {
    /// Starts at `now_us` microseconds since the Unix epoch.
    pub fn new(now_us: i64) -> Self {
        Self { now_us: AtomicI64::new(now_us), start_us: now_us }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.now_us.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.now_us() - self.start_us).unwrap_or(0))
    }

    /// Moves the clock, so that who sleeps need not be woken.
    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
