//! `cargo xtask demo`: the whole path in a minute, on this machine.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo, root, target_dir};

/// The server that the demonstration started; stopped in order however the demonstration ends.
struct Server {
    child: Child,
    url: String,
}

/// Builds, serves, imports, streams, asks; then serves until Ctrl-C, or stops with `--once`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let once = match arguments {
        [] => false,
        [flag] if flag == "--once" => true,
        _ => bail!("demo takes only --once"),
    };
    process::run(cargo().args(["build", "--release", "--package", "stepwell"]))?;
    let binary = target_dir()?.join("release/stepwell");
    let data_dir = new_data_dir()?;
    let mut server = Server::start(&binary, &data_dir)?;
    println!("\nserving on {} from {}\n", server.url, data_dir.display());

    println!("1. Real files: a TensorBoard log directory");
    let logdir = root().join("tests/fixtures/tensorboard/logdir");
    let import = ["import", "tensorboard", "--project", "imported", "--server", &server.url];
    process::run(Command::new(&binary).args(import).arg(&logdir))?;

    println!("\n2. Live runs, SQL and a chart");
    process::run(Command::new(&binary).args(["demo", "--imported", "imported", "--server", &server.url]))?;

    println!("\nThe data lies in {}: plain Parquet in segments/, see `stepwell inspect`.", data_dir.display());
    if once {
        return server.stop();
    }
    println!("Still serving on {}. Ask it yourself:", server.url);
    println!(
        "  {} sql --server {} --project imported \"SELECT * FROM summaries LIMIT 10\"",
        binary.display(),
        server.url
    );
    println!("Ctrl-C stops it.");
    server.wait_for_interrupt()
}

/// A directory that no earlier demonstration used.
fn new_data_dir() -> Result<PathBuf> {
    let parent = target_dir()?.join("demo");
    fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
    for number in 1.. {
        let candidate = parent.join(number.to_string());
        match fs::create_dir(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("make {}", candidate.display())),
        }
    }
    bail!("no free directory below {}", parent.display())
}

impl Server {
    fn start(binary: &Path, data_dir: &Path) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-filter", "warn", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("read the server's first line")?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let Some(url) = url.map(|word| word.trim_end_matches(',').to_owned()) else {
            let status = child.wait()?;
            bail!("the server did not start ({status}); it said {line:?}");
        };
        Ok(Self { child, url })
    }

    /// SIGTERM, then waits for the ordered end.
    fn stop(&mut self) -> Result<()> {
        let id = i32::try_from(self.child.id()).context("process id")?;
        // SAFETY: kill takes two integers; the process is our child and not yet waited for, so the id is still its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
        let status = self.child.wait().context("wait for the server")?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }

    /// Leaves Ctrl-C to the server, which shares our terminal, and ends when it does.
    fn wait_for_interrupt(&mut self) -> Result<()> {
        // SAFETY: replaces the disposition of one signal by "ignore"; no handler runs.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        let status = self.child.wait().context("wait for the server")?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        println!("stopped");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // The demonstration failed on the way: nothing is left behind, and its error is already being reported.
            let _ = self.stop();
        }
    }
}
