//! Ordered shutdown, and one process per data directory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use stepwell_tests::{
    Http, Server, ServerOptions,
    arrow_stream::{self, Row},
};

fn batch(number: u64) -> Vec<u8> {
    let rows: Vec<Row> = (0..200)
        .map(|point| Row {
            run_id: "r".into(),
            metric: "m".into(),
            step: i64::try_from(number * 200 + point).unwrap(),
            timestamp_us: 0,
            value: 1.0,
        })
        .collect();
    arrow_stream::encode_rows(&rows).unwrap()
}

/// Sends batches with numbers of their own until the server is gone; adds the acknowledged ones to `acked`.
fn writer(http: &Http, next: &AtomicU64, acked: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let body = batch(next.fetch_add(1, Ordering::SeqCst));
        match http.send("POST", "/api/v1/ingest", &[("content-type", arrow_stream::MEDIA_TYPE)], &body) {
            Ok(reply) if reply.status == 200 => _ = acked.fetch_add(1, Ordering::SeqCst),
            Ok(reply) => assert!([429, 503].contains(&reply.status), "{} {}", reply.status, reply.text()),
            Err(_) => return,
        }
    }
}

#[test]
fn sigterm_under_load_loses_nothing_and_ends_within_ten_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &ServerOptions::default()).unwrap();
    server.http().post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
    let (next, acked, stop) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (http, next, acked, stop) = (server.http(), next.clone(), acked.clone(), stop.clone());
            stepwell_env::spawn("writer", move || writer(&http, &next, &acked, &stop)).unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_millis(700));
    let (took, status) = server.terminate().unwrap();
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(status.success(), "{status}: {:?}", server.log());
    assert!(took < Duration::from_secs(10), "took {took:?}");
    server.check_log(&[]).unwrap();

    let server = Server::start_in(directory.path(), &ServerOptions::default()).unwrap();
    let found = server.http().sql("p", "SELECT count(*) AS n, count(DISTINCT step) AS d FROM points").unwrap();
    let (points, steps) = (found[0]["n"].as_u64().unwrap(), found[0]["d"].as_u64().unwrap());
    let acked = acked.load(Ordering::SeqCst) * 200;
    assert!(
        acked > 0 && points >= acked && points == steps && points % 200 == 0,
        "{acked} acknowledged, {points} there, {steps} steps"
    );
    server.check_log(&[]).unwrap();
}

#[test]
fn sigint_ends_it_too() {
    let mut server = Server::start().unwrap();
    server.signal(libc::SIGINT).unwrap();
    assert!(server.wait(Duration::from_secs(10)).unwrap().success());
    server.check_log(&[]).unwrap();
}

#[test]
fn a_second_process_hears_who_holds_the_directory() {
    let server = Server::start().unwrap();
    let Err(error) = Server::spawn(server.data_dir(), &ServerOptions::default()) else {
        panic!("two servers on one directory")
    };
    let error = format!("{error:#}");
    assert!(error.contains(&format!("process {}", server.id())), "{error}");
}
