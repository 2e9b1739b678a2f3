//! Arrow Flight over real sockets (`schemas/flight.md`).

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray},
    datatypes::Int32Type,
    record_batch::RecordBatch,
};
use arrow_flight::{Criteria, FlightData, FlightDescriptor};
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use futures::SinkExt;
use serde_json::{Value, json};
use stepwell_tests::{
    Server, ServerOptions,
    arrow_stream::{self, Row},
    flight::{self, FlightPut, connect, numbered},
};
use tonic::{Code, Status};

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

#[tokio::test(flavor = "multi_thread")]
async fn i1_i2_i7_acknowledgements_come_in_order_and_survive_a_kill() {
    const BATCHES: u64 = 200;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_in(directory.path(), &ServerOptions::default()).unwrap();
    create_run(&server);
    let mut put = FlightPut::open(&mut connect(server.url()).await.unwrap(), Some("p")).await.unwrap();
    assert!(put.send(batch(0)[0].clone()).await);
    // As many as fit the window are sent before the first acknowledgement is read.
    for number in 0..BATCHES {
        assert!(put.send(numbered(batch(number)[1].clone(), number + 1)).await);
    }
    let mut last_lsn = 0;
    for sequence in 1..=BATCHES {
        let ack = put.ack().await.unwrap().unwrap();
        assert_eq!((&ack["sequence"], &ack["points"]), (&json!(sequence), &json!(POINTS)), "{ack}");
        assert_eq!(ack["duplicate"], json!(false));
        assert_eq!(ack["first_lsn"].as_u64().unwrap(), last_lsn + 1);
        last_lsn = ack["last_lsn"].as_u64().unwrap();
    }
    assert_eq!(steps(&server), (BATCHES * POINTS, BATCHES * POINTS), "I2: visible from the acknowledgement on");
    // Sent, perhaps not acknowledged: there whole or not at all.
    put.send(numbered(batch(BATCHES)[1].clone(), BATCHES + 1)).await;
    server.check_log(&[]).unwrap();
    server.kill().unwrap();

    let server = Server::start_in(directory.path(), &ServerOptions::default()).unwrap();
    let (points, distinct) = steps(&server);
    assert!(points == distinct && points % POINTS == 0 && points / POINTS - BATCHES <= 1, "{points} {distinct}");
    // I3: what was acknowledged before the crash is a duplicate after it.
    let mut put = FlightPut::open(&mut connect(server.url()).await.unwrap(), Some("p")).await.unwrap();
    put.send(batch(0)[0].clone()).await;
    for number in BATCHES - 3..=BATCHES {
        put.send(numbered(batch(number)[1].clone(), number + 1)).await;
    }
    put.finish();
    let (acks, end) = rest(&mut put).await;
    assert!(end.is_none(), "{end:?}");
    let duplicates: Vec<bool> = acks.iter().map(|ack| ack["duplicate"] == json!(true)).collect();
    assert_eq!(duplicates[..3], [true, true, true]);
    assert_eq!(steps(&server), ((BATCHES + 1) * POINTS, (BATCHES + 1) * POINTS));
    server.check_log(&[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_bad_batch_ends_the_stream_and_nothing_behind_it_is_applied() {
    let server = server_with(&[]);
    let mut client = connect(server.url()).await.unwrap();
    let nulls = {
        let columns: [(&str, ArrayRef); 4] = [
            ("run_id", Arc::new(StringArray::from(vec!["r", "r"]))),
            ("metric", Arc::new(StringArray::from(vec!["m", "m"]))),
            ("step", Arc::new(Int64Array::from(vec![1, 2]))),
            ("value", Arc::new(Float64Array::from(vec![Some(1.0), None]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        flight::messages(&arrow_stream::encode(&[batch]).unwrap()).unwrap()
    };
    let mut put = FlightPut::open(&mut client, Some("bad")).await.unwrap();
    put.send(batch(0)[0].clone()).await;
    for number in 0..3 {
        put.send(numbered(batch(number)[1].clone(), number + 1)).await;
    }
    put.send(numbered(batch_of("no such run", 3)[1].clone(), 4)).await;
    for number in 4..20 {
        put.send(numbered(batch(number)[1].clone(), number + 1)).await;
    }
    let (acks, end) = rest(&mut put).await;
    let end = end.unwrap();
    assert_eq!(acks.iter().map(|ack| ack["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(end.code(), Code::NotFound);
    let (code, sequence, details) = refusal(&end);
    assert_eq!((code.as_str(), sequence, &details["batch"]), ("run_not_found", Some(4), &json!(4)), "{details}");
    assert!(end.message().starts_with("sequence 4: ") && end.message().contains("no such run"), "{end:?}");
    assert_eq!(steps(&server), (3 * POINTS, 3 * POINTS));

    // Sent on from there, corrected, nothing passes for a duplicate; without producer the batch is named by its number.
    let mut put = FlightPut::open(&mut client, Some("bad")).await.unwrap();
    put.send(batch(0)[0].clone()).await;
    put.send(numbered(batch(3)[1].clone(), 4)).await;
    assert_eq!(put.ack().await.unwrap().unwrap()["duplicate"], json!(false));
    let mut put = FlightPut::open(&mut client, None).await.unwrap();
    for message in nulls {
        put.send(message).await;
    }
    let (acks, end) = rest(&mut put).await;
    let (code, _, details) = refusal(end.as_ref().unwrap());
    assert_eq!((acks.len(), code.as_str()), (0, "null_value"));
    assert_eq!((&details["row"], &details["field"]), (&json!(2), &json!("value")));
    assert!(end.unwrap().message().starts_with("batch 1 of the stream: value is null in row 2"));
    let metrics = server.http().get("/metrics").unwrap().text();
    assert!(metrics.contains("stepwell_refusals_total{code=\"run_not_found\"} 1"), "{metrics}");
    server.check_log(&[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_be_right_are_refused_with_a_reason() {
    let server = server_with(&[]);
    let mut client = connect(server.url()).await.unwrap();
    let schema = || batch(0)[0].clone();
    let points = || batch(0)[1].clone();
    let path = |path: &str| FlightDescriptor { path: vec![path.to_owned()], ..flight::descriptor() };
    let text = |message: FlightData, text: &'static str| FlightData { app_metadata: text.into(), ..message };
    let cases: Vec<(Option<&str>, Vec<FlightData>, &str)> = vec![
        (None, vec![FlightData { flight_descriptor: None, ..schema() }], "invalid_value"),
        (None, vec![FlightData { flight_descriptor: Some(path("other")), ..schema() }], "invalid_value"),
        (None, vec![FlightData { flight_descriptor: Some(flight::descriptor()), ..points() }], "malformed_arrow"),
        (None, vec![schema(), FlightData { data_header: "nonsense".into(), ..points() }], "malformed_arrow"),
        (None, vec![schema(), schema()], "malformed_arrow"),
        (None, vec![schema(), text(FlightData::default(), "{}")], "invalid_value"),
        (None, vec![schema(), numbered(points(), 1)], "missing_field"),
        (Some("p"), vec![schema(), points()], "missing_field"),
        (Some("p"), vec![schema(), text(points(), "17")], "wrong_type"),
        (Some("p"), vec![schema(), text(points(), "{\"sequence\":-1}")], "wrong_type"),
        (Some("p"), vec![schema(), text(points(), "{\"sequence\":1,\"x\":2}")], "unknown_field"),
        (Some("p"), vec![schema(), text(points(), "sequence")], "malformed_json"),
        (Some("with space"), vec![], "invalid_value"),
    ];
    for (producer, messages, wanted) in cases {
        let opened = FlightPut::open(&mut client, producer).await;
        let end = match opened {
            Ok(mut put) => {
                for message in messages {
                    put.send(message).await;
                }
                rest(&mut put).await.1.unwrap()
            }
            Err(error) => error.downcast::<Status>().unwrap(),
        };
        assert_eq!((refusal(&end).0.as_str(), end.code()), (wanted, Code::InvalidArgument), "{end:?}");
    }
    let error = client.list_flights(Criteria::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("/api/v1/sql"), "{error:?}");
    let json = ("content-type", "application/json");
    let path = "/arrow.flight.protocol.FlightService/DoPut";
    let reply = server.http().send("POST", path, &[json], b"{}").unwrap().expect(415).unwrap();
    assert_eq!(reply["code"], "unsupported_media_type");
    assert_eq!(steps(&server).0, 0);
    server.check_log(&[]).unwrap();
}

/// Plain and compressed columns of many equal points.
fn wide(rows: usize, options: IpcWriteOptions) -> Vec<FlightData> {
    let columns: [(&str, ArrayRef); 4] = [
        ("run_id", Arc::new(StringArray::from(vec!["r"; rows]))),
        ("metric", Arc::new(StringArray::from(vec!["m"; rows]))),
        ("step", Arc::new(Int64Array::from(vec![7; rows]))),
        ("value", Arc::new(Float64Array::from(vec![0.0; rows]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    flight::messages(&writer.into_inner().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_oversized_and_hostile_messages_are_refused_and_the_server_lives() {
    let server = server_with(&["--body-limit-bytes", "1048576", "--decoded-limit-bytes", "2097152"]);
    let zstd = || IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::ZSTD)).unwrap();
    let mut hostile = wide(4_096, zstd());
    let mut body = hostile[1].data_body.to_vec();
    let claim = (4_096_i64 * 8).to_le_bytes();
    let at = (0..body.len() - 8).find(|&at| body[at..at + 8] == claim).unwrap();
    body[at..at + 8].copy_from_slice(&(1_i64 << 62).to_le_bytes());
    hostile[1].data_body = body.into();
    // A dictionary of which hardly anything is sent, and which would take gigabytes.
    let mut dictionary = {
        let names = StringArray::from((0..50_000).map(|_| "").collect::<Vec<_>>());
        let metric = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0]), Arc::new(names));
        let columns: [(&str, ArrayRef); 4] = [
            ("run_id", Arc::new(StringArray::from(vec!["r"]))),
            ("metric", Arc::new(metric)),
            ("step", Arc::new(Int64Array::from(vec![7]))),
            ("value", Arc::new(Float64Array::from(vec![0.0]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), zstd()).unwrap();
        writer.write(&batch).unwrap();
        flight::messages(&writer.into_inner().unwrap()).unwrap()
    };
    let mut body = dictionary[1].data_body.to_vec();
    let claim = (50_001_i64 * 4).to_le_bytes();
    let at = (0..body.len() - 8).find(|&at| body[at..at + 8] == claim).unwrap();
    body[at..at + 8].copy_from_slice(&(8_i64 << 30).to_le_bytes());
    dictionary[1].data_body = body.into();

    let cases: [(Vec<FlightData>, &str); 4] = [
        (wide(60_000, IpcWriteOptions::default()), "body_too_large"),
        (wide(100_000, zstd()), "decoded_too_large"),
        (hostile, "decoded_too_large"),
        (dictionary, "decoded_too_large"),
    ];
    let mut client = connect(server.url()).await.unwrap();
    for (messages, wanted) in cases {
        let mut put = FlightPut::open(&mut client, None).await.unwrap();
        for message in messages {
            put.send(message).await;
        }
        put.finish();
        let (acks, end) = rest(&mut put).await;
        let (code, _, details) = refusal(end.as_ref().unwrap());
        assert_eq!((acks.len(), code.as_str()), (0, wanted), "{end:?}");
        assert!(details["limit"].as_u64().is_some(), "{details}");
    }
    let mut put = FlightPut::open(&mut client, None).await.unwrap();
    for message in wide(10_000, zstd()) {
        put.send(message).await;
    }
    assert_eq!(put.ack().await.unwrap().unwrap()["points"], json!(10_000));
    drop(put);
    // Nothing of what was refused is still held.
    for _ in 0..100 {
        let metrics = server.http().get("/metrics").unwrap().text();
        if metrics.contains("stepwell_request_bodies_bytes 0\n") && metrics.contains("stepwell_flight_streams 0\n") {
            return server.check_log(&[]).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", server.http().get("/metrics").unwrap().text());
}

/// The engine's queue takes two large batches at a time here: streams are held back, not refused, and nothing is lost or
/// reordered. Nobody reads the acknowledgements at first, so the windows close on the way.
#[tokio::test(flavor = "multi_thread")]
async fn i9_overload_holds_streams_back_instead_of_refusing_them() {
    const LARGE: u64 = 20_000;
    let server = server_with(&["--queue-bytes", "1048576"]);
    let mut streams = tokio::task::JoinSet::new();
    // First number, batches, points of each; no two have a step in common.
    for (first, batches, points) in [(0, 600, POINTS), (600, 600, POINTS), (1_000, 40, LARGE), (2_000, 40, LARGE)] {
        let mut client = connect(server.url()).await.unwrap();
        streams.spawn(async move {
            let put = FlightPut::open(&mut client, Some(&format!("s{first}"))).await.unwrap();
            let (sender, mut results) = put.split();
            let mut sender = sender.unwrap();
            tokio::spawn(async move {
                sender.send(batch(0)[0].clone()).await.unwrap();
                for number in 0..batches {
                    let message = batch_with("r", first + number, points)[1].clone();
                    sender.send(numbered(message, number)).await.unwrap();
                }
            });
            tokio::time::sleep(Duration::from_millis(500)).await;
            for sequence in 0..batches {
                let result = results.message().await.unwrap().unwrap();
                let ack: Value = serde_json::from_slice(&result.app_metadata).unwrap();
                assert_eq!((&ack["sequence"], &ack["duplicate"]), (&json!(sequence), &json!(false)));
            }
            assert!(results.message().await.unwrap().is_none());
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended.unwrap();
    }
    let all = 1_200 * POINTS + 80 * LARGE;
    assert_eq!(steps(&server), (all, all));
    let metrics = server.http().get("/metrics").unwrap().text();
    let held = metrics.lines().find_map(|line| line.strip_prefix("stepwell_engine_held_total "));
    assert!(held.unwrap().parse::<u64>().unwrap() > 0, "the queue was never full: {metrics}");
    server.check_log(&[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_streams_after_the_acknowledgements_of_what_was_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &ServerOptions::default()).unwrap();
    create_run(&server);
    let mut client = connect(server.url()).await.unwrap();
    let (sender, mut results) = FlightPut::open(&mut client, Some("p")).await.unwrap().split();
    let mut sender = sender.unwrap();
    let sending = tokio::spawn(async move {
        let mut number = 0;
        let mut is_open = sender.send(batch(0)[0].clone()).await.is_ok();
        while is_open {
            is_open = sender.send(numbered(batch(number)[1].clone(), number + 1)).await.is_ok();
            number += 1;
        }
    });
    // A stream at rest ends as well.
    let mut idle = FlightPut::open(&mut client, None).await.unwrap();
    idle.send(batch(0)[0].clone()).await;
    let reading = tokio::spawn(async move {
        let mut acked = 0;
        loop {
            match results.message().await {
                Ok(Some(_)) => acked += 1,
                Ok(None) => panic!("ended without a reason"),
                Err(status) => return (acked, status),
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (took, status) = tokio::task::spawn_blocking(move || server.terminate().unwrap()).await.unwrap();
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
    let (acked, end) = reading.await.unwrap();
    assert_eq!((refusal(&end).0.as_str(), end.code()), ("shutting_down", Code::Unavailable));
    assert_eq!(rest(&mut idle).await.1.unwrap().code(), Code::Unavailable);
    sending.await.unwrap();

    let server = Server::start_in(directory.path(), &ServerOptions::default()).unwrap();
    let (points, distinct) = steps(&server);
    assert!(acked > 0 && points == acked * POINTS && points == distinct, "{acked} acknowledged, {points} there");
    server.check_log(&[]).unwrap();
}
