//! A disk that cannot read some of its sectors: a real ext4 on it, every file of a data directory in turn.
//!
//! Whoever needs what cannot be read hears of the file, everybody else is served; nothing takes it for the end of a file and
//! cuts it; and once the sectors can be read again all is there (I1, I11).

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stepwell_env::{Clock, SystemClock};

use super::{Plan, Report, forgetful::Disk, place::run as program, power::Mounted};
use crate::{Http, Server, ServerOptions, command};

const DISK_BYTES: usize = 96 << 20;
/// What the file system gives out, bytes: no two files share one.
const BLOCK_BYTES: usize = 4_096;
const ARTIFACT: &str = "/api/v1/runs/a/artifacts/weights";
const RUNS: [&str; 4] = ["a", "b", "c", "in the log"];
/// How long a start may take to be ready or to give up.
const START_MAX: Duration = Duration::from_secs(30);

/// A block of a file of the data directory.
struct Block {
    /// Below the data directory.
    file: PathBuf,
    number: usize,
    on_disk: Range<usize>,
}

/// Every `plan.rounds`-th block of each file, from the first on.
pub fn run(plan: Plan) -> Result<Report> {
    let mut report = Report::default();
    let disk = Disk::new(DISK_BYTES, false)?;
    let path = disk.path().display().to_string();
    program("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", "nodiscard", &path])?;
    let blocks = {
        let mounted = Mounted::new(&disk)?;
        let data_dir = mounted.path.join("data");
        fill(&data_dir)?;
        blocks(&data_dir)?
    };
    disk.settle();
    let step = usize::try_from(plan.rounds)?.max(1);
    for block in blocks.iter().filter(|block| block.number.is_multiple_of(step)) {
        refuse(&disk, block, &mut report)
            .with_context(|| format!("{} block {}", block.file.display(), block.number))?;
    }
    Ok(report)
}

/// Three runs in segments of their own, one that only the log has, and an artifact.
fn fill(data_dir: &Path) -> Result<()> {
    for run_id in RUNS {
        let mut server = Server::start_in(data_dir, &ServerOptions::default())?;
        let http = server.http();
        http.post("/api/v1/runs", &json!({"project": "p", "run_id": run_id, "params": {"lr": 0.1}}))?.expect(201)?;
        for step in 0..20 {
            let point = json!({"step": step, "metrics": {"loss": step as f64 / 2.0}});
            http.post(&format!("/api/v1/runs/{}/log", run_id.replace(' ', "%20")), &point)?.expect(200)?;
        }
        if run_id == RUNS[3] {
            http.send("PUT", ARTIFACT, &[], &[7; 10_000])?;
            server.kill()?;
        } else {
            server.terminate()?;
        }
    }
    Ok(())
}

/// Where the files of a directory are on the device.
fn blocks(data_dir: &Path) -> Result<Vec<Block>> {
    let listed = program("find", &[&data_dir.display().to_string(), "-type", "f", "-size", "+0"])?;
    let mut files: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
    files.sort();
    let mut blocks = Vec::new();
    for path in files {
        let file = path.strip_prefix(data_dir)?.to_owned();
        let text = program("filefrag", &["-v", "-b4096", &path.display().to_string()])?;
        // `ext: logical_offset: physical_offset: length: …`, the offsets as `first.. last`.
        for line in text.lines() {
            let fields: Vec<&str> = line.split(':').map(str::trim).collect();
            let [number, logical, physical, ..] = fields[..] else { continue };
            let first = |text: &str| text.split("..").next().and_then(|first| first.trim().parse::<usize>().ok());
            let (Ok(_), Some(logical), Some(physical)) = (number.parse::<usize>(), first(logical), first(physical))
            else {
                continue;
            };
            let count: usize = fields.get(3).context("no length")?.parse()?;
            blocks.extend((0..count).map(|at| Block {
                file: file.clone(),
                number: logical + at,
                on_disk: (physical + at) * BLOCK_BYTES..(physical + at + 1) * BLOCK_BYTES,
            }));
        }
    }
    ensure!(blocks.len() > 10, "hardly a file has a block");
    Ok(blocks)
}

