//! Sending a data set over many connections, at full speed or at a rate, and timing each acknowledgement.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use hyper::body::Bytes;
use serde_json::Value;
use stepwell_client::{Client, ClientError, NewRunRequest};
use stepwell_env::{Clock, JoinHandle, SystemClock, spawn};
use stepwell_types::ProducerSequence;
use tokio::{runtime::Builder, sync::mpsc, task::JoinHandle as Task};

use crate::{
    BatchEncoder, Dataset, Latencies, flight,
    http::{Answer, Door, HttpConnection},
};

/// How long a batch is sent again and again before its refusal counts. A server that is overloaded for an hour may refuse one batch
/// among many often, but each in the end must get through.
const PATIENCE: Duration = Duration::from_secs(600);
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
    /// As calls of MLflow's `log-batch`, which knows milliseconds only; over HTTP.
    pub mlflow: bool,
    /// Encode all batches before the clock starts and keep them in memory, so that the generator takes little of the cores that it
    /// shares with the server; over HTTP.
    pub prepared: bool,
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

/// Threads on which connections are served, both those that encode and those that wait.
const WORKERS: usize = 2;

impl Load {
    /// Sends until the time is over or nothing is left. Runs have to be there (see [`create_runs`]).
    pub fn run(&self) -> Result<LoadReport> {
        let runtime =
            Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().context("start the runtime")?;
        // All are connected before the clock starts, or the first to come would wait in the figures for the last.
        let ready =
            runtime.block_on(try_join_all((0..self.connections.max(1)).map(|number| Ready::new(self, number))))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let run = |(connection, pace): (Ready, Pace)| match connection {
            Ready::Http(connection) => runtime.spawn(connection.run(pace, clock.clone())),
            Ready::Flight(connection) => runtime.spawn(connection.run(pace, clock.clone())),
        };
        let connections: Vec<_> = ready.into_iter().zip(Pace::start(self, &clock)?).map(run).collect();
        let join = |connection: Task<Result<Outcome>>| {
            runtime.block_on(connection).context("a connection of the load generator panicked")?
        };
        let outcomes = connections.into_iter().map(join).collect::<Result<Vec<Outcome>>>()?;
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

/// A connection that has sent nothing so far.
enum Ready {
    Http(Box<Connection>),
    Flight(Box<flight::Connection>),
}

impl Ready {
    async fn new(load: &Load, number: u64) -> Result<Self> {
        Ok(match load.pipeline {
            Some(pipeline) => Self::Flight(Box::new(flight::Connection::new(load, number, pipeline).await?)),
            None => Self::Http(Box::new(Connection::new(load, number).await?)),
        })
    }
}

/// When the batches of one connection are due.
pub(crate) struct Pace {
    /// Absent where each is due as soon as there is room for it.
    due: Option<mpsc::UnboundedReceiver<Duration>>,
    duration: Duration,
    clock: Arc<dyn Clock>,
}

impl Pace {
    /// One for each connection. At a rate, a thread of its own wakes them in turn, evenly: it sleeps more exactly than a
    /// runtime's timer, whose lateness would count as the server's.
    fn start(load: &Load, clock: &Arc<dyn Clock>) -> Result<Vec<Self>> {
        let connections = load.connections.max(1);
        let pace = |due| Self { due, duration: load.duration, clock: clock.clone() };
        let Some(rate) = load.rate else { return Ok((0..connections).map(|_| pace(None)).collect()) };
        let (wake, paces): (Vec<_>, Vec<_>) = (0..connections)
            .map(|_| {
                let (wake, due) = mpsc::unbounded_channel();
                (wake, pace(Some(due)))
            })
            .unzip();
        let (clock, duration, between) = (clock.clone(), load.duration, load.batch as f64 / rate);
        spawn("pace", move || {
            for (number, wake) in (0_u64..).zip(wake.iter().cycle()) {
                let due = Duration::from_secs_f64(between * number as f64);
                if due >= duration {
                    break;
                }
                std::thread::sleep(due.saturating_sub(clock.monotonic()));
                // A connection that has sent all it has is gone.
                let _ = wake.send(due);
            }
        })
        .context("start a thread")?;
        Ok(paces)
    }

    /// Waits until the next batch is due; `None` when the time is over.
    pub(crate) async fn next(&mut self) -> Option<Due> {
        let free = self.clock.monotonic();
        let at = match &mut self.due {
            Some(due) => due.recv().await?,
            None => free,
        };
        (free.max(at) < self.duration).then_some(Due { at, free })
    }

    /// Whether batches are due at a rate.
    pub(crate) fn is_paced(&self) -> bool {
        self.due.is_some()
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
pub(crate) struct Due {
    pub(crate) at: Duration,
    /// When its connection had room for it.
    free: Duration,
}

impl Due {
    /// How late it leaves by the generator's own fault, at the time `leaves`.
    fn lag(&self, leaves: Duration) -> Duration {
        leaves.saturating_sub(self.at.max(self.free))
    }
}

struct Connection {
    http: HttpConnection,
    encoder: BatchEncoder,
    producers: Vec<Producer>,
    mlflow: bool,
    /// Bodies by run and batch, if they are encoded before they are sent.
    prepared: HashMap<(u64, u64), Bytes>,
    outcome: Outcome,
}

fn next_producer(producers: &[Producer], turn: usize) -> Option<usize> {
    let count = producers.len();
    let begin = turn % count.max(1);
    (begin..begin + count).map(|index| index % count).find(|index| !producers[*index].runs.is_empty())
}

impl Connection {
    async fn new(load: &Load, number: u64) -> Result<Self> {
        let connections = load.connections.max(1);
        let producers = load.producers.max(connections);
        let of_producer = |producer: u64| Producer {
            name: format!("loadgen-{}-{producer}", load.session).into(),
            sequence: 0,
            runs: (producer..load.dataset.shape().runs).step_by(producers as usize).collect(),
        };
        let mut http = HttpConnection::new(&load.server)?;
        http.connect().await.context("connect")?;
        let mut connection = Self {
            http,
            encoder: BatchEncoder::new(load.dataset.clone(), load.batch),
            producers: (number..producers).step_by(connections as usize).map(of_producer).collect(),
            mlflow: load.mlflow,
            prepared: HashMap::new(),
            outcome: Outcome::default(),
        };
        if load.prepared {
            connection.prepare()?;
        }
        Ok(connection)
    }

    fn prepare(&mut self) -> Result<()> {
        let runs: Vec<u64> = self.producers.iter().flat_map(|producer| producer.runs.iter().copied()).collect();
        for run in runs {
            for batch in 0..self.encoder.batches(run) {
                let body = self.body(run, batch)?;
                self.prepared.insert((run, batch), body);
            }
        }
        Ok(())
    }

    /// The body of a batch, encoded now unless it is there already.
    fn body(&mut self, run: u64, batch: u64) -> Result<Bytes> {
        if let Some(body) = self.prepared.remove(&(run, batch)) {
            return Ok(body);
        }
        let body = if self.mlflow { self.encoder.log_batch(run, batch) } else { self.encoder.encode(run, batch) };
        Ok(Bytes::from(body?))
    }

    /// Sends batches, each when the one before it is acknowledged.
    async fn run(mut self: Box<Self>, mut pace: Pace, clock: Arc<dyn Clock>) -> Result<Outcome> {
        for turn in 0.. {
            let Some(producer) = next_producer(&self.producers, turn) else { break };
            let Some(due) = pace.next().await else { break };
            self.send(producer, pace.is_paced().then_some(due), &*clock).await?;
        }
        Ok(self.outcome)
    }

    /// Sends the next batch of a producer; its latency counts from when it was due, or from when it is encoded.
    async fn send(&mut self, producer: usize, due: Option<Due>, clock: &dyn Clock) -> Result<()> {
        let Some(run) = self.producers[producer].runs.pop_front() else { return Ok(()) };
        let batch = self.outcome.sent.get(&run).copied().unwrap_or(0);
        let body = self.body(run, batch)?;
        let producer = &mut self.producers[producer];
        producer.sequence += 1;
        let door = match self.mlflow {
            true => Door::Mlflow,
            false => {
                let (producer, sequence) = (producer.name.clone(), producer.sequence);
                Door::Ingest(ProducerSequence { producer, sequence })
            }
        };
        let leaves = clock.monotonic();
        self.outcome.lag_micros.extend(due.as_ref().map(|due| due.lag(leaves).as_micros() as u64));
        let begin = due.map_or(leaves, |due| due.at);
        loop {
            match self.http.ingest(body.clone(), &door).await? {
                Answer::Acknowledged => break,
                Answer::Passing(_) if clock.monotonic() - leaves > PATIENCE => {
                    bail!("a batch was refused for {PATIENCE:?}")
                }
                Answer::Passing(wait) => {
                    self.outcome.retries += 1;
                    tokio::time::sleep(wait).await;
                }
            }
        }
        self.outcome.micros.push((clock.monotonic() - begin).as_micros() as u64);
        self.outcome.points += self.encoder.len(run, batch);
        self.outcome.bytes += body.len() as u64;
        self.outcome.sent.insert(run, batch + 1);
        if batch + 1 < self.encoder.batches(run) {
            producer.runs.push_back(run);
        }
        Ok(())
    }
}
