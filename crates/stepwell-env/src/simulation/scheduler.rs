//! Who runs: one thread at a time, chosen by the seed.

use std::{
    fmt::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::trace::Trace;
use crate::{Random, SeededRandom};

/// Position of a thread in [`State::threads`].
pub(crate) type ThreadNumber = usize;

/// Threads that live and die together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub(crate) u32);

/// What threads wait for: a channel, a lock, a signal, the end of a thread.
pub(crate) type ResourceId = u64;

/// What a wait ended by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    ByChange,
    ByTime,
}

/// The panic payload of a thread that is killed. It passes by `resume_unwind`, so that nothing is printed.
pub(crate) struct Killed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Runnable,
    Waiting { resource: ResourceId, what: &'static str, since: Duration, until: Option<Duration> },
    Finished,
}

struct Thread {
    name: Arc<str>,
    process: ProcessId,
    status: Status,
    /// How its last wait ended.
    woken: Woken,
    /// It unwinds at its next turn.
    is_killed: bool,
    /// Its share of the turns, so that some threads are slow for a while.
    weight: u64,
    /// Waiters for its end.
    end: ResourceId,
    gate: Arc<Condvar>,
}

struct State {
    threads: Vec<Thread>,
    /// The one that may run.
    running: ThreadNumber,
    turns: u64,
    turns_max: u64,
    now: Duration,
    /// What the wall clock shows beside `now`; may jump.
    wall_offset_us: i64,
    random: SeededRandom,
    /// A thread that could go on does, all but one time in so many.
    stickiness: u64,
    next_resource: ResourceId,
    next_process: u32,
    /// Processes to be killed at a turn.
    kills: Vec<(u64, ProcessId)>,
    trace: Trace,
    failure: Option<String>,
}

pub(crate) struct Scheduler {
    state: Mutex<State>,
}

/// Number of the thread that runs a simulation's body.
pub(crate) const ROOT: ThreadNumber = 0;
/// Turns between two changes of a thread's weight.
const WEIGHTS_CHANGE_EVERY: u64 = 64;
/// Longest that the clock moves in a turn, microseconds.
const TURN_US_MAX: u64 = 20;

