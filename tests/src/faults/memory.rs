//! A limit of memory by cgroup: a little above the budget it is never met, far below it the server is killed and recovers (I9).

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stepwell_env::{Clock, SystemClock};

use super::{Plan, Report};
use crate::{
    Http, Server, ServerOptions, arrow_stream,
    load::{CALL_MAX, Load, check_problem},
    oracle::PROJECT,
};

const ROOT: &str = "/sys/fs/cgroup/memory";
const BUDGET_BYTES: u64 = 192 << 20;
/// What the budget does not count: the program's own pages, of a debug build, threads' stacks, buffers of the kernel.
const PROGRAM_BYTES: u64 = 160 << 20;

/// Whether memory can be limited here (cgroup v1).
pub fn is_possible() -> bool {
    std::path::Path::new(ROOT).join("memory.limit_in_bytes").exists() && super::is_root()
}

/// A group of processes with a limit of memory; gone when dropped.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Result<Self> {
        let path = PathBuf::from(ROOT).join(format!("stepwell-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    fn limit(&self, bytes: u64) -> Result<()> {
        std::fs::write(self.0.join("memory.limit_in_bytes"), bytes.to_string()).context("limit")
    }

    fn read(&self, file: &str) -> Result<String> {
        std::fs::read_to_string(self.0.join(file)).with_context(|| file.to_owned())
    }

    fn kills(&self) -> Result<u64> {
        let control = self.read("memory.oom_control")?;
        let line = control.lines().find_map(|line| line.strip_prefix("oom_kill ")).context("oom_kill")?;
        Ok(line.trim().parse()?)
    }

    /// Puts a process in before it becomes the server.
    fn wrapper(&self) -> Vec<String> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Both cases, `rounds` times.
pub fn run(plan: Plan) -> Result<Report> {
    let mut report = Report::default();
    for seed in plan.seed..plan.seed + plan.rounds {
        within(seed, Duration::from_secs(30), &mut report).context("within the limit")?;
        killed(seed, &mut report).context("killed for memory")?;
    }
    Ok(report)
}

fn options(group: &Group, budget: u64) -> ServerOptions {
    let flags = ["--memory-bytes", &budget.to_string(), "--flush-age-seconds", "2", "--log-filter", "error"];
    ServerOptions { flags: flags.map(str::to_owned).to_vec(), wrapper: group.wrapper(), ..ServerOptions::default() }
}

/// Overload, many series and queries under a limit of the budget, a quarter and the program.
pub fn within(seed: u64, duration: Duration, report: &mut Report) -> Result<()> {
    let (group, directory) = (Group::new("within")?, tempfile::tempdir()?);
    group.limit(BUDGET_BYTES + BUDGET_BYTES / 4 + PROGRAM_BYTES)?;
    let server = Server::start_in(directory.path(), &options(&group, BUDGET_BYTES))?;
    let mut load = Load::new("memory", seed, 4, 2, 20_000);
    load.create_runs(&server.http())?;
    let stop = Arc::new(AtomicBool::new(false));
    let beside: Vec<_> = [many_series as fn(&Http, &AtomicBool) -> Result<u64>, queries]
        .into_iter()
        .map(|work| {
            let (http, stop) = (Http::with_timeout(server.url(), CALL_MAX * 3), stop.clone());
            stepwell_env::spawn("beside", move || work(&http, &stop))
        })
        .collect::<Result<_, _>>()?;
    let running = load.start(server.url())?;
    std::thread::sleep(duration);
    stop.store(true, Ordering::SeqCst);
    let load = running.stop()?;
    let beside: Vec<_> = beside.into_iter().map(stepwell_env::JoinHandle::join).collect();
    let resident = server.resident_bytes_max().unwrap_or(0);
    ensure!(group.kills()? == 0, "killed for memory:\n{}", group.read("memory.stat")?);
    let mut done = Vec::new();
    for result in beside {
        done.push(result.map_err(|_| anyhow::anyhow!("a thread panicked"))??);
    }
    report.add("MiB resident at most", resident >> 20);
    let found = load.verify(&server.http()).with_context(|| server.log().join("\n"))?;
    report.count("overloads within the limit of memory");
    report.add("batches acknowledged", load.acknowledged());
    report.add("points there", found.points);
    report.add("series of one run beside", done[0]);
    report.add("queries answered or refused beside", done[1]);
    let peak: u64 = group.read("memory.max_usage_in_bytes")?.trim().parse()?;
    report.add("MiB of memory at most, page cache included", peak >> 20);
    drop(server);
    let server = Server::start_in(directory.path(), &options(&group, BUDGET_BYTES))?;
    load.verify(&server.http()).context("after a restart within the limit")?;
    Ok(())
}

/// Each batch has new metrics.
fn many_series(http: &Http, stop: &AtomicBool) -> Result<u64> {
    const SERIES_PER_BATCH: u64 = 5_000;
    http.post("/api/v1/runs", &json!({"project": PROJECT, "run_id": "many series"}))?.expect(201)?;
    let mut series = 0;
    while !stop.load(Ordering::SeqCst) {
        let row = |number: u64| arrow_stream::Row {
            run_id: "many series".to_owned(),
            metric: format!("layer/{number}/gradient/norm"),
            step: 1,
            timestamp_us: 0,
            value: 1.0,
        };
        let rows: Vec<_> = (series..series + SERIES_PER_BATCH).map(row).collect();
        let body = arrow_stream::encode_rows(&rows)?;
        let reply = http.send("POST", "/api/v1/ingest", &[("content-type", arrow_stream::MEDIA_TYPE)], &body)?;
        match reply.status {
            200 => series += SERIES_PER_BATCH,
            429 | 503 => std::thread::sleep(Duration::from_millis(50)),
            // The limit of series of a run.
            422 => break,
            _ => anyhow::bail!("{} {}", reply.status, reply.text()),
        }
    }
    Ok(series)
}

/// One query after the other, each over all points.
fn queries(http: &Http, stop: &AtomicBool) -> Result<u64> {
    const QUERIES: [&str; 5] = [
        "SELECT a.step, count(*), max(a.value + b.value) FROM points a JOIN points b ON a.step = b.step GROUP BY a.step ORDER BY 3",
        "SELECT run_id, metric, step, value FROM points ORDER BY value, step OFFSET 1000000 LIMIT 10",
        "SELECT metric, run_id, count(*), min(value), max(step) FROM points GROUP BY metric, run_id ORDER BY 3 LIMIT 5",
        "SELECT count(DISTINCT step) FROM points WHERE run_id LIKE 'memory%'",
        "SELECT step, value FROM points ORDER BY value DESC LIMIT 100",
    ];
    let mut answered = 0;
    for query in QUERIES.iter().cycle() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let reply = http.post("/api/v1/sql", &json!({"query": query, "project": PROJECT}))?;
        if reply.status != 200 {
            let code = check_problem(&reply)?;
            let is_a_limit = ["query_memory", "queries_busy", "query_deadline", "query_failed", "queue_full"]
                .contains(&code.as_str());
            ensure!(is_a_limit, "{}", reply.text());
        }
        answered += 1;
    }
    Ok(answered)
}

