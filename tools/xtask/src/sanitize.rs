//! `cargo xtask concurrency` and `cargo xtask sanitize`: threads under checkers that see more than a test does.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{self, cargo, target_dir};

/// Packages with an order of memory accesses of their own, modelled with the feature `loom`.
const MODELLED: [&str; 3] = ["stepwell-env", "stepwell-segment", "stepwell-engine"];
/// Packages with threads that the interpreter can run: no mapped files, no system calls. What has neither threads nor `unsafe` would show
/// it nothing that tests do not.
const INTERPRETED: [&str; 1] = ["stepwell-memtable"];
/// Packages with threads.
const THREADED: [&str; 3] = ["stepwell-memtable", "stepwell-wal", "stepwell-engine"];
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Every interleaving of the models, then many of the whole.
pub(crate) fn concurrency() -> Result<()> {
    for package in MODELLED {
        let feature = format!("{package}/loom");
        process::run(cargo().args(["test", "--package", package, "--features", &feature, "--lib", "loom"]))?;
    }
    process::run(cargo().args(["test", "--package", "stepwell-engine", "--test", "snapshots", "--", "--nocapture"]))
}

/// Both tools, or the one that is named.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [] => thread().and_then(|()| miri()),
        [tool] if tool == "thread" => thread(),
        [tool] if tool == "miri" => miri(),
        _ => bail!("sanitize takes thread or miri, or nothing for both"),
    }
}

/// Its own target directory: everything, the standard library included, is built anew with checks.
fn nightly(name: &str) -> Result<Command> {
    let mut command = process::nightly_cargo();
    command.env("CARGO_TARGET_DIR", target_dir()?.join("sanitize").join(name));
    Ok(command)
}

fn thread() -> Result<()> {
    let mut command = nightly("thread")?;
    command.args(["test", "-Zbuild-std", "--target", TARGET, "--lib", "--tests"]);
    command.env("RUSTFLAGS", "-Zsanitizer=thread").env("TSAN_OPTIONS", "halt_on_error=1").env("PROPTEST_CASES", "16");
    process::run(with_packages(&mut command, &THREADED))
}

fn miri() -> Result<()> {
    let mut command = nightly("miri")?;
    command.args(["miri", "test", "--lib"]);
    // Time is read by the generator of test cases.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "3");
    process::run(with_packages(&mut command, &INTERPRETED))
}

fn with_packages<'a>(command: &'a mut Command, packages: &[&str]) -> &'a mut Command {
    packages.iter().fold(command, |command, package| command.args(["--package", package]))
}
