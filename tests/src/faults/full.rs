//! A full disk: of bytes, of inodes, under the metadata. Refusals say so, reads go on, and batches are taken again when there is
//! room, without a restart (I8).

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stepwell_env::{Clock, SystemClock};

use super::{Mount, Plan, Report};
use crate::{
    Http, Server, ServerOptions,
    load::{Load, check_problem},
    oracle::PROJECT,
};

/// Room that is left before the load begins, bytes.
const ROOM_BYTES: u64 = 5 << 20;
/// Memtable of the servers here, bytes; three of them are all that may wait for segments.
const MEMTABLE_BYTES: u64 = 1 << 20;

fn options() -> ServerOptions {
    let flags = ["--memtable-bytes", &MEMTABLE_BYTES.to_string(), "--flush-age-seconds", "1"].map(str::to_owned);
    ServerOptions { flags: flags.to_vec(), ..ServerOptions::default() }
}

/// All cases, `rounds` times.
pub fn run(plan: Plan) -> Result<Report> {
    let mut report = Report::default();
    for seed in plan.seed..plan.seed + plan.rounds {
        bytes(&Mount::tmpfs(24)?, seed, &mut report).context("tmpfs")?;
        bytes(&Mount::ext4(48, 0)?, seed, &mut report).context("ext4")?;
        inodes(&Mount::ext4(64, 256)?, seed, &mut report).context("inodes of ext4")?;
        metadata(&Mount::ext4(32, 0)?, &mut report).context("metadata")?;
    }
    Ok(report)
}

/// The log and the segments run out of bytes under load.
pub fn bytes(mount: &Mount, seed: u64, report: &mut Report) -> Result<()> {
    let server = Server::start_in(&mount.data_dir(), &options())?;
    let mut load = Load::new("full", seed, 1, 0, 5_000);
    load.create_runs(&server.http())?;
    let ballast = mount.fill(ROOM_BYTES)?;
    let load = until_refused(&server, load)?;
    load.verify(&server.http()).context("reads while full")?;
    let load = until_told(&server, load)?;
    std::fs::remove_file(ballast)?;
    recovers(server, load, report)?;
    report.count("disks filled with bytes");
    Ok(())
}

/// There is room for the log's bytes, but for no new file: no segment, and no new log file.
pub fn inodes(mount: &Mount, seed: u64, report: &mut Report) -> Result<()> {
    let server = Server::start_in(&mount.data_dir(), &options())?;
    let mut load = Load::new("inodes", seed, 1, 0, 5_000);
    load.create_runs(&server.http())?;
    let crowd = mount.path().join("crowd");
    std::fs::create_dir(&crowd)?;
    let mut files = 0;
    while std::fs::File::create(crowd.join(files.to_string())).is_ok() {
        files += 1;
    }
    let load = until_refused(&server, load)?;
    load.verify(&server.http()).context("reads while full")?;
    let held = server.metric("stepwell_memtable_bytes")? as u64;
    ensure!(held <= 4 * MEMTABLE_BYTES, "{held} bytes are in memory, more than the generations there may be (I9)");
    std::fs::remove_dir_all(crowd)?;
    recovers(server, load, report)?;
    report.count("disks filled with files");
    Ok(())
}

/// Runs cannot be created; that is said as what it is.
pub fn metadata(mount: &Mount, report: &mut Report) -> Result<()> {
    let server = Server::start_in(&mount.data_dir(), &options())?;
    let http = server.http();
    let create = |number: u64| {
        let tags = json!({"what": "x".repeat(2_000)});
        http.post("/api/v1/runs", &json!({"project": PROJECT, "run_id": format!("r{number}"), "tags": tags}))
    };
    ensure!(create(0)?.status == 201, "the first run");
    let ballast = mount.fill(0)?;
    let mut made = 1;
    let refused = loop {
        let reply = create(made)?;
        if reply.status != 201 {
            break reply;
        }
        made += 1;
        ensure!(made < 2_000, "no end of space");
    };
    let code = check_problem(&refused)?;
    ensure!((refused.status, code.as_str()) == (503, "disk_full"), "{}", refused.text());
    ensure!(refused.header("retry-after").is_some(), "no Retry-After: {}", refused.text());
    let listed = http.get(&format!("/api/v1/runs/r{}", made - 1))?;
    ensure!(listed.status == 200, "reads go on: {}", listed.text());
    std::fs::remove_file(ballast)?;
    ensure!(create(made)?.status == 201, "with room, runs are made again");
    let server = restarted(server, &mount.data_dir())?;
    for number in [0, made - 1, made] {
        server.http().get(&format!("/api/v1/runs/r{number}"))?.expect(200).context("I1: what was answered is there")?;
    }
    report.count("disks filled under the metadata");
    Ok(())
}

