//! Overload: what happens to a server that is offered twice of what it can take. It may refuse and must say when to come back;
//! it may not lose what it acknowledged (I1), nor use more memory than its budget (I9).

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use stepwell_env::{Clock, SystemClock, spawn};
use stepwell_tests::{Server, ServerOptions};

use crate::{Dataset, Load, LoadReport, Resident, Sent, Shape, create_runs, verify};

const PROJECT: &str = "overload";
/// Connections that find the sustainable rate; each waits for its acknowledgement.
const CALIBRATION_CONNECTIONS: u64 = 4;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// What the allocator and the operating system may add to the budget.
const SLACK: f64 = 1.25;

/// What to do to a server.
#[derive(Debug, Clone)]
pub struct Overload {
    /// The data directory is made below it, and removed afterwards.
    pub dir: PathBuf,
    /// How long the load goes on, in all rounds together.
    pub duration: Duration,
    /// How long one round of it goes on. What a round brought is then read back and deleted, so that the disk need not hold all.
    pub round: Duration,
    /// How long the sustainable rate is measured.
    pub calibration: Duration,
    /// Points per batch.
    pub batch: u64,
    /// Batches that may be on their way at once; more than the server's queue holds, or it never refuses.
    pub connections: u64,
    /// Most resident memory the server should have, bytes; its own budget if absent.
    pub memory_bytes: Option<u64>,
    /// Flags of the server.
    pub flags: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct OverloadReport {
    /// Points per second that were acknowledged while nothing was refused for long.
    pub sustainable: f64,
    /// Batches that were due.
    pub offered: u64,
    /// Batches that were acknowledged.
    pub accepted: u64,
    /// Answers of 429 and 503, and lost connections; each was tried again.
    pub refused: u64,
    /// The samples with most memory, each number by itself.
    pub peak: Resident,
    pub samples: u64,
    pub budget_bytes: u64,
    pub rounds: u64,
    /// What was lost; `None` if nothing.
    pub lost: Option<String>,
}

impl OverloadReport {
    /// What was broken of what is promised, a sentence each.
    pub fn violations(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some(lost) = &self.lost {
            broken.push(format!("acknowledged points are lost: {lost}"));
        }
        if self.peak.all as f64 > self.budget_bytes as f64 * SLACK {
            let (peak, budget) = (mib(self.peak.all), mib(self.budget_bytes));
            broken.push(format!("{peak} MiB were resident, the budget is {budget} MiB and a quarter"));
        }
        if self.accepted == 0 {
            broken.push("nothing was accepted".to_owned());
        }
        broken
    }
}

impl fmt::Display for OverloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sustainable, offered, accepted, refused, peak, samples, budget_bytes, rounds, .. } = self;
        writeln!(f, "sustainable {sustainable:.0} points/s; offered twice of that, in {rounds} rounds")?;
        writeln!(f, "batches: {offered} offered, {accepted} accepted, {refused} refusals (tried again)")?;
        writeln!(
            f,
            "peak resident memory: {} MiB (heap {}, mapped files {}) in {samples} samples; budget {} MiB, with a quarter {}",
            mib(peak.all),
            mib(peak.anon),
            mib(peak.file),
            mib(*budget_bytes),
            mib((*budget_bytes as f64 * SLACK) as u64)
        )?;
        match self.violations() {
            broken if broken.is_empty() => {
                write!(f, "pass: nothing acknowledged was lost, memory stayed in its budget")
            }
            broken => write!(f, "fail: {}", broken.join("; ")),
        }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

impl Overload {
    /// Starts a server, overloads it, reads back and deletes, round by round.
    pub fn run(&self) -> Result<OverloadReport> {
        let dir = tempfile::tempdir_in(&self.dir).context("data directory")?;
        // Counting what an hour brought takes a while.
        let mut flags = vec!["--query-timeout-seconds".to_owned(), "3600".to_owned()];
        flags.extend(self.flags.iter().cloned());
        let server = Server::start_in(dir.path(), &ServerOptions { flags, ..ServerOptions::default() })?;
        let budget_bytes = match self.memory_bytes {
            Some(bytes) => bytes,
            None => server.metric("stepwell_memory_budget_bytes")? as u64,
        };
        let sustainable = self.calibrate(&server)?;
        let offered = 2.0 * sustainable * self.duration.as_secs_f64() / self.batch as f64;
        let mut report = OverloadReport {
            sustainable,
            offered: offered as u64,
            accepted: 0,
            refused: 0,
            peak: Resident::default(),
            samples: 0,
            budget_bytes,
            rounds: 0,
            lost: None,
        };
        let (rounds, peak, samples) = sampled(server.id(), || self.rounds(&server, &mut report))?;
        (report.rounds, report.peak, report.samples) = (rounds, peak, samples);
        Ok(report)
    }

