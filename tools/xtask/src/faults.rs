//! `cargo xtask faults`, and the programs of the system that it and the tests need.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::process::{self, cargo};

/// A program, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 5] = [
    ("strace", "strace"),
    ("faketime", "faketime"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
    ("prlimit", "util-linux"),
];

/// Installs what is absent, where that is possible. Where it is not, the tests that need it skip themselves and say so.
pub(crate) fn install() {
    let is_absent = |program: &str| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    };
    let absent: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| is_absent(program)).map(|(_, package)| *package).collect();
    if absent.is_empty() {
        return;
    }
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-q", "--no-install-recommends"]).args(&absent).env("DEBIAN_FRONTEND", "noninteractive");
    let installed = process::run(Command::new("apt-get").args(["update", "-q"])).and_then(|()| process::run(&mut apt));
    if let Err(error) = installed {
        eprintln!("not installed: {}: {error:#}; the tests that need them skip themselves", absent.join(", "));
    }
}

/// Runs long plans of real faults, on a release build where that is asked for.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    install();
    let (profile, arguments): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| *argument == "--release");
    process::run(cargo().args(["build", "--package", "stepwell"]).args(&profile))?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "stepwell-tests", "--bin", "stepwell-faults"]).args(profile);
    process::run(command.arg("--").args(arguments).env("BINARY_IS_BUILT", "1"))
}
