//! `cargo xtask sim`.

use anyhow::Result;

use crate::process::{self, cargo};

/// Runs simulated worlds; for hours in a build that makes the most of them.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "stepwell-sim"]);
    if arguments.iter().any(|argument| argument.starts_with("--hours")) {
        command.arg("--release");
    }
    process::run(command.arg("--").args(arguments))
}
