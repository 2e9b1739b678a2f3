//! `stepwell-rot [--sample N | --all | --part K/N]`: every byte of a small data directory damaged, one at a time, and what came of it.
//! The parts 1/N to N/N make up all, in as many sittings.

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

/// Threads that judge damaged metadata.
const METADATA_THREADS: usize = 16;

/// Which cases are tried: evenly over all files, and always the same.
enum Choice {
    Sample(usize),
    /// Each so many, from one of the first on.
    Every {
        step: usize,
        from: usize,
    },
}

impl Choice {
    fn part(text: &str) -> Option<Self> {
        let (part, parts) = text.split_once('/')?;
        let (part, step) = (part.parse::<usize>().ok()?, parts.parse::<usize>().ok()?);
        (1..=step).contains(&part).then(|| Self::Every { step, from: part - 1 })
    }

    /// The distance from one case to the next, and the first one.
    fn of(&self, cases: usize) -> (usize, usize) {
        match *self {
            Self::Sample(count) => (cases.div_ceil(count.max(1)).max(1), 0),
            Self::Every { step, from } => (step, from),
        }
    }
}

/// Returns whether nothing went wrong.
fn run(arguments: &[String]) -> Result<bool> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let choice = match words[..] {
        ["--all"] => Choice::Every { step: 1, from: 0 },
        ["--sample", count] => Choice::Sample(count.parse().context("--sample wants a number of cases")?),
        ["--part", part] => Choice::part(part).context("--part wants two numbers, such as 1/8")?,
        [] => Choice::Sample(2_000),
        _ => bail!("usage: stepwell-rot [--sample N | --all | --part K/N]"),
    };
    let directories = [after_a_restart()?, after_a_crash()?];
    let mut all: Vec<(&Directory, Damage)> = Vec::new();
    for directory in &directories {
        all.extend(cases(directory)?.into_iter().map(|case| (directory, case)));
    }
    let (step, from) = choice.of(all.len());
    let chosen: Vec<_> = all.iter().skip(from).step_by(step).collect();
    println!("{} cases of {}", chosen.len(), all.len());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let parts = in_parallel("rot", threads, |part| {
        let mine = chosen.iter().skip(part).step_by(threads);
        mine.map(|(directory, case)| (case, judge(directory, case))).collect::<Vec<_>>()
    });
    let mut report = Report::default();
    parts.into_iter().flatten().for_each(|(case, verdict)| report.add(case, verdict));
    // A check waits now and then, in case that somebody is writing: many at once take no more of the machine.
    let parts = in_parallel("rot-metadata", METADATA_THREADS, |part| {
        let metadata = MetadataFile::new()?;
        let all = metadata.cases();
        let chosen = all.iter().skip(from).step_by(step).enumerate().skip(part).step_by(METADATA_THREADS);
        let judged: Vec<_> = chosen.map(|(number, case)| (case.clone(), metadata.judge(number, case))).collect();
        Ok::<_, anyhow::Error>((all.len(), judged))
    });
    for part in parts {
        let (all, judged) = part?;
        println!("{} cases of {all} of metadata", judged.len());
        judged.iter().for_each(|(case, verdict)| report.add(case, verdict.clone()));
    }
    println!("{report}");
    Ok(report.count(Outcome::Wrong) + report.count(Outcome::Panicked) == 0)
}
