//! The budget of memory from outside: parts that do not fit are an error at start, bodies past their share hear when to come back
//! (I9).

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;
use stepwell_tests::{
    Reply, Server, ServerOptions,
    arrow_stream::{MEDIA_TYPE, Row, encode_rows},
    command,
};

const BODY_BYTES: usize = 90_000;

fn server_with(flags: &[&str]) -> Server {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    Server::start_with(&ServerOptions { flags, ..ServerOptions::default() }).unwrap()
}

/// A point a line, padded to a size.
fn body(step: i64) -> String {
    let line = json!({"run_id": "r", "metric": "m", "step": step, "value": 1.0}).to_string();
    line.clone() + &" ".repeat(BODY_BYTES - line.len() - 1) + "\n"
}

#[test]
fn parts_larger_than_the_budget_are_an_error_at_start_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let output = command()
        .unwrap()
        .args(["serve", "--listen", "127.0.0.1:0", "--memory-bytes", "1073741824", "--memtable-bytes", "1073741824"])
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for part in ["`memory_bytes` is 1073741824", "`memtable_bytes` 1073741824", "`queue_bytes`", "raise"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was begun");
}

#[test]
fn i9_bodies_past_the_budget_of_requests_are_told_when_to_come_back() {
    let limits = ["--request-bytes", "300000", "--body-limit-bytes", "100000", "--decoded-limit-bytes", "200000"];
    let server = server_with(&limits);
    let http = server.http();
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
    let send = |step| {
        http.send("POST", "/api/v1/ingest", &[("content-type", "application/x-ndjson")], body(step).as_bytes()).unwrap()
    };
    assert_eq!(send(0).status, 200);
    // Three bodies of which the last byte does not come hold the budget.
    let address = server.url().trim_start_matches("http://");
    let held: Vec<TcpStream> = (1..=3)
        .map(|step| {
            let mut socket = TcpStream::connect(address).unwrap();
            let head = format!(
                "POST /api/v1/ingest HTTP/1.1\r\nHost: stepwell\r\nContent-Type: application/x-ndjson\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
            );
            socket.write_all(head.as_bytes()).unwrap();
            socket.write_all(&body(step).as_bytes()[..BODY_BYTES - 1]).unwrap();
            socket
        })
        .collect();
    let held_bytes = 3.0 * (BODY_BYTES - 1) as f64;
    wait_for(&server, held_bytes);
    let reply = send(4);
    assert_eq!((reply.status, reply.json().unwrap()["code"].as_str()), (429, Some("queue_full")), "{}", reply.text());
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{reply:?}");
    assert!(server.metric("stepwell_memory_used_bytes").unwrap() >= held_bytes);
    assert!(server.metric("stepwell_memory_budget_bytes").unwrap() >= f64::from(64 << 20));
    drop(held);
    wait_for(&server, 0.0);
    assert_eq!(send(4).status, 200);
    assert_eq!(http.sql("p", "SELECT count(*) AS n FROM points").unwrap()[0]["n"], 2, "I4: taken or refused whole");
    server.check_log(&[]).unwrap();
}

const USED: &str = "stepwell_memory_part_used_bytes{part=\"queries\"}";
/// Points of one series.
const POINTS: i64 = 100_000;

/// Asks for all points of some series, each in full.
fn series_path(metrics: &str) -> String {
    format!("/api/v1/series?project=p&run_ids=r&metrics={metrics}&buckets={POINTS}")
}

/// Charts held points, buckets and their text in no budget: a few clients that asked for much and read slowly took all the memory there
/// is. They share that of queries now.
#[test]
fn i9_series_past_the_memory_of_those_who_read_are_refused_and_the_rest_is_answered() {
    let server = server_with(&["--query-memory-bytes", "16777216"]);
    let http = server.http();
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
    let metrics = ["a", "b", "c", "d"];
    for metric in metrics {
        let row = |step| Row {
            run_id: "r".to_owned(),
            metric: metric.to_owned(),
            step,
            timestamp_us: 1_790_000_000_000_000 + step,
            value: 1.0 / (1 + step) as f64,
        };
        let body = encode_rows(&(0..POINTS).map(row).collect::<Vec<_>>()).unwrap();
        let sent = http.send("POST", "/api/v1/ingest", &[("content-type", MEDIA_TYPE)], &body).unwrap();
        assert_eq!(sent.status, 200, "{}", sent.text());
    }
    let refused = |reply: &Reply, status: u16, code: &str| {
        let problem = reply.json().unwrap();
        assert_eq!((reply.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["limit"], 16_777_216, "{problem}");
    };
    let too_much = http.get(&series_path("a,b,c,d")).unwrap();
    refused(&too_much, 422, "query_memory");
    assert!(too_much.text().contains("fewer series"), "{}", too_much.text());
    // A time axis reads points as a whole: another way, the same bounds.
    refused(&http.get(&(series_path("a,b,c,d") + "&x=time")).unwrap(), 422, "query_memory");
    assert_eq!(server.metric(USED).unwrap(), 0.0, "what was refused is given back");

    // Clients that take the first bytes of an answer and no more, until there is no room for one more answer.
    let address = server.url().trim_start_matches("http://");
    let mut stalled = Vec::new();
    let busy = loop {
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "GET {} HTTP/1.1\r\nHost: stepwell\r\n\r\n", series_path("a")).unwrap();
        let mut begin = [0; 12];
        socket.read_exact(&mut begin).unwrap();
        match &begin {
            b"HTTP/1.1 200" => stalled.push(socket),
            b"HTTP/1.1 503" => break http.get(&series_path("a")).unwrap(),
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
        assert!(stalled.len() < 10, "answers have no bound");
    };
    refused(&busy, 503, "queries_busy");
    assert!(busy.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{busy:?}");
    assert!(!stalled.is_empty() && server.metric(USED).unwrap() > 0.0);
    drop(stalled);
    let reply = (0..500)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            Some(http.get(&series_path("a")).unwrap()).filter(|reply| reply.status == 200)
        })
        .expect("an answer once others have gone");
    assert_eq!(reply.header("content-length").unwrap().parse::<usize>().unwrap(), reply.body.len());
    let values = &reply.json().unwrap()["series"][0]["columns"]["value"];
    assert_eq!(values.as_array().unwrap().len(), POINTS as usize);
    server.check_log(&[]).unwrap();
}

/// Until bodies hold so many bytes.
fn wait_for(server: &Server, bytes: f64) {
    for _ in 0..500 {
        if server.metric("stepwell_request_bodies_bytes").unwrap() == bytes {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("bodies hold {} bytes", server.metric("stepwell_request_bodies_bytes").unwrap());
}
