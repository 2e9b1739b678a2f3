//! The virtual environment of the tests that other programs' readers take part in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process::{root, run};

/// Makes `target/venv` with the pinned packages of `tests/python/requirements.txt`; does nothing if it is there and current.
pub(crate) fn prepare(target_dir: &Path) -> Result<PathBuf> {
    let requirements = root().join("tests/python/requirements.txt");
    let wanted = fs::read_to_string(&requirements).with_context(|| format!("read {}", requirements.display()))?;
    let (environment, stamp) = (target_dir.join("venv"), target_dir.join("venv/stepwell-requirements.txt"));
    let python = environment.join("bin/python");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && works(&python) {
        return Ok(python);
    }
    if environment.exists() {
        fs::remove_dir_all(&environment).with_context(|| format!("remove {}", environment.display()))?;
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&environment));
    if let Err(error) = made {
        bail!("{error:#}\nthe tests need Python 3 with venv (on Debian and Ubuntu: apt-get install python3-venv)");
    }
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&requirements))?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(python)
}

fn works(python: &Path) -> bool {
    Command::new(python).args(["-c", "import pyarrow, duckdb, polars"]).status().is_ok_and(|status| status.success())
}