/// One block that cannot be read: looked at, served, read again, repaired.
fn refuse(disk: &Disk, block: &Block, report: &mut Report) -> Result<()> {
    let name = block.file.to_string_lossy();
    // Its content is nothing.
    let matters = name != "LOCK";
    let before = disk.content();
    disk.refuse(Some(block.on_disk.clone()));
    let (is_healthy, text) = cli(disk, "check")?;
    ensure!(is_healthy != matters && (is_healthy || text.contains(&*name)), "check says {text}");
    serve(disk, block, report)?;
    disk.refuse(None);
    {
        let mounted = Mounted::new(disk)?;
        let server = Server::start_in(&mounted.path.join("data"), &ServerOptions::default())?;
        for run_id in RUNS {
            let answer = sum(&server.http(), run_id)?;
            ensure!(is_whole(&answer), "once it can be read again, of {run_id}: {answer:?}");
        }
        ensure!(server.http().get(ARTIFACT)?.status == 200, "the artifact is gone");
        server.kill()?;
    }
    disk.put_back(before.clone());

    disk.refuse(Some(block.on_disk.clone()));
    let (would, text) = cli(disk, "repair --dry-run")?;
    ensure!(would && (!matters || text.contains(&*name)), "a repair would: {text}");
    let (repaired, text) = cli(disk, "repair")?;
    ensure!(repaired && (!matters || text.contains(&*name)), "repair says {text}");
    let (is_healthy, text) = cli(disk, "check")?;
    ensure!(is_healthy, "after the repair: {text}");
    {
        let mounted = Mounted::new(disk)?;
        let mut server = Server::start_in(&mounted.path.join("data"), &ServerOptions::default())?;
        for run_id in RUNS {
            let answer = sum(&server.http(), run_id)?;
            // Of the metadata, whose first page has a copy, none of these blocks takes a run with it but one of its table.
            let may_be_lost = (name == "metadata.sqlite" && block.number > 0) || name.starts_with(file_of(run_id));
            ensure!(is_whole(&answer) || may_be_lost, "after the repair, of {run_id}: {answer:?}");
            report.add("runs lost, and told", u64::from(!is_whole(&answer)));
        }
        server.terminate()?;
    }
    disk.refuse(None);
    disk.put_back(before);
    report.count("blocks that could not be read");
    Ok(())
}

/// Where the points of a run are.
fn file_of(run_id: &str) -> &'static str {
    match run_id {
        "a" => "segments/00000000000000000001",
        "b" => "segments/00000000000000000002",
        "c" => "segments/00000000000000000003",
        _ => "wal/",
    }
}

/// A server on it answers what it can and names the file else; or says why it does not start, if it is of what a start reads.
fn serve(disk: &Disk, block: &Block, report: &mut Report) -> Result<()> {
    let name = block.file.to_string_lossy();
    let mounted = Mounted::new(disk)?;
    let server = Server::spawn(&mounted.path.join("data"), &ServerOptions::default());
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            ensure!(error.to_string().contains(&*name), "the start fails with {error}");
            report.count("starts refused, naming the file");
            return Ok(());
        }
    };
    let standing = standing(&server)?;
    if let Standing::Faulty(said) = &standing {
        ensure!(name == "metadata.sqlite" && said.contains("metadata.sqlite is damaged at byte"), "/ready says {said}");
        report.count("servers whose metadata cannot be used, which name the file");
        return server.kill();
    }
    if matches!(standing, Standing::Ended) {
        let log = last_words(&server)?;
        ensure!(name.starts_with("metadata") || name.starts_with("wal/"), "the start fails: {log}");
        ensure!(log.contains(&*name) && log.contains("stepwell repair"), "the start fails with {log}");
        report.count("starts refused, naming the file");
        return Ok(());
    }
    for run_id in RUNS {
        let (status, answer) = sum(&server.http(), run_id)?;
        if !is_whole(&(status, answer.clone())) {
            let text = answer.to_string();
            let is_told = matches!(answer["code"].as_str(), Some("data_damaged" | "file_unreadable" | "internal"));
            ensure!(status >= 500 && is_told && text.contains(&*name), "of {run_id}: {status} {text}");
            report.count("queries refused, naming the file");
        }
    }
    let artifact = server.http().get(ARTIFACT)?;
    if artifact.status != 200 {
        ensure!(artifact.text().contains(&*name), "the artifact: {}", artifact.text());
        report.count("downloads refused, naming the file");
    }
    ensure!(server.http().get("/health")?.status == 200, "it has ended");
    server.kill()
}

/// What a server that has ended said of it, which arrives a moment later.
fn last_words(server: &Server) -> Result<String> {
    let clock = SystemClock::new();
    loop {
        let log = server.log().join("\n");
        if log.contains("error: ") {
            return Ok(log);
        }
        ensure!(clock.monotonic() < START_MAX, "it has ended without a word: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

enum Standing {
    Ready,
    /// It serves, and says what it cannot.
    Faulty(String),
    Ended,
}

fn standing(server: &Server) -> Result<Standing> {
    let clock = SystemClock::new();
    loop {
        let Ok(reply) = server.http().get("/ready") else { return Ok(Standing::Ended) };
        match reply.json()?["code"].as_str() {
            _ if reply.status == 200 => return Ok(Standing::Ready),
            Some("metadata_fails") => return Ok(Standing::Faulty(reply.text())),
            _ => {}
        }
        ensure!(clock.monotonic() < START_MAX, "neither ready nor given up: {}", server.log().join("\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a command on the data directory succeeds, and what it says.
fn cli(disk: &Disk, words: &str) -> Result<(bool, String)> {
    let mounted = Mounted::new(disk)?;
    let output = command()?.args(words.split(' ')).arg(mounted.path.join("data")).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn sum(http: &Http, run_id: &str) -> Result<(u16, Value)> {
    let query = format!("SELECT sum(value) AS s, max(step) AS l, count(*) AS n FROM points WHERE run_id = '{run_id}'");
    let reply = http.post("/api/v1/sql", &json!({"project": "p", "query": query}))?;
    Ok((reply.status, reply.json()?))
}

fn is_whole((status, answer): &(u16, Value)) -> bool {
    *status == 200 && answer["rows"] == json!([{"s": 95.0, "l": 19, "n": 20}])
}
