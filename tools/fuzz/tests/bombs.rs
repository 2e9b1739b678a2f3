//! I9: bytes that claim or decompress to much more than they are stop at the budget of the door they come by. Memory is counted by
//! the allocator, so that a claim that is believed for a moment only is found too.

use std::{io::Write, panic::catch_unwind};

use stepwell_fuzz::{CountingAllocator, peak_bytes, target, without_backtraces};
use stepwell_server::{
    PointsForm::{Arrow, Ndjson},
    Refusal, decode_log, decode_points, decompress, read_series_body,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MIB: usize = 1 << 20;
/// What a body may decode to.
const LIMIT: usize = 8 * MIB;

/// The refusal, and that it took at most `most` bytes beside the body.
#[track_caller]
fn refused<T>(what: &str, most: usize, decode: impl FnOnce() -> Result<T, Refusal>) -> &'static str {
    without_backtraces(false);
    let (result, peak) = peak_bytes(decode);
    assert!(peak <= most, "{what}: {peak} bytes, at most {most}");
    let Err(refusal) = result else { panic!("{what}: it was taken") };
    refusal.code()
}

fn gzip(chunks: usize, chunk: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    (0..chunks).for_each(|_| writer.write_all(chunk).unwrap());
    writer.finish().unwrap()
}

#[test]
fn i9_compressed_bodies_stop_at_their_limit() {
    let zeros = vec![0; MIB];
    let zstd = {
        let mut writer = zstd::Encoder::new(Vec::new(), 3).unwrap();
        (0..256).for_each(|_| writer.write_all(&zeros).unwrap());
        writer.finish().unwrap()
    };
    // Many times the limit each; and bombs in a row, the second behind a small first.
    let behind = [zstd::encode_all(&b"x"[..], 1).unwrap(), zstd.clone()].concat();
    let members = [gzip(1, b"x"), gzip(32, &zeros)].concat();
    for (encoding, body) in [("zstd", zstd), ("zstd", behind), ("gzip", gzip(64, &zeros)), ("gzip", members)] {
        assert!(body.len() < 2 * MIB, "{encoding}: {} bytes", body.len());
        // A list that doubles, the chunk, and what the library itself holds.
        let code = refused(encoding, 3 * LIMIT, || decompress(encoding, body, LIMIT));
        assert_eq!(code, "decoded_too_large");
    }
}

/// They decode to nothing, so that only the limit of received bytes bounds them; a length that is not there is an error.
#[test]
fn i9_skippable_frames_take_no_memory() {
    let frame = [&b"\x50\x2a\x4d\x18\x00\x00\x01\x00"[..], &[7; 1 << 16]].concat();
    let body = frame.repeat(256);
    let (decoded, peak) = peak_bytes(|| decompress("zstd", body, LIMIT));
    assert_eq!((decoded.unwrap(), peak < MIB), (Vec::new(), true), "{peak} bytes");
    let lying = b"\x50\x2a\x4d\x18\xff\xff\xff\xff1234".to_vec();
    assert_eq!(refused("skippable", MIB, || decompress("zstd", lying, LIMIT)), "malformed_encoding");
}

/// The stream of 392 bytes that ended other programs, and the same with other claims.
#[test]
fn i9_arrow_buffers_are_not_believed() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/hostile/claims_2_62_bytes.arrows");
    let stream = std::fs::read(file).unwrap();
    let claim = (1i64 << 62).to_le_bytes();
    let places: Vec<usize> = (0..stream.len() - 8).filter(|&at| stream[at..at + 8] == claim).collect();
    assert!(!places.is_empty());
    for claimed in [1 << 62, 8 << 30, LIMIT as i64 + 1, i64::MAX, i64::MIN, -2] {
        let mut hostile = stream.clone();
        places.iter().for_each(|&at| hostile[at..at + 8].copy_from_slice(&claimed.to_le_bytes()));
        let code = refused("arrow", MIB, || decode_points(Arrow, hostile, 0, LIMIT));
        assert!(["decoded_too_large", "malformed_arrow"].contains(&code), "{claimed}: {code}");
    }
}

