//! `stepwell-rot --sample N | --all`: every byte of a small data directory damaged, one at a time, and what came of it.

use std::{num::NonZero, process::ExitCode};

use anyhow::{Context, Result, bail};
use stepwell_env::in_parallel;
use stepwell_rot::{Damage, Directory, MetadataFile, Outcome, Report, after_a_crash, after_a_restart, cases, judge};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stepwell-rot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether nothing went wrong.
fn run(arguments: &[String]) -> Result<bool> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sample: Option<usize> = match words[..] {
        ["--all"] => None,
        ["--sample", count] => Some(count.parse().context("--sample wants a number of cases")?),
        [] => Some(2_000),
        _ => bail!("usage: stepwell-rot [--sample N | --all]"),
    };
    let directories = [after_a_restart()?, after_a_crash()?];
    let mut all: Vec<(&Directory, Damage)> = Vec::new();
    for directory in &directories {
        all.extend(cases(directory)?.into_iter().map(|case| (directory, case)));
    }
    // Evenly over all files, and always the same.
    let step = sample.map_or(1, |count| all.len().div_ceil(count.max(1)).max(1));
    let chosen: Vec<_> = all.iter().step_by(step).collect();
    println!("{} cases of {}", chosen.len(), all.len());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let parts = in_parallel("rot", threads, |part| {
        let mine = chosen.iter().skip(part).step_by(threads);
        mine.map(|(directory, case)| (case, judge(directory, case))).collect::<Vec<_>>()
    });
    let mut report = Report::default();
    parts.into_iter().flatten().for_each(|(case, verdict)| report.add(case, verdict));
    let metadata = MetadataFile::new()?;
    let of_metadata = metadata.cases();
    println!("{} cases of {} of metadata", of_metadata.len().div_ceil(step), of_metadata.len());
    for (number, case) in of_metadata.iter().step_by(step).enumerate() {
        report.add(case, metadata.judge(number, case));
    }
    println!("{report}");
    Ok(report.count(Outcome::Wrong) + report.count(Outcome::Panicked) == 0)
}
