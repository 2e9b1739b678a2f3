//! `stepwell import`: the files of another tracker into a server, with a progress bar and a report of what was skipped.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use stepwell_env::Env;
use stepwell_import::{
    mlflow::{self, Artifacts},
    tensorboard::{self, ImportReport, Progress},
};

use crate::connect::connect;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// A TensorBoard log directory: each sub-directory with event files becomes a run, its tags metrics
    Tensorboard(TensorboardArgs),
    /// All of an MLflow server, mlruns directory or SQLite file: experiments become projects, runs keep their ids; again later, only what is new
    Mlflow(MlflowArgs),
}

#[derive(Debug, Args)]
struct MlflowArgs {
    /// A tracking URI (http://…), an mlruns directory, or MLflow's SQLite file or its URI (sqlite:///…)
    source: String,
    /// Where the server of a directory or SQLite file kept its runs' files [default: mlartifacts beside it]
    #[arg(long)]
    artifacts: Option<PathBuf>,
    /// Reads files of runs wherever the directory or SQLite file says, for those that nobody else wrote [default: below mlruns and --artifacts]
    #[arg(long)]
    artifacts_anywhere: bool,
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    server: String,
}

#[derive(Debug, Args)]
struct TensorboardArgs {
    /// The log directory
    logdir: PathBuf,
    /// The project that the runs go to; made if absent
    #[arg(long)]
    project: String,
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    server: String,
}

/// Imports, and says what was imported and what was not.
pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    match &args.source {
        Source::Tensorboard(args) => run_tensorboard(args),
        Source::Mlflow(args) => run_mlflow(args),
    }
}

fn run_mlflow(args: &MlflowArgs) -> Result<()> {
    let client = connect(&args.server)?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("importing {wide_bar} {pos} of {len} runs")?);
    let mut show = |progress: mlflow::Progress| {
        bar.set_length(progress.runs_total);
        bar.set_position(progress.runs_done);
    };
    let producer = format!("mlflow-import-{}", random_id());
    let artifacts = Artifacts { folder: args.artifacts.clone(), anywhere: args.artifacts_anywhere };
    let report = mlflow::import(&args.source, &artifacts, &client, producer, &mut show)
        .with_context(|| format!("import {}", args.source))?;
    bar.finish_and_clear();
    print!("{}", describe_mlflow(&report));
    ensure!(report.mismatches.is_empty(), "{} things differ from the source", report.mismatches.len());
    Ok(())
}

/// Names an import, and no other.
fn random_id() -> String {
    let random = Env::real().random;
    format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
}

/// How many there are of each, how many were new, and what is not as it was.
fn describe_mlflow(report: &mlflow::ImportReport) -> String {
    let counted = [
        ("experiments", report.experiments),
        ("runs", report.runs),
        ("params", report.params),
        ("tags", report.tags),
        ("points", report.points),
        ("files", report.files),
        ("registered models", report.models),
        ("versions", report.versions),
        ("logged models", report.logged_models),
    ];
    let mut text: String =
        counted.iter().map(|(what, count)| format!("{what}: {}, {} of them new\n", count.all, count.new)).collect();
    if report.times_fitted > 0 {
        text += &format!(
            "times that microseconds do not hold: {} points, which have the nearest instead\n",
            report.times_fitted
        );
    }
    if let Some(first) = &report.first_without_directory {
        let (count, first) = (report.without_directory, first.display());
        text += &format!(
            "without a directory of files: {count} runs or logged models, {first} is the first that is not there\n"
        );
    }
    if report.mismatches.is_empty() {
        text += &format!("read back and compared: all points, and {} bytes of files\n", report.file_bytes);
    }
    for mismatch in &report.mismatches {
        text += &format!("differs: {mismatch}\n");
    }
    text
}

fn run_tensorboard(args: &TensorboardArgs) -> Result<()> {
    let client = connect(&args.server)?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("importing {wide_bar} {bytes}/{total_bytes}")?);
    let mut show = |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
    };
    let report = tensorboard::import(&args.logdir, &args.project, &random_id(), &client, &mut show)
        .with_context(|| format!("import {}", args.logdir.display()))?;
    bar.finish_and_clear();
    print!("{}", describe(&report));
    Ok(())
}

/// What was imported, what was there before, and each place that was passed over.
fn describe(report: &ImportReport) -> String {
    let mut text = String::new();
    for run in &report.runs {
        text += &format!("{}: {} points, {} of them new ({})\n", run.path, run.points, run.new_points, run.run_id);
    }
    let (runs, skipped) = (report.runs.len(), report.skipped.len());
    text +=
        &format!("{runs} runs, {} points, {} of them new; {skipped} skipped\n", report.points(), report.new_points());
    for skipped in &report.skipped {
        text += &format!("{skipped}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use stepwell_import::tensorboard::Skipped;

    use super::*;

    #[test]
    fn i4_the_report_says_that_there_is_no_directory_of_files() {
        let report = mlflow::ImportReport {
            without_directory: 2,
            first_without_directory: Some("/gone/r/artifacts".into()),
            ..mlflow::ImportReport::default()
        };
        let text = describe_mlflow(&report);
        assert!(text.contains("without a directory of files: 2 runs or logged models, /gone/r/artifacts is"), "{text}");
        assert!(!describe_mlflow(&mlflow::ImportReport::default()).contains("directory"));
    }

    #[test]
    fn i4_the_report_says_how_many_points_have_another_time() {
        let report = mlflow::ImportReport { times_fitted: 3, ..mlflow::ImportReport::default() };
        let text = describe_mlflow(&report);
        assert!(
            text.contains("times that microseconds do not hold: 3 points, which have the nearest instead"),
            "{text}"
        );
        assert!(!describe_mlflow(&mlflow::ImportReport::default()).contains("times"));
    }

    #[test]
    fn the_report_names_file_and_place_of_what_was_skipped() {
        let skipped = Skipped { file: "a/events".into(), offset: 7, bytes: 12, reason: "checksum".into() };
        let report = ImportReport { skipped: vec![skipped], ..ImportReport::default() };
        let text = describe(&report);
        assert!(text.contains("0 runs, 0 points, 0 of them new; 1 skipped"), "{text}");
        assert!(text.contains("a/events: skipped 12 bytes at offset 7: checksum"), "{text}");
    }
}
