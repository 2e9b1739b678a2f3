//! `cargo xtask sim`.

use anyhow::Result;

use crate::process::{self, cargo};

/// Runs simulated worlds, in the build that the tests have, with its checks of arithmetic; in a release build where that is asked for.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (of_cargo, of_sim): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| *argument == "--release");
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "stepwell-sim"]).args(of_cargo);
    process::run(command.arg("--").args(of_sim))
}
