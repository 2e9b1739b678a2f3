use std::time::Duration;

use arrow_ipc::reader::StreamReader;
use serde_json::json;
use stepwell_types::ErrorKind;

use crate::{Client, ClientError, NewRunRequest, WriterOptions, test_server::start};

const TIMEOUT: Duration = Duration::from_secs(20);

fn ack(points: usize) -> String {
    json!({"points": points, "first_lsn": 1, "last_lsn": points, "duplicate": false}).to_string()
}

fn points(body: &[u8]) -> usize {
    StreamReader::try_new(body, None).unwrap().map(|batch| batch.unwrap().num_rows()).sum()
}

#[test]
fn a_refusal_carries_its_code_and_the_run_id_is_escaped() {
    let problem = r#"{"code":"run_not_found","detail":"no such run","field":"run_id","status":404}"#;
    let (url, requests) = start(move |_, _| (404, "", problem.to_owned()));
    let error = Client::new(&url).unwrap().run("a/b ü").unwrap_err();
    assert_eq!((error.code(), error.kind()), (Some("run_not_found"), ErrorKind::NotFound));
    assert!(!error.is_transient());
    assert_eq!(requests.lock().unwrap()[0].line, "GET /api/v1/runs/a%2Fb%20%C3%BC HTTP/1.1");
    assert!(matches!(Client::new("nonsense"), Err(ClientError::Url { .. })));
}

#[test]
fn readiness_is_told_from_failure() {
    let (url, _) = start(|number, _| ([503, 200, 500][number], "", "{}".to_owned()));
    let client = Client::new(&url).unwrap();
    assert!(!client.is_ready().unwrap());
    assert!(client.is_ready().unwrap());
    assert!(client.is_ready().is_err());
}

#[test]
fn a_run_is_created_with_what_is_given_only() {
    let run = json!({"run_id": "r", "project_id": "1", "name": null, "status": "running", "params": {"lr": 0.1}});
    let (url, requests) = start(move |_, _| (201, "", run.to_string()));
    let run = Client::new(&url).unwrap().create_run(&NewRunRequest::new("p")).unwrap();
    assert_eq!((run.run_id.as_str(), &run.params["lr"]), ("r", &json!(0.1)));
    assert_eq!(requests.lock().unwrap()[0].body, br#"{"project":"p"}"#);
}

#[test]
fn i3_every_retry_sends_the_same_producer_sequence_and_bytes() {
    let (url, requests) = start(|number, request| match number {
        0 => (0, "", String::new()),
        1 => (503, "Retry-After: 0\r\n", String::new()),
        2 => (429, "", r#"{"code":"queue_full","detail":"wait"}"#.to_owned()),
        _ => (200, "", ack(points(&request.body))),
    });
    let writer = Client::new(&url).unwrap().writer().unwrap();
    writer.log("r", 1, 2, &[("a", 0.5), ("b", f64::NAN)]).unwrap();
    writer.flush(TIMEOUT).unwrap();
    let stats = writer.stats();
    assert_eq!((stats.logged, stats.acked, stats.failed, stats.pending, stats.retries), (2, 2, 0, 0, 3));
    writer.log("r", 2, 3, &[("a", 0.25)]).unwrap();
    writer.close().unwrap();
    let requests = requests.lock().unwrap();
    let sequences: Vec<&str> = requests.iter().map(|r| r.header("stepwell-sequence")).collect();
    assert_eq!(sequences, ["1", "1", "1", "1", "2"]);
    assert!(requests.iter().all(|r| r.header("stepwell-producer") == requests[0].header("stepwell-producer")));
    assert!(requests[..4].iter().all(|r| r.body == requests[0].body));
}

#[test]
fn an_unknown_run_loses_its_own_points_only() {
    let (url, _) = start(|_, request| {
        if String::from_utf8_lossy(&request.body).contains("unknown") {
            (404, "", r#"{"code":"run_not_found","detail":"run unknown does not exist"}"#.to_owned())
        } else {
            (200, "", ack(points(&request.body)))
        }
    });
    let writer = Client::new(&url).unwrap().writer().unwrap();
    for run_id in ["a", "unknown", "b"] {
        writer.log(run_id, 0, 0, &[("m", 1.0)]).unwrap();
    }
    assert!(matches!(writer.flush(TIMEOUT), Err(ClientError::Refused { points: 1, .. })));
    assert_eq!((writer.stats().acked, writer.stats().failed), (2, 1));
    assert!(writer.stats().last_error.unwrap().contains("run unknown does not exist"));
    assert!(matches!(writer.log("", 0, 0, &[]), Err(ClientError::Name(_))));
}

#[test]
fn points_past_the_bound_are_spooled_and_nothing_is_lost() {
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let (url, requests) = start(move |number, request| {
        if number == 0 {
            opened.recv().unwrap();
        }
        (200, "", ack(points(&request.body)))
    });
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions {
        memory_bytes: 8_000,
        batch_points: 100,
        spool_dir: dir.path().to_owned(),
        ..WriterOptions::default()
    };
    let writer = Client::new(&url).unwrap().writer_with(options).unwrap();
    for step in 0..2_000 {
        writer.log("r", step, 0, &[("m", step as f64)]).unwrap();
    }
    assert!(writer.stats().spooled > 1_000, "{:?}", writer.stats());
    gate.send(()).unwrap();
    writer.close().unwrap();
    assert_eq!(requests.lock().unwrap().iter().map(|r| points(&r.body)).sum::<usize>(), 2_000);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file is gone");
}

#[test]
fn closing_gives_up_in_time_and_says_what_is_lost() {
    let (url, _) = start(|_, _| (503, "Retry-After: 30\r\n", String::new()));
    let writer = Client::new(&url).unwrap().writer().unwrap();
    writer.log("r", 0, 0, &[("m", 1.0)]).unwrap();
    let error = writer.close_within(Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { pending: 1, .. }), "{error}");
}
