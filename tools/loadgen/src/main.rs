//! `stepwell-loadgen load` against a running server; `stepwell-loadgen figures` for the table of the README.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use stepwell_env::{Clock, SystemClock};
use stepwell_loadgen::{BatchEncoder, Dataset, Load, Overload, Shape, create_runs, figures, probe_fsync, verify};

/// Batches are allocated by one thread and freed by another, thousands of times a second.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(about = "Generates the reference data, sends it to a Stepwell server, times it and reads it back")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load a running server
    Load(LoadArgs),
    /// Start servers, measure the figures of the README and print its table
    Figures(FiguresArgs),
    /// Start servers and measure how figures change with the amount of data; prints CSV
    Growth(GrowthArgs),
    /// Write batches as Arrow streams, a file each, for other programs to send
    Bodies(BodiesArgs),
    /// Offer a server twice of what it can take, watch its memory, and check that nothing acknowledged is lost
    Overload(OverloadArgs),
}

#[derive(Args)]
struct LoadArgs {
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    server: String,
    #[arg(long, default_value = "loadgen")]
    project: String,
    /// sweep, foundation or long
    #[arg(long, default_value = "sweep")]
    dataset: String,
    /// Runs, instead of the data set's own number
    #[arg(long)]
    runs: Option<u64>,
    /// Metrics of each run, instead of the data set's own number
    #[arg(long)]
    metrics: Option<u64>,
    /// Steps of each series, instead of the data set's own number
    #[arg(long)]
    steps: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Points per batch
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    batch: u64,
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: u64,
    /// Streams with sequence numbers; at least one per connection
    #[arg(long, default_value_t = 0)]
    producers: u64,
    /// Stream over Arrow Flight instead of a request per batch
    #[arg(long)]
    flight: bool,
    /// Send each batch, of 1,000 points at most, as MLflow's clients do; only numbers of points are verified then
    #[arg(long, conflicts_with = "flight")]
    mlflow: bool,
    /// Encode all batches first, in memory: the load then takes little of the cores that it shares with the server
    #[arg(long, conflicts_with = "flight")]
    prepared: bool,
    /// Batches in flight on each connection, over Flight
    #[arg(long, default_value_t = 32, requires = "flight", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pipeline: u64,
    /// Points per second; without it as fast as they are acknowledged
    #[arg(long)]
    rate: Option<f64>,
    /// Ends after this many seconds, or when all is sent
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Read back so many runs whole, and count the points of all
    #[arg(long, default_value_t = 8)]
    verify_runs: usize,
    /// Do not read back
    #[arg(long)]
    no_verify: bool,
    /// Measure the fsync latency of the disk below this directory first
    #[arg(long)]
    probe_dir: Option<PathBuf>,
}

#[derive(Args)]
struct FiguresArgs {
    /// Only these, such as `T1 T8`
    only: Vec<String>,
    /// Seconds of each load
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds of the load of T1, if not the same
    #[arg(long)]
    sustained_seconds: Option<u64>,
    /// Where the data directories are made; removed afterwards
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// A Python with DuckDB, to ask the same of it; by default that of `cargo xtask test`
    #[arg(long)]
    python: Option<PathBuf>,
}

#[derive(Args)]
struct GrowthArgs {
    /// Points of the largest table that is asked
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(100_000..))]
    points: u64,
    /// Most runs that are compared: a chart may have twenty buckets of each of five thousand
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(10..=5_000))]
    runs: u64,
    /// Most series that are written
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    series: u64,
    /// Where the data directories are made; removed afterwards
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(Args)]
struct BodiesArgs {
    /// A directory that exists
    dir: PathBuf,
    /// How many
    #[arg(long, default_value_t = 1_000)]
    batches: u64,
    /// Points per batch
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    batch: u64,
    /// Metrics of the one run that they are of
    #[arg(long, default_value_t = 1_000)]
    metrics: u64,
}

