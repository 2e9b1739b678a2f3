//! A data directory, a server on it, a data set in it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use stepwell_env::{Clock, SystemClock};
use stepwell_tests::{Server, ServerOptions};

use super::Options;
use crate::{Dataset, FsyncProbe, Load, LoadReport, Shape, create_runs, probe_fsync, verify};

pub(super) const PROJECT: &str = "figures";
const SEED: u64 = 1;
/// Runs read back whole after each load.
const WHOLE_RUNS: usize = 2;
const REPETITIONS: usize = 7;

/// Flags of a server whose memory takes all there is to send. Its budget is more than it uses: what matters here is that nothing is
/// flushed.
pub(super) const ROOMY: [&str; 4] = ["--memory-bytes", "68719476736", "--memtable-bytes", "8589934592"];

pub(super) struct Stage {
    dir: PathBuf,
    pub(super) load: Duration,
    pub(super) sustained: Duration,
    pub(super) python: Option<PathBuf>,
}

/// A server and where its data lies; both end with it.
pub(super) struct Running {
    pub(super) server: Server,
    dir: tempfile::TempDir,
    flags: Vec<String>,
}

/// All of a data set in large batches, as fast as it goes.
pub(super) const ALL: Sending =
    Sending { batch: 10_000, connections: 4, rate: None, pipeline: None, duration: Duration::from_secs(3_600) };

/// How to send a data set.
pub(super) struct Sending {
    pub(super) batch: u64,
    pub(super) connections: u64,
    pub(super) rate: Option<f64>,
    /// Over Flight, with so many batches in flight on each connection.
    pub(super) pipeline: Option<u64>,
    pub(super) duration: Duration,
}

impl Stage {
    pub(super) fn new(options: &Options) -> Self {
        let python = options.python.clone().or_else(|| stepwell_tests::venv_python().ok());
        let sustained = options.sustained.unwrap_or(options.load);
        Self { dir: options.dir.clone(), load: options.load, sustained, python }
    }

    /// Starts a server on an empty directory.
    pub(super) fn start(&self, flags: &[&str]) -> Result<Running> {
        let dir = tempfile::tempdir_in(&self.dir).context("data directory")?;
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let server = start(dir.path(), &flags)?;
        Ok(Running { server, dir, flags })
    }

    pub(super) fn probe(&self) -> Result<FsyncProbe> {
        probe_fsync(&self.dir)
    }
}

fn start(dir: &Path, flags: &[String]) -> Result<Server> {
    Server::start_in(dir, &ServerOptions { flags: flags.to_vec(), ..ServerOptions::default() })
}

impl Running {
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Creates the runs, sends, reads back.
    pub(super) fn send(&self, name: &str, shape: Shape, sending: &Sending) -> Result<LoadReport> {
        let dataset = Arc::new(Dataset::new(name, shape, SEED));
        let load = Load {
            server: self.server.url().to_owned(),
            project: PROJECT.to_owned(),
            dataset: dataset.clone(),
            batch: sending.batch,
            connections: sending.connections,
            pipeline: sending.pipeline,
            mlflow: false,
            prepared: false,
            producers: sending.connections,
            rate: sending.rate,
            duration: sending.duration,
            session: name.to_owned(),
        };
        create_runs(&load.server, PROJECT, &dataset, sending.connections.min(16))?;
        let report = load.run()?;
        eprintln!("  {report}");
        eprintln!("  {}", verify(&load, &report.sent, WHOLE_RUNS)?);
        Ok(report)
    }

    /// Stops in order, which writes everything to segments, and starts again.
    pub(super) fn flush(mut self) -> Result<Self> {
        let (_, status) = self.server.terminate()?;
        ensure!(status.success(), "the server ended with {status}");
        self.server = start(self.dir.path(), &self.flags)?;
        Ok(self)
    }

    /// Waits until no merge of segments is due.
    pub(super) fn wait_for_compaction(&self) -> Result<()> {
        while self.server.metric("stepwell_compaction_due")? > 0.0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Kills it, starts it again, and says how long that took until it was ready.
    pub(super) fn crash(self) -> Result<(Self, Duration)> {
        let Self { server, dir, flags } = self;
        server.kill()?;
        let clock = SystemClock::new();
        let server = start(dir.path(), &flags)?;
        Ok((Self { server, dir, flags }, clock.monotonic()))
    }

    /// Bytes of the files below a folder of the data directory, and their number.
    pub(super) fn bytes_below(&self, folder: &str) -> Result<(u64, u64)> {
        files_below(&self.dir.path().join(folder))
    }
}

fn files_below(path: &Path) -> Result<(u64, u64)> {
    let (mut bytes, mut files) = (0, 0);
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry?;
        let (more_bytes, more_files) = match entry.metadata()? {
            of_folder if of_folder.is_dir() => files_below(&entry.path())?,
            of_file => (of_file.len(), 1),
        };
        bytes += more_bytes;
        files += more_files;
    }
    Ok((bytes, files))
}

/// The median of several repetitions after one that fills caches.
pub(super) fn median(mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    work()?;
    let clock = SystemClock::new();
    let mut times = Vec::new();
    for _ in 0..REPETITIONS {
        let begin = clock.monotonic();
        work()?;
        times.push(clock.monotonic() - begin);
    }
    times.sort();
    Ok(times[REPETITIONS / 2])
}
