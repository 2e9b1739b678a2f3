//! The outbox: `log` hands points over and returns; a thread sends them.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use stepwell_env::{Env, JoinHandle};
use stepwell_types::{check_metric, check_run_id};

use crate::{
    Client, ClientError,
    queue::{Point, Queue},
    sender::Sender,
};

/// How long [`Writer::close`] waits.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Bounds of an outbox.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Points sent in one batch at most.
    pub batch_points: usize,
    /// A point waits no longer than this for others to travel with.
    pub batch_delay: Duration,
    /// Memory of waiting points, bytes; more of them wait in a file.
    pub memory_bytes: usize,
    /// Where that file is made.
    pub spool_dir: PathBuf,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            batch_points: 10_000,
            batch_delay: Duration::from_millis(100),
            memory_bytes: 64 << 20,
            spool_dir: std::env::temp_dir(),
        }
    }
}

/// What became of the points of an outbox so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Points taken by `log`.
    pub logged: u64,
    /// Points that the server has made durable.
    pub acked: u64,
    /// Points that the server refused for good, or that the overflow file lost.
    pub failed: u64,
    /// Points that wait or are being sent.
    pub pending: u64,
    /// Of these, points in the overflow file.
    pub spooled: u64,
    /// Attempts that were followed by another.
    pub retries: u64,
    /// The last thing that went wrong, in words.
    pub last_error: Option<String>,
}

pub(crate) struct State {
    pub(crate) queue: Queue,
    /// Points being sent.
    pub(crate) in_flight: u64,
    pub(crate) stats: WriterStats,
    /// Callers that wait for everything to be sent: do not wait for more points.
    pub(crate) flushing: usize,
    /// Send what there is, then end.
    pub(crate) closing: bool,
    /// End now.
    pub(crate) abandoned: bool,
}

impl State {
    pub(crate) fn pending(&self) -> u64 {
        self.queue.len() + self.in_flight
    }
}

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something about the state changed.
    pub(crate) changed: Condvar,
    pub(crate) env: Env,
}

impl Shared {
    /// The state; whoever held it when a thread panicked left it whole, as it is changed in single steps.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for a change, but no longer than `timeout`.
    pub(crate) fn wait<'a>(&self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout(state, timeout) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }
}

/// An outbox. Points are sent in the order of [`Writer::log`], each exactly once, through failures of the network and
/// restarts of the server (I3); what is still unsent when the process dies is lost.
pub struct Writer {
    shared: Arc<Shared>,
    batch_points: u64,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(client: Client, options: WriterOptions) -> Result<Self, ClientError> {
        let env = Env::real();
        let producer: Arc<str> = format!("rust-{:016x}{:016x}", env.random.next_u64(), env.random.next_u64()).into();
        let spool_path = options.spool_dir.join(format!("stepwell-{producer}.spool"));
        let state = State {
            queue: Queue::new(options.memory_bytes, spool_path),
            in_flight: 0,
            stats: WriterStats::default(),
            flushing: 0,
            closing: false,
            abandoned: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), env });
        let batch_points = options.batch_points.max(1) as u64;
        let mut sender = Sender::new(client, shared.clone(), producer, options);
        let thread = stepwell_env::spawn("stepwell-outbox", move || sender.run());
        let thread = thread.map_err(|source| ClientError::Thread { source })?;
        Ok(Self { shared, batch_points, thread: Some(thread) })
    }

    /// Takes points of one step and returns without waiting for the network. `timestamp_us` counts microseconds since
    /// the Unix epoch, UTC. Fails for names that no server takes, and if the overflow file takes no more; then none of the points
    /// is taken.
    pub fn log(&self, run_id: &str, step: i64, timestamp_us: i64, metrics: &[(&str, f64)]) -> Result<(), ClientError> {
        // One bad name would have the server refuse a whole batch, other runs' points included.
        check_run_id(run_id)?;
        metrics.iter().try_for_each(|(metric, _)| check_metric(metric))?;
        let mut state = self.shared.lock();
        let was_empty = state.queue.len() == 0;
        let run_id = state.queue.name(run_id);
        let point = |&(metric, value): &(&str, f64)| {
            let metric = state.queue.name(metric);
            Point { run_id: run_id.clone(), metric, step, timestamp_us, value }
        };
        let points = metrics.iter().map(point).collect();
        if let Err(error) = state.queue.push(points) {
            state.stats.last_error = Some(error.to_string());
            return Err(error);
        }
        state.stats.logged += metrics.len() as u64;
        if was_empty || state.queue.len() >= self.batch_points {
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    /// Waits until all points logged so far are acknowledged; fails if `timeout` passes first, or if any point of this
    /// outbox was refused for good.
    pub fn flush(&self, timeout: Duration) -> Result<(), ClientError> {
        let mut state = self.shared.lock();
        let wanted = state.stats.logged;
        state.flushing += 1;
        self.shared.changed.notify_all();
        let end = self.shared.env.clock.monotonic().saturating_add(timeout);
        while state.stats.acked + state.stats.failed < wanted {
            let left = end.saturating_sub(self.shared.env.clock.monotonic());
            if left.is_zero() {
                break;
            }
            state = self.shared.wait(state, left);
        }
        state.flushing -= 1;
        outcome(&state, wanted, timeout)
    }

    /// Sends everything and ends, within a minute. See [`Writer::close_within`].
    pub fn close(self) -> Result<(), ClientError> {
        self.close_within(CLOSE_TIMEOUT)
    }

    /// Sends everything and ends; fails if `timeout` passes first (what is unsent then is lost), or if any point was
    /// refused for good.
    pub fn close_within(mut self, timeout: Duration) -> Result<(), ClientError> {
        let result = self.flush(timeout);
        self.stop();
        result
    }

    /// What became of the points so far.
    pub fn stats(&self) -> WriterStats {
        let state = self.shared.lock();
        WriterStats { pending: state.pending(), spooled: state.queue.spooled(), ..state.stats.clone() }
    }

    fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut state = self.shared.lock();
        state.closing = true;
        // Nothing to lose, or the caller's time is up: do not wait for a server that does not answer.
        state.abandoned = true;
        let idle = state.in_flight == 0;
        self.shared.changed.notify_all();
        drop(state);
        if idle {
            // It ends at once; that it panicked would have shown as points that were never acknowledged.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    /// Gives waiting points a short while; [`Writer::close`] says whether they arrived.
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.flush(Duration::from_secs(5));
            self.stop();
        }
    }
}

fn outcome(state: &State, wanted: u64, timeout: Duration) -> Result<(), ClientError> {
    let stats = &state.stats;
    let settled = stats.acked + stats.failed;
    if settled < wanted {
        let last_error = stats.last_error.clone();
        return Err(ClientError::Timeout { pending: wanted - settled, timeout, last_error });
    }
    if stats.failed > 0 {
        let last_error = stats.last_error.clone().unwrap_or_default();
        return Err(ClientError::Refused { points: stats.failed, last_error });
    }
    Ok(())
}
