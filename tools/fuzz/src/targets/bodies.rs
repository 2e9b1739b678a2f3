//! What is not points: compressed bodies, and what a chart asks for.

use std::io::Write;

use stepwell_server::{decompress, read_series_body, read_series_query};

use crate::Target;

/// What a body may decompress to, bytes.
const LIMIT_BYTES: usize = 1 << 20;

/// `Content-Encoding`: zstd where the first byte is even, else gzip.
pub(super) const CONTENT_ENCODING: Target = Target {
    name: "content-encoding",
    run: content_encoding,
    seeds: compressed,
    words: &[],
    // A list that doubles holds what it holds and the next twice that.
    memory_bytes: (4 * LIMIT_BYTES, 4),
    replayed: 3_000,
};

/// `GET` and `POST /api/v1/series`: a query string where the first byte is even, else a body.
pub(super) const SERIES: Target = Target {
    name: "series-request",
    run: series,
    seeds: || {
        [
            "0project=p&run_ids=a,b&metrics=loss%7Bu=1,v=2%7D,acc&from_step=-5&to_step=9&x=time&buckets=10&points=all",
            "0project=a+b%2Fc&run_ids=x&run_ids=y%2Cz&metrics=m",
            r#"1{"project":"p","run_ids":["a"],"metrics":["loss","acc"],"from_step":-5,"x":"step","buckets":7,"points":"last"}"#,
        ]
        .map(Into::into)
        .into()
    },
    words: &["project=", "&run_ids=", "&metrics=", "%00", "%ff", "%25", "&buckets=", "{", "}", "\"buckets\":", "[[[["],
    memory_bytes: (1 << 20, 200),
    replayed: 4_000,
};

fn content_encoding(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let is_zstd = first.is_multiple_of(2);
    let decoded = match decompress(if is_zstd { "zstd" } else { "gzip" }, body.to_vec(), LIMIT_BYTES) {
        Ok(decoded) => decoded,
        Err(refusal) => return assert_ne!(refusal.code(), "internal", "{refusal}"),
    };
    assert!(decoded.len() <= LIMIT_BYTES, "{} bytes came out", decoded.len());
    // A window may be refused that the library would take, never the other way round.
    if is_zstd {
        assert!(zstd::decode_all(body).is_ok_and(|expected| expected == decoded), "the library says otherwise");
    }
}

fn compressed() -> Vec<Vec<u8>> {
    let texts = [&b"points "[..], &b"points ".repeat(200), &[0; 100_000]];
    let zstd = |text: &[u8]| [&b"0"[..], &zstd::encode_all(text, 3).expect("memory")].concat();
    let gzip = |text: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(b"1".to_vec(), flate2::Compression::best());
        writer.write_all(text).and_then(|()| writer.finish()).expect("memory")
    };
    let skippable = [&b"0\x50\x2a\x4d\x18\x04\0\0\0abcd"[..], &zstd(b"x")[1..]].concat();
    texts.into_iter().flat_map(|text| [zstd(text), gzip(text)]).chain([skippable]).collect()
}

fn series(input: &[u8]) {
    let Some((first, request)) = input.split_first() else { return };
    let read = match std::str::from_utf8(request) {
        Ok(query) if first.is_multiple_of(2) => read_series_query(query),
        _ => read_series_body(request, LIMIT_BYTES),
    };
    let request = match read {
        Ok(request) => request,
        Err(refusal) => return assert_ne!(refusal.code(), "internal", "{refusal}"),
    };
    assert!((1..=stepwell_types::limits::BUCKETS_MAX).contains(&request.buckets));
    // The same as a body.
    let body = serde_json::json!({
        "project": request.project,
        "run_ids": request.run_ids,
        "metrics": request.metrics,
        "from_step": request.from_step,
        "to_step": request.to_step,
        "buckets": request.buckets,
        "x": format!("{:?}", request.x).to_lowercase(),
        "points": format!("{:?}", request.points).to_lowercase(),
    });
    let again = read_series_body(body.to_string().as_bytes(), usize::MAX / 2).expect("what was read is taken again");
    assert_eq!(format!("{again:?}"), format!("{request:?}"));
}
