//! Virtual environments: that of the tests that other programs' readers take part in, and those of peers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process::{root, run};

/// Makes `target/venv` with the pinned packages of `tests/python/requirements.txt`; does nothing if it is there and current.
pub(crate) fn prepare(target_dir: &Path) -> Result<PathBuf> {
    environment(&target_dir.join("venv"), &root().join("tests/python/requirements.txt"), "pyarrow, duckdb, polars")
}

/// Makes a virtual environment of pinned `requirements`, which bring the modules `imports`; does nothing if it is there and
/// current. Returns its interpreter.
pub(crate) fn environment(environment: &Path, requirements: &Path, imports: &str) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements).with_context(|| format!("read {}", requirements.display()))?;
    let (stamp, python) = (environment.join("stepwell-requirements.txt"), environment.join("bin/python"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && works(&python, imports) {
        return Ok(python);
    }
    if environment.exists() {
        fs::remove_dir_all(environment).with_context(|| format!("remove {}", environment.display()))?;
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(environment));
    if let Err(error) = made {
        bail!("{error:#}\nthis needs Python 3 with venv (on Debian and Ubuntu: apt-get install python3-venv)");
    }
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements))?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(python)
}

fn works(python: &Path, imports: &str) -> bool {
    Command::new(python).args(["-c", &format!("import {imports}")]).status().is_ok_and(|status| status.success())
}
