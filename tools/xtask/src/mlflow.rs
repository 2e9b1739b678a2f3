//! MLflow's genuine clients, and `cargo xtask mlflow`: their sessions alone, what a genuine server answers them, or both servers' speed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    bench,
    process::{self, cargo, root, target_dir},
    python,
};

/// The interpreters of the newest client, with MLflow's server, and of one a year old.
pub(crate) fn prepare(target: &Path) -> Result<[PathBuf; 2]> {
    let environment = |name: &str| {
        let requirements = root().join("tests/python/mlflow").join(name).with_extension("txt");
        python::environment(&target.join("mlflow").join(name), &requirements, "mlflow, sklearn")
    };
    Ok([environment("newest")?, environment("year-old")?])
}

/// `[ARGS]`: runs the sessions (ARGS go to cargo test). `record [SESSION…]`: runs them against a genuine server, and writes what
/// they are to see. `bench`: measures both.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(options) = arguments.strip_prefix(&["bench".to_owned()]) {
        return bench::mlflow(options);
    }
    let [newest, year_old] = prepare(&target_dir()?)?;
    match arguments.split_first() {
        Some((command, sessions)) if command == "record" => {
            if let Some(flag) = sessions.iter().find(|name| name.starts_with('-')) {
                bail!("mlflow record does not know {flag}");
            }
            let mut record = Command::new(&newest);
            record.arg(root().join("tests/python/mlflow/record.py")).args([&newest, &year_old]);
            process::run(record.args(sessions))
        }
        _ => {
            process::run(cargo().args(["build", "--package", "stepwell"]))?;
            let mut test = cargo();
            test.args(["test", "--package", "stepwell-tests", "--test", "mlflow"]).args(arguments);
            process::run(test.env("BINARY_IS_BUILT", "1"))
        }
    }
}
