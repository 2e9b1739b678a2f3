//! The document of results: on what machine, by what command, the tables.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::Result;

use super::table::Table;
use crate::process::{output, root};

/// `benches/RESULTS.md`.
pub(super) fn document(command: &str, figures: &Table, peers: &Table) -> Result<String> {
    let mut text = String::from("# Results\n\n");
    writeln!(
        text,
        "{} Server, load generator and peers share the machine; every acknowledgement of the server is after an fsync. Nothing is left \
         out: what misses its target is here too.\n",
        measured(command)?
    )?;
    write!(text, "## Figures\n\n{figures}\n## Ingest of peers, in the same run\n\n{peers}")?;
    Ok(text)
}

/// The document with one section, written anew or added: from its heading to the next.
pub(super) fn with_section(document: &str, heading: &str, body: &str) -> String {
    let section = format!("## {heading}\n\n{}\n", body.trim_end());
    let Some(begin) = document.find(&format!("## {heading}\n")) else {
        return format!("{}\n\n{section}", document.trim_end());
    };
    let after = document[begin..].find("\n## ").map_or(document.len(), |end| begin + end + 1);
    let rest = &document[after..];
    let gap = if rest.is_empty() { "" } else { "\n" };
    format!("{}{section}{gap}{rest}", &document[..begin])
}

/// What was measured, where and when.
pub(super) fn measured(command: &str) -> Result<String> {
    let commit = output(Command::new("git").current_dir(root()).args(["rev-parse", "--short", "HEAD"]))?;
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    Ok(format!("Of `{command}`, {} at commit {}, on {}.", date.trim(), commit.trim(), machine()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_added_once_and_replaced_in_its_place() {
        let document = "# Results\n\n## Figures\n\n| a |\n";
        let once = with_section(document, "Peers", "| 1 |\n");
        assert_eq!(once, "# Results\n\n## Figures\n\n| a |\n\n## Peers\n\n| 1 |\n");
        assert_eq!(with_section(&once, "Peers", "| 2 |"), once.replace("| 1 |", "| 2 |"));
        assert_eq!(with_section(&once, "Figures", "| b |"), once.replace("| a |", "| b |"));
    }
}
