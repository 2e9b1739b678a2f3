//! Where the binary, the repository and the tests' Python are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};

/// The folder of the workspace.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("..")).to_owned()
}

/// `target/debug` or `target/release`: the folder that this very program was built into.
fn profile_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("where is this program?")?;
    let parent = program.parent().context("this program has no directory")?;
    // Tests lie in `deps`, binaries beside it.
    let profile = if parent.ends_with("deps") { parent.parent().context("deps has no parent")? } else { parent };
    Ok(profile.to_owned())
}

/// The `stepwell` binary of the same profile as this program; built first, unless `BINARY_IS_BUILT` says that it is fresh.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let profile = profile_dir()?;
    let path = profile.join("stepwell");
    let fresh = || env::var_os("BINARY_IS_BUILT").is_some() && path.exists();
    let built =
        BUILT.get_or_init(|| if fresh() { Ok(()) } else { build(&profile).map_err(|error| format!("{error:#}")) });
    match built {
        Ok(()) => Ok(path),
        Err(error) => bail!("cannot build the binary: {error}"),
    }
}

fn build(profile: &Path) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository()).args(["build", "--quiet", "--package", "stepwell"]);
    // What cargo said of this package: build scripts that look at it would run again, and much be built anew.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build failed: {status}");
    }
    Ok(())
}

/// The interpreter of the virtual environment that `cargo xtask test` makes.
pub fn venv_python() -> Result<PathBuf> {
    python_of("venv")
}

/// The interpreter of another such environment, by its folder in the target directory.
pub(crate) fn python_of(environment: &str) -> Result<PathBuf> {
    let target = profile_dir()?.parent().context("the profile has no parent")?.to_owned();
    let python = target.join(environment).join("bin/python");
    if !python.exists() {
        bail!("{} is absent: `cargo xtask test` makes it", python.display());
    }
    Ok(python)
}
