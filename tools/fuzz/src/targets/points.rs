//! Bodies of points: Arrow, NDJSON, and the objects of `log`.

use std::{fmt::Write as _, sync::Arc};

use arrow::{
    array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray},
    datatypes::Int32Type,
};
use arrow_ipc::{
    CompressionType,
    writer::{DictionaryHandling, IpcWriteOptions, StreamWriter},
};
use stepwell_client::Points;
use stepwell_server::{PointsForm, decode_log, decode_points};
use stepwell_types::Batch;

use super::rows;
use crate::Target;

/// What a body may decode to, bytes.
pub(super) const LIMIT_BYTES: usize = 4 << 20;
const NOW_US: i64 = 1_790_000_000_000_000;
const JSON_WORDS: [&str; 16] = [
    "\"run_id\":",
    "\"metric\":",
    "\"step\":",
    "\"timestamp\":",
    "\"value\":",
    "\"metrics\":",
    "\"NaN\"",
    "\"-Infinity\"",
    "\"1970-01-01T00:00:00.000007Z\"",
    "9223372036854775808",
    "1e999",
    "-0.0",
    "\\ud800",
    "null",
    "[[[[[[[[",
    "{\"\":0,",
];

/// `POST /api/v1/ingest`, an Arrow IPC stream.
pub(super) const ARROW: Target = Target {
    name: "ingest-arrow",
    run: |body| points(PointsForm::Arrow, body),
    seeds: arrow_streams,
    words: &["run_id", "metric", "step", "timestamp", "value"],
    // Columns beside names and series: 28 bytes for a row, of which a body of plain columns has fewer than one in twenty bytes.
    memory_bytes: (4 * LIMIT_BYTES, 64),
    replayed: 4_000,
};

/// `POST /api/v1/ingest`, a point a line.
pub(super) const NDJSON: Target = Target {
    name: "ingest-ndjson",
    run: |body| points(PointsForm::Ndjson, body),
    seeds: || vec![NDJSON_SEED.into(), b"\n\n".into()],
    words: &JSON_WORDS,
    memory_bytes: (3 * LIMIT_BYTES, 64),
    replayed: 4_000,
};

/// `POST /api/v1/runs/{run_id}/log`.
pub(super) const LOG: Target = Target {
    name: "log-json",
    run: log,
    seeds: || vec![LOG_SEED.into(), b"{\"metrics\":{}}".into()],
    words: &JSON_WORDS,
    memory_bytes: (3 * LIMIT_BYTES, 64),
    replayed: 4_000,
};

const NDJSON_SEED: &str = r#"{"run_id":"r","metric":"loss","step":1,"timestamp":5,"value":0.5}
{"value":"NaN","run_id":"r","metric":"acc","step":-9223372036854775808,"timestamp":"1970-01-01T00:00:00.000007Z"}

{"run_id":"s\u00fc","metric":"a/b{x=1}","step":2,"timestamp":null,"value":-0.0}
"#;
const LOG_SEED: &str = r#"{"step":1,"timestamp":7,"metrics":{"loss":0.1,"acc":"Infinity"}}
{"metrics":
 {"lr":5e-324, "z":-0}}
{"timestamp":"2026-11-23T16:05:14Z","step":null,"metrics":{}}"#;

/// I5: what one door takes, the others take too, and mean the same by it.
fn points(form: PointsForm, body: &[u8]) {
    let batch = match decode_points(form, body.to_vec(), NOW_US, LIMIT_BYTES) {
        Ok(batch) => batch,
        Err(refusal) => return assert_ne!(refusal.code(), "internal", "{refusal}"),
    };
    let arrow = as_arrow(&batch);
    let again = decode_points(PointsForm::Arrow, arrow, 0, usize::MAX / 2).expect("what was decoded is taken again");
    assert_eq!(rows(&again), rows(&batch));
    if let Some(text) = as_ndjson(&batch) {
        let again =
            decode_points(PointsForm::Ndjson, text, 0, usize::MAX / 2).expect("what was decoded is taken again");
        assert_eq!(rows(&again), rows(&batch));
    }
}

fn as_arrow(batch: &Batch) -> Vec<u8> {
    let mut points = Points::default();
    for (_, metric, run, step, timestamp_us, bits) in rows(batch) {
        points.push(run, metric, step, timestamp_us, f64::from_bits(bits));
    }
    points.encode().expect("points are encoded")
}

/// The text of a batch; `None` where JSON has no text for a value: it knows one NaN.
fn as_ndjson(batch: &Batch) -> Option<Vec<u8>> {
    let mut text = String::new();
    for (_, metric, run, step, timestamp_us, bits) in rows(batch) {
        let (run, metric) = (serde_json::to_string(run).ok()?, serde_json::to_string(metric).ok()?);
        let value = value_text(f64::from_bits(bits))?;
        writeln!(
            text,
            r#"{{"run_id":{run},"metric":{metric},"step":{step},"timestamp":{timestamp_us},"value":{value}}}"#
        )
        .ok()?;
    }
    Some(text.into_bytes())
}