/// Under a limit that the load must meet the server is killed; without it, it recovers.
pub fn killed(seed: u64, report: &mut Report) -> Result<()> {
    let (group, directory) = (Group::new("killed")?, tempfile::tempdir()?);
    let mut server = Server::start_in(directory.path(), &options(&group, 2 << 30))?;
    let mut load = Load::new("killed", seed, 3, 1, 20_000);
    load.create_runs(&server.http())?;
    let used: u64 = std::fs::read_to_string(format!("/proc/{}/statm", server.id()))?
        .split(' ')
        .nth(1)
        .context("statm")?
        .parse::<u64>()?
        * 4_096;
    group.limit(used + (32 << 20))?;
    let running = load.start(server.url())?;
    let clock = SystemClock::new();
    let ended = server.wait(Duration::from_secs(60)).context("not killed");
    let load = running.stop()?;
    let ended = ended?;
    ensure!(std::os::unix::process::ExitStatusExt::signal(&ended) == Some(libc::SIGKILL), "{ended}");
    ensure!(group.kills()? > 0, "killed, but not for memory");
    let mut server = Server::start_in(directory.path(), &ServerOptions::default())?;
    let found = load.verify(&server.http()).context("after the kill")?;
    report.count("kills for memory");
    report.add("batches acknowledged", load.acknowledged());
    report.add("points there", found.points);
    report.add("ms until killed", clock.monotonic().as_millis() as u64);
    server.terminate()?;
    Ok(())
}