    /// Goes on until the time is over or something is lost. Returns how many rounds there were.
    fn rounds(&self, server: &Server, report: &mut OverloadReport) -> Result<u64> {
        let mut left = self.duration;
        for round in 1.. {
            let duration = left.min(self.round);
            let rate = Some(2.0 * report.sustainable);
            let load = self.load(server, &format!("round-{round}"), self.connections, rate, duration);
            create_runs(&load.server, &load.project, &load.dataset, 16)?;
            let LoadReport { batches, retries, sent, .. } = load.run()?;
            report.accepted += batches;
            report.refused += retries;
            report.lost = lost(&load, &sent);
            left -= duration;
            eprintln!("{batches} batches accepted, {retries} refusals; {:.0} s left", left.as_secs_f64());
            if left.is_zero() || report.lost.is_some() {
                return Ok(round);
            }
            forget(server, &load.project)?;
        }
        Ok(0)
    }

    /// Points per second that a few connections get acknowledged, each as fast as it can.
    fn calibrate(&self, server: &Server) -> Result<f64> {
        let load = self.load(server, "calibration", CALIBRATION_CONNECTIONS, None, self.calibration);
        create_runs(&load.server, &load.project, &load.dataset, CALIBRATION_CONNECTIONS)?;
        let report = load.run()?;
        ensure!(report.points > 0, "nothing was acknowledged in {:?}", self.calibration);
        forget(server, &load.project)?;
        Ok(report.points_per_second())
    }

    fn load(&self, server: &Server, name: &str, connections: u64, rate: Option<f64>, duration: Duration) -> Load {
        // A run for each connection, too long to come to its end.
        let shape = Shape { runs: connections, metrics: self.batch.min(1_000), steps: 100_000_000 };
        Load {
            server: server.url().to_owned(),
            project: format!("{PROJECT}-{name}"),
            dataset: Arc::new(Dataset::new(name, shape, 1)),
            batch: self.batch,
            connections,
            pipeline: None,
            mlflow: false,
            prepared: false,
            producers: connections,
            rate,
            duration,
            session: name.to_owned(),
        }
    }
}

/// Deletes a project and all its points for good.
fn forget(server: &Server, project: &str) -> Result<()> {
    let path = format!("/api/v1/projects/{project}");
    for (method, path) in [("DELETE", path.clone()), ("POST", format!("{path}/purge"))] {
        let reply = server.http().send(method, &path, &[], &[])?;
        ensure!(reply.status == 204, "{method} {path}: {} {}", reply.status, reply.text());
    }
    Ok(())
}

/// What is missing of what was acknowledged.
fn lost(load: &Load, sent: &Sent) -> Option<String> {
    verify(load, sent, 0).err().map(|error| format!("{error:#}"))
}

/// Does work while looking at the memory of a process each second, and once at the end.
fn sampled<T>(process: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, Resident, u64)> {
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    let sampler = spawn("sample", move || -> Result<(Resident, u64)> {
        let clock = SystemClock::new();
        let (mut peak, mut samples) = (Resident::default(), 0);
        loop {
            let is_last = stop.load(Ordering::Acquire);
            peak = peak.max(Resident::of(process)?);
            samples += 1;
            if is_last {
                return Ok((peak, samples));
            }
            let next = SAMPLE_EVERY * samples as u32;
            while clock.monotonic() < next && !stop.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    })?;
    let result = work();
    done.store(true, Ordering::Release);
    let (peak, samples) = crate::load::join_all([Ok(sampler)].into_iter())?.pop().context("no sample")?;
    Ok((result?, peak, samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_i9_losses_and_memory_past_the_budget_and_a_quarter_fail() {
        let good = OverloadReport {
            sustainable: 1.0,
            offered: 2,
            accepted: 1,
            refused: 1,
            peak: Resident { all: 125 << 20, anon: 1, file: 1 },
            samples: 1,
            budget_bytes: 100 << 20,
            rounds: 1,
            lost: None,
        };
        assert!(good.violations().is_empty() && good.to_string().contains("pass"), "{good}");
        let larger = OverloadReport { peak: Resident { all: 126 << 20, ..good.peak }, ..good.clone() };
        let lossy = OverloadReport { lost: Some("run r".to_owned()), ..good.clone() };
        let idle = OverloadReport { accepted: 0, ..good };
        for (report, says) in [(larger, "126 MiB"), (lossy, "run r"), (idle, "nothing")] {
            assert_eq!(report.violations().len(), 1);
            assert!(report.to_string().contains("fail") && report.to_string().contains(says), "{report}");
        }
    }
}
