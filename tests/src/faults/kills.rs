//! SIGKILL at random moments: under load, while starting and replaying, while a segment or a merge is being written, while
//! stopping.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use stepwell_env::{Clock, Random, SeededRandom, SystemClock};

use super::{Plan, Report};
use crate::{Server, ServerOptions, load::Load};

/// Rounds after which new producers begin, so that what is read back each time stays small.
const ROUNDS_PER_LOAD: u64 = 20;
/// How long a moment is waited for before the server is killed without it.
const MOMENT_MAX: Duration = Duration::from_secs(3);

/// What the server is doing when it dies.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Load,
    Start,
    Flush,
    Merge,
    Shutdown,
}

const MOMENTS: [Moment; 5] = [Moment::Load, Moment::Start, Moment::Flush, Moment::Merge, Moment::Shutdown];

/// Small limits, so that flushes, merges and releases of log files fall between the kills.
fn options() -> ServerOptions {
    let flags = ["--memtable-bytes", "1048576", "--flush-age-seconds", "1", "--log-filter", "warn"];
    ServerOptions { flags: flags.map(str::to_owned).to_vec(), ..ServerOptions::default() }
}

/// Kills the server `rounds` times.
pub fn run(plan: Plan) -> Result<Report> {
    let directory = tempfile::tempdir().context("data directory")?;
    let (options, random, mut report) = (options(), SeededRandom::new(plan.seed), Report::default());
    let mut finished: Vec<Load> = Vec::new();
    let mut load = new_load(plan.seed, 0);
    for round in 0..plan.rounds {
        let at = || format!("round {round}, seed {}", plan.seed);
        let moment = MOMENTS[(random.next_u64() % MOMENTS.len() as u64) as usize];
        if matches!(moment, Moment::Start) {
            // Killed, then started again for the check below.
            let server = Server::spawn(directory.path(), &options).with_context(at)?;
            std::thread::sleep(Duration::from_micros(random.next_u64() % 150_000));
            server.kill()?;
        }
        let server = Server::start_in(directory.path(), &options).with_context(at)?;
        load.create_runs(&server.http()).with_context(at)?;
        load.verify(&server.http()).with_context(at)?;
        load = written_until_killed(server, load, moment, &random).with_context(at)?;
        report.count(format!("kills, {moment:?}").to_lowercase());
        if (round + 1) % ROUNDS_PER_LOAD == 0 {
            println!("{} kills, nothing lost", round + 1);
            finished.push(std::mem::replace(&mut load, new_load(plan.seed, round + 1)));
        }
    }
    let mut server = Server::start_in(directory.path(), &options)?;
    finished.push(load);
    for load in &finished {
        let found = load.verify(&server.http()).with_context(|| format!("at the end, seed {}", plan.seed))?;
        report.add("batches acknowledged", load.acknowledged());
        report.add("of them sent again after a kill", load.retried());
        report.add("points there", found.points);
    }
    server.check_log(&[])?;
    server.terminate()?;
    Ok(report)
}

fn new_load(seed: u64, round: u64) -> Load {
    Load::new(&format!("round {round}"), seed.wrapping_add(round), 3, 2, 500)
}

fn written_until_killed(server: Server, load: Load, moment: Moment, random: &SeededRandom) -> Result<Load> {
    let running = load.start(server.url())?;
    let pause = |up_to_ms: u64| std::thread::sleep(Duration::from_micros(random.next_u64() % (up_to_ms * 1_000)));
    match moment {
        Moment::Load | Moment::Start => {
            pause(400);
            server.kill()?;
        }
        Moment::Flush | Moment::Merge => {
            wait_for(&server, moment);
            pause(15);
            server.kill()?;
        }
        Moment::Shutdown => {
            pause(300);
            server.signal(libc::SIGTERM)?;
            pause(400);
            server.kill()?;
        }
    }
    running.stop()
}

/// Until a segment is being written, one that a merge makes if there is a merge to make.
fn wait_for(server: &Server, moment: Moment) {
    let clock = SystemClock::new();
    let directory = server.data_dir().join("segments");
    let is_due = || match moment {
        Moment::Merge => server.metric("stepwell_compaction_due").is_ok_and(|due| due > 0.0),
        _ => true,
    };
    while clock.monotonic() < MOMENT_MAX {
        if is_due() && is_written(&directory) {
            return;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Whether a temporary file is there.
fn is_written(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
}
