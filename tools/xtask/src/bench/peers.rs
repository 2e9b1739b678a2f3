//! Other programs that take points, beside ours: installed below the target directory in pinned versions, and measured. One that
//! cannot be installed is said to be missing; it never fails the bench.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::loadgen;
use crate::{
    process::{self, output, root},
    python,
};

/// How long peers are measured, each.
const SECONDS: &str = "5";
/// Batches of 10,000 points that are made for them; the fastest peers end with these.
const BATCHES: &str = "1000";
/// Debian's package, and its version in bookworm.
const VICTORIA_METRICS: (&str, &str) = ("victoria-metrics", "1.79.5+ds1-2+b5");
/// Debian's packages of PostgreSQL: server, and the library of its tools.
const POSTGRES: [&str; 2] = ["postgresql-15", "libpq5"];

/// Where each is, or why it is not.
pub(super) struct Peers {
    victoria_metrics: Result<PathBuf>,
    mlflow: Result<PathBuf>,
    /// The batches that all of them get.
    bodies: PathBuf,
}

impl Peers {
    /// Installs what is not there yet, and makes the batches.
    pub(super) fn install(target: &Path) -> Result<Self> {
        let home = target.join("peers");
        let bodies = home.join("bodies");
        if bodies.exists() {
            fs::remove_dir_all(&bodies).with_context(|| format!("remove {}", bodies.display()))?;
        }
        fs::create_dir_all(&bodies).with_context(|| format!("make {}", bodies.display()))?;
        process::run(loadgen(target).arg("bodies").arg(&bodies).args(["--batches", BATCHES]))?;
        Ok(Self { victoria_metrics: victoria_metrics(&home), mlflow: mlflow(&home), bodies })
    }

    /// Measures all of them and Stepwell; a table.
    pub(super) fn measure(&self, target: &Path, interpreter: &Path) -> Result<String> {
        let mut command = Command::new(interpreter);
        command
            .arg(root().join("benches/peers/ingest.py"))
            .arg(&self.bodies)
            .arg(target.join("peers/data"))
            .arg(SECONDS);
        command.arg("--stepwell").arg(target.join("release/stepwell"));
        for (name, flag, found) in
            [("VictoriaMetrics", "--victoria-metrics", &self.victoria_metrics), ("MLflow", "--mlflow", &self.mlflow)]
        {
            match found {
                Ok(path) => command.arg(flag).arg(path),
                Err(error) => {
                    command.arg("--skipped").arg(format!("{name}=it could not be installed: {}", one_line(error)))
                }
            };
        }
        command.args(["--victoria-metrics-version", VICTORIA_METRICS.1]);
        output(&mut command)
    }
}

/// For a cell of a table.
fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}").replace('|', "/");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// MLflow's client against its own server and against ours; a table.
pub(super) fn through_mlflow(target: &Path, options: &[String]) -> Result<String> {
    let home = target.join("peers");
    let python = mlflow(&home)?;
    let mut command = Command::new(python);
    command.arg(root().join("benches/peers/mlflow_compare.py")).arg(home.join("data"));
    command.arg("--stepwell").arg(target.join("release/stepwell"));
    match postgres(&home) {
        Ok(programs) => command.arg("--postgres").arg(programs),
        Err(error) => command
            .arg("--skipped")
            .arg(format!("MLflow on PostgreSQL=it could not be installed: {}", one_line(&error))),
    };
    output(command.args(options))
}

/// The interpreter that has MLflow with its server.
fn mlflow(home: &Path) -> Result<PathBuf> {
    let requirements = root().join("benches/peers/mlflow-requirements.txt");
    python::environment(&home.join("mlflow"), &requirements, "mlflow, psycopg2")
}

fn victoria_metrics(home: &Path) -> Result<PathBuf> {
    let (package, version) = VICTORIA_METRICS;
    let directory = home.join(format!("{package}-{version}"));
    let program = directory.join("usr/bin/victoria-metrics");
    if !program.exists() {
        unpack(home, &directory, &[&format!("{package}={version}")])?;
    }
    Ok(program)
}

/// The folder of PostgreSQL's programs: the system's, or of a package that is unpacked.
fn postgres(home: &Path) -> Result<PathBuf> {
    let below = |directory: &Path| {
        let versions = fs::read_dir(directory.join("usr/lib/postgresql")).ok()?;
        let mut programs: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
        programs.retain(|programs| programs.join("initdb").exists());
        programs.sort();
        programs.pop()
    };
    let directory = home.join("postgresql");
    if let Some(programs) = below(Path::new("/")).or_else(|| below(&directory)) {
        return Ok(programs);
    }
    unpack(home, &directory, &POSTGRES)?;
    below(&directory).context("the package has no initdb")
}

/// Unpacks Debian's packages without installing them: no root is needed and no service starts.
fn unpack(home: &Path, directory: &Path, packages: &[&str]) -> Result<()> {
    let download = home.join("download");
    if download.exists() {
        fs::remove_dir_all(&download).with_context(|| format!("remove {}", download.display()))?;
    }
    fs::create_dir_all(&download).with_context(|| format!("make {}", download.display()))?;
    process::run(Command::new("apt-get").current_dir(&download).arg("download").args(packages))?;
    for archive in fs::read_dir(&download).context("read the download")? {
        let archive = archive.context("read the download")?.path();
        process::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(directory))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_into_a_cell() {
        let error = anyhow::anyhow!("no\n  network | no luck").context("download");
        assert_eq!(one_line(&error), "download: no network / no luck");
    }
}
