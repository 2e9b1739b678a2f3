//! Sending a data set over many connections, at full speed or at a rate, and timing each acknowledgement.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use stepwell_client::{Client, ClientError, NewRunRequest};
use stepwell_env::{Clock, JoinHandle, SystemClock, spawn};
use stepwell_types::ProducerSequence;

use crate::{BatchEncoder, Dataset, Latencies, flight};

/// Times that a batch is sent before its error counts.
const ATTEMPTS: u32 = 50;
const RETRY_DELAY: Duration = Duration::from_millis(200);
const STATUS_CONFLICT: u16 = 409;

/// What to send, and how.
#[derive(Debug, Clone)]
pub struct Load {
    pub server: String,
    pub project: String,
    pub dataset: Arc<Dataset>,
    /// Points per batch.
    pub batch: u64,
    /// Sockets, each with one batch in flight, unless there is a `pipeline`.
    pub connections: u64,
    /// Over Flight, with so many batches in flight on each connection; over HTTP if absent.
    pub pipeline: Option<u64>,
    /// Streams with sequence numbers of their own, spread over the connections; each sends runs of its own, batch by batch in turn.
    pub producers: u64,
    /// Points per second over all connections; as fast as they are acknowledged if absent.
    pub rate: Option<f64>,
    /// Ends when this has passed, or when all is sent.
    pub duration: Duration,
    /// Told apart from other loads of the same data, whose sequences would make these duplicates.
    pub session: String,
}

/// Batches that were acknowledged, by run: always the first ones of the run.
pub type Sent = BTreeMap<u64, u64>;

/// What happened.
#[derive(Debug, Clone)]
pub struct LoadReport {
    pub points: u64,
    pub batches: u64,
    /// Bytes of request bodies.
    pub bytes: u64,
    pub seconds: f64,
    /// Refusals and lost connections that were retried.
    pub retries: u64,
    /// From when a batch was due (at a rate) or sent to its acknowledgement, retries included.
    pub latency: Latencies,
    /// How much later than due, or than its connection was free, each batch of a load at a rate left over HTTP: the part of
    /// `latency` that is the generator's own. Empty at full speed and over Flight.
    pub lag: Latencies,
    pub sent: Sent,
}

impl LoadReport {
    /// Acknowledged points per second.
    pub fn points_per_second(&self) -> f64 {
        self.points as f64 / self.seconds
    }

    /// Acknowledged batches per second.
    pub fn batches_per_second(&self) -> f64 {
        self.batches as f64 / self.seconds
    }
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} points in {} batches ({:.0} MB) in {:.1} s: {:.0} points/s, {:.0} batches/s; acknowledged after {}; {} retries",
            self.points,
            self.batches,
            self.bytes as f64 / 1e6,
            self.seconds,
            self.points_per_second(),
            self.batches_per_second(),
            self.latency,
            self.retries
        )
    }
}

/// Creates the runs of a data set, with a learning rate each; those that exist stay as they are.
pub fn create_runs(server: &str, project: &str, dataset: &Arc<Dataset>, connections: u64) -> Result<()> {
    join_all((0..connections).map(|connection| {
        let (server, project, dataset) = (server.to_owned(), project.to_owned(), dataset.clone());
        spawn("create-runs", move || -> Result<()> {
            let client = Client::new(&server)?;
            for run in (connection..dataset.shape().runs).step_by(connections as usize) {
                let request = NewRunRequest {
                    run_id: Some(dataset.run_id(run)),
                    params: [("lr".to_owned(), Value::from(dataset.learning_rate(run)))].into(),
                    ..NewRunRequest::new(&project)
                };
                match client.create_run(&request) {
                    Ok(_) | Err(ClientError::Problem { status: STATUS_CONFLICT, .. }) => {}
                    Err(error) => return Err(error).with_context(|| format!("create run {}", dataset.run_id(run))),
                }
            }
            Ok(())
        })
    }))?;
    Ok(())
}

/// Waits for all threads; the first error of any.
pub(crate) fn join_all<T>(threads: impl Iterator<Item = std::io::Result<JoinHandle<Result<T>>>>) -> Result<Vec<T>> {
    let threads = threads.collect::<std::io::Result<Vec<_>>>().context("start a thread")?;
    threads
        .into_iter()
        .map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread of the load generator panicked"),
        })
        .collect()
}

impl Load {
    /// Sends until the time is over or nothing is left. Runs have to be there (see [`create_runs`]).
    pub fn run(&self) -> Result<LoadReport> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let outcomes = match self.pipeline {
            Some(pipeline) => flight::run(self, pipeline, &clock)?,
            None => join_all((0..self.connections.max(1)).map(|number| {
                let connection = Connection::new(self, number, clock.clone());
                spawn("load", move || connection?.run())
            }))?,
        };
        let seconds = clock.monotonic().as_secs_f64();
        let mut report = LoadReport {
            points: 0,
            batches: 0,
            bytes: 0,
            seconds,
            retries: 0,
            latency: Latencies::default(),
            lag: Latencies::default(),
            sent: Sent::new(),
        };
        let (mut micros, mut lag_micros) = (Vec::new(), Vec::new());
        for mut outcome in outcomes {
            report.points += outcome.points;
            report.bytes += outcome.bytes;
            report.retries += outcome.retries;
            report.batches += outcome.micros.len() as u64;
            report.sent.append(&mut outcome.sent);
            micros.append(&mut outcome.micros);
            lag_micros.append(&mut outcome.lag_micros);
        }
        report.latency = Latencies::new(micros);
        report.lag = Latencies::new(lag_micros);
        Ok(report)
    }
}

