//! `cargo xtask mutants`: builds that are broken on purpose, each of which tests must catch.
//!
//! The sources are copied to `target/mutants/source`, where one change is made at a time; what is built stays in
//! `target/mutants/build`, so that a change costs the crates above it and not all others. A change whose text is not found, or which
//! does not build, is an error: then the table is out of date.

mod table;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use self::table::{MUTANTS, Mutant};
use crate::process::{self, cargo, root, target_dir};

/// Longest time the tests of one mutant may take; who is not done by then hangs, which is noticed too.
const TEST_MAX: Duration = Duration::from_secs(15 * 60);

/// What the tests said.
enum Verdict {
    Passed,
    Failed(Vec<String>),
    Hung,
}

/// Runs the mutants named, or all.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments.iter().find(|name| !MUTANTS.iter().any(|mutant| mutant.name == **name)) {
        let names: Vec<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        bail!("there is no mutant {unknown}: there are {}", names.join(", "));
    }
    let wanted = || MUTANTS.iter().filter(|m| arguments.is_empty() || arguments.iter().any(|name| name == m.name));
    let home = target_dir()?.join("mutants");
    let workshop = Workshop { source: home.join("source"), build: home.join("build") };
    workshop.copy()?;
    let packages: BTreeSet<&str> = wanted().flat_map(|mutant| mutant.packages).copied().collect();
    let packages: Vec<&str> = packages.into_iter().collect();
    if let Verdict::Failed(tests) = workshop.test(&packages)? {
        bail!("without any mutation these tests fail: {}", tests.join(", "));
    }
    let mut survivors = Vec::new();
    println!("| broken | caught by |\n| --- | --- |");
    for mutant in wanted() {
        let caught_by = match workshop.try_one(mutant)? {
            Verdict::Passed => {
                survivors.push(mutant.name);
                "**nothing**".to_owned()
            }
            Verdict::Failed(tests) => shown(&tests),
            Verdict::Hung => format!("tests hang (more than {} s)", TEST_MAX.as_secs()),
        };
        println!("| `{}`: {} | {caught_by} |", mutant.name, mutant.why);
    }
    if !survivors.is_empty() {
        bail!("no test caught {}", survivors.join(", "));
    }
    Ok(())
}

/// The first tests of many.
fn shown(tests: &[String]) -> String {
    let first: Vec<String> = tests.iter().take(3).map(|test| format!("`{test}`")).collect();
    let more = tests.len().saturating_sub(first.len());
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Where mutants are made.
struct Workshop {
    source: PathBuf,
    build: PathBuf,
}

impl Workshop {
    /// Makes the copy like the sources. Files that are so already are left alone, so that cargo sees no change.
    fn copy(&self) -> Result<()> {
        let listed = process::output(
            Command::new("git")
                .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
                .current_dir(root()),
        )?;
        let files: BTreeSet<&str> = listed.split('\0').filter(|file| !file.is_empty()).collect();
        for file in &files {
            // Files that are deleted and not yet committed are listed too.
            let Ok(wanted) = fs::read(root().join(file)) else { continue };
            put(&self.source.join(file), &wanted)?;
        }
        let list = self.source.with_extension("list");
        if let Ok(before) = fs::read_to_string(&list) {
            for gone in before.lines().filter(|file| !files.contains(file)) {
                drop(fs::remove_file(self.source.join(gone)));
            }
        }
        put(&list, files.iter().map(|file| format!("{file}\n")).collect::<String>().as_bytes())
    }

    fn try_one(&self, mutant: &Mutant) -> Result<Verdict> {
        let path = self.source.join(mutant.file);
        let original = fs::read_to_string(&path).with_context(|| format!("read {}", mutant.file))?;
        let mut text = original.clone();
        for (old, new) in mutant.edits {
            if text.matches(old).count() != 1 {
                bail!("{}: {} has {} times the text\n{old}", mutant.name, mutant.file, text.matches(old).count());
            }
            text = text.replace(old, new);
        }
        put(&path, text.as_bytes())?;
        eprintln!("+ {}", mutant.name);
        let verdict = self.test(mutant.packages).with_context(|| format!("mutant {}", mutant.name));
        put(&path, original.as_bytes())?;
        verdict
    }

    /// Builds and runs the tests of packages.
    fn test(&self, packages: &[&str]) -> Result<Verdict> {
        let command = |last: &str| {
            let mut command = cargo();
            command.arg("test").args(packages.iter().flat_map(|package| ["--package", package])).arg(last);
            command
                .current_dir(&self.source)
                .env("CARGO_TARGET_DIR", &self.build)
                .env("RUSTFLAGS", "--cap-lints=allow");
            command
        };
        let built = command("--no-run").stderr(Stdio::piped()).output().context("run cargo")?;
        if !built.status.success() {
            bail!("it does not build:\n{}", String::from_utf8_lossy(&built.stderr));
        }
        let log = self.source.with_extension("log");
        let output = fs::File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let errors = output.try_clone().context("a second handle of the log")?;
        let mut tests = command("--no-fail-fast").stdout(output).stderr(errors).spawn().context("run cargo")?;
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = tests.try_wait().context("wait for tests")? {
                break status;
            }
            if begin.elapsed() > TEST_MAX {
                // Ends cargo; the test that hangs ends with its pipe or is left behind.
                tests.kill().context("end tests that hang")?;
                drop(tests.wait());
                return Ok(Verdict::Hung);
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let said = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        let failed = failed_tests(&String::from_utf8_lossy(&said));
        match (status.success(), failed.is_empty()) {
            (true, _) => Ok(Verdict::Passed),
            // A process that aborts names no test.
            (false, true) => Ok(Verdict::Failed(vec!["a test process that ended".to_owned()])),
            (false, false) => Ok(Verdict::Failed(failed)),
        }
    }
}

/// Writes a file that differs.
fn put(path: &Path, wanted: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, wanted).with_context(|| format!("write {}", path.display()))
}

/// Names that test harnesses call failed.
fn failed_tests(log: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    log.lines().filter_map(name).collect()
}
