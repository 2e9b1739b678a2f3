//! Order, durability, duplicates, refusals, shutdown.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, StringArray},
    record_batch::RecordBatch,
};
use arrow_flight::{Criteria, FlightData, FlightDescriptor};
use futures::SinkExt;
use serde_json::json;
use stepwell_tests::{
    Server, ServerOptions, arrow_stream,
    flight::{self, FlightPut, connect, numbered},
};
use tonic::{Code, Status};

use super::{POINTS, batch, batch_of, create_run, refusal, rest, server_with, steps};

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
    assert!(metrics.contains("stepwell_refusals_total{code=\"run_not_found\",door=\"flight\"} 1"), "{metrics}");
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
