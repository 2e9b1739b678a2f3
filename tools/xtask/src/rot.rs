//! `cargo xtask rot`.

use anyhow::Result;

use crate::process::{self, cargo};

/// Builds the tool optimised, for there are tens of thousands of cases, and runs it.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    process::run(cargo().args(["run", "--release", "--package", "stepwell-rot", "--"]).args(arguments))
}
