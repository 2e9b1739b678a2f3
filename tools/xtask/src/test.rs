//! `cargo xtask test` and `cargo xtask schemas`.

use anyhow::Result;

use crate::{
    faults, fuzz, mlflow,
    process::{self, cargo, target_dir},
    python,
};

/// Prepares what the tests need, then runs every test of the workspace, those of the real binary included.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let is_long = arguments.first().is_some_and(|first| first == "--long");
    let arguments = &arguments[usize::from(is_long)..];
    let target = target_dir()?;
    python::prepare(&target)?;
    mlflow::prepare(&target)?;
    faults::install();
    process::run(cargo().args(["build", "--package", "stepwell"]))?;
    // Tells the end-to-end suites that the binary is fresh, so that not each of them asks cargo again.
    process::run(cargo().args(["test", "--workspace"]).args(arguments).env("BINARY_IS_BUILT", "1"))?;
    if is_long { fuzz::run(&[]) } else { Ok(()) }
}

/// Writes the generated files of `schemas/`: the tests that compare them write instead when told to.
pub(crate) fn schemas() -> Result<()> {
    // The map of ARCHITECTURE.md is made the same way, from the descriptions of the crates.
    for package in ["stepwell", "stepwell-app", "stepwell-server", "stepwell-tests"] {
        let mut command = cargo();
        command.args(["test", "--quiet", "--package", package]).env("UPDATE_SCHEMAS", "1");
        if package == "stepwell-tests" {
            command.args(["--test", "edges"]);
        }
        process::run(&mut command)?;
    }
    Ok(())
}