/// What one connection did.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) points: u64,
    pub(crate) bytes: u64,
    pub(crate) retries: u64,
    pub(crate) micros: Vec<u64>,
    pub(crate) lag_micros: Vec<u64>,
    pub(crate) sent: Sent,
}

struct Producer {
    name: Arc<str>,
    sequence: u64,
    /// Runs with batches left, the next to send first.
    runs: std::collections::VecDeque<u64>,
}

/// When a batch should leave.
struct Due {
    at: Duration,
    /// When its connection had the answer to the batch before it.
    free: Duration,
}

struct Connection {
    client: Client,
    encoder: BatchEncoder,
    producers: Vec<Producer>,
    clock: Arc<dyn Clock>,
    /// Between two batches of this connection.
    interval: Option<Duration>,
    /// When its first batch is due, so that connections do not send all at once.
    offset: Duration,
    duration: Duration,
    outcome: Outcome,
}

impl Connection {
    fn new(load: &Load, number: u64, clock: Arc<dyn Clock>) -> Result<Self> {
        let connections = load.connections.max(1);
        let producers = load.producers.max(connections);
        let of_producer = |producer: u64| Producer {
            name: format!("loadgen-{}-{producer}", load.session).into(),
            sequence: 0,
            runs: (producer..load.dataset.shape().runs).step_by(producers as usize).collect(),
        };
        let interval = load.rate.map(|rate| load.batch as f64 * connections as f64 / rate);
        Ok(Self {
            client: Client::new(&load.server)?,
            encoder: BatchEncoder::new(load.dataset.clone(), load.batch),
            producers: (number..producers).step_by(connections as usize).map(of_producer).collect(),
            clock,
            interval: interval.map(Duration::from_secs_f64),
            offset: Duration::from_secs_f64(interval.unwrap_or(0.0) * number as f64 / connections as f64),
            duration: load.duration,
            outcome: Outcome::default(),
        })
    }

    fn run(mut self) -> Result<Outcome> {
        for turn in 0.. {
            let Some(producer) = self.next_producer(turn) else { break };
            let now = self.clock.monotonic();
            let due = match self.interval {
                Some(interval) => self.offset + interval.mul_f64(turn as f64),
                None => now,
            };
            if due.max(now) >= self.duration {
                break;
            }
            std::thread::sleep(due.saturating_sub(now));
            self.send(producer, self.interval.map(|_| Due { at: due, free: now }))?;
        }
        Ok(self.outcome)
    }

    fn next_producer(&self, turn: u64) -> Option<usize> {
        let count = self.producers.len();
        let begin = turn as usize % count.max(1);
        (begin..begin + count).map(|index| index % count).find(|index| !self.producers[*index].runs.is_empty())
    }

    /// Sends the next batch of a producer; its latency counts from when it was due, or from when it is encoded.
    fn send(&mut self, producer: usize, due: Option<Due>) -> Result<()> {
        let producer = &mut self.producers[producer];
        let Some(run) = producer.runs.pop_front() else { return Ok(()) };
        let sent = self.outcome.sent.entry(run).or_default();
        let body = self.encoder.encode(run, *sent)?;
        producer.sequence += 1;
        let sequence = ProducerSequence { producer: producer.name.clone(), sequence: producer.sequence };
        let leaves = self.clock.monotonic();
        if let Some(due) = &due {
            self.outcome.lag_micros.push(leaves.saturating_sub(due.at.max(due.free)).as_micros() as u64);
        }
        let begin = due.map_or(leaves, |due| due.at);
        for attempt in 1.. {
            match self.client.ingest(&body, Some(&sequence)) {
                Ok(_) => break,
                Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                    self.outcome.retries += 1;
                    let wait = match error {
                        ClientError::Problem { retry_after: Some(wait), .. } => wait,
                        _ => RETRY_DELAY,
                    };
                    std::thread::sleep(wait);
                }
                Err(error) => return Err(error).context("a batch was refused"),
            }
        }
        self.outcome.micros.push((self.clock.monotonic() - begin).as_micros() as u64);
        self.outcome.points += self.encoder.len(run, *sent);
        self.outcome.bytes += body.len() as u64;
        *sent += 1;
        if *sent < self.encoder.batches(run) {
            producer.runs.push_back(run);
        }
        Ok(())
    }
}

fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Problem { status, .. } => matches!(status, 429 | 503),
        ClientError::Transport { .. } => true,
        _ => false,
    }
}
