//! The project's commands: `cargo xtask demo | test | check | sim | fuzz | mlflow | mutants | faults | rot | bench | growth | concurrency |
//! sanitize | schemas`.

mod bench;
mod check;
mod demo;
mod faults;
mod fuzz;
mod growth;
mod mlflow;
mod mutants;
mod plot;
mod process;
mod python;
mod rot;
mod sanitize;
mod sim;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--once]   build, start a server on a free port, import real logs, stream live runs, ask in SQL, draw a chart;
                  serves until Ctrl-C, or stops at once with --once
  test [--long] [ARGS]
                  install what the tests need into a virtual environment, then run all of them (ARGS go to cargo test);
                  with --long also what takes an hour: each fuzz target for a minute
  check           formatting, clippy, duplicate dependencies, allowed dependency edges
  fuzz [--files] [--seconds N] [TARGET…]
                  give hostile bytes to decoders under libFuzzer, N seconds each (60), with a nightly compiler that it installs
                  where rustup has none; --files leaves out the targets of requests, which take long to build; what it finds
                  stays in target/fuzz/TARGET/found
  mlflow [ARGS] | mlflow record [SESSION…] | mlflow bench [--seconds N] [--runs N] [--points N]
                  run sessions of MLflow's genuine clients (ARGS go to cargo test); or run them against a genuine server, and
                  write what it answers into tests/python/mlflow/expected; or measure the client against genuine servers and
                  ours, into benches/RESULTS.md
  mutants [NAME…] break the storage on purpose, one way after the other, in a copy of the sources, and expect tests to notice
  sim [--seeds N] [--from S] [--hours N] [--jobs N] [--seed S] [--plan 'PLAN'] [--release]
                  run N worlds (100) of the engine under simulated threads, time and disk, or worlds for N hours, or the one of a
                  seed or plan; a world that fails is made smaller and printed
  bench [--seconds N] [--sustained-seconds N] [--runs N] [FIGURE…]
                  measure the figures and, beside them, peers; all of them: into benches/RESULTS.md; each load takes N
                  seconds (60), that of T1 alone as many as --sustained-seconds says; runs stand side by side
  growth [--points N] [--runs N] [--series N] | growth --draw
                  measure how figures change with the amount of data, up to N, into benches/growth.csv; draw it into
                  benches/plots; --draw only draws
  faults [--release] [--rounds N] [--seed S] [KIND…]
                  real faults on the real binary, all kinds or those named: kills, inject, full, power, memory, clock, clients
  concurrency     what is ordered by hand under every interleaving (loom), then snapshots under everything at once
  sanitize [thread|miri]
                  the data races that ThreadSanitizer finds, and what Miri says; needs the nightly toolchain with rust-src and miri
  rot [--sample N | --all | --part K/N]
                  damage a small data directory, every byte of every file in turn, and judge the answers (2,000 cases)
  schemas         write the generated files of schemas/ anew";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let result = match command {
        "demo" => demo::run(rest),
        "test" => test::run(rest),
        "check" => check::run(),
        "fuzz" => fuzz::run(rest),
        "mlflow" => mlflow::run(rest),
        "mutants" => mutants::run(rest),
        "sim" => sim::run(rest),
        "bench" => bench::run(rest),
        "growth" => growth::run(rest),
        "faults" => faults::run(rest),
        "concurrency" => sanitize::concurrency(),
        "sanitize" => sanitize::run(rest),
        "rot" => rot::run(rest),
        "schemas" => test::schemas(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
