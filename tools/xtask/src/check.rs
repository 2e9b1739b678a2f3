//! `cargo xtask check`: what must hold before a change lands, tests aside.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo};

/// Crates of which two versions would mean that two halves of the program cannot exchange their types.
const SINGLE_VERSION: [&str; 10] =
    ["arrow", "arrow-array", "arrow-flight", "arrow-ipc", "parquet", "datafusion", "axum", "prost", "tokio", "tonic"];

/// Formatting, clippy, duplicate dependencies, allowed edges.
pub(crate) fn run() -> Result<()> {
    process::run(cargo().args(["fmt", "--all", "--check"]))?;
    process::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    refuse_duplicates()?;
    process::run(cargo().args(["test", "--quiet", "--package", "stepwell-tests", "--test", "edges"]))
}

fn refuse_duplicates() -> Result<()> {
    let output = cargo()
        .args(["tree", "--workspace", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .output()
        .context("cannot run `cargo tree`")?;
    if !output.status.success() {
        bail!("`cargo tree` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next())
            && SINGLE_VERSION.contains(&name)
        {
            versions.entry(name).or_default().insert(version);
        }
    }
    match versions.iter().find(|(_, found)| found.len() > 1) {
        Some((name, found)) => bail!("{name} is in the tree in versions {found:?}; there may be one"),
        None => Ok(()),
    }
}
