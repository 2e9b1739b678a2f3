//! The limits of names over every way in: the batch is refused whole, with the place and the limit, and stays refused after a
//! restart.

use serde_json::{Value, json};
use stepwell_tests::{
    Http, Reply, Server, ServerOptions,
    arrow_stream::{self, Row},
    flight::{self, FlightPut, connect},
};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const ARROW: (&str, &str) = ("content-type", arrow_stream::MEDIA_TYPE);

fn start(dir: &std::path::Path, flags: &[&str]) -> Server {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    Server::start_in(dir, &ServerOptions { flags, ..ServerOptions::default() }).unwrap()
}

/// A point of each metric of a run.
fn rows(run: &str, metrics: &[&str]) -> Vec<Row> {
    let row = |metric: &&str| Row {
        run_id: run.to_owned(),
        metric: (*metric).to_owned(),
        step: 1,
        timestamp_us: 0,
        value: 1.0,
    };
    metrics.iter().map(row).collect()
}

fn by_arrow(http: &Http, run: &str, metrics: &[&str]) -> Reply {
    let body = arrow_stream::encode_rows(&rows(run, metrics)).unwrap();
    http.send("POST", "/api/v1/ingest", &[ARROW], &body).unwrap()
}

fn by_ndjson(http: &Http, run: &str, metrics: &[&str]) -> Reply {
    let line = |metric: &&str| json!({"run_id": run, "metric": metric, "step": 1, "value": 1.0}).to_string() + "\n";
    let body: String = metrics.iter().map(line).collect();
    http.send("POST", "/api/v1/ingest", &[NDJSON], body.as_bytes()).unwrap()
}

/// How a stream of one batch ends: the details of its refusal.
async fn by_flight(server: &Server, run: &str, metrics: &[&str]) -> (tonic::Code, Value) {
    let mut client = connect(server.url()).await.unwrap();
    let mut put = FlightPut::open(&mut client, None).await.unwrap();
    for message in flight::messages(&arrow_stream::encode_rows(&rows(run, metrics)).unwrap()).unwrap() {
        put.send(message).await;
    }
    put.finish();
    let status = put.ack().await.unwrap_err();
    (status.code(), serde_json::from_slice(status.details()).unwrap())
}

fn points(http: &Http) -> Value {
    http.sql("p", "SELECT count(*) AS n FROM points").unwrap()[0]["n"].clone()
}

/// Refused alike by HTTP in both forms and by Flight, and nothing is there of it; the row is that of the first too many.
async fn check_refused(server: &Server, run: &str, metrics: &[&str], code: &str, row: u64, limit: u64) {
    let before = points(&server.http());
    let (status, of_flight) = by_flight(server, run, metrics).await;
    assert_eq!(status, tonic::Code::FailedPrecondition, "{of_flight}");
    let replies = [by_arrow(&server.http(), run, metrics), by_ndjson(&server.http(), run, metrics)];
    let of_http = replies.map(|reply| {
        assert_eq!((reply.status, reply.header("content-type")), (422, Some("application/problem+json")), "{reply:?}");
        reply.json().unwrap()
    });
    for problem in of_http.into_iter().chain([of_flight]) {
        let place = (&problem["code"], &problem["row"], &problem["field"], &problem["limit"]);
        assert_eq!(place, (&json!(code), &json!(row), &json!("metric"), &json!(limit)), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(run) && detail.contains(metrics[row as usize - 1]), "{detail}");
    }
    assert_eq!(points(&server.http()), before, "I4: refused whole");
    let metrics = server.http().get("/metrics").unwrap().text();
    let of_doors = metrics.lines().filter_map(|line| {
        let (_, count) = line.strip_prefix(&format!("stepwell_refusals_total{{code=\"{code}\","))?.split_once(' ')?;
        count.parse::<u64>().ok()
    });
    assert!(of_doors.sum::<u64>() >= 3, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_names_past_their_limits_are_refused_over_every_way_in_and_after_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--series-per-run-max", "3", "--metrics-per-project-max", "4"];
    let mut server = start(dir.path(), &flags);
    for run in ["full", "other"] {
        server.http().post("/api/v1/runs", &json!({"project": "p", "run_id": run})).unwrap().expect(201).unwrap();
    }
    assert_eq!(by_arrow(&server.http(), "full", &["a", "b", "c"]).status, 200);
    assert_eq!(by_ndjson(&server.http(), "other", &["a", "d"]).status, 200);
    for ending in ["in memory", "in a segment", "in the log"] {
        check_refused(&server, "full", &["a", "b", "x", "c"], "too_many_series", 3, 3).await;
        check_refused(&server, "other", &["a", "y"], "too_many_metrics", 2, 4).await;
        assert_eq!(by_ndjson(&server.http(), "full", &["c", "a"]).status, 200, "known names are taken: {ending}");
        if ending == "in memory" {
            // An orderly end writes a segment.
            server.terminate().unwrap();
        } else {
            server.kill().unwrap();
        }
        server = start(dir.path(), &flags);
    }
    // What is deleted gives its room back.
    let deleted = server.http().send("DELETE", "/api/v1/projects/p/metrics/a", &[], b"").unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    assert_eq!(by_arrow(&server.http(), "full", &["x"]).status, 200);
    check_refused(&server, "full", &["a"], "too_many_series", 1, 3).await;
    // The operator may give more.
    server.terminate().unwrap();
    let server = start(dir.path(), &[]);
    assert_eq!(by_arrow(&server.http(), "full", &["a", "y", "z"]).status, 200);
    server.check_log(&[]).unwrap();
}
