//! `stepwell-sim`: runs worlds, and makes those that fail smaller.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use stepwell_env::{Clock, SystemClock, in_parallel};
use stepwell_sim::{Plan, Tally, WorldReport, run_world, shrink};

/// Runs worlds of the engine under simulated threads, time and disk.
#[derive(Parser)]
struct Arguments {
    /// Number of worlds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Runs worlds for so many hours instead.
    #[arg(long)]
    hours: Option<f64>,
    /// Seed of the first world.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs the world of this seed only, and prints the end of its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs the world of this plan only, as a failure prints it.
    #[arg(long)]
    plan: Option<Plan>,
    /// Worlds at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Runs spent on making a failing world smaller.
    #[arg(long, default_value_t = 60)]
    shrink: usize,
}

/// Worlds between two lines that say how far it is.
const TELL_EVERY: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    quiet_panics();
    let one = arguments.plan.clone().or(arguments.seed.map(Plan::new));
    match one {
        Some(plan) => run_one(&plan, arguments.shrink),
        None => run_many(&arguments),
    }
}

/// A panic of a simulated thread is its world's failure, and told with it.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn run_one(plan: &Plan, tries: usize) -> ExitCode {
    println!("{plan}");
    let report = run_world(plan);
    println!("{}\ntrace {:016x}", report.tally, report.trace_hash);
    match &report.failure {
        None => ExitCode::SUCCESS,
        Some(_) => {
            tell(plan, &report, tries);
            ExitCode::FAILURE
        }
    }
}

fn run_many(arguments: &Arguments) -> ExitCode {
    let clock = SystemClock::new();
    let until = arguments.hours.map(|hours| Duration::from_secs_f64(hours * 3_600.0));
    let next = AtomicU64::new(arguments.from);
    let has_failed = AtomicBool::new(false);
    let total = Mutex::new(Tally::default());
    in_parallel("worlds", arguments.jobs, |_| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_over = match until {
                Some(until) => clock.monotonic() >= until,
                None => seed >= arguments.from + arguments.seeds,
            };
            if is_over {
                return;
            }
            let plan = Plan::new(seed);
            let report = run_world(&plan);
            if report.failure.is_some() {
                has_failed.store(true, Ordering::Relaxed);
                tell(&plan, &report, arguments.shrink);
            }
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.add(report.tally);
            if total.worlds.is_multiple_of(TELL_EVERY) {
                println!("after {:.0} s\n{total}", clock.monotonic().as_secs_f64());
            }
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("seeds from {} on\n{total}\n{:.1} s", arguments.from, clock.monotonic().as_secs_f64());
    if has_failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints what failed, how it went, and the smallest world found that fails too.
fn tell(plan: &Plan, report: &WorldReport, tries: usize) {
    let Some(failure) = &report.failure else { return };
    let mut text = format!("FAILED {plan}\n  {}\n", failure.what);
    let smallest =
        if tries == 0 { plan.clone() } else { shrink(plan.clone(), tries, |plan| run_world(plan).failure.is_some()) };
    let last = if smallest == *plan { report.clone() } else { run_world(&smallest) };
    if let Some(failure) = last.failure {
        let tail = failure.trace.len().saturating_sub(60);
        failure.trace[tail..].iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        text.push_str(&format!("  smallest: {}\n", failure.what));
    }
    println!("{text}  again: cargo xtask sim --plan '{smallest}'");
}
