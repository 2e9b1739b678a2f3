//! Backups of a server under load, with the backup or the server killed at random moments; each that was made is restored, and
//! has every batch that was acknowledged before it began, once, whole, with its bits (I1, I3, I5).

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stepwell_env::{Clock, JoinHandle, Random, SeededRandom, SystemClock, SystemRandom, spawn};

use crate::{Http, Server, ServerOptions, arrow_stream, command, crash, read_back};

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Backups to make; of three one is killed, and of three the server is killed during one.
    pub cycles: u64,
    /// Seed of the moments and of the data.
    pub seed: u64,
    /// Concurrent writers, each a producer with a run of its own.
    pub writers: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { cycles: 6, seed: SystemRandom.next_u64(), writers: 3 }
    }
}

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub backups: u64,
    pub killed_backups: u64,
    pub killed_servers: u64,
    pub restored: u64,
    pub killed_restores: u64,
    pub acked_batches: u64,
    pub points: u64,
    pub new_bytes: u64,
    pub bytes: u64,
    pub seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} backups ({} killed and made again, {} with the server killed meanwhile), {} restored ({} restores killed before); {} batches acknowledged, {} \
             points compared, {} bytes copied of {}, {:.1} s, seed {}",
            self.backups,
            self.killed_backups,
            self.killed_servers,
            self.restored,
            self.killed_restores,
            self.acked_batches,
            self.points,
            self.new_bytes,
            self.bytes,
            self.seconds,
            self.seed
        )
    }
}

/// Runs one of the binary's commands to its end.
pub fn stepwell(arguments: &[&str]) -> Result<Output> {
    command()?.args(arguments).output().context("run the binary")
}

/// Makes a backup; its JSON.
pub fn back_up(data_dir: &Path, to: &Path, more: &[&str]) -> Result<Value> {
    let (data_dir, to) = (text(data_dir)?, text(to)?);
    let arguments = [&["backup", "--json", "--data-dir", data_dir, "--to", to], more].concat();
    let output = stepwell(&arguments)?;
    ensure!(output.status.success(), "backup: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the JSON of the backup")
}

/// Restores a backup into `data_dir`; the JSON of it.
pub fn restore(from: &Path, data_dir: &Path, more: &[&str]) -> Result<Value> {
    let (from, data_dir) = (text(from)?, text(data_dir)?);
    let output = stepwell(&[&["restore", "--json", "--from", from, "--data-dir", data_dir], more].concat())?;
    ensure!(output.status.success(), "restore: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the JSON of the restore")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}

/// Writers that go on until they are stopped, also across a restart of their server.
pub struct Load {
    seed: u64,
    /// Sequence of each writer's last acknowledged batch.
    acked: Vec<Arc<AtomicU64>>,
}

/// Writers at work.
pub struct Working {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    /// Writers that have written nothing.
    pub fn new(seed: u64, writers: u64) -> Self {
        Self { seed, acked: (0..writers).map(|_| Arc::default()).collect() }
    }

    /// How far each writer is acknowledged.
    pub fn acked(&self) -> Vec<u64> {
        self.acked.iter().map(|acked| acked.load(Ordering::SeqCst)).collect()
    }

    /// Lets them work, and beside them someone who makes runs and purges them.
    pub fn start(&self, server: &Server) -> Result<Working> {
        crash::create_runs(&server.http(), self.acked.len() as u64)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (index, acked) in self.acked.iter().enumerate() {
            let (http, stop, acked, seed) = (server.http(), stop.clone(), acked.clone(), self.seed);
            threads.push(spawn("writer", move || write(&http, &stop, &acked, seed, index as u64))?);
        }
        let (http, is_over) = (server.http(), stop.clone());
        threads.push(spawn("deleter", move || delete(&http, &is_over))?);
        Ok(Working { stop, threads })
    }

