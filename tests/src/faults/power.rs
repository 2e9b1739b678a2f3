//! Loss of power under load: a real ext4 on a disk that forgets what was not synced.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use stepwell_env::{Random, SeededRandom};

use super::{Plan, Report, forgetful::Disk, place::run as command};
use crate::{Server, ServerOptions, load::Load};

const DISK_BYTES: usize = 96 << 20;
/// Cuts after which a new file system and new producers begin.
const CUTS_PER_DISK: u64 = 20;
/// Chances that a sector survives that was not synced.
const PERCENTS: [u64; 5] = [0, 10, 50, 90, 100];

/// An ext4 on the disk, as long as there is power.
pub(super) struct Mounted {
    device: String,
    pub(super) path: PathBuf,
    _parent: tempfile::TempDir,
}

impl Mounted {
    pub(super) fn new(disk: &Disk) -> Result<Self> {
        let parent = tempfile::tempdir()?;
        let path = parent.path().join("mount");
        std::fs::create_dir(&path)?;
        let device = command("losetup", &["-f", "--show", &disk.path().display().to_string()])?;
        let mounted = Self { device, path, _parent: parent };
        command("mount", &["-t", "ext4", &mounted.device, &mounted.path.display().to_string()])?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.path.display().to_string();
        if command("umount", &[&path]).is_err() {
            let _ = command("umount", &["-l", &path]);
        }
        let _ = command("losetup", &["-d", &self.device]);
    }
}

/// Cuts the power `rounds` times.
pub fn run(plan: Plan) -> Result<Report> {
    let mut report = Report::default();
    let mut left = plan.rounds;
    while left > 0 {
        let cuts = left.min(CUTS_PER_DISK);
        let seed = plan.seed.wrapping_add(left);
        cut_repeatedly(cuts, seed, false, &mut report).with_context(|| format!("seed {seed}"))?;
        left -= cuts;
        println!("{} cuts of the power, nothing lost", plan.rounds - left);
    }
    Ok(report)
}

/// The same on a disk that answers syncs and does not do them. What must not happen, happens: it shows that these checks see
/// it, and that against such a disk there is no guarantee.
pub fn on_a_lying_disk(cuts: u64, seed: u64) -> Result<()> {
    match cut_repeatedly(cuts, seed, true, &mut Report::default()) {
        Ok(()) => bail!("{cuts} cuts of a disk that lies lost nothing"),
        Err(_) => Ok(()),
    }
}

fn cut_repeatedly(cuts: u64, seed: u64, lies: bool, report: &mut Report) -> Result<()> {
    let random = SeededRandom::new(seed);
    let disk = Disk::new(DISK_BYTES, lies)?;
    command("mkfs.ext4", &["-q", "-F", "-E", "nodiscard", &disk.path().display().to_string()])?;
    disk.settle();
    let options = ServerOptions {
        flags: ["--memtable-bytes", "1048576", "--flush-age-seconds", "1"].map(str::to_owned).to_vec(),
        ..ServerOptions::default()
    };
    let mut load = Load::new("power", seed, 2, 2, 400);
    for cut in 0..cuts {
        let at = || format!("cut {cut}");
        let mounted = Mounted::new(&disk).with_context(at)?;
        let server = Server::start_in(&mounted.path.join("data"), &options).with_context(at)?;
        load.create_runs(&server.http()).with_context(at)?;
        load.verify(&server.http()).with_context(at)?;
        let running = load.start(server.url())?;
        std::thread::sleep(Duration::from_millis(30 + random.next_u64() % 900));
        let percent = PERCENTS[(random.next_u64() % PERCENTS.len() as u64) as usize];
        let (kept, unsynced) = disk.cut(&random, percent);
        // Whoever was acknowledged in the last moment has heard it; whoever was not hears that the log has failed.
        std::thread::sleep(Duration::from_millis(random.next_u64() % 100));
        server.kill()?;
        load = running.stop().with_context(at)?;
        drop(mounted);
        disk.power_on();
        report.count("cuts of the power");
        report.add("sectors not synced at a cut", unsynced);
        report.add("of them kept", kept);
    }
    let mounted = Mounted::new(&disk)?;
    let mut server = Server::start_in(&mounted.path.join("data"), &options)?;
    let found = load.verify(&server.http()).context("after the last cut")?;
    report.add("batches acknowledged", load.acknowledged());
    report.add("of them sent again after a cut", load.retried());
    report.add("points there", found.points);
    server.terminate()?;
    Ok(())
}
