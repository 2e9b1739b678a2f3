//! System calls of the server that fail, or at which it dies, one after the other: by `strace`, which puts the error in the
//! system call's place.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use stepwell_env::{Clock, Random, SeededRandom, SystemClock, in_parallel};

use super::{Plan, Report, place::run as command};
use crate::{
    Server, ServerOptions,
    load::{Load, check_problem},
};

/// Batches that a script sends before it stops the server: enough for flushes, and for the merge that the template is short of.
const BATCHES: u64 = 12;
/// A stop takes no longer than the promise, and what a debug build under `strace` needs.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Calls that are made to fail, as `strace` writes them.
pub const CALLS: [&str; 7] = [
    "write,pwrite64,pwritev",
    "fsync,fdatasync",
    "rename,renameat,renameat2",
    "openat",
    "ftruncate",
    "unlink,unlinkat",
    "mmap",
];

/// What a call is made to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Eio,
    Enospc,
    /// The process dies at the entry of the call.
    Kill,
}

impl Effect {
    fn expression(self) -> &'static str {
        match self {
            Self::Eio => "error=EIO",
            Self::Enospc => "error=ENOSPC",
            Self::Kill => "signal=KILL",
        }
    }
}

/// Which calls fail, of those on files of the data directory: of one kind, in each thread the `from`th, or that and all behind it.
#[derive(Debug, Clone)]
pub struct Injection {
    pub calls: &'static str,
    pub effect: Effect,
    pub from: u64,
    pub lasts: bool,
    /// Only on files whose name has this in it.
    pub on: &'static str,
}

/// Whether `strace` may trace here.
pub fn is_possible() -> bool {
    command("strace", &["-D", "-f", "--seccomp-bpf", "-e", "trace=write", "-o", "/dev/null", "true"]).is_ok()
}

fn options(wrapper: Vec<String>) -> ServerOptions {
    let flags = ["--memtable-bytes", "1048576", "--flush-age-seconds", "1"].map(str::to_owned).to_vec();
    ServerOptions { flags, wrapper, ..ServerOptions::default() }
}

/// The tracer as a grandchild, so that the server is our child, and stopped at the calls in question only. A signal is not delivered
/// where they are chosen by a filter in the kernel: who is to die is stopped at every call.
fn strace(calls: &str, log: &Path, kills: bool) -> Vec<String> {
    let filter = if kills { None } else { Some("--seccomp-bpf") };
    let words = ["strace", "-D", "-f", "-qq", "-y"].into_iter().chain(filter).chain(["-o"]).map(str::to_owned);
    words.chain([log.display().to_string(), "-e".to_owned(), format!("trace={calls}")]).collect()
}

/// A data directory in which the next flush makes a merge due, and whose log has something to replay; and what a script does
/// with it when nothing fails.
pub struct Template {
    directory: tempfile::TempDir,
    load: Load,
    /// Files below the data directory that calls were made on.
    files: BTreeSet<String>,
    /// By kind of call and file: how often, in all threads.
    counts: BTreeMap<(&'static str, String), u64>,
    /// By kind of call: how often the thread that makes it most often does.
    most: BTreeMap<&'static str, u64>,
}

impl Template {
    /// Made by a server without faults.
    pub fn new(seed: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let server = Server::start_in(&directory.path().join("data"), &options(Vec::new()))?;
        let mut load = Load::new("inject", seed, 1, 0, 2_000);
        load.create_runs(&server.http())?;
        let clock = SystemClock::new();
        for writer in &mut load.writers {
            // Nine segments, and points that are in the log only.
            while server.metric("stepwell_segments")? < 9.0 {
                ensure!(clock.monotonic() < Duration::from_secs(60), "the template has no segments");
                let next = writer.producer.next + 1;
                writer.write(server.url(), &|writer| writer.producer.next < next)?;
                std::thread::sleep(Duration::from_millis(100));
            }
            let next = writer.producer.next + 2;
            writer.write(server.url(), &|writer| writer.producer.next < next)?;
        }
        server.kill()?;
        let (files, counts, most) = Default::default();
        let mut template = Self { directory, load, files, counts, most };
        template.observe()?;
        Ok(template)
    }

