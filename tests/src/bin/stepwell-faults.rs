//! Long plans of real faults: `stepwell-faults [--rounds N] [--seed S] [KIND…]`. Prints a report per kind; ends with an error at
//! the first thing lost, doubled, altered or wrongly served.

use anyhow::{Context, Result, bail};
use stepwell_env::{Clock, Random, SystemClock, SystemRandom};
use stepwell_tests::faults::{Plan, Report, clients, clock, full, inject, is_root, kills, memory, power, sectors};

type Kind = (&'static str, u64, fn(Plan) -> Result<Report>);

/// Name, rounds where none are asked for, and what it does.
const KINDS: [Kind; 8] = [
    ("kills", 1_000, kills::run),
    ("inject", 1, inject::run),
    ("full", 10, full::run),
    ("power", 100, power::run),
    ("memory", 3, memory::run),
    ("clock", 3, clock::run),
    ("clients", 3, clients::run),
    ("sectors", 1, sectors::run),
];

fn main() -> Result<()> {
    let (mut rounds, mut seed, mut names) = (None, SystemRandom.next_u64() >> 16, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            let text = arguments.next().with_context(|| format!("{argument} takes a number"))?;
            text.parse().with_context(|| format!("{argument} {text}"))
        };
        match argument.as_str() {
            "--rounds" => rounds = Some(number()?),
            "--seed" => seed = number()?,
            name if KINDS.iter().any(|kind| kind.0 == name) => names.push(argument),
            _ => bail!("usage: stepwell-faults [--rounds N] [--seed S] [{}]…", KINDS.map(|kind| kind.0).join(" | ")),
        }
    }
    if !is_root() {
        bail!("mounting, limiting and injecting need root");
    }
    let clock = SystemClock::new();
    for (name, rounds_default, run) in KINDS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            let plan = Plan { rounds: rounds.unwrap_or(rounds_default), seed };
            println!("{name}: {} rounds, seed {seed}", plan.rounds);
            let begin = clock.monotonic();
            let report = run(plan).with_context(|| format!("{name}, seed {seed}"))?;
            println!("{report}\n{name}: {:.0} s\n", (clock.monotonic() - begin).as_secs_f64());
        }
    }
    Ok(())
}