/// One object of a line with a million members: nothing of it is kept.
#[test]
fn i9_long_lines_and_deep_ones_take_no_memory() {
    let members = format!("{{{}\"x\":0}}", "\"\":0,".repeat(1_000_000));
    for body in [members.clone(), format!("{{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,{}", &members[1..])] {
        let bytes = body.len();
        let code = refused("ndjson", MIB, || decode_points(Ndjson, body.into(), 0, LIMIT));
        assert_eq!(code, "unknown_field", "{bytes} bytes");
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = [open.repeat(500_000), "0".into(), close.repeat(500_000)].concat();
        let line = format!("{{\"run_id\":{deep}}}");
        assert_eq!(refused("deep", 2 * MIB, || decode_points(Ndjson, line.into(), 0, LIMIT)), "wrong_type");
        let log = format!("{{\"metrics\":{deep}}}");
        let code = refused("deep", 2 * MIB, || decode_log(log.as_bytes(), LIMIT));
        assert!(["decoded_too_large", "wrong_type"].contains(&code), "{code}");
        // Its braces alone are more objects than the budget has room for.
        let code = refused("deep", MIB, || read_series_body(deep.as_bytes(), LIMIT));
        assert_eq!(code, "decoded_too_large");
    }
    let endless = format!("{{\"run_id\":\"{}", "x".repeat(16 * MIB));
    assert_eq!(refused("text", MIB, || decode_points(Ndjson, endless.into(), 0, LIMIT)), "malformed_json");
}

/// A body of short names that are all different: names and series count, not only the bytes they came in.
#[test]
fn i9_names_count() {
    let line = |i: usize| format!("{{\"run_id\":\"{i:x}\",\"metric\":\"{i:x}\",\"step\":1,\"value\":1}}\n");
    let body: String = (0..200_000).map(line).collect();
    let code = refused("ndjson", 3 * LIMIT, || decode_points(Ndjson, body.clone().into(), 0, LIMIT));
    assert_eq!(code, "decoded_too_large");
    let mut points = stepwell_client::Points::default();
    (0..200_000).for_each(|i| points.push(&format!("{i:x}"), &format!("{i:x}"), 0, 0, 0.0));
    let stream = points.encode().unwrap();
    let beside = 28 * 200_000;
    let code = refused("arrow", 3 * LIMIT + 2 * beside, || decode_points(Arrow, stream, 0, LIMIT));
    assert_eq!(code, "decoded_too_large");
    let metrics: Vec<String> = (0..200_000).map(|i| format!("\"{i:x}\":1")).collect();
    let body = format!("{{\"metrics\":{{{}}}}}", metrics.join(","));
    assert_eq!(refused("log", LIMIT, || decode_log(body.as_bytes(), LIMIT)), "decoded_too_large");
    let lines = "{\"metrics\":{}}".repeat(200_000);
    assert_eq!(refused("log", 3 * LIMIT, || decode_log(lines.as_bytes(), LIMIT)), "decoded_too_large");
}

/// JSON values take many times the bytes of their text; what reading takes is within what was charged.
#[test]
fn i9_json_is_charged_before_it_is_read() {
    let bombs = ["[{\"a\":0},", "[[],", "[0,", "[{},", "[\"\","].map(|start| {
        let (open, item) = start.split_at(1);
        format!("{open}{}0]", item.repeat(200_000))
    });
    for bomb in bombs {
        let code = refused("json", MIB, || read_series_body(bomb.as_bytes(), LIMIT));
        assert_eq!(code, "decoded_too_large");
        // Who raises the limit gets what the limit says.
        let charge = |byte: u8| match byte {
            b'{' => 700,
            b'[' | b',' | b':' => 120,
            _ => 0,
        };
        let charged: usize = bomb.bytes().map(charge).sum();
        let (read, peak) = peak_bytes(|| read_series_body(bomb.as_bytes(), charged));
        assert!(peak <= charged, "{}: {peak} bytes, charged {charged}", &bomb[..12]);
        assert_eq!(read.map_err(|refusal| refusal.code()).unwrap_err(), "wrong_type");
        eprintln!("{} takes {} times its bytes", &bomb[..12], peak / bomb.len());
    }
}

