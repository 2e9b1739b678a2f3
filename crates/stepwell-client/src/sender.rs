//! The outbox's thread: takes batches off the queue and sends each until it is acknowledged.

use std::{sync::Arc, time::Duration};

use stepwell_types::ProducerSequence;

use crate::{
    Client, ClientError, Points, WriterOptions,
    queue::Point,
    writer::{Shared, State},
};

pub(crate) struct Sender {
    client: Client,
    shared: Arc<Shared>,
    producer: Arc<str>,
    sequence: u64,
    options: WriterOptions,
}

/// Longest wait for a change that nobody announces.
const IDLE: Duration = Duration::from_secs(3600);

impl Sender {
    pub(crate) fn new(client: Client, shared: Arc<Shared>, producer: Arc<str>, options: WriterOptions) -> Self {
        Self { client, shared, producer, sequence: 0, options }
    }

    /// Sends until the outbox is closed.
    pub(crate) fn run(&mut self) {
        while let Some(points) = self.next_batch() {
            self.send(&points);
            let mut state = self.shared.lock();
            state.in_flight = 0;
            self.shared.changed.notify_all();
        }
    }

    /// Waits for a full batch, or for the oldest point to be old enough; `None` when the outbox is closed.
    fn next_batch(&self) -> Option<Vec<Point>> {
        let mut state = self.shared.lock();
        let mut due = None;
        loop {
            if state.abandoned || (state.closing && state.queue.len() == 0) {
                return None;
            }
            let waiting = state.queue.len();
            let now = self.shared.env.clock.monotonic();
            let left = if waiting == 0 {
                due = None;
                IDLE
            } else {
                due.get_or_insert(now + self.options.batch_delay).saturating_sub(now)
            };
            let full = waiting >= self.options.batch_points as u64;
            if waiting > 0 && (full || left.is_zero() || state.flushing > 0 || state.closing) {
                if let Some(points) = self.take(&mut state) {
                    return Some(points);
                }
                continue;
            }
            state = self.shared.wait(state, left);
        }
    }

    fn take(&self, state: &mut State) -> Option<Vec<Point>> {
        let before = state.queue.len();
        match state.queue.take(self.options.batch_points.max(1)) {
            Ok(points) => {
                state.in_flight = points.len() as u64;
                Some(points)
            }
            Err(error) => {
                state.stats.failed += before - state.queue.len();
                state.stats.last_error = Some(error.to_string());
                self.shared.changed.notify_all();
                None
            }
        }
    }

    fn send(&mut self, points: &[Point]) {
        let Err(error) = self.send_as_one(points) else {
            self.shared.lock().stats.acked += points.len() as u64;
            return;
        };
        if error.is_transient() {
            // Given up because the outbox was abandoned.
            return;
        }
        // The server refused the whole batch and applied none of it: one unknown run must not take the others along.
        let runs = by_run(points);
        if runs.len() > 1 {
            runs.iter().for_each(|points| self.send(points));
            return;
        }
        let mut state = self.shared.lock();
        state.stats.failed += points.len() as u64;
        state.stats.last_error = Some(error.to_string());
    }

    fn send_as_one(&mut self, points: &[Point]) -> Result<(), ClientError> {
        let mut columns = Points::default();
        for point in points {
            columns.push(&point.run_id, &point.metric, point.step, point.timestamp_us, point.value);
        }
        let stream = columns.encode()?;
        self.sequence += 1;
        let producer = ProducerSequence { producer: self.producer.clone(), sequence: self.sequence };
        let shared = &self.shared;
        self.client
            .ingest_until_acked(&stream, &producer, |error, pause| pause_unless_abandoned(shared, error, pause))?;
        Ok(())
    }
}

fn pause_unless_abandoned(shared: &Shared, error: &ClientError, pause: Duration) -> bool {
    let mut state = shared.lock();
    state.stats.retries += 1;
    state.stats.last_error = Some(error.to_string());
    let clock = &shared.env.clock;
    let end = clock.monotonic() + pause;
    while !state.abandoned {
        let left = end.saturating_sub(clock.monotonic());
        if left.is_zero() {
            return true;
        }
        state = shared.wait(state, left);
    }
    false
}

/// The points of each run, in order.
fn by_run(points: &[Point]) -> Vec<Vec<Point>> {
    let mut runs: Vec<Vec<Point>> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for point in points {
        let run = *index.entry(&point.run_id).or_insert_with(|| {
            runs.push(Vec::new());
            runs.len() - 1
        });
        runs[run].push(point.clone());
    }
    runs
}
