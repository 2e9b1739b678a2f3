//! `stepwell-rot [--sample N | --all | --part K/N]`: every byte of a small data directory damaged, one at a time, and what came of it.
//! The parts 1/N to N/N make up all, in as many sittings.
//!
//! Metadata are judged by processes of their own, which this program starts with `--metadata STEP FROM PART`: the layer below SQLite
//! remembers the last damage of its process.

use std::{
    io::{Write, stdout},
    num::NonZero,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use stepwell_env::in_parallel;
use stepwell_rot::{
    Damage, Directory, MetadataFile, Outcome, Report, Verdict, after_a_crash, after_a_restart, cases, judge,
};

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

/// Processes that judge damaged metadata. A check waits now and then, in case that somebody is writing: many at once take no more of
/// the machine.
const METADATA_PROCESSES: usize = 16;

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
        ["--metadata", step, from, part] => {
            let number = |text: &str| text.parse().with_context(|| format!("--metadata {text}"));
            return judge_metadata(number(step)?, number(from)?, number(part)?).map(|()| true);
        }
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
    judged_metadata(step, from, &mut report)?;
    println!("{report}");
    Ok(report.count(Outcome::Wrong) + report.count(Outcome::Panicked) == 0)
}

/// The cases of metadata, in processes of their own.
fn judged_metadata(step: usize, from: usize, report: &mut Report) -> Result<()> {
    let program = std::env::current_exe().context("where is this program?")?;
    let said = in_parallel("rot-metadata", METADATA_PROCESSES, |part| {
        let numbers = [step, from, part].map(|number| number.to_string());
        Command::new(&program).arg("--metadata").args(numbers).stderr(Stdio::inherit()).output()
    });
    let all = MetadataFile::new()?.cases();
    let mut judged = 0;
    for said in said {
        let said = said.with_context(|| format!("run {}", program.display()))?;
        ensure!(said.status.success(), "a process that judges metadata ended by {}", said.status);
        for line in String::from_utf8(said.stdout)?.lines() {
            let (number, verdict) = line.split_once('\t').context("a line without a number")?;
            let case = all.get(number.parse::<usize>()?).with_context(|| format!("there is no case {number}"))?;
            report.add(case, Verdict::from_line(verdict).with_context(|| format!("no verdict: {verdict}"))?);
            judged += 1;
        }
    }
    ensure!(judged == all.iter().skip(from).step_by(step).count(), "{judged} cases of metadata were judged");
    println!("{judged} cases of {} of metadata", all.len());
    Ok(())
}

/// Judges one process's share of the cases and prints a line for each: its number among all, and the verdict.
fn judge_metadata(step: usize, from: usize, part: usize) -> Result<()> {
    let metadata = MetadataFile::new()?;
    let cases = metadata.cases();
    let chosen = cases.iter().enumerate().skip(from).step_by(step).enumerate().skip(part).step_by(METADATA_PROCESSES);
    for (order, (number, case)) in chosen {
        writeln!(stdout(), "{number}\t{}", metadata.judge(order, case).to_line())?;
    }
    Ok(())
}