/// A dictionary that many batches refer to is decoded once; one of many values is charged for each of them.
#[test]
fn i9_dictionaries_do_not_multiply() {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
    use arrow_ipc::writer::StreamWriter;
    let values: ArrayRef = Arc::new(StringArray::from((0..4_000).map(|i| format!("{i:0700}")).collect::<Vec<_>>()));
    let names = |rows: i32| -> ArrayRef {
        let keys = Int32Array::from_iter_values((0..rows).map(|row| row % 4_000));
        Arc::new(DictionaryArray::try_new(keys, values.clone()).unwrap())
    };
    let batch = |rows: i32| {
        let step: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::from(rows)));
        let value: ArrayRef = Arc::new(Float64Array::from(vec![0.0; rows as usize]));
        let columns = [("run_id", names(rows)), ("metric", names(rows)), ("step", step), ("value", value)];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let mut writer = StreamWriter::try_new(Vec::new(), &batch(1).schema()).unwrap();
    (0..20).for_each(|_| writer.write(&batch(8_000)).unwrap());
    let stream = writer.into_inner().unwrap();
    let (decoded, peak) = peak_bytes(|| decode_points(Arrow, stream, 0, LIMIT));
    assert!(decoded.is_ok_and(|batch| batch.len() == 160_000));
    // Rows that are decoded, and one copy of each column's names, not one for each of 160,000 rows.
    assert!(peak < 3 * LIMIT, "{peak} bytes");
}

/// Lengths in files, and in pages whose checksums are good: what the targets assert of any input, of the worst ones.
#[test]
fn i9_lengths_in_files_are_not_believed() {
    let check = |name: &str, input: &[u8]| {
        without_backtraces(false);
        let target = target(name).unwrap();
        let result = catch_unwind(|| stepwell_fuzz::check(target, input));
        assert!(result.is_ok(), "{name}");
    };
    for (name, at, width) in [("wal", 36, 4), ("spool", 12, 4), ("spool", 16, 4), ("event-file", 1, 8)] {
        let seed = (target(name).unwrap().seeds)().into_iter().max_by_key(Vec::len).unwrap();
        for claimed in [u64::MAX, 1 << 62, u64::from(u32::MAX), 1 << 31, 1 << 20] {
            let mut hostile = seed.clone();
            hostile[at..at + width].copy_from_slice(&claimed.to_le_bytes()[..width]);
            check(name, &hostile);
        }
    }
    // A record whose length has a good checksum.
    for claimed in [u64::MAX, u64::MAX - 16, 1 << 40] {
        let length = claimed.to_le_bytes();
        let crc = crc32c::crc32c(&length).rotate_right(15).wrapping_add(0xa282_ead8);
        check("event-file", &[&b"0"[..], &length, &crc.to_le_bytes(), b"data"].concat());
    }
    // Points that a frame of few bytes claims: each column but the values may be of one number.
    for claimed in [4_000_000u32, 4_000_001, u32::MAX] {
        let column = [&[0u8][..], &7i64.to_le_bytes()].concat();
        let payload = [&[0; 10][..], &column, &column, &column, &[1]].concat();
        check("wal-payload", &[&claimed.to_le_bytes()[..], &payload].concat());
    }
}

/// Frames in pages of a segment that say how much they hold.
#[test]
fn i9_pages_of_a_segment_are_not_believed() {
    without_backtraces(false);
    let target = target("segment-points").unwrap();
    let seed = (target.seeds)().pop().unwrap();
    let frames: Vec<usize> =
        (0..seed.len() - 16).filter(|&at| seed[at..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd])).collect();
    assert!(frames.len() > 7, "pages are frames of zstd");
    for at in frames {
        for claimed in [1u64 << 62, 1 << 40, 1 << 31, 200 << 20] {
            let mut hostile = seed.clone();
            // A frame header of single segment with eight bytes of content size.
            hostile[at + 4] = 0xe0;
            hostile[at + 5..at + 13].copy_from_slice(&claimed.to_le_bytes());
            stepwell_fuzz::check(target, &hostile);
        }
    }
}
