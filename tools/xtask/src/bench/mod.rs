//! `cargo xtask bench`: the figures and the peers, into `benches/RESULTS.md`.

mod peers;
mod results;
mod table;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    process::{self, cargo, output, root, target_dir},
    python,
};
use peers::Peers;
use table::Table;

const SECONDS_DEFAULT: &str = "60";
/// Columns of the figures that differ from run to run: what was measured, and what stands beside it.
const FIGURES_VARY: [usize; 2] = [3, 4];
/// The same of the peers: their speed.
const PEERS_VARY: [usize; 1] = [1];

/// The section of the results that MLflow's client has.
const MLFLOW: &str = "Through MLflow's own client";

/// What to measure, and for how long.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// Of each load.
    seconds: String,
    /// Of T1's, if not the same.
    sustained_seconds: Option<String>,
    /// How often all is measured.
    runs: usize,
    /// Names of figures; all if empty.
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options =
            Self { seconds: SECONDS_DEFAULT.to_owned(), sustained_seconds: None, runs: 1, only: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut number = || -> Result<String> {
                let text = rest.next().with_context(|| format!("{argument} needs a number"))?;
                let is_good = text.parse::<u32>().is_ok_and(|number| number > 0);
                ensure!(is_good, "{argument} takes a number from 1 up, not {text:?}");
                Ok(text.clone())
            };
            match argument.as_str() {
                "--seconds" => options.seconds = number()?,
                "--sustained-seconds" => options.sustained_seconds = Some(number()?),
                "--runs" => options.runs = number()?.parse()?,
                flag if flag.starts_with('-') => bail!("bench does not know {flag}"),
                figure => options.only.push(figure.to_owned()),
            }
        }
        Ok(options)
    }

    /// The command that measures it.
    fn command(&self) -> String {
        let sustained = self.sustained_seconds.iter().map(|seconds| format!(" --sustained-seconds {seconds}"));
        format!("cargo xtask bench --seconds {}{} --runs {}", self.seconds, sustained.collect::<String>(), self.runs)
    }
}

/// `[--seconds N] [--sustained-seconds N] [--runs N] [FIGURE…]`: measures, prints, and writes the results if all figures were
/// measured.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let target = target_dir()?;
    let interpreter = python::prepare(&target)?;
    build()?;
    let peers = if options.only.is_empty() { Some(Peers::install(&target)?) } else { None };
    let (mut figures, mut ingest) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        eprintln!("run {run} of {}", options.runs);
        figures.push(Table::parse(&measure(&options, &target, &interpreter)?)?);
        if let Some(peers) = &peers {
            ingest.push(Table::parse(&peers.measure(&target, &interpreter)?)?);
        }
    }
    let figures = Table::side_by_side(&figures, &FIGURES_VARY)?;
    println!("{figures}");
    if peers.is_none() {
        return Ok(());
    }
    let ingest = Table::side_by_side(&ingest, &PEERS_VARY)?;
    println!("{ingest}");
    let path = root().join("benches/RESULTS.md");
    let text = results::document(&options.command(), &figures, &ingest)?;
    // What MLflow's client measured is of another command, and stays.
    let before = fs::read_to_string(&path).unwrap_or_default();
    let text = match before.split_once(&format!("## {MLFLOW}\n")) {
        Some((_, section)) => {
            results::with_section(&text, MLFLOW, section.split("\n## ").next().unwrap_or_default().trim_start())
        }
        None => text,
    };
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

/// `cargo xtask mlflow bench [--seconds N] [--runs N] [--points N]`: MLflow's client against its own servers and ours, into a section of
/// the results.
pub(crate) fn mlflow(options: &[String]) -> Result<()> {
    let target = target_dir()?;
    build()?;
    let table = Table::parse(&peers::through_mlflow(&target, options)?)?;
    println!("{table}");
    let command = ["cargo xtask mlflow bench"].into_iter().chain(options.iter().map(String::as_str));
    let command = command.collect::<Vec<_>>().join(" ");
    let path = root().join("benches/RESULTS.md");
    let document = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let about = "Client and server share the machine; the servers one after the other, each filled with the same runs first. The client alone \
                 is the same calls to a stub that answers at once what Stepwell answered.";
    let body = format!("{} {about}\n\n{table}", results::measured(&command)?);
    fs::write(&path, results::with_section(&document, MLFLOW, &body))
        .with_context(|| format!("write {}", path.display()))
}

/// Builds the server and the load generator. Both at once: one by one, cargo would build their dependencies with different
/// features, twice.
pub(crate) fn build() -> Result<()> {
    process::run(cargo().args(["build", "--release", "--package", "stepwell", "--package", "stepwell-loadgen"]))
}

/// The load generator, which measures the server that lies beside it.
pub(crate) fn loadgen(target: &Path) -> Command {
    let mut command = Command::new(target.join("release/stepwell-loadgen"));
    command.env("BINARY_IS_BUILT", "1");
    command
}

fn measure(options: &Options, target: &Path, interpreter: &Path) -> Result<String> {
    let mut command = loadgen(target);
    command.args(["figures", "--seconds", &options.seconds, "--dir"]).arg(target).arg("--python").arg(interpreter);
    if let Some(seconds) = &options.sustained_seconds {
        command.args(["--sustained-seconds", seconds]);
    }
    output(command.args(&options.only))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_and_figures_are_told_apart_and_nonsense_is_refused() {
        let options = parse(&["--seconds", "5", "T1", "--sustained-seconds", "600", "--runs", "2", "T9"]).unwrap();
        assert_eq!(options.only, ["T1", "T9"]);
        assert_eq!(options.command(), "cargo xtask bench --seconds 5 --sustained-seconds 600 --runs 2");
        assert_eq!(parse(&[]).unwrap().command(), "cargo xtask bench --seconds 60 --runs 1");
        for bad in [&["--runs", "0"][..], &["--runs"], &["--second", "5"], &["--seconds", "T1"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