    fn copy(&self) -> Result<(tempfile::TempDir, Load)> {
        let copy = tempfile::tempdir()?;
        let from = self.directory.path().join("data").display().to_string();
        command("cp", &["-r", &from, &copy.path().display().to_string()])?;
        Ok((copy, self.load.clone()))
    }

    /// Runs the script without an injection and notes its calls.
    fn observe(&mut self) -> Result<()> {
        let (copy, load) = self.copy()?;
        let (log, data_dir) = (copy.path().join("strace"), copy.path().join("data"));
        script(&data_dir, load, strace(&CALLS.join(","), &log, false), &mut Report::default())?;
        let prefix = format!("{}/", data_dir.display());
        let mut of_threads: BTreeMap<(&str, String), u64> = BTreeMap::new();
        for line in std::fs::read_to_string(&log)?.lines() {
            let mut words = line.split_whitespace();
            let (Some(thread), Some(call)) = (words.next(), words.next().and_then(|word| word.split('(').next()))
            else {
                continue;
            };
            let Some(kind) = CALLS.into_iter().find(|kind| kind.split(',').any(|one| one == call)) else { continue };
            let Some((_, rest)) = line.split_once(&prefix) else { continue };
            let name: String = rest.chars().take_while(|c| !matches!(c, '"' | '>' | '<')).collect();
            *self.counts.entry((kind, kind_of(&name))).or_default() += 1;
            *of_threads.entry((kind, thread.to_owned())).or_default() += 1;
            self.files.insert(name);
        }
        for ((kind, _), count) in of_threads {
            let most = self.most.entry(kind).or_default();
            *most = (*most).max(count);
        }
        ensure!(self.most.len() == CALLS.len(), "the script does not make every call: {:?}", self.most);
        Ok(())
    }

    /// Files that calls will be made on: those of the observed script, and those that another one may number otherwise.
    fn paths(&self, data_dir: &Path, on: &str) -> Vec<PathBuf> {
        let numbered = (1..40).flat_map(|number| {
            ["segments", "summaries", "rollups"]
                .into_iter()
                .flat_map(move |directory| ["", ".tmp"].map(|end| format!("{directory}/{number:020}.parquet{end}")))
        });
        let names: BTreeSet<String> =
            self.files.iter().cloned().chain(numbered).filter(|name| name.contains(on)).collect();
        let mut paths: Vec<PathBuf> = names.iter().map(|name| data_dir.join(name)).collect();
        if on.is_empty() {
            // The directories, which are synced too.
            paths.extend(["", "wal", "segments", "summaries", "rollups"].map(|name| data_dir.join(name)));
        }
        paths
    }

