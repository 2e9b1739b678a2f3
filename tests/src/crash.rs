//! Writers, SIGKILL at random moments, restart, and the check that every acknowledged batch is there once with its bits.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use stepwell_env::{Clock, Random, SeededRandom, SystemClock, SystemRandom};

use crate::{
    Http, Server, ServerOptions,
    arrow_stream::{self, Row},
    read_back::{Bits, bits, read},
};

pub(crate) const PROJECT: &str = "crash";

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often the server is killed.
    pub cycles: u64,
    /// Seed of the moments and of the data; printed, so that a failure can be repeated.
    pub seed: u64,
    /// Concurrent writers, each a producer with a run of its own.
    pub writers: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { cycles: 20, seed: SystemRandom.next_u64(), writers: 4 }
    }
}

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub cycles: u64,
    pub acked_batches: u64,
    pub retried_batches: u64,
    pub points: u64,
    pub seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, {} batches acknowledged ({} of them sent again after a kill), {} points there once with their bits, {:.1} s, seed {}",
            self.cycles, self.acked_batches, self.retried_batches, self.points, self.seconds, self.seed
        )
    }
}

/// One producer. It sends batch after batch; one that was not acknowledged when the server died is sent again under the
/// same sequence.
struct Writer {
    index: u64,
    /// Sequence of the batch to send next; all smaller ones are acknowledged.
    next: u64,
    retried: u64,
    seed: u64,
}

/// Runs the plan; fails at the first batch that is lost, doubled or changed.
pub fn run(plan: &Plan) -> Result<Report> {
    println!("seed {}", plan.seed);
    let clock = SystemClock::new();
    let directory = tempfile::tempdir().context("data directory")?;
    // Small limits, so that flushes, rotations and releases fall between the kills too.
    let options = ServerOptions {
        flags: ["--memtable-bytes", "1048576", "--flush-age-seconds", "1"].map(str::to_owned).to_vec(),
        ..ServerOptions::default()
    };
    let random = SeededRandom::new(plan.seed);
    let mut writers: Vec<Writer> =
        (0..plan.writers).map(|index| Writer { index, next: 1, retried: 0, seed: plan.seed }).collect();
    for cycle in 0..plan.cycles {
        let server = Server::start_in(directory.path(), &options)
            .with_context(|| format!("start {cycle}, seed {}", plan.seed))?;
        create_runs(&server.http(), plan.writers)?;
        verify(&server.http(), &writers).with_context(|| format!("before kill {cycle}, seed {}", plan.seed))?;
        let alive = Duration::from_millis(20 + random.next_u64() % 400);
        writers = write_until_killed(server, writers, alive)?;
    }
    let server = Server::start_in(directory.path(), &options)?;
    let points =
        verify(&server.http(), &writers).with_context(|| format!("after the last kill, seed {}", plan.seed))?;
    Ok(Report {
        seed: plan.seed,
        cycles: plan.cycles,
        acked_batches: writers.iter().map(|writer| writer.next - 1).sum(),
        retried_batches: writers.iter().map(|writer| writer.retried).sum(),
        points,
        seconds: clock.monotonic().as_secs_f64(),
    })
}

pub(crate) fn create_runs(http: &Http, writers: u64) -> Result<()> {
    for index in 0..writers {
        let reply = http.post("/api/v1/runs", &json!({"project": PROJECT, "run_id": run_id(index)}))?;
        ensure!([201, 409].contains(&reply.status), "{} {}", reply.status, reply.text());
    }
    Ok(())
}

/// Lets the writers write for `alive`, kills the server, and collects the writers.
fn write_until_killed(server: Server, writers: Vec<Writer>, alive: Duration) -> Result<Vec<Writer>> {
    let stop = Arc::new(AtomicBool::new(false));
    let failures = Arc::new(Mutex::new(Vec::new()));
    let mut threads = Vec::new();
    for mut writer in writers {
        let (http, stop, failures) = (server.http(), stop.clone(), failures.clone());
        threads.push(stepwell_env::spawn("writer", move || {
            if let Err(error) = writer.write(&http, &stop) {
                failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(format!("{error:#}"));
            }
            writer
        })?);
    }
    std::thread::sleep(alive);
    server.kill()?;
    stop.store(true, Ordering::SeqCst);
    let mut finished = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(writer) => finished.push(writer),
            Err(_) => bail!("a writer panicked"),
        }
    }
    let failures = failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(finished)
}