/// Writes until batches are refused for want of space, and for three seconds more.
fn until_refused(server: &Server, mut load: Load) -> Result<Load> {
    let clock = SystemClock::new();
    let is_full = |refusals: &std::collections::BTreeMap<String, u64>| refusals.contains_key("disk_full");
    for writer in &mut load.writers {
        writer
            .write(server.url(), &|writer| !is_full(&writer.refusals) && clock.monotonic() < Duration::from_secs(60))?;
        ensure!(is_full(&writer.refusals), "the disk was not full in time: {:?}", writer.refusals);
        let until = clock.monotonic() + Duration::from_secs(3);
        writer.write(server.url(), &|_| clock.monotonic() < until)?;
        let unexpected = writer.refusals.keys().find(|code| !["disk_full", "queue_full"].contains(&code.as_str()));
        ensure!(unexpected.is_none(), "a full disk is called {unexpected:?}:\n{}", server.log().join("\n"));
    }
    ensure!(server.http().get("/health")?.status == 200, "alive");
    Ok(load)
}

/// Writes on until `/ready` says that the disk is full: now and then a flush finds room after all.
fn until_told(server: &Server, mut load: Load) -> Result<Load> {
    let clock = SystemClock::new();
    while status(&server.http())? != "disk_full" {
        ensure!(clock.monotonic() < Duration::from_secs(20), "/ready says {}", server.http().get("/ready")?.text());
        let until = clock.monotonic() + Duration::from_millis(50);
        for writer in &mut load.writers {
            writer.write(server.url(), &|_| clock.monotonic() < until)?;
        }
    }
    Ok(load)
}

/// Batches are taken again, readiness says so, and nothing is lost, now and after a restart.
fn recovers(server: Server, mut load: Load, report: &mut Report) -> Result<()> {
    let clock = SystemClock::new();
    for writer in &mut load.writers {
        let wanted = writer.producer.next + 20;
        let in_time = || clock.monotonic() < Duration::from_secs(60);
        writer.write(server.url(), &|writer| writer.producer.next < wanted && in_time())?;
        ensure!(writer.producer.next >= wanted, "no batches are taken with room again: {:?}", writer.refusals);
        for (code, count) in &writer.refusals {
            report.add(format!("refusals, {code}"), *count);
        }
    }
    let deadline = clock.monotonic() + Duration::from_secs(20);
    while status(&server.http())? != "ready" {
        ensure!(clock.monotonic() < deadline, "/ready still says {}", server.http().get("/ready")?.text());
        std::thread::sleep(Duration::from_millis(50));
    }
    load.verify(&server.http()).context("after room came back")?;
    // A flush that finds room after all, by the log files that the one before it released, makes it well for a moment.
    let told = server.log().iter().filter(|line| line.contains("the disk is full; batches are refused")).count() as u64;
    let refusals: u64 = load.refusals().values().sum();
    ensure!(
        told > 0 && told <= 10 + refusals,
        "told {told} times for {refusals} refusals:\n{}",
        server.log().join("\n")
    );
    let data_dir = server.data_dir().to_owned();
    let server = restarted(server, &data_dir)?;
    let found = load.verify(&server.http()).context("after a restart")?;
    report.add("batches acknowledged", load.acknowledged());
    report.add("points there", found.points);
    Ok(())
}

/// What `/ready` calls the state.
fn status(http: &Http) -> Result<String> {
    let body: Value = http.get("/ready")?.json()?;
    Ok(body["status"].as_str().or(body["code"].as_str()).unwrap_or_default().to_owned())
}

fn restarted(mut server: Server, data_dir: &Path) -> Result<Server> {
    let (_, ended) = server.terminate()?;
    ensure!(ended.success(), "{ended}: {}", server.log().join("\n"));
    drop(server);
    Server::start_in(data_dir, &options())
}
