//! Clients that are slow, silent, gone or too many.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stepwell_env::{Clock, SystemClock};

use super::{Plan, Report};
use crate::{
    Server, ServerOptions,
    load::{Load, Writer},
    oracle::PROJECT,
};

/// Timeouts of the servers here, seconds.
const PATIENCE_S: u64 = 2;
/// What comes on top until a timeout has been acted on, on a loaded machine.
const SLACK: Duration = Duration::from_secs(20);

fn server_with(flags: &[&str]) -> Result<Server> {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    Server::start_with(&ServerOptions { flags, ..ServerOptions::default() })
}

fn connect(server: &Server) -> Result<TcpStream> {
    let stream = TcpStream::connect(server.url().trim_start_matches("http://")).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(stream)
}

/// What the server answered by the time it closed the connection; fails if it does not within its patience.
fn answer_until_closed(stream: &mut TcpStream, mut meanwhile: impl FnMut(&mut TcpStream)) -> Result<String> {
    let (clock, mut answer, mut piece) = (SystemClock::new(), Vec::new(), [0; 4_096]);
    while clock.monotonic() < Duration::from_secs(PATIENCE_S) + SLACK {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => meanwhile(stream),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            Err(error) => return Err(error).context("read"),
        }
    }
    bail!("the connection is still open; so far: {}", String::from_utf8_lossy(&answer))
}

/// The code in an answer's problem.
fn code_of(answer: &str) -> Result<String> {
    let body = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?.1;
    let problem: Value = serde_json::from_str(body).with_context(|| answer.to_owned())?;
    ensure!(problem["detail"].as_str().is_some_and(|detail| detail.contains(' ')), "no sentence: {answer}");
    Ok(problem["code"].as_str().context("no code")?.to_owned())
}

fn head(content_bytes: usize, producer: &str) -> String {
    format!(
        "POST /api/v1/ingest HTTP/1.1\r\nHost: stepwell\r\nContent-Type: application/x-ndjson\r\nStepwell-Producer: {producer}\r\n\
         Stepwell-Sequence: 1\r\nContent-Length: {content_bytes}\r\n\r\n"
    )
}

/// All kinds of clients, `rounds` times.
pub fn run(plan: Plan) -> Result<Report> {
    let mut report = Report::default();
    for _ in 0..plan.rounds {
        slow(&mut report).context("slow")?;
        idle(10_000, &mut report).context("idle")?;
        too_many(&mut report).context("too many")?;
        descriptors(&mut report).context("descriptors")?;
    }
    Ok(report)
}

