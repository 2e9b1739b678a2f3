//! `cargo xtask mutants`: builds that are broken on purpose, each of which tests must catch.
//!
//! The sources are copied to `target/mutants/source`, where one change is made at a time; what is built stays in
//! `target/mutants/build`, so that a change costs the crates above it and not all others. A change whose text is not found, or which
//! does not build, is an error: then the table is out of date.

mod table;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use self::table::{MUTANTS, Mutant};
use crate::process::{self, cargo, root, target_dir};

/// Longest time the tests of one mutant may take; who is not done by then hangs, which is noticed too.
const TEST_MAX: Duration = Duration::from_secs(15 * 60);

/// Between two looks at what they have said.
const POLL: Duration = Duration::from_millis(200);

/// What the tests said.
enum Verdict {
    Passed,
    /// The first test that failed.
    Failed(String),
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
    if let Verdict::Failed(test) = workshop.test(&packages)? {
        bail!("without any mutation this fails: {test}");
    }
    let mut survivors = Vec::new();
    println!("| broken | caught by |\n| --- | --- |");
    for mutant in wanted() {
        let caught_by = match workshop.try_one(mutant)? {
            Verdict::Passed => {
                survivors.push(mutant.name);
                "**nothing**".to_owned()
            }
            Verdict::Failed(test) => format!("`{test}`"),
            Verdict::Hung => format!("tests hang (more than {} s)", TEST_MAX.as_secs()),
        };
        println!("| `{}`: {} | {caught_by} |", mutant.name, mutant.why);
    }
    if !survivors.is_empty() {
        bail!("no test caught {}", survivors.join(", "));
    }
    Ok(())
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
        put(&path, mutated(mutant, &original)?.as_bytes())?;
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
                // Fewer random cases: what catches a mutant should not do so by luck.
                .env("PROPTEST_CASES", "16")
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
        let mut command = command("--no-fail-fast");
        let mut tests = command.stdout(output).stderr(errors).process_group(0).spawn().context("run cargo")?;
        let mut waited = Duration::ZERO;
        loop {
            let status = tests.try_wait().context("wait for tests")?;
            let said = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
            // The first is enough.
            let failed = failed_test(&String::from_utf8_lossy(&said));
            let is_late = waited > TEST_MAX;
            if status.is_none() && (failed.is_some() || is_late) {
                end_group(&mut tests);
            }
            waited += POLL;
            match (status, failed) {
                (_, Some(test)) => return Ok(Verdict::Failed(test)),
                (Some(status), None) if status.success() => return Ok(Verdict::Passed),
                // A process that aborts names no test.
                (Some(status), None) => return Ok(Verdict::Failed(format!("a test process that ended by {status}"))),
                (None, None) if is_late => return Ok(Verdict::Hung),
                (None, None) => std::thread::sleep(POLL),
            }
        }
    }
}

/// The file with the change, of which each text must stand there once.
fn mutated(mutant: &Mutant, original: &str) -> Result<String> {
    mutant.edits.iter().try_fold(original.to_owned(), |text, (old, new)| match text.matches(old).count() {
        1 => Ok(text.replace(old, new)),
        times => bail!("{}: {} has {times} times the text\n{old}", mutant.name, mutant.file),
    })
}

/// Ends cargo and the tests that it runs.
fn end_group(tests: &mut Child) {
    // SAFETY: a call without memory; the group is that of a child that has not been waited for, so that its number is nobody else's.
    unsafe { libc::killpg(tests.id() as i32, libc::SIGKILL) };
    drop(tests.wait());
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

/// The first name that a test harness calls failed.
fn failed_test(log: &str) -> Option<String> {
    let name = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    log.lines().find_map(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mutants_change_is_there() {
        for mutant in MUTANTS {
            let text = fs::read_to_string(root().join(mutant.file)).unwrap();
            assert_ne!(mutated(mutant, &text).unwrap(), text, "{}", mutant.name);
        }
    }
}
