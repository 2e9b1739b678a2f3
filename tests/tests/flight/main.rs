//! Arrow Flight over real sockets (`schemas/flight.md`).

mod limits;
mod streams;

use arrow_flight::FlightData;
use serde_json::{Value, json};
use stepwell_tests::{
    Server, ServerOptions,
    arrow_stream::{self, Row},
    flight::{self, FlightPut},
};
use tonic::Status;

const POINTS: u64 = 100;

fn server_with(flags: &[&str]) -> Server {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    let server = Server::start_with(&ServerOptions { flags, ..ServerOptions::default() }).unwrap();
    create_run(&server);
    server
}

fn create_run(server: &Server) {
    server.http().post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
}

/// The messages of one batch, schema first; its steps tell it from all others.
fn batch(number: u64) -> Vec<FlightData> {
    batch_of("r", number)
}

fn batch_of(run_id: &str, number: u64) -> Vec<FlightData> {
    batch_with(run_id, number, POINTS)
}

fn batch_with(run_id: &str, number: u64, points: u64) -> Vec<FlightData> {
    let rows: Vec<Row> = (0..points)
        .map(|point| Row {
            run_id: run_id.into(),
            metric: "m".into(),
            step: i64::try_from(number * points + point).unwrap(),
            timestamp_us: 0,
            value: 1.0,
        })
        .collect();
    flight::messages(&arrow_stream::encode_rows(&rows).unwrap()).unwrap()
}

/// The steps that are there, all of them and distinct.
fn steps(server: &Server) -> (u64, u64) {
    let found = server.http().sql("p", "SELECT count(*) AS n, count(DISTINCT step) AS d FROM points").unwrap();
    (found[0]["n"].as_u64().unwrap(), found[0]["d"].as_u64().unwrap())
}

/// Code, sequence and details of a refusal; its message names both.
fn refusal(status: &Status) -> (String, Option<u64>, Value) {
    let text = |name: &str| status.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
    let details: Value = serde_json::from_slice(status.details()).unwrap_or_else(|_| panic!("{status:?}"));
    let (code, sequence) = (text("stepwell-code").unwrap(), text("stepwell-sequence").map(|s| s.parse().unwrap()));
    assert!(status.message().contains(&code), "{status:?}");
    assert_eq!((details["code"].as_str(), details["sequence"].as_u64()), (Some(code.as_str()), sequence));
    (code, sequence, details)
}

/// Acknowledgements until the end, and how it ended.
async fn rest(put: &mut FlightPut) -> (Vec<Value>, Option<Status>) {
    let mut acks = Vec::new();
    loop {
        match put.ack().await {
            Ok(Some(ack)) => acks.push(ack),
            Ok(None) => return (acks, None),
            Err(status) => return (acks, Some(status)),
        }
    }
}
