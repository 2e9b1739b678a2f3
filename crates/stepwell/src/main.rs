//! The binary: `serve`, `sql`, `import`, `demo`, `inspect`, `backup`, `restore`; parses configuration, wires, shuts down in order.

mod backup;
mod chart;
mod config;
mod connect;
mod demo;
mod import;
mod inspect;
mod serve;
mod sql;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Batches are allocated by one thread and freed by another, thousands of times a second: what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The metrics of machine-learning runs: durable in milliseconds, queryable at once, open to every Parquet reader.
#[derive(Parser)]
#[command(name = "stepwell", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server until SIGTERM or SIGINT
    Serve(config::ServeFlags),
    /// Answers one SQL query, from a server or from a data directory
    Sql(sql::SqlArgs),
    /// Imports the files of another tracker into a server
    Import(import::ImportArgs),
    /// Streams live runs into a server and shows what can be asked about them
    Demo(demo::DemoArgs),
    /// Describes a data directory, a segment, a log file or a manifest
    Inspect(inspect::InspectArgs),
    /// Backs a data directory up while a server runs on it; lists and checks backups
    Backup(backup::BackupArgs),
    /// Makes a new data directory of a backup
    Restore(backup::RestoreArgs),
}

fn main() -> ExitCode {
    // Only a matter of speed; before the first large allocation.
    let _ = stepwell_env::forgo_huge_pages();
    let result = match Cli::parse().command {
        Command::Serve(flags) => serve::run(flags),
        Command::Sql(args) => sql::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => backup::run_restore(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
