//! `cargo xtask bench`: the figures and the peers, into `benches/RESULTS.md`.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    process::{self, cargo, root, target_dir},
    python,
};

/// How long peers are measured, each.
const PEER_SECONDS: &str = "5";
const SECONDS_DEFAULT: &str = "60";

/// `[--seconds N] [FIGURE…]`: measures, prints, and writes the results if all figures were measured.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (seconds, only) = match arguments {
        [flag, seconds, only @ ..] if flag == "--seconds" => (seconds.as_str(), only),
        only => (SECONDS_DEFAULT, only),
    };
    let target = target_dir()?;
    let interpreter = python::prepare(&target)?;
    // Both at once: one by one, cargo would build their dependencies with different features, twice.
    process::run(cargo().args(["build", "--release", "--package", "stepwell", "--package", "stepwell-loadgen"]))?;
    let figures = output(
        Command::new(target.join("release/stepwell-loadgen"))
            .env("BINARY_IS_BUILT", "1")
            .args(["figures", "--seconds", seconds, "--dir"])
            .arg(&target)
            .arg("--python")
            .arg(&interpreter)
            .args(only),
    )?;
    let peers = output(
        Command::new(&interpreter)
            .arg(root().join("benches/peers/ingest.py"))
            .arg(target.join("peers"))
            .arg(PEER_SECONDS),
    )?;
    println!("{figures}\n{peers}");
    if !only.is_empty() {
        return Ok(());
    }
    let path = root().join("benches/RESULTS.md");
    fs::write(&path, document(seconds, &figures, &peers)?).with_context(|| format!("write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

/// What a command prints; its errors go where ours go.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output().context("run a measurement")?;
    if !output.status.success() {
        bail!("a measurement failed: {}", output.status);
    }
    String::from_utf8(output.stdout).context("its output is not text")
}

fn document(seconds: &str, figures: &str, peers: &str) -> Result<String> {
    let mut text = String::from("# Results\n\n");
    let commit = output(Command::new("git").current_dir(root()).args(["rev-parse", "--short", "HEAD"]))?;
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    writeln!(
        text,
        "Of `cargo xtask bench --seconds {seconds}`, {} at commit {}, on {}. Server, load generator and peers share the machine; \
         every acknowledgement of the server is after an fsync. Nothing is left out: what misses its target is here too.\n",
        date.trim(),
        commit.trim(),
        machine()
    )?;
    writeln!(text, "## Figures\n\n{}\n\n## Ingest of peers, in the same run\n\n{}", figures.trim(), peers.trim())?;
    Ok(text)
}

/// Processor, cores, memory and kernel, as Linux tells them.
fn machine() -> String {
    let field = |path: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(Path::new(path)).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {processor}, {memory} of memory, Linux {}", kernel.trim())
}