impl Writer {
    /// Sends batches until the connection breaks.
    fn write(&mut self, http: &Http, stop: &AtomicBool) -> Result<()> {
        let producer = format!("crash-{}", self.index);
        let mut first = true;
        while !stop.load(Ordering::SeqCst) {
            let rows = batch(self.seed, self.index, self.next);
            let body = arrow_stream::encode_rows(&rows)?;
            let sequence = self.next.to_string();
            let headers = [
                ("content-type", arrow_stream::MEDIA_TYPE),
                ("stepwell-producer", &producer),
                ("stepwell-sequence", &sequence),
            ];
            // A broken connection leaves the batch unacknowledged: it goes again, under the same sequence.
            let Ok(reply) = http.send("POST", "/api/v1/ingest", &headers, &body) else { break };
            match reply.status {
                200 => {
                    let answer = reply.json()?;
                    ensure!(answer["points"] == json!(rows.len()), "sequence {sequence}: {answer}");
                    // Only the first batch after a kill can have arrived before.
                    ensure!(first || answer["duplicate"] == json!(false), "sequence {sequence}: {answer}");
                    self.retried += u64::from(first && self.next > 1);
                    self.next += 1;
                }
                429 | 503 => std::thread::sleep(Duration::from_millis(5)),
                status => bail!("sequence {sequence}: {status} {}", reply.text()),
            }
            first = false;
        }
        Ok(())
    }
}

pub(crate) fn run_id(index: u64) -> String {
    format!("crash run {index}")
}

/// The points of one batch: a function of the seed, so that no oracle need be kept.
pub(crate) fn batch(seed: u64, writer: u64, sequence: u64) -> Vec<Row> {
    let random = SeededRandom::new(seed ^ writer.rotate_left(48) ^ sequence);
    let points = 1 + random.next_u64() % 500;
    (0..points)
        .map(|point| Row {
            run_id: run_id(writer),
            metric: format!("m{}", random.next_u64() % 7),
            // The step tells batch and point apart, so that a doubled or lost point is seen as such.
            step: i64::try_from(sequence * 1_000 + point).unwrap_or(i64::MAX),
            timestamp_us: i64::from_ne_bytes(random.next_u64().to_ne_bytes()) >> 8,
            value: hostile(random.next_u64()),
        })
        .collect()
}

/// Any bits at all, NaN payloads included.
fn hostile(bits: u64) -> f64 {
    match bits % 16 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => f64::from_bits(0x7ff8_0000_0000_0000 | (bits >> 16)),
        5 => f64::from_bits(1),
        6..=9 => f64::from_bits(bits.rotate_left(17)),
        _ => (bits >> 40) as f64 / 1024.0,
    }
}

/// Compares what the server has with what it acknowledged, writer by writer; the number of points.
fn verify(http: &Http, writers: &[Writer]) -> Result<u64> {
    let mut total = 0;
    for writer in writers {
        let found = read(http, PROJECT, &run_id(writer.index))?;
        let mut expected = BTreeMap::new();
        for sequence in 1..writer.next {
            expected.extend(batch(writer.seed, writer.index, sequence).iter().map(|row| (row.step, bits(row))));
        }
        // A batch in flight at the kill may be there too, whole.
        let pending: Vec<Row> = batch(writer.seed, writer.index, writer.next);
        if found.contains_key(&pending[0].step) {
            expected.extend(pending.iter().map(|row| (row.step, bits(row))));
        }
        total += found.len() as u64;
        compare(&expected, &found).with_context(|| format!("writer {}", writer.index))?;
    }
    Ok(total)
}

pub(crate) fn compare(expected: &BTreeMap<i64, Bits>, found: &BTreeMap<i64, Bits>) -> Result<()> {
    for (step, wanted) in expected {
        match found.get(step) {
            None => bail!("step {step} was acknowledged and is lost (I1)"),
            Some(got) => ensure!(got == wanted, "step {step} is {got:?}, was sent as {wanted:?} (I5)"),
        }
    }
    match found.keys().find(|step| !expected.contains_key(step)) {
        Some(step) => bail!("step {step} is there and was never sent whole (I7)"),
        None => Ok(()),
    }
}
