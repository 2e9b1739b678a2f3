//! The document of results: on what machine, by what command, the tables.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::Result;

use super::table::Table;
use crate::process::{output, root};

/// `benches/RESULTS.md`.
pub(super) fn document(command: &str, figures: &Table, peers: &Table) -> Result<String> {
    let mut text = String::from("# Results\n\n");
    let commit = output(Command::new("git").current_dir(root()).args(["rev-parse", "--short", "HEAD"]))?;
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    writeln!(
        text,
        "Of `{command}`, {} at commit {}, on {}. Server, load generator and peers share the machine; every acknowledgement of \
         the server is after an fsync. Nothing is left out: what misses its target is here too.\n",
        date.trim(),
        commit.trim(),
        machine()
    )?;
    write!(text, "## Figures\n\n{figures}\n## Ingest of peers, in the same run\n\n{peers}")?;
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
