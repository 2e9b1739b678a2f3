//! The budget of memory from outside: parts that do not fit are an error at start, bodies past their share hear when to come back
//! (I9).

use std::{io::Write, net::TcpStream, time::Duration};

use serde_json::json;
use stepwell_tests::{Server, ServerOptions, command};

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
