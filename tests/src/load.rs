//! Producers that write to a server for as long as it lives, and send again what it did not acknowledge.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use stepwell_env::JoinHandle;

use crate::{
    Http, Reply, arrow_stream,
    flight::{self, FlightPut, numbered},
    oracle::{Found, PROJECT, Producer},
};

/// A call that takes longer is a hang.
pub const CALL_MAX: Duration = Duration::from_secs(45);
/// Batches that a stream has on their way at most.
const WINDOW: u64 = 8;
/// Before a refused batch goes again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// How a producer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A request a batch.
    Http,
    /// A Flight stream, several batches on their way.
    Stream,
}

/// A producer, its way, and what it was refused with.
#[derive(Debug, Clone)]
pub struct Writer {
    pub producer: Producer,
    pub way: Way,
    /// How often each code was heard.
    pub refusals: BTreeMap<String, u64>,
}

/// Producers at rest.
#[derive(Debug, Clone)]
pub struct Load {
    pub writers: Vec<Writer>,
    /// Whether the server answered that the runs are made.
    pub has_runs: bool,
}

/// Producers at work.
pub struct Running {
    threads: Vec<JoinHandle<(Writer, Result<()>)>>,
    stop: Arc<AtomicBool>,
    has_runs: bool,
}

impl Load {
    /// So many producers of each way; `name` tells these from those of other loads.
    pub fn new(name: &str, seed: u64, requests: usize, streams: usize, points_max: u64) -> Self {
        let ways = std::iter::repeat_n(Way::Http, requests).chain(std::iter::repeat_n(Way::Stream, streams));
        let writer = |(index, way): (u64, Way)| Writer {
            producer: Producer::new(format!("{name} {index}"), seed ^ index.rotate_left(56), points_max),
            way,
            refusals: BTreeMap::new(),
        };
        Self { writers: (0..).zip(ways).map(writer).collect(), has_runs: false }
    }

    /// Makes the runs, or finds them made; fails if one that was made is gone.
    pub fn create_runs(&mut self, http: &Http) -> Result<()> {
        for writer in &self.writers {
            let reply = http.post("/api/v1/runs", &json!({"project": PROJECT, "run_id": writer.producer.name}))?;
            ensure!([201, 409].contains(&reply.status), "{} {}", reply.status, reply.text());
            ensure!(!self.has_runs || reply.status == 409, "run {:?} was made and is lost (I1)", writer.producer.name);
        }
        self.has_runs = true;
        Ok(())
    }

    /// Sets all of them to work on the server at `url`.
    pub fn start(self, url: &str) -> Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for mut writer in self.writers {
            let (url, stop) = (url.to_owned(), stop.clone());
            threads.push(stepwell_env::spawn("writer", move || {
                let result = writer.write(&url, &|_| !stop.load(Ordering::SeqCst));
                let result = result.with_context(|| format!("producer {}", writer.producer.name));
                (writer, result)
            })?);
        }
        Ok(Running { threads, stop, has_runs: self.has_runs })
    }

    /// Every producer's points against the oracle.
    pub fn verify(&self, http: &Http) -> Result<Found> {
        let mut sum = Found::default();
        for writer in &self.writers {
            let found = writer.producer.verify(http)?;
            sum.points += found.points;
            sum.unacknowledged += found.unacknowledged;
        }
        Ok(sum)
    }

    /// Batches acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.writers.iter().map(|writer| writer.producer.next - 1).sum()
    }

    /// Acknowledged batches that had been sent before.
    pub fn retried(&self) -> u64 {
        self.writers.iter().map(|writer| writer.producer.retried).sum()
    }

    /// How often each code was heard, by all.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for (code, count) in self.writers.iter().flat_map(|writer| &writer.refusals) {
            *sum.entry(code.clone()).or_default() += count;
        }
        sum
    }
}

