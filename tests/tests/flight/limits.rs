//! Messages past their limits, and more streams than the server has room for (I9).

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray},
    datatypes::Int32Type,
    record_batch::RecordBatch,
};
use arrow_flight::FlightData;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use futures::SinkExt;
use serde_json::{Value, json};
use stepwell_tests::flight::{self, FlightPut, connect, numbered};

use super::{POINTS, batch, batch_with, refusal, rest, server_with, steps};

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
