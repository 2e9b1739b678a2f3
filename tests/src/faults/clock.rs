//! The wall clock jumps by a day, forwards and backwards, under a running server (by `libfaketime`): what is told by the wall
//! follows it, and nothing else notices.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stepwell_env::{Clock, SystemClock};

use super::{Plan, Report, clients::busy_ticks};
use crate::{Http, Server, ServerOptions, load::Load, oracle::PROJECT};

const DAY_S: i64 = 86_400;
/// What a timestamp may be off by: the time a request takes on a loaded machine.
const SLACK_US: i64 = 30_000_000;
/// A project whose points are kept for a day.
const SHORT: &str = "short lived";

/// The library that stands between the server and the clock, if it is installed.
pub fn library() -> Option<PathBuf> {
    let directories = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut libraries = directories.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|path| path.exists())
}

/// Four jumps a round.
pub fn run(plan: Plan) -> Result<Report> {
    let mut report = Report::default();
    for seed in plan.seed..plan.seed + plan.rounds {
        jumps(seed, &mut report)?;
    }
    Ok(report)
}

/// A day forwards, two backwards, back to now; then a restart at a time before all that is stored.
pub fn jumps(seed: u64, report: &mut Report) -> Result<()> {
    let library = library().context("libfaketime is not installed")?;
    let directory = tempfile::tempdir()?;
    let (data_dir, offset) = (directory.path().join("data"), directory.path().join("offset"));
    let set = |seconds: i64| std::fs::write(&offset, format!("{seconds:+}\n"));
    set(0)?;
    let variables = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // A step of the clock is one of the wall; what only ever rises goes on rising.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let options = ServerOptions {
        // No flush for its size: those by age are counted.
        flags: ["--flush-age-seconds", "1", "--memtable-bytes", "268435456"].map(str::to_owned).to_vec(),
        variables: variables.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        ..ServerOptions::default()
    };
    let mut server = Server::start_in(&data_dir, &options)?;
    let http = server.http();
    http.post("/api/v1/projects", &json!({"name": SHORT}))?.expect(201)?;
    http.post("/api/v1/runs", &json!({"project": SHORT, "run_id": "short"}))?.expect(201)?;
    let mut load = Load::new("clock", seed, 2, 1, 500);
    load.create_runs(&http)?;
    for (step, seconds) in (0..).zip([0, DAY_S, -DAY_S, 0]) {
        let at = || format!("with the clock off by {seconds} s");
        set(seconds)?;
        keeps_time(&http, step, seconds).with_context(at)?;
        let before = (server.metric("stepwell_flushes_total")?, SystemClock::new());
        let running = load.start(server.url())?;
        std::thread::sleep(Duration::from_millis(800));
        load = running.stop().with_context(at)?;
        load.verify(&http).with_context(at)?;
        let (flushes, elapsed) = (server.metric("stepwell_flushes_total")? - before.0, before.1.monotonic());
        ensure!(flushes < 4.0 * elapsed.as_secs_f64() + 4.0, "{flushes} flushes in {elapsed:?} {}", at());
        std::thread::sleep(Duration::from_millis(2_000));
        let busy = busy_ticks(&server)?;
        std::thread::sleep(Duration::from_secs(1));
        let busy = busy_ticks(&server)? - busy;
        ensure!(busy < 40, "at rest it used {busy} hundredths of a second of CPU in a second {}", at());
        ensure!(server.metric("stepwell_memtable_points")? == 0.0, "points were not flushed by age {}", at());
        report.count("steps of the clock");
    }
    server.check_log(&[])?;
    set(-DAY_S)?;
    server.terminate()?;
    let mut server = Server::start_in(&data_dir, &options).context("a start at a time before all that is stored")?;
    let found = load.verify(&server.http())?;
    report.add("batches acknowledged", load.acknowledged());
    report.add("points there", found.points);
    server.check_log(&[])?;
    server.terminate()?;
    Ok(())
}

/// A point without a timestamp gets that of the wall; retention goes by the wall, and takes nothing that is younger by it.
fn keeps_time(http: &Http, step: i64, seconds: i64) -> Result<()> {
    let point = json!({"run_id": "short", "metric": "m", "step": step, "value": 1.0}).to_string();
    http.send("POST", "/api/v1/ingest", &[("content-type", "application/x-ndjson")], point.as_bytes())?.expect(200)?;
    let query = format!("SELECT CAST(timestamp AS BIGINT) AS us FROM points WHERE run_id = 'short' AND step = {step}");
    let us = http.sql(SHORT, &query)?[0]["us"].as_i64().context("timestamp")?;
    let expected = SystemClock::new().now_us() + seconds * 1_000_000;
    ensure!((us - expected).abs() < SLACK_US, "a point without a time got {us}, the wall shows {expected}");
    let path = "/api/v1/projects/short%20lived/retention";
    let reply = http.send("PUT", path, &[("content-type", "application/json")], br#"{"keep_days": 1}"#)?;
    ensure!(reply.status == 200, "{}", reply.text());
    let count = http.sql(SHORT, &format!("SELECT count(*) AS n FROM points WHERE step = {step}"))?;
    ensure!(count[0]["n"] == 1, "a point of this moment fell to the retention");
    ensure!(http.sql(PROJECT, "SELECT 1 AS one")?[0]["one"] == 1, "others are there");
    Ok(())
}