impl Scheduler {
    /// With its first thread, the caller's.
    pub(crate) fn new(seed: u64, wall_us: i64, turns_max: u64) -> Self {
        let random = SeededRandom::new(seed);
        let stickiness = [1, 2, 8][random.next_u64() as usize % 3];
        let mut state = State {
            threads: Vec::new(),
            running: ROOT,
            turns: 0,
            turns_max,
            now: Duration::ZERO,
            wall_offset_us: wall_us,
            random,
            stickiness,
            next_resource: 0,
            next_process: 1,
            kills: Vec::new(),
            trace: Trace::default(),
            failure: None,
        };
        state.add_thread("root", ProcessId(0));
        Self { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new_resource(&self) -> ResourceId {
        self.lock().new_resource()
    }

    /// Registers a thread, which runs once it is chosen; `process` is that of `parent` if there is none.
    pub(crate) fn add_thread(&self, name: &str, parent: ThreadNumber, process: Option<ProcessId>) -> ThreadNumber {
        let mut state = self.lock();
        let process = process.unwrap_or(state.threads[parent].process);
        let number = state.add_thread(name, process);
        if state.threads[parent].is_killed {
            state.threads[number].is_killed = true;
        }
        number
    }

    pub(crate) fn new_process(&self) -> ProcessId {
        let mut state = self.lock();
        state.next_process += 1;
        ProcessId(state.next_process - 1)
    }

    /// What a new thread does first. Returns whether it may run, or else is killed already.
    pub(crate) fn wait_for_first_turn(&self, me: ThreadNumber) -> bool {
        let state = self.wait_for_turn(self.lock(), me);
        !state.threads[me].is_killed
    }

    fn wait_for_turn<'a>(&'a self, mut state: MutexGuard<'a, State>, me: ThreadNumber) -> MutexGuard<'a, State> {
        let gate = state.threads[me].gate.clone();
        while state.running != me {
            state = gate.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Lets the seed choose who runs next, and returns when it is this thread again.
    fn pass<'a>(&'a self, mut state: MutexGuard<'a, State>, me: ThreadNumber) -> MutexGuard<'a, State> {
        let next = state.choose(me);
        if next == me {
            return state;
        }
        state.hand_to(next);
        self.wait_for_turn(state, me)
    }

    /// A point at which others may run. A killed thread unwinds here; one that is unwinding passes.
    pub(crate) fn yield_now(&self, me: ThreadNumber) {
        if std::thread::panicking() {
            return;
        }
        let state = self.pass(self.lock(), me);
        unwind_if_killed(state, me);
    }

    /// Waits for a change of `resource`, or until `now` has come to `until`.
    pub(crate) fn block(
        &self,
        me: ThreadNumber,
        resource: ResourceId,
        what: &'static str,
        until: Option<Duration>,
    ) -> Woken {
        let state = self.wait(self.lock(), me, resource, what, until);
        let woken = state.threads[me].woken;
        unwind_if_killed(state, me);
        woken
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        me: ThreadNumber,
        resource: ResourceId,
        what: &'static str,
        until: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let since = state.now;
        state.threads[me].status = Status::Waiting { resource, what, since, until };
        self.pass(state, me)
    }

    /// Lets all who wait for `resource` look again.
    pub(crate) fn wake(&self, resource: ResourceId) {
        self.lock().wake(resource);
    }

    /// Waits for the end of a thread, even while killed.
    pub(crate) fn wait_for_end(&self, me: ThreadNumber, other: ThreadNumber) {
        let mut state = self.lock();
        while state.threads[other].status != Status::Finished {
            let end = state.threads[other].end;
            state = self.wait(state, me, end, "the end of a thread", None);
        }
    }

    pub(crate) fn is_finished(&self, thread: ThreadNumber) -> bool {
        self.lock().threads[thread].status == Status::Finished
    }

    /// The last thing a thread does. `panic` is what it ended by, if it was not killed.
    pub(crate) fn finish(&self, me: ThreadNumber, panic: Option<String>) {
        let mut state = self.lock();
        state.threads[me].status = Status::Finished;
        let (end, name) = (state.threads[me].end, state.threads[me].name.clone());
        state.wake(end);
        if let Some(message) = panic {
            state.fail(format!("thread {name} panicked: {message}"));
        }
        let next = state.choose(me);
        state.hand_to(next);
    }

    /// The end of a thread that the operating system did not start.
    pub(crate) fn finish_unstarted(&self, thread: ThreadNumber) {
        self.lock().threads[thread].status = Status::Finished;
    }

    /// Ends all threads of a process at their next turn.
    pub(crate) fn kill(&self, process: ProcessId) {
        self.lock().kill(process);
    }

    /// The same with the process of a thread.
    pub(crate) fn kill_process_of(&self, thread: ThreadNumber) {
        let mut state = self.lock();
        let process = state.threads[thread].process;
        state.kill(process);
    }

    /// The same, that many turns from now.
    pub(crate) fn kill_after(&self, process: ProcessId, turns: u64) {
        let mut state = self.lock();
        let at = state.turns + turns;
        state.kills.push((at, process));
    }

    pub(crate) fn was_killed(&self, thread: ThreadNumber) -> bool {
        self.lock().threads[thread].is_killed
    }

    /// Waits until all threads of a process have ended, even while killed.
    pub(crate) fn wait_for_process(&self, me: ThreadNumber, process: ProcessId) {
        self.wait_for_all(me, |thread| thread.process == process);
    }

    /// Kills all but the root and waits for their end. Called by the root, last.
    pub(crate) fn end_all(&self) {
        let mut state = self.lock();
        state.kills.clear();
        for thread in 1..state.threads.len() {
            state.kill_thread(thread);
        }
        drop(state);
        self.wait_for_all(ROOT, |_| true);
    }

    fn wait_for_all(&self, me: ThreadNumber, is_meant: impl Fn(&Thread) -> bool) {
        let live = |state: &State| {
            let mut others = (0..state.threads.len()).filter(|number| *number != me);
            others.find(|other| is_meant(&state.threads[*other]) && state.threads[*other].status != Status::Finished)
        };
        loop {
            let Some(other) = live(&self.lock()) else { return };
            self.wait_for_end(me, other);
        }
    }

    pub(crate) fn fail(&self, what: String) {
        self.lock().fail(what);
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    pub(crate) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(crate) fn wall_us(&self) -> i64 {
        let state = self.lock();
        state.wall_offset_us.saturating_add(i64::try_from(state.now.as_micros()).unwrap_or(i64::MAX))
    }

    pub(crate) fn step_wall(&self, by_us: i64) {
        let mut state = self.lock();
        state.wall_offset_us = state.wall_offset_us.saturating_add(by_us);
    }

    pub(crate) fn note(&self, me: ThreadNumber, text: String) {
        let mut state = self.lock();
        let (now, name) = (state.now, state.threads[me].name.clone());
        state.trace.note(now, &name, text);
    }

    pub(crate) fn turns(&self) -> u64 {
        self.lock().turns
    }

    pub(crate) fn waiters(&self) -> String {
        self.lock().waiters()
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.lock().trace.hash()
    }

    pub(crate) fn trace_tail(&self) -> Vec<String> {
        self.lock().trace.tail()
    }
}

fn unwind_if_killed(state: MutexGuard<'_, State>, me: ThreadNumber) {
    let is_killed = state.threads[me].is_killed;
    drop(state);
    if is_killed && !std::thread::panicking() {
        std::panic::resume_unwind(Box::new(Killed));
    }
}

impl State {
    fn new_resource(&mut self) -> ResourceId {
        self.next_resource += 1;
        self.next_resource
    }

    fn add_thread(&mut self, name: &str, process: ProcessId) -> ThreadNumber {
        let end = self.new_resource();
        let weight = self.weight();
        self.threads.push(Thread {
            name: name.into(),
            process,
            status: Status::Runnable,
            woken: Woken::ByChange,
            is_killed: false,
            weight,
            end,
            gate: Arc::default(),
        });
        self.threads.len() - 1
    }

    fn weight(&self) -> u64 {
        1 << (self.random.next_u64() % 6)
    }

    fn hand_to(&mut self, next: ThreadNumber) {
        self.running = next;
        self.threads[next].gate.notify_all();
    }

    fn wake(&mut self, resource: ResourceId) {
        for thread in &mut self.threads {
            if matches!(thread.status, Status::Waiting { resource: waited, .. } if waited == resource) {
                thread.status = Status::Runnable;
                thread.woken = Woken::ByChange;
            }
        }
    }

    fn kill(&mut self, process: ProcessId) {
        for number in 0..self.threads.len() {
            if self.threads[number].process == process {
                self.kill_thread(number);
            }
        }
    }

    fn kill_thread(&mut self, number: ThreadNumber) {
        let thread = &mut self.threads[number];
        thread.is_killed = true;
        if matches!(thread.status, Status::Waiting { .. }) {
            thread.status = Status::Runnable;
        }
    }

    /// The first failure counts; all threads end.
    fn fail(&mut self, what: String) {
        if self.failure.is_none() {
            self.failure = Some(what);
            self.kills.clear();
            (0..self.threads.len()).for_each(|number| self.kill_thread(number));
        }
    }

    /// Whose turn is next. Moves the clock: a little for the turn, and to the next timeout where nobody can run.
    fn choose(&mut self, me: ThreadNumber) -> ThreadNumber {
        self.turns += 1;
        self.now += Duration::from_micros(1 + self.random.next_u64() % TURN_US_MAX);
        if self.turns > self.turns_max {
            self.fail(format!("no end after {} turns: {}", self.turns_max, self.waiters()));
            self.turns_max = u64::MAX;
        }
        let (turns, kills) = (self.turns, std::mem::take(&mut self.kills));
        let (due, later): (Vec<_>, Vec<_>) = kills.into_iter().partition(|(at, _)| *at <= turns);
        self.kills = later;
        due.into_iter().for_each(|(_, process)| self.kill(process));
        if self.turns.is_multiple_of(WEIGHTS_CHANGE_EVERY) {
            let number = self.random.next_u64() as usize % self.threads.len();
            self.threads[number].weight = self.weight();
        }
        self.wake_expired();
        if self.runnable().next().is_none() {
            let next = self.threads.iter().filter_map(|thread| match thread.status {
                Status::Waiting { until, .. } => until,
                _ => None,
            });
            match next.min() {
                Some(until) => self.now = self.now.max(until),
                None => self.fail(format!("deadlock: {}", self.waiters())),
            }
            self.wake_expired();
        }
        let next = self.pick(me);
        self.trace.turn(next, self.now);
        next
    }

    fn pick(&self, me: ThreadNumber) -> ThreadNumber {
        let may_stay = self.threads[me].status == Status::Runnable;
        if may_stay && !self.random.next_u64().is_multiple_of(self.stickiness) {
            return me;
        }
        let total: u64 = self.runnable().map(|(_, thread)| thread.weight).sum();
        let mut left = self.random.next_u64() % total.max(1);
        for (number, thread) in self.runnable() {
            if left < thread.weight {
                return number;
            }
            left -= thread.weight;
        }
        // Nobody is left but the root, which waits for nothing then.
        ROOT
    }

    fn runnable(&self) -> impl Iterator<Item = (ThreadNumber, &Thread)> {
        self.threads.iter().enumerate().filter(|(_, thread)| thread.status == Status::Runnable)
    }

    fn wake_expired(&mut self) {
        for thread in &mut self.threads {
            if matches!(thread.status, Status::Waiting { until: Some(until), .. } if until <= self.now) {
                thread.status = Status::Runnable;
                thread.woken = Woken::ByTime;
            }
        }
    }

    /// Who waits for what.
    fn waiters(&self) -> String {
        let mut text = String::new();
        for thread in self.threads.iter().filter(|thread| thread.status != Status::Finished) {
            let separator = if text.is_empty() { "" } else { "; " };
            // Writing to a string does not fail.
            let _ = match thread.status {
                Status::Waiting { what, since, .. } => {
                    write!(text, "{separator}{} waits for {what} since {since:?}", thread.name)
                }
                _ => write!(text, "{separator}{} can run", thread.name),
            };
        }
        text
    }
}