fn value_text(value: f64) -> Option<String> {
    Some(match value {
        _ if value.is_finite() => format!("{value:?}"),
        f64::INFINITY => "\"Infinity\"".to_owned(),
        f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
        _ if value.to_bits() == f64::NAN.to_bits() => "\"NaN\"".to_owned(),
        _ => return None,
    })
}

fn log(body: &[u8]) {
    let lines = match decode_log(body, LIMIT_BYTES) {
        Ok(lines) => lines,
        Err(refusal) => return assert_ne!(refusal.code(), "internal", "{refusal}"),
    };
    let mut text = String::new();
    for line in &lines {
        let metric = |(name, value): &(String, f64)| {
            let name = serde_json::to_string(name).expect("text is JSON");
            format!("{name}:{}", value_text(*value).expect("JSON has text for what came from it"))
        };
        let metrics: Vec<String> = line.metrics.iter().map(metric).collect();
        let or_null = |number: Option<i64>| number.map_or("null".to_owned(), |number| number.to_string());
        let (step, time) = (or_null(line.step), or_null(line.timestamp_us));
        text += &format!("{{\"step\":{step},\"timestamp\":{time},\"metrics\":{{{}}}}}\n", metrics.join(","));
    }
    let again = decode_log(text.as_bytes(), usize::MAX / 2).expect("what was decoded is taken again");
    assert_eq!(format!("{again:?}"), format!("{lines:?}"));
}

/// Streams as clients write them: dictionaries (replaced, and by deltas), plain text, views, compressed buffers, other types.
fn arrow_streams() -> Vec<Vec<u8>> {
    let mut points = Points::default();
    for step in 0..6 {
        let value = [0.5, f64::from_bits(0x7ff8_0000_0000_0001), -0.0][step as usize % 3];
        points.push(["r", "s"][step as usize % 2], "loss", step, 1_000_000 + step, value);
    }
    let mut streams = vec![points.encode().expect("points are encoded")];
    let zstd = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).expect("a known codec");
    let delta = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    for options in [IpcWriteOptions::default(), zstd, delta] {
        streams.extend(tables().iter().filter_map(|batches| stream(batches, options.clone())));
    }
    let hostile = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/hostile/claims_2_62_bytes.arrows");
    streams.extend(std::fs::read(hostile));
    streams
}

/// One stream of batches of one schema.
pub(super) fn stream(batches: &[RecordBatch], options: IpcWriteOptions) -> Option<Vec<u8>> {
    let schema = batches.first()?.schema();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).ok()?;
    batches.iter().try_for_each(|batch| writer.write(batch)).ok()?;
    writer.into_inner().ok()
}

fn tables() -> Vec<Vec<RecordBatch>> {
    let table = |runs: ArrayRef, metrics: ArrayRef| {
        let rows = runs.len() as i64;
        let step: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let value: ArrayRef = Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64 * 0.1)));
        RecordBatch::try_from_iter([("run_id", runs), ("metric", metrics), ("step", step), ("value", value)])
            .expect("columns of one length")
    };
    let plain = |names: &[&str]| -> ArrayRef { Arc::new(StringArray::from(names.to_vec())) };
    let views = |names: &[&str]| -> ArrayRef { Arc::new(StringViewArray::from(names.to_vec())) };
    let numbered = |names: &[&str]| -> ArrayRef {
        let array: DictionaryArray<Int32Type> = names.iter().copied().collect();
        Arc::new(array)
    };
    let (names, longer) = (["a", "b", "a"], ["a", "b", "a name longer than what a view holds itself"]);
    vec![
        vec![table(plain(&names), plain(&longer)), table(plain(&longer), plain(&names))],
        vec![table(views(&names), views(&longer))],
        vec![table(numbered(&names), numbered(&names)), table(numbered(&longer), numbered(&longer))],
    ]
}

/// The same as messages: a schema, dictionaries, batches. The first is a schema and one batch.
pub(super) fn stream_messages() -> Vec<Vec<super::flight::Message>> {
    let plain = tables()[0][..1].to_vec();
    let mut streams = vec![stream(&plain, IpcWriteOptions::default()).expect("a batch is encoded")];
    streams.extend(arrow_streams());
    streams.iter().map(|stream| messages(stream)).collect()
}

/// Takes a stream that a writer made apart.
fn messages(stream: &[u8]) -> Vec<super::flight::Message> {
    let (mut messages, mut rest) = (Vec::new(), stream);
    while let [0xff, 0xff, 0xff, 0xff, a, b, c, d, after @ ..] = rest {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let Some((header, after)) = after.split_at_checked(length).filter(|_| length > 0) else { break };
        let body_bytes = arrow_ipc::root_as_message(header).map_or(0, |message| message.bodyLength());
        let Some((body, after)) = usize::try_from(body_bytes).ok().and_then(|bytes| after.split_at_checked(bytes))
        else {
            break;
        };
        messages.push([header.to_vec(), b"{\"sequence\":1}".to_vec(), body.to_vec()]);
        rest = after;
    }
    messages
}
