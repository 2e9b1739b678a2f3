//! The figures of the README: each measured against servers of its own, with a physical limit or a peer beside it in the same
//! run. A figure that misses its target is printed all the same.

mod ask;
mod duckdb;
mod growth;
mod ingest;
mod many;
mod read;
mod restart;
mod stage;
mod stored;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};

use stage::Stage;

pub use growth::{GrowthOptions, growth};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names such as `T1`; all if empty.
    pub only: Vec<String>,
    /// How long each load goes on.
    pub load: Duration,
    /// How long that of T1 goes on, if not as long as the others.
    pub sustained: Option<Duration>,
    /// Data directories are made below it.
    pub dir: PathBuf,
    /// An interpreter with DuckDB.
    pub python: Option<PathBuf>,
}

/// One line of the table.
struct Figure {
    name: &'static str,
    work: String,
    target: &'static str,
    measured: String,
    beside: String,
}

type Measure = fn(&Stage) -> Result<Vec<Figure>>;

/// What each measurement gives.
const MEASUREMENTS: [(&[&str], Measure); 10] = [
    (&["T1"], ingest::sustained),
    (&["T2"], ingest::burst),
    (&["T3", "T4"], ingest::small_writers),
    (&["T5"], many::size),
    (&["T6"], many::million_series),
    (&["T14"], many::live),
    (&["T7"], many::leaderboard),
    (&["T8", "T10", "T11"], read::queries),
    (&["T9"], many::zoom),
    (&["T12"], restart::replay),
];

/// Measures and prints.
pub fn run(options: &Options) -> Result<()> {
    let known: Vec<&str> = MEASUREMENTS.iter().flat_map(|(names, _)| *names).copied().collect();
    if let Some(unknown) = options.only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no figure {unknown}; there are {}", known.join(", "));
    }
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let stage = Stage::new(options);
    let mut lines = Vec::new();
    for (names, measure) in MEASUREMENTS.iter().filter(|(names, _)| names.iter().any(|name| wanted(name))) {
        eprintln!("measuring {}", names.join(", "));
        let figures = measure(&stage).with_context(|| names.join(", "))?;
        lines.extend(figures.into_iter().filter(|figure| wanted(figure.name)));
    }
    println!("| # | work | target | measured | beside it |\n| --- | --- | --- | --- | --- |");
    for Figure { name, work, target, measured, beside } in lines {
        println!("| {name} | {work} | {target} | {measured} | {beside} |");
    }
    Ok(())
}

/// `12.3 M` of a large number.
fn millions(number: f64) -> String {
    format!("{:.2} M", number / 1e6)
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
