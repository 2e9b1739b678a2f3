//! Which thread of which simulation the running one is.

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use super::scheduler::{Killed, ProcessId, ResourceId, Scheduler, ThreadNumber, Woken};

/// One thread of a simulation.
#[derive(Clone)]
pub(crate) struct Member {
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) number: ThreadNumber,
}

thread_local! {
    static CURRENT: RefCell<Option<Member>> = const { RefCell::new(None) };
}

/// The running thread, if it is one of a simulation.
pub(crate) fn current() -> Option<Member> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

pub(super) fn set_current(member: Option<Member>) {
    CURRENT.with(|current| *current.borrow_mut() = member);
}

impl Member {
    /// A further thread, of the same process unless another is given.
    pub(crate) fn add(&self, name: &str, process: Option<ProcessId>) -> Self {
        let number = self.scheduler.add_thread(name, self.number, process);
        Self { scheduler: self.scheduler.clone(), number }
    }

    /// What this thread, newly started by the operating system, does from its first turn to its end.
    pub(crate) fn run<T>(self, body: impl FnOnce() -> T) -> T {
        set_current(Some(self.clone()));
        let may_run = self.scheduler.wait_for_first_turn(self.number);
        let result = if may_run { catch_unwind(AssertUnwindSafe(body)) } else { Err(Box::new(Killed) as _) };
        set_current(None);
        self.scheduler.finish(self.number, result.as_ref().err().and_then(|panic| panic_message(&**panic)));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Notes that it ended before it began: the operating system refused the thread.
    pub(crate) fn was_refused(&self) {
        self.scheduler.finish_unstarted(self.number);
    }

    pub(crate) fn wait_for_end(&self) {
        if let Some(me) = current() {
            self.scheduler.wait_for_end(me.number, self.number);
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.scheduler.is_finished(self.number)
    }
}

/// What a thread panicked with; `None` if it was killed.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> Option<String> {
    if panic.is::<Killed>() {
        return None;
    }
    let text = panic.downcast_ref::<String>().cloned();
    Some(
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "something".to_owned()),
    )
}

/// What threads of one simulation wait for and tell one another of.
pub(crate) struct Resource {
    scheduler: Arc<Scheduler>,
    id: ResourceId,
}

impl Resource {
    /// One for what the running thread makes; `None` if it is of no simulation.
    pub(crate) fn of_current() -> Option<Self> {
        let scheduler = current()?.scheduler;
        let id = scheduler.new_resource();
        Some(Self { scheduler, id })
    }

    /// Lets those who wait for it look again.
    pub(crate) fn wake(&self) {
        self.scheduler.wake(self.id);
    }

    /// Waits for a change, at most for `timeout`. For a thread of no simulation the time is over at once.
    pub(crate) fn wait(&self, what: &'static str, timeout: Option<Duration>) -> Woken {
        let Some(me) = current() else { return Woken::ByTime };
        let until = timeout.map(|timeout| self.scheduler.now().saturating_add(timeout));
        self.wait_until(&me, what, until)
    }

    /// The same with a moment instead of a time.
    pub(crate) fn wait_until(&self, me: &Member, what: &'static str, until: Option<Duration>) -> Woken {
        self.scheduler.block(me.number, self.id, what, until)
    }

    pub(crate) fn now(&self) -> Duration {
        self.scheduler.now()
    }
}

/// A point at which other threads of the simulation may run, if the running thread is of one.
pub(crate) fn yield_now() {
    if let Some(me) = current() {
        me.scheduler.yield_now(me.number);
    }
}

/// Whether the running thread is one of a simulation that is killed and unwinds.
pub(crate) fn is_ending() -> bool {
    current().is_some_and(|me| me.scheduler.was_killed(me.number))
}

/// Kills the process of the running thread, if that is one of a simulation. It ends here, unless it is unwinding.
pub(crate) fn kill_own_process() {
    if let Some(me) = current() {
        me.scheduler.kill_process_of(me.number);
        me.scheduler.yield_now(me.number);
    }
}

/// Lets simulated time pass; does nothing outside a simulation.
pub(crate) fn sleep(duration: Duration) {
    if let Some(resource) = Resource::of_current() {
        resource.wait("time to pass", Some(duration));
    }
}

/// Puts a line into the simulation's trace, if the running thread is of one.
pub fn note(text: impl FnOnce() -> String) {
    if let Some(me) = current() {
        me.scheduler.note(me.number, text());
    }
}