    /// Checks that a restored server has, of each writer, the batches up to one that is at least `at_least`, and no others.
    /// Returns the number of points, and how far each writer is there.
    pub fn check(&self, http: &Http, at_least: &[u64]) -> Result<(u64, Vec<u64>)> {
        let (mut points, mut ends) = (0, Vec::new());
        for (index, least) in (0..).zip(at_least) {
            let found = read_back::read(http, crash::PROJECT, &crash::run_id(index))?;
            // Steps are sequence × 1,000 + the number of the point.
            let last = found.keys().last().map_or(0, |step| (step / 1_000) as u64);
            ensure!(last >= *least, "writer {index}: {last} is the last batch there, {least} was acknowledged (I1)");
            let batches = (1..=last).flat_map(|sequence| crash::batch(self.seed, index, sequence));
            let expected: BTreeMap<i64, read_back::Bits> =
                batches.map(|row| (row.step, read_back::bits(&row))).collect();
            crash::compare(&expected, &found).with_context(|| format!("writer {index}"))?;
            points += found.len() as u64;
            ends.push(last);
        }
        Ok((points, ends))
    }

    /// A batch that is in the restored state is a duplicate, the next is taken, once.
    pub fn check_retries(&self, http: &Http, ends: &[u64]) -> Result<()> {
        for (index, end) in (0..).zip(ends) {
            for (sequence, duplicate) in [(*end, true), (end + 1, false), (end + 1, true)] {
                if sequence == 0 {
                    continue;
                }
                let answer = send(http, self.seed, index, sequence)?.context("no answer")?;
                ensure!(answer["duplicate"] == json!(duplicate), "writer {index}, sequence {sequence}: {answer} (I3)");
            }
        }
        Ok(())
    }
}

impl Working {
    /// Ends the work; an error of any of them.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a writer panicked"),
            }
        }
        Ok(())
    }
}

/// Sends one batch; `None` if the server is gone or asks to wait.
fn send(http: &Http, seed: u64, writer: u64, sequence: u64) -> Result<Option<Value>> {
    let body = arrow_stream::encode_rows(&crash::batch(seed, writer, sequence))?;
    let (producer, sequence) = (format!("writer-{writer}"), sequence.to_string());
    let headers = [
        ("content-type", arrow_stream::MEDIA_TYPE),
        ("stepwell-producer", &producer),
        ("stepwell-sequence", &sequence),
    ];
    let Ok(reply) = http.send("POST", "/api/v1/ingest", &headers, &body) else { return Ok(None) };
    match reply.status {
        429 | 503 => Ok(None),
        _ => Ok(Some(reply.expect(200).with_context(|| format!("writer {writer}, sequence {sequence}"))?)),
    }
}

fn write(http: &Http, stop: &AtomicBool, acked: &AtomicU64, seed: u64, writer: u64) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let sequence = acked.load(Ordering::SeqCst) + 1;
        match send(http, seed, writer, sequence)? {
            Some(_) => acked.store(sequence, Ordering::SeqCst),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(())
}

/// Makes runs with points, and purges them again.
fn delete(http: &Http, stop: &AtomicBool) -> Result<()> {
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let path = "/api/v1/runs";
        let run = json!({"project": crash::PROJECT, "run_id": format!("gone {number}")});
        let log = json!({"step": 1, "metrics": {"a": 0.5, "b": 1.5}});
        // The server may be gone; each call that it answers counts.
        let calls = [("POST", path.to_owned(), run)].into_iter().chain(
            [("POST", "/log", log), ("DELETE", "", Value::Null), ("POST", "/purge", Value::Null)]
                .map(|(method, end, body)| (method, format!("{path}/gone%20{number}{end}"), body)),
        );
        for (method, path, body) in calls {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let Ok(reply) = http.send(method, &path, &[("content-type", "application/json")], body.as_bytes()) else {
                return Ok(());
            };
            ensure!(reply.status < 500 || reply.status == 503, "{method} {path}: {} {}", reply.status, reply.text());
        }
    }
    Ok(())
}

/// Runs of points that the metadata do not know: none, for a run is there before its points and goes after them.
pub fn check_runs_known(http: &Http) -> Result<()> {
    let query =
        "SELECT DISTINCT s.run_id FROM summaries s LEFT JOIN runs r ON s.run_id = r.run_id WHERE r.run_id IS NULL";
    let unknown = http.sql(crash::PROJECT, query)?;
    ensure!(unknown.is_empty(), "points of runs that are not there: {unknown:?}");
    Ok(())
}