/// Every way of being slow or leaving early, while others are served.
pub fn slow(report: &mut Report) -> Result<()> {
    let patience = PATIENCE_S.to_string();
    let server = server_with(&["--head-timeout-seconds", &patience, "--body-idle-seconds", &patience])?;
    let http = server.http();
    http.post("/api/v1/runs", &json!({"project": PROJECT, "run_id": "slow"}))?.expect(201)?;
    let mut load = Load::new("beside", 1, 2, 1, 200);
    load.create_runs(&http)?;
    let beside = load.start(server.url())?;
    let body = json!({"run_id": "slow", "metric": "m", "step": 1, "value": 1.0}).to_string() + "\n";

    for silent in [&b""[..], b"G", b"PRI * HTT", b"PRI * HTTP/2.0\r\n\r\nS"] {
        let mut stream = connect(&server)?;
        stream.write_all(silent)?;
        answer_until_closed(&mut stream, |_| {}).with_context(|| format!("silent after {silent:?}"))?;
        report.count("clients, silent");
    }
    let mut stream = connect(&server)?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: ")?;
    answer_until_closed(&mut stream, |stream| drop(stream.write_all(b"x"))).context("a head that drips")?;
    report.count("clients, dripping head");

    let mut stream = connect(&server)?;
    stream.write_all(head(1_000, "drip").as_bytes())?;
    let answer = answer_until_closed(&mut stream, |stream| drop(stream.write_all(b" ")))?;
    ensure!(code_of(&answer)? == "request_timeout", "a body that drips: {answer}");
    report.count("clients, dripping body");

    let mut stream = connect(&server)?;
    stream.write_all(head(1_000, "stall").as_bytes())?;
    stream.write_all(&[b' '; 500])?;
    let answer = answer_until_closed(&mut stream, |_| {})?;
    ensure!(code_of(&answer)? == "request_timeout", "a body that stalls: {answer}");
    report.count("clients, stalled body");

    let mut stream = connect(&server)?;
    stream.write_all(head(1_000, "half").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let answer = answer_until_closed(&mut stream, |_| {})?;
    ensure!(answer.is_empty() || code_of(&answer)? == "body_incomplete", "half closed after the head: {answer}");
    report.count("clients, half closed after the head");

    // A reset in the middle of the body, and a half-close right behind it: the one is never applied, the other at most once.
    let stream = connect(&server)?;
    (&stream).write_all(head(body.len(), "reset").as_bytes())?;
    (&stream).write_all(&body.as_bytes()[..body.len() / 2])?;
    reset(stream)?;
    report.count("clients, reset within the body");
    let mut stream = connect(&server)?;
    stream.write_all(head(body.len(), "left").as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    answer_until_closed(&mut stream, |_| {}).context("half closed after the body")?;
    report.count("clients, half closed after the body");
    let headers = [("content-type", "application/x-ndjson"), ("stepwell-producer", "left"), ("stepwell-sequence", "1")];
    http.send("POST", "/api/v1/ingest", &headers, body.as_bytes())?.expect(200)?;
    let count = http.sql(PROJECT, "SELECT count(*) AS n FROM points WHERE run_id = 'slow'")?;
    ensure!(count[0]["n"] == 1, "I3, I4: one batch came whole, and its retry: {count:?}");

    let load = beside.stop()?;
    ensure!(load.acknowledged() > 20, "others were hardly served: {}", load.acknowledged());
    load.verify(&http)?;
    report.add("batches of others meanwhile", load.acknowledged());
    settles(&server, "stepwell_request_bodies_bytes", 0.0)?;
    settles(&server, "stepwell_connections", 3.0)?;
    server.check_log(&[])
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) -> Result<()> {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let bytes = libc::socklen_t::try_from(size_of::<libc::linger>())?;
    let address = (&raw const linger).cast();
    // SAFETY: the address is that of a live `linger` of the size given, and the descriptor is open.
    let set = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, address, bytes) };
    ensure!(set == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}

/// Until a figure is at most so much. A server that has not yet seen its connections close may refuse the one that asks.
fn settles(server: &Server, name: &str, at_most: f64) -> Result<()> {
    let clock = SystemClock::new();
    while clock.monotonic() < SLACK {
        if server.metric(name).is_ok_and(|value| value <= at_most) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{name} is {} and should be {at_most}", server.metric(name)?)
}

/// Idle connections, half of them after a request, and others served beside them within memory.
pub fn idle(connections: usize, report: &mut Report) -> Result<()> {
    /// What an idle connection may take, bytes, with what the allocator keeps.
    const BYTES_PER_CONNECTION_MAX: u64 = 24 << 10;
    let files = stepwell_env::raise_open_files()?;
    ensure!(files > connections as u64 + 100, "this process may open {files} files only");
    let server = server_with(&["--head-timeout-seconds", "600"])?;
    let mut load = Load::new("beside", 2, 2, 1, 200);
    load.create_runs(&server.http())?;
    let before = server.resident_bytes_max()?;
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut stream = connect(&server).with_context(|| format!("connection {number}"))?;
        if number % 2 == 0 {
            stream.set_read_timeout(Some(SLACK))?;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")?;
            let mut first = [0; 15];
            stream.read_exact(&mut first)?;
            ensure!(&first == b"HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&first));
        }
        open.push(stream);
    }
    let found = server.metric("stepwell_connections")?;
    ensure!(found >= connections as f64, "{found} connections are counted");
    let beside = load.start(server.url())?;
    std::thread::sleep(Duration::from_secs(2));
    let load = beside.stop()?;
    ensure!(load.acknowledged() > 20, "others were hardly served: {}", load.acknowledged());
    load.verify(&server.http())?;
    let grown = server.resident_bytes_max()? - before;
    report.add("idle connections", connections as u64);
    report.add("KiB that memory grew by, others' batches included", grown >> 10);
    let bound = connections as u64 * BYTES_PER_CONNECTION_MAX + (96 << 20);
    ensure!(grown < bound, "{connections} idle connections took {grown} bytes");
    drop(open);
    settles(&server, "stepwell_connections", 8.0)?;
    server.check_log(&[])
}

/// One connection more than may be hears why, and is let in when another has gone.
pub fn too_many(report: &mut Report) -> Result<()> {
    let server = server_with(&["--connections-max", "16"])?;
    // Those that asked whether it was ready have gone.
    settles(&server, "stepwell_connections", 1.0)?;
    std::thread::sleep(Duration::from_millis(200));
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(connect(&server)?);
    }
    settled_at_least(&server, 16)?;
    let mut stream = connect(&server)?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let answer = answer_until_closed(&mut stream, |_| {})?;
    ensure!(answer.starts_with("HTTP/1.1 503") && code_of(&answer)? == "too_many_connections", "{answer}");
    ensure!(answer.contains("retry-after: 1"), "{answer}");
    report.count("connections past the limit");
    drop(open);
    settles(&server, "stepwell_connections", 1.0)?;
    server.check_log(&[])
}

/// The server sees connections a moment after they are made; it is asked only by a connection that closes again.
fn settled_at_least(server: &Server, connections: usize) -> Result<()> {
    let clock = SystemClock::new();
    while clock.monotonic() < SLACK {
        let status = std::fs::read_dir(format!("/proc/{}/fd", server.id()))?.flatten();
        let sockets = status.filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        });
        if sockets.count() > connections {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{connections} connections were not taken")
}

/// No descriptor is left: the accept loop neither spins nor dies nor chatters, storage refuses or waits, and all goes on when
/// there are descriptors again.
pub fn descriptors(report: &mut Report) -> Result<()> {
    let flags = ["--memtable-bytes", "1048576", "--flush-age-seconds", "1", "--series-per-run-max", "1000"];
    let server = server_with(&flags)?;
    let mut load = Load::new("descriptors", 3, 1, 0, 5_000);
    load.create_runs(&server.http())?;
    let Some(mut writer) = load.writers.into_iter().next() else { bail!("no producer") };
    let wanted = |sequence: u64| move |writer: &Writer| writer.producer.next < sequence;
    let http = server.http();
    send_until(&mut writer, &http, &wanted(4))?;
    let limits = limit(&server, None)?;
    let used = std::fs::read_dir(format!("/proc/{}/fd", server.id()))?.count() as u64;
    limit(&server, Some((used + 3, limits.1)))?;
    let mut waiting: Vec<TcpStream> = (0..50).map(|_| connect(&server)).collect::<Result<_>>()?;
    let clock = SystemClock::new();
    let busy_before = busy_ticks(&server)?;
    std::thread::sleep(Duration::from_secs(2));
    let busy = busy_ticks(&server)? - busy_before;
    ensure!(busy < 100, "the accept loop spins: {busy} hundredths of a second of CPU in two seconds");
    // Over the connection that is open: taken while memory lasts, then refused for what it is.
    let in_time =
        |writer: &Writer| clock.monotonic() < Duration::from_secs(30) && !writer.refusals.contains_key("flush_fails");
    send_until(&mut writer, &http, &in_time)?;
    ensure!(writer.refusals.contains_key("flush_fails"), "never refused: {:?}", writer.refusals);
    let status = http.get("/ready")?;
    ensure!(status.json()?["code"] == "flush_fails", "{}", status.text());
    writer.producer.verify(&http).context("reads without descriptors")?;
    let told = server.log().iter().filter(|line| line.contains("connections cannot be accepted")).count();
    ensure!(told == 1, "the log tells {told} times:\n{}", server.log().join("\n"));

    limit(&server, Some(limits))?;
    let again = writer.producer.next + 20;
    send_until(&mut writer, &http, &|writer| {
        writer.producer.next < again && clock.monotonic() < Duration::from_secs(90)
    })?;
    ensure!(writer.producer.next >= again, "no batches are taken with descriptors again: {:?}", writer.refusals);
    for stream in &mut waiting {
        stream.set_read_timeout(Some(SLACK))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    writer.producer.verify(&server.http())?;
    report.count("runs out of descriptors");
    report.add("batches acknowledged", writer.producer.next - 1);
    report.add("refusals, flush_fails", writer.refusals.get("flush_fails").copied().unwrap_or(0));
    Ok(())
}

/// Sends one batch after the other over one connection.
fn send_until(writer: &mut Writer, http: &crate::Http, goes_on: &dyn Fn(&Writer) -> bool) -> Result<()> {
    while goes_on(writer) {
        let sequence = writer.producer.next;
        let is_first_try = sequence == writer.producer.attempted_below;
        let reply = writer.send(http)?.context("the connection broke")?;
        if reply.status == 200 {
            writer.acknowledged(sequence, is_first_try, &reply.json()?)?;
        } else {
            writer.refused(&reply)?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Sets the limit of open files (soft, hard) of a running server; returns what it was.
fn limit(server: &Server, limits: Option<(u64, u64)>) -> Result<(u64, u64)> {
    let new = limits.map(|(soft, hard)| libc::rlimit { rlim_cur: soft, rlim_max: hard });
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let new = new.as_ref().map_or(std::ptr::null(), |new| &raw const *new);
    let id = libc::pid_t::try_from(server.id())?;
    // SAFETY: both addresses are null or those of live `rlimit`s; the process is our child.
    let set = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, new, &raw mut old) };
    ensure!(set == 0, "prlimit: {}", std::io::Error::last_os_error());
    Ok((old.rlim_cur, old.rlim_max))
}

/// Hundredths of a second of CPU that a server has used.
pub(super) fn busy_ticks(server: &Server) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id()))?;
    let rest = stat.rsplit_once(')').context("stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
