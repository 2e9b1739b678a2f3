//! `cargo xtask fuzz`: the targets of `tools/fuzz` under libFuzzer, one after the other.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::process::{self, root, target_dir};

const SECONDS: u64 = 60;
/// The address sanitizer needs a target apart from the compiler's own, so that build scripts are built without it.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// Memory of a target's process, the sanitizer's included, and longest time of one input.
const LIMITS: [&str; 3] = ["-rss_limit_mb=3072", "-malloc_limit_mb=1024", "-timeout=60"];

/// What one run says of itself.
struct Outcome {
    target: String,
    executions: u64,
    found: Vec<PathBuf>,
}

/// Runs the targets named, or all.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (is_files, arguments) = match arguments {
        [flag, rest @ ..] if flag == "--files" => (true, rest),
        all => (false, all),
    };
    let (seconds, wanted) = parse(arguments)?;
    let home = target_dir()?.join("fuzz");
    let program = build(&home.join("build"), is_files)?;
    let all = process::output(&mut Command::new(&program))?;
    let all: Vec<&str> = all.lines().collect();
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("there is no target {unknown}: there are {}", all.join(", "));
    }
    let is_wanted = |name: &&&str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == **name);
    let outcomes = all
        .iter()
        .filter(is_wanted)
        .map(|target| fuzz(&program, &home, target, seconds))
        .collect::<Result<Vec<_>>>()?;
    println!("{:<20} {:>8} {:>12} found", "target", "seconds", "executions");
    for outcome in &outcomes {
        println!("{:<20} {seconds:>8} {:>12} {}", outcome.target, outcome.executions, outcome.found.len());
    }
    let found: Vec<String> =
        outcomes.iter().flat_map(|outcome| &outcome.found).map(|path| path.display().to_string()).collect();
    if !found.is_empty() {
        bail!("inputs that break a decoder's word:\n{}", found.join("\n"));
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<(u64, &[String])> {
    match arguments {
        [flag, seconds, rest @ ..] if flag == "--seconds" => {
            Ok((seconds.parse().with_context(|| format!("--seconds {seconds} is no number"))?, rest))
        }
        [flag, ..] if flag.starts_with('-') => bail!("there is no option {flag}"),
        targets => Ok((SECONDS, targets)),
    }
}

/// Builds the driver with a nightly compiler, which is installed if it is absent. The targets of files alone need neither server nor
/// query engine, which take most of the time.
fn build(directory: &Path, is_files: bool) -> Result<PathBuf> {
    let driver = root().join("tools/fuzz/libfuzzer");
    let is_installed =
        Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).stdout(Stdio::null()).status();
    if !is_installed.context("fuzzing needs rustup (https://rustup.rs)")?.success() {
        process::run(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))?;
    }
    // The versions that are shipped are those that are fuzzed.
    fs::copy(root().join("Cargo.lock"), driver.join("Cargo.lock")).context("copy Cargo.lock")?;
    process::run(
        process::nightly_cargo()
            .args(["build", "--release", "--target", PLATFORM])
            .args(is_files.then_some("--no-default-features"))
            .current_dir(&driver)
            .env("CARGO_TARGET_DIR", directory)
            .env("RUSTC_WRAPPER", driver.join("instrument.sh"))
            .env("RUSTFLAGS", "-Zsanitizer=address"),
    )?;
    Ok(directory.join(PLATFORM).join("release/stepwell-libfuzzer"))
}

fn fuzz(program: &Path, home: &Path, target: &str, seconds: u64) -> Result<Outcome> {
    let directory = home.join(target);
    let (corpus, found) = (directory.join("corpus"), directory.join("found"));
    for folder in [&corpus, &found, &directory.join("seeds")] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let known = entries(&found)?;
    eprintln!("+ {target}, {seconds} seconds");
    let log = directory.join("log");
    let output = fs::File::create(&log).with_context(|| format!("write {}", log.display()))?;
    let status = Command::new(program)
        .args([&corpus, &directory.join("seeds")])
        .args(LIMITS)
        .args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", found.display())])
        .args([format!("-dict={}", directory.join("words").display()), "-print_final_stats=1".to_owned()])
        .env("STEPWELL_FUZZ_TARGET", target)
        .env("STEPWELL_FUZZ_DIR", &directory)
        .env("ASAN_OPTIONS", asan_options())
        .stdout(Stdio::null())
        .stderr(output)
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    let said = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    let executions = statistic(&String::from_utf8_lossy(&said), "stat::number_of_executed_units:");
    let found: Vec<PathBuf> = entries(&found)?.into_iter().filter(|path| !known.contains(path)).collect();
    if !status.success() && found.is_empty() {
        bail!("{target} ended by {status} without an input to show: see {}", log.display());
    }
    Ok(Outcome { target: target.to_owned(), executions: executions.unwrap_or(0), found })
}

/// Without leak detection (threads of a runtime live to the end), and with little memory kept to catch late uses.
fn asan_options() -> String {
    let given = env::var("ASAN_OPTIONS").unwrap_or_default();
    format!("detect_leaks=0:quarantine_size_mb=32:allocator_may_return_null=0:{given}")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    read.map(|entry| Ok(entry?.path())).collect()
}

fn statistic(log: &str, name: &str) -> Option<u64> {
    log.lines().filter_map(|line| line.strip_prefix(name)).next_back()?.trim().parse().ok()
}
