//! The binary: `serve`, `sql`, `import`, `demo`, `inspect`, `check`, `repair`, `backup`, `restore`; parses configuration, wires, shuts down in order.

mod allocator;
mod backup;
mod chart;
mod check;
mod config;
mod connect;
mod demo;
mod import;
mod inspect;
mod repair;
mod serve;
mod sql;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Reads every byte of a data directory and says what is damaged; exit code 1 if something is
    Check(check::CheckArgs),
    /// Sets damaged files of a data directory aside, keeps all that is undamaged, and says what is lost
    Repair(repair::RepairArgs),
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
        Command::Check(args) => return exit_code(check::run(&args)),
        Command::Repair(args) => repair::run(&args),
    };
    exit_code(result.map(|()| true))
}

/// Of what a command found: `false` is an answer, and a failure to those who only look at the code.
fn exit_code(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each thing once: many an error says its cause itself.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let mut parts: Vec<&str> = cause.split(": ").collect();
        parts.dedup();
        let cause = parts.join(": ");
        if !told.contains(&cause) {
            told = if told.is_empty() { cause } else { format!("{told}: {cause}") };
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn an_error_says_each_cause_once() {
        let error = anyhow!("os error 5").context("read x: read x: os error 5").context("open the data directory");
        assert_eq!(super::told(&error), "open the data directory: read x: os error 5");
        assert_eq!(super::told(&anyhow!("a: b").context("c")), "c: a: b");
    }
}