#[derive(Args)]
struct OverloadArgs {
    /// How long the load goes on
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// After so many minutes what came is read back and deleted. Each may fill two gigabytes of disk
    #[arg(long, default_value_t = 5.0)]
    round_minutes: f64,
    /// Seconds for which the sustainable rate is measured first
    #[arg(long, default_value_t = 10)]
    calibration_seconds: u64,
    /// Where the data directory is made; removed afterwards
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Points per batch
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    batch: u64,
    /// Batches on their way at once; the server's queue has to be smaller to refuse any
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: u64,
    /// Bytes that may be resident, and a quarter more; by default the server's own budget
    #[arg(long)]
    memory_bytes: Option<u64>,
    /// Flags of the server, after `--`
    #[arg(last = true)]
    flags: Vec<String>,
}

fn main() -> ExitCode {
    // As the server does, so that the memory of one is not dearer than that of the other.
    let _ = stepwell_env::forgo_huge_pages();
    let result = match Cli::parse().command {
        Command::Load(args) => load(args),
        Command::Figures(args) => {
            let FiguresArgs { only, seconds, sustained_seconds, dir, python } = args;
            let sustained = sustained_seconds.map(Duration::from_secs);
            figures::run(&figures::Options { only, load: Duration::from_secs(seconds), sustained, dir, python })
        }
        Command::Growth(GrowthArgs { points, runs, series, dir }) => {
            figures::growth(&figures::GrowthOptions { points, runs, series, dir })
        }
        Command::Bodies(args) => bodies(&args),
        Command::Overload(args) => overload(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stepwell-loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: LoadArgs) -> Result<()> {
    if let Some(dir) = &args.probe_dir {
        println!("{}", probe_fsync(dir)?);
    }
    let shape = Dataset::named(&args.dataset, args.seed)?.shape();
    let shape = Shape {
        runs: args.runs.unwrap_or(shape.runs),
        metrics: args.metrics.unwrap_or(shape.metrics),
        steps: args.steps.unwrap_or(shape.steps),
    };
    let dataset = Arc::new(Dataset::new(&args.dataset, shape, args.seed));
    create_runs(&args.server, &args.project, &dataset, args.connections.min(16))?;
    let load = Load {
        server: args.server,
        project: args.project,
        dataset,
        batch: args.batch,
        connections: args.connections,
        pipeline: args.flight.then_some(args.pipeline),
        mlflow: args.mlflow,
        prepared: args.prepared,
        producers: args.producers,
        rate: args.rate,
        duration: Duration::from_secs(args.seconds),
        session: SystemClock::new().now_us().to_string(),
    };
    let report = load.run()?;
    println!("{report}");
    if !args.no_verify {
        let whole_runs = if args.mlflow { 0 } else { args.verify_runs };
        println!("{}", verify(&load, &report.sent, whole_runs)?);
    }
    Ok(())
}

fn bodies(args: &BodiesArgs) -> Result<()> {
    let steps = (args.batches * args.batch).div_ceil(args.metrics.max(1));
    let dataset = Dataset::new("bodies", Shape { runs: 1, metrics: args.metrics, steps }, 1);
    let mut encoder = BatchEncoder::new(Arc::new(dataset), args.batch);
    for batch in 0..args.batches {
        let path = args.dir.join(format!("{batch:06}.arrows"));
        std::fs::write(&path, encoder.encode(0, batch)?).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn overload(args: OverloadArgs) -> Result<()> {
    let overload = Overload {
        dir: args.dir,
        duration: Duration::try_from_secs_f64(args.minutes * 60.0).context("--minutes")?,
        round: Duration::try_from_secs_f64(args.round_minutes * 60.0).context("--round-minutes")?,
        calibration: Duration::from_secs(args.calibration_seconds),
        batch: args.batch,
        connections: args.connections,
        memory_bytes: args.memory_bytes,
        flags: args.flags,
    };
    let report = overload.run()?;
    println!("{report}");
    let broken = report.violations();
    ensure!(broken.is_empty(), "overload: {}", broken.join("; "));
    Ok(())
}