/// Runs the plan; fails at the first batch that is lost, doubled or changed.
pub fn run(plan: &Plan) -> Result<Report> {
    println!("seed {}", plan.seed);
    let clock = SystemClock::new();
    let directory = tempfile::tempdir()?;
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    // Small limits, so that flushes, merges and releases fall into the backups.
    let flags = ["--memtable-bytes", "1048576", "--flush-age-seconds", "1", "--wal-retain-bytes", "300000"];
    let options = ServerOptions { flags: flags.map(str::to_owned).to_vec(), ..ServerOptions::default() };
    let random = SeededRandom::new(plan.seed);
    let load = Load::new(plan.seed, plan.writers);
    let mut report = Report { seed: plan.seed, ..Report::default() };
    let mut server = Server::start_in(&data_dir, &options)?;
    for cycle in 0..plan.cycles {
        let mut working = load.start(&server)?;
        std::thread::sleep(Duration::from_millis(random.next_u64() % 300));
        let fault = cycle % 3;
        if fault == 1 {
            let arguments = ["backup", "--data-dir", text(&data_dir)?, "--to", text(&to)?];
            run_killed(&arguments, Duration::from_millis(random.next_u64() % 400))?;
            report.killed_backups += 1;
        }
        let at_least = load.acked();
        let (from, into) = (data_dir.clone(), to.clone());
        let making = spawn("backup", move || back_up(&from, &into, &["--keep", "4"]))?;
        if fault == 2 {
            std::thread::sleep(Duration::from_millis(random.next_u64() % 300));
            server.kill()?;
            working.stop()?;
            server = Server::start_in(&data_dir, &options)?;
            working = load.start(&server)?;
            report.killed_servers += 1;
        }
        let made = match making.join() {
            Ok(made) => made.with_context(|| format!("backup {cycle}, seed {}", plan.seed))?,
            Err(_) => bail!("the backup panicked"),
        };
        working.stop()?;
        report.backups += 1;
        report.bytes += made["bytes"].as_u64().context("bytes")?;
        report.new_bytes += made["new_bytes"].as_u64().context("new_bytes")?;
        let verified = stepwell(&["backup", "verify", text(&to)?])?;
        ensure!(verified.status.success(), "verify: {}", String::from_utf8_lossy(&verified.stderr));
        let restored = directory.path().join(format!("restored-{cycle}"));
        if fault == 0 {
            // A restore that is killed leaves nothing under the name, or all.
            let arguments = ["restore", "--from", text(&to)?, "--data-dir", text(&restored)?];
            run_killed(&arguments, Duration::from_millis(random.next_u64() % 300))?;
            report.killed_restores += 1;
        }
        if !restored.exists() {
            restore(&to, &restored, &[])?;
        }
        report.points += check_restored(&restored, &load, &at_least)
            .with_context(|| format!("backup {cycle}, seed {}", plan.seed))?;
        std::fs::remove_dir_all(&restored)?;
        report.restored += 1;
    }
    report.acked_batches = load.acked().iter().sum();
    report.seconds = clock.monotonic().as_secs_f64();
    Ok(report)
}

/// Serves a restored directory and looks at it.
fn check_restored(data_dir: &Path, load: &Load, at_least: &[u64]) -> Result<u64> {
    let mut server = Server::start_in(data_dir, &ServerOptions::default())?;
    let http = server.http();
    let (points, ends) = load.check(&http, at_least)?;
    check_runs_known(&http)?;
    load.check_retries(&http, &ends)?;
    server.terminate()?;
    server.check_log(&[])?;
    Ok(points)
}

/// A command that is killed after some time, if it has not ended before.
fn run_killed(arguments: &[&str], after: Duration) -> Result<()> {
    let mut child = command()?.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(after);
    child.kill()?;
    child.wait()?;
    Ok(())
}
