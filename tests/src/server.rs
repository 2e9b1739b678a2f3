//! The real binary as a child process.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use stepwell_env::{Clock, SystemClock};

use crate::{Http, locate};

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Flags besides `--listen` and `--data-dir`.
    pub flags: Vec<String>,
    /// A program, with its arguments, that starts the binary and becomes it: `strace`, `prlimit`.
    pub wrapper: Vec<String>,
    /// Variables of its environment; those of the caller that start with `STEPWELL_` are not handed on.
    pub variables: Vec<(String, String)>,
}

/// A running `stepwell serve` on a free port. Killed when dropped.
pub struct Server {
    child: Child,
    url: String,
    data_dir: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
    /// Kept so that the directory lives as long as the server; absent where the caller owns the directory.
    _temporary: Option<tempfile::TempDir>,
}

/// A command of the binary, free of the caller's `STEPWELL_*` variables.
pub fn command() -> Result<Command> {
    wrapped(&[])
}

fn wrapped(wrapper: &[String]) -> Result<Command> {
    let binary = locate::binary()?;
    let mut command = match wrapper {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STEPWELL_")) {
        command.env_remove(name);
    }
    Ok(command)
}

impl Server {
    /// Starts a server on a data directory of its own.
    pub fn start() -> Result<Self> {
        Self::start_with(&ServerOptions::default())
    }

    /// Starts a server on a data directory of its own.
    pub fn start_with(options: &ServerOptions) -> Result<Self> {
        let temporary = tempfile::tempdir().context("data directory")?;
        let mut server = Self::start_in(temporary.path(), options)?;
        server._temporary = Some(temporary);
        Ok(server)
    }

    /// Starts a server on `data_dir` and waits until it is ready.
    pub fn start_in(data_dir: &Path, options: &ServerOptions) -> Result<Self> {
        let server = Self::spawn(data_dir, options)?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Starts a server on `data_dir` and waits only until it listens.
    pub fn spawn(data_dir: &Path, options: &ServerOptions) -> Result<Self> {
        let mut child = wrapped(&options.wrapper)?
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(&options.flags)
            .envs(options.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the binary")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().context("stderr")?;
        let lines = log.clone();
        stepwell_env::spawn("server-log", move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(line);
            }
        })?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line).context("first line")?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let Some(url) = url.map(|word| word.trim_end_matches(',').to_owned()) else {
            let status = child.wait()?;
            std::thread::sleep(Duration::from_millis(50));
            let log = log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            bail!("the server did not start ({status}): {line:?} {}", log.join("\n"));
        };
        Ok(Self { child, url, data_dir: data_dir.to_owned(), log, _temporary: None })
    }

    /// Waits until it is ready to answer.
    pub fn wait_ready(&self) -> Result<()> {
        let clock = SystemClock::new();
        while clock.monotonic() < Duration::from_secs(60) {
            if self.http().get("/ready").is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("not ready after 60 s:\n{}", self.log().join("\n"))
    }

    /// One figure of `/metrics`, by its name without labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let reply = self.http().get("/metrics")?;
        let text = reply.text();
        ensure!(reply.status == 200, "/metrics answers {}: {text}", reply.status);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("/metrics has no {name}"))?.parse().with_context(|| name.to_owned())
    }

    /// The most memory that the process has had, in bytes.
    pub fn resident_bytes_max(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1_024)
    }

    /// A client of it.
    pub fn http(&self) -> Http {
        Http::new(&self.url)
    }

    /// Its address, e.g. `http://127.0.0.1:41234`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Fails if the log holds a WARN or ERROR line that does not contain one of `expected`.
    pub fn check_log(&self, expected: &[&str]) -> Result<()> {
        let loud = |line: &&String| line.contains(" WARN ") || line.contains("ERROR") || line.contains("panicked");
        let unexpected: Vec<String> = self
            .log()
            .iter()
            .filter(loud)
            .filter(|line| !expected.iter().any(|part| line.contains(part)))
            .cloned()
            .collect();
        ensure!(unexpected.is_empty(), "unexpected in the log:\n{}", unexpected.join("\n"));
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let id = i32::try_from(self.child.id()).context("process id")?;
        // SAFETY: kill takes two integers; the process is our child and not yet waited for, so the id is still its own.
        ensure!(unsafe { libc::kill(id, signal) } == 0, "kill: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill")?;
        self.child.wait().context("wait")?;
        Ok(())
    }

    /// SIGTERM, and waits for the end; how long that took, and how it ended.
    pub fn terminate(&mut self) -> Result<(Duration, ExitStatus)> {
        let clock = SystemClock::new();
        self.signal(libc::SIGTERM)?;
        let status = self.wait(Duration::from_secs(30))?;
        Ok((clock.monotonic(), status))
    }

    /// Waits for the end.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus> {
        let clock = SystemClock::new();
        while clock.monotonic() < at_most {
            if let Some(status) = self.child.try_wait().context("wait")? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("still running after {at_most:?}:\n{}", self.log().join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, or ended here; there is nothing to do about a failure of either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