    /// Runs the script with the injection, then a server without, and compares.
    pub fn inject(&self, injection: &Injection, report: &mut Report) -> Result<()> {
        let (copy, load) = self.copy()?;
        let data_dir = copy.path().join("data");
        let mut wrapper = strace(injection.calls, &copy.path().join("strace"), injection.effect == Effect::Kill);
        for path in self.paths(&data_dir, injection.on) {
            wrapper.extend(["-P".to_owned(), path.display().to_string()]);
        }
        let when = if injection.lasts { format!("{}+", injection.from) } else { injection.from.to_string() };
        let expression = format!("inject={}:{}:when={when}", injection.calls, injection.effect.expression());
        wrapper.extend(["-e".to_owned(), expression]);
        let mut load = script(&data_dir, load, wrapper, report)?;
        let told = std::fs::read_to_string(copy.path().join("strace")).unwrap_or_default();
        let is_killed = told.contains("+++ killed by SIGKILL") && injection.effect == Effect::Kill;
        let hits = told.matches("(INJECTED)").count() as u64 + u64::from(is_killed);
        if hits == 0 {
            report.count("scripts in which no call was met");
        }
        let calls = injection.calls.split(',').next().unwrap_or_default();
        report.add(format!("injected into {calls}, {:?}", injection.effect), hits);

        let mut server = Server::start_in(&data_dir, &options(Vec::new())).context("start without faults")?;
        load.create_runs(&server.http())?;
        load.verify(&server.http()).context("after a start without faults")?;
        for writer in &mut load.writers {
            let next = writer.producer.next + 3;
            writer.write(server.url(), &|writer| writer.producer.next < next)?;
            ensure!(writer.producer.next >= next, "a server without faults refuses: {:?}", writer.refusals);
        }
        let (_, ended) = server.terminate()?;
        ensure!(ended.success(), "{ended}: {}", server.log().join("\n"));
        let server = Server::start_in(&data_dir, &options(Vec::new()))?;
        let found = load.verify(&server.http()).context("after a second start")?;
        report.count("scripts");
        report.add("points there", found.points);
        Ok(())
    }
}

/// `00000000000000000012.parquet.tmp` is one of many.
fn kind_of(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Start, replay, batches, flushes, a merge, reads, stop: whatever fails on the way, what is answered is true.
fn script(data_dir: &Path, mut load: Load, wrapper: Vec<String>, report: &mut Report) -> Result<Load> {
    let mut server = match Server::spawn(data_dir, &options(wrapper)) {
        Ok(server) => server,
        Err(error) => {
            // It says what is wrong, or was killed.
            let said = format!("{error:#}");
            ensure!(
                said.contains("error: ") || said.contains("signal: 9"),
                "a start that failed without a reason: {said}"
            );
            ensure!(!said.contains("panicked"), "{said}");
            report.count("starts refused");
            return Ok(load);
        }
    };
    let clock = SystemClock::new();
    loop {
        match server.http().get("/ready") {
            Ok(reply) if reply.status == 200 => break,
            Ok(reply) => drop(check_problem(&reply)?),
            Err(_) => {
                let ended = server.wait(STOP_MAX)?;
                let log = server.log().join("\n");
                ensure!(
                    !log.contains("panicked") && (ended.code().is_none() || log.contains("error: ")),
                    "{ended}: {log}"
                );
                report.count("starts ended");
                return Ok(load);
            }
        }
        ensure!(clock.monotonic() < Duration::from_secs(60), "neither ready nor ended: {}", server.log().join("\n"));
        std::thread::sleep(Duration::from_millis(10));
    }
    for writer in &mut load.writers {
        let (last, begin) = (writer.producer.next + BATCHES, clock.monotonic());
        let goes_on = |writer: &crate::load::Writer| {
            let is_hopeless =
                writer.refusals.contains_key("wal_failed") || clock.monotonic() > begin + Duration::from_secs(4);
            writer.producer.next < last && !is_hopeless
        };
        writer.write(server.url(), &goes_on)?;
        if writer.refusals.contains_key("wal_failed")
            && let Ok(reply) = server.http().get("/ready")
        {
            ensure!(check_problem(&reply)? == "storage_failed", "{}", reply.text());
        }
        for (code, count) in std::mem::take(&mut writer.refusals) {
            report.add(format!("refusals, {code}"), count);
        }
    }
    // Time for the flush and the merge.
    std::thread::sleep(Duration::from_millis(400));
    if let Err(error) = load.verify(&server.http()) {
        // A read may be refused where its files cannot be read; it may not be wrong.
        let said = format!("{error:#}");
        let is_refused = said.contains("\"code\"") || said.contains("io:") || said.contains("onnect");
        ensure!(is_refused, "while calls fail: {said}");
        report.count("reads refused");
    }
    if server.signal(libc::SIGTERM).is_ok() {
        server.wait(STOP_MAX).context("a stop while calls fail")?;
    }
    let log = server.log().join("\n");
    ensure!(!log.contains("panicked"), "{log}");
    Ok(load)
}

/// Every call of every kind in turn, with every effect.
pub fn run(plan: Plan) -> Result<Report> {
    /// Most places of one kind of call in a round; past it they are spread over all there are.
    const PLACES_MAX: u64 = 40;
    let mut report = Report::default();
    for seed in plan.seed..plan.seed + plan.rounds {
        let template = Template::new(seed)?;
        for ((calls, file), count) in &template.counts {
            let name = calls.split(',').next().unwrap_or_default();
            report.add(format!("calls without a fault, {name} on {file}"), *count);
        }
        for calls in CALLS {
            let most = template.most.get(calls).copied().unwrap_or(0);
            let step = most.div_ceil(PLACES_MAX).max(1);
            // A round begins at another place than the one before.
            let places: Vec<u64> = (1 + seed % step..=most).step_by(usize::try_from(step)?).collect();
            let once = places
                .iter()
                .flat_map(|&from| [Effect::Eio, Effect::Enospc, Effect::Kill].map(|effect| (effect, from, false)));
            let lasting = [1, most / 4 + 1, most / 2 + 1, most * 3 / 4 + 1]
                .into_iter()
                .flat_map(|from| [Effect::Eio, Effect::Enospc].map(|effect| (effect, from, true)));
            let injections: Vec<Injection> = once
                .chain(lasting)
                .map(|(effect, from, lasts)| Injection { calls, effect, from, lasts, on: "" })
                .collect();
            inject_all(&template, &injections, &mut report).with_context(|| format!("seed {seed}"))?;
            println!("{calls}: {most} calls in one thread, {} scripts, nothing lost", injections.len());
        }
    }
    Ok(report)
}

/// Each injection on a copy of its own, several at a time: most of a script is waiting.
fn inject_all(template: &Template, injections: &[Injection], report: &mut Report) -> Result<()> {
    let jobs = 2 * std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let done = in_parallel("inject", jobs, |_| {
        let mut report = Report::default();
        while let Some(injection) = injections.get(next.fetch_add(1, Ordering::Relaxed)) {
            // What others have begun is finished; nothing new is.
            let injected = template.inject(injection, &mut report).with_context(|| format!("{injection:?}"));
            injected.inspect_err(|_| next.store(injections.len(), Ordering::Relaxed))?;
        }
        Ok::<_, anyhow::Error>(report)
    });
    done.into_iter().try_for_each(|part| part.map(|part| report.merge(part)))
}

/// A sample for the suites: `count` random injections.
pub fn sample(count: u64, seed: u64) -> Result<Report> {
    let (random, mut report) = (SeededRandom::new(seed), Report::default());
    let template = Template::new(seed)?;
    for _ in 0..count {
        let calls = CALLS[(random.next_u64() % CALLS.len() as u64) as usize];
        let effect = [Effect::Eio, Effect::Enospc, Effect::Kill][(random.next_u64() % 3) as usize];
        let lasts = effect != Effect::Kill && random.next_u64().is_multiple_of(3);
        let from = 1 + random.next_u64() % template.most.get(calls).copied().unwrap_or(1);
        let injection = Injection { calls, effect, from, lasts, on: "" };
        template.inject(&injection, &mut report).with_context(|| format!("seed {seed}, {injection:?}"))?;
    }
    Ok(report)
}

/// I8: the log's third sync fails. Nothing is acknowledged from then on, readiness says so, reads go on, a restart recovers.
pub fn failed_sync_of_the_log(report: &mut Report) -> Result<()> {
    let template = Template::new(1)?;
    let sync = CALLS[1];
    let injection = Injection { calls: sync, effect: Effect::Eio, from: 3, lasts: false, on: ".wal" };
    template.inject(&injection, report)?;
    ensure!(report.get("refusals, wal_failed") > 0, "the log's failure was not met:\n{report}");
    ensure!(report.get("reads refused") == 0, "reads go on:\n{report}");
    Ok(())
}

/// I1, I7: the server dies at the entry of the log's third sync, of a rename, and of a removal.
pub fn killed_at_a_call(report: &mut Report) -> Result<()> {
    let template = Template::new(1)?;
    for (calls, from, on) in [(CALLS[1], 3, ".wal"), (CALLS[2], 1, "MANIFEST"), (CALLS[5], 1, "segments")] {
        let injection = Injection { calls, effect: Effect::Kill, from, lasts: false, on };
        template.inject(&injection, report).with_context(|| format!("{injection:?}"))?;
    }
    ensure!(report.get("scripts in which no call was met") == 0, "the server was not killed:\n{report}");
    Ok(())
}