impl Running {
    /// Ends the producers; fails if one of them saw what may not be.
    pub fn stop(self) -> Result<Load> {
        self.stop.store(true, Ordering::SeqCst);
        let mut writers = Vec::new();
        let mut failures = Vec::new();
        for thread in self.threads {
            let Ok((writer, result)) = thread.join() else { bail!("a producer panicked") };
            writers.push(writer);
            failures.extend(result.err().map(|error| format!("{error:#}")));
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(Load { writers, has_runs: self.has_runs })
    }
}

impl Writer {
    /// Sends batches while `goes_on` of the writer holds, or until the connection breaks; an error is what may not be.
    pub fn write(&mut self, url: &str, goes_on: &dyn Fn(&Self) -> bool) -> Result<()> {
        match self.way {
            Way::Http => self.write_requests(url, goes_on),
            Way::Stream => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.write_streams(url, goes_on))
            }
        }
    }

    fn write_requests(&mut self, url: &str, goes_on: &dyn Fn(&Self) -> bool) -> Result<()> {
        let http = Http::with_timeout(url, CALL_MAX);
        while goes_on(self) {
            let sequence = self.producer.next;
            let is_first_try = sequence == self.producer.attempted_below;
            let reply = match self.send(&http)? {
                Some(reply) => reply,
                // A broken connection leaves the batch unacknowledged: it goes again, under the same sequence.
                None => return Ok(()),
            };
            if reply.status == 200 {
                let answer = reply.json()?;
                ensure!(answer["sequence"].is_null() || answer["sequence"] == json!(sequence), "{sequence}: {answer}");
                self.acknowledged(sequence, is_first_try, &answer)?;
            } else {
                self.refused(&reply)?;
                std::thread::sleep(RETRY_PAUSE);
            }
        }
        Ok(())
    }

    /// Sends the next batch as one request; `None` if the connection broke.
    pub fn send(&mut self, http: &Http) -> Result<Option<Reply>> {
        let body = arrow_stream::encode_rows(&self.producer.batch(self.producer.next))?;
        let sequence = self.producer.next.to_string();
        let headers = [
            ("content-type", arrow_stream::MEDIA_TYPE),
            ("stepwell-producer", &self.producer.name.replace(' ', "-")),
            ("stepwell-sequence", &sequence),
        ];
        self.producer.attempted_below = self.producer.attempted_below.max(self.producer.next + 1);
        match http.send("POST", "/api/v1/ingest", &headers, &body) {
            Ok(reply) => Ok(Some(reply)),
            Err(error) => match error.downcast_ref::<ureq::Error>() {
                Some(ureq::Error::Timeout(_)) => Err(error.context(format!("sequence {sequence} hangs"))),
                _ => Ok(None),
            },
        }
    }

    /// Notes an acknowledgement.
    pub fn acknowledged(&mut self, sequence: u64, is_first_try: bool, answer: &serde_json::Value) -> Result<()> {
        ensure!(sequence == self.producer.next, "{} was to be acknowledged: {answer}", self.producer.next);
        let points = self.producer.batch(sequence).len();
        ensure!(answer["points"] == json!(points), "sequence {sequence} has {points} points: {answer}");
        // What was sent once only cannot have been applied before.
        ensure!(!is_first_try || answer["duplicate"] == json!(false), "sequence {sequence}: {answer}");
        self.producer.retried += u64::from(!is_first_try);
        self.producer.next += 1;
        Ok(())
    }

    /// Notes a refusal; one without a code and a sentence, or of a kind that is the producer's fault, may not be.
    pub fn refused(&mut self, reply: &Reply) -> Result<String> {
        let code = check_problem(reply)?;
        ensure!(reply.status == 429 || reply.status >= 500, "{} {}", reply.status, reply.text());
        *self.refusals.entry(code.clone()).or_default() += 1;
        Ok(code)
    }

    async fn write_streams(&mut self, url: &str, goes_on: &dyn Fn(&Self) -> bool) -> Result<()> {
        while goes_on(self) {
            // No connection: the server is gone.
            let Ok(mut client) = flight::connect(url).await else { return Ok(()) };
            let name = self.producer.name.replace(' ', "-");
            let Ok(mut put) = FlightPut::open(&mut client, Some(&name)).await else { return Ok(()) };
            let again_below = self.producer.attempted_below;
            let mut sent = self.producer.next;
            loop {
                while goes_on(self) && sent < self.producer.next + WINDOW {
                    let messages = flight::messages(&arrow_stream::encode_rows(&self.producer.batch(sent))?)?;
                    let schema = (sent == self.producer.next && put.is_fresh()).then(|| messages[0].clone());
                    self.producer.attempted_below = self.producer.attempted_below.max(sent + 1);
                    for message in schema.into_iter().chain([numbered(messages[1].clone(), sent)]) {
                        put.send(message).await;
                    }
                    sent += 1;
                }
                if sent == self.producer.next {
                    put.finish();
                    return Ok(());
                }
                let ack = tokio::time::timeout(CALL_MAX, put.ack()).await.context("an acknowledgement hangs")?;
                match ack {
                    Ok(Some(ack)) => {
                        let sequence = ack["sequence"].as_u64().context("an acknowledgement without its sequence")?;
                        self.acknowledged(sequence, sequence >= again_below, &ack)?;
                    }
                    Ok(None) => break,
                    Err(status) => {
                        let code = status.metadata().get("stepwell-code").and_then(|code| code.to_str().ok());
                        let Some(code) = code else { return Ok(()) };
                        *self.refusals.entry(code.to_owned()).or_default() += 1;
                        tokio::time::sleep(RETRY_PAUSE).await;
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The code of a refusal; fails if it lacks what every refusal has.
pub fn check_problem(reply: &Reply) -> Result<String> {
    let problem = reply.json().with_context(|| format!("status {} without a problem", reply.status))?;
    let code = problem["code"].as_str().unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure!(!code.is_empty() && detail.contains(' '), "neither code nor sentence: {problem}");
    ensure!(problem["status"] == json!(reply.status), "{} {problem}", reply.status);
    Ok(code.to_owned())
}
