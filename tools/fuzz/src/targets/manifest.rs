//! The manifest.

use stepwell_manifest::{Manifest, ProducerState, decode, encode};
use stepwell_types::{FileMeta, Lsn, SegmentMeta, SeriesKey, Tombstone};

use crate::Target;

const HEADER_BYTES: usize = 24;
const WORDS: [&str; 8] =
    ["\"segments\":[", "\"tombstones\":[", "null", "-1", "18446744073709551616", "1e999", "{}", "[]"];

/// The file as it may be found.
pub(super) const FILE: Target = Target {
    name: "manifest",
    run: file,
    seeds: || manifests().iter().filter_map(|manifest| encode(manifest).ok()).collect(),
    words: &WORDS,
    memory_bytes: (64 << 10, 64),
    replayed: 4_000,
};

/// Its JSON behind a good header.
pub(super) const BODY: Target = Target {
    name: "manifest-body",
    run: |body| file(&with_header(body)),
    seeds: || manifests().iter().filter_map(|manifest| Some(encode(manifest).ok()?.split_off(HEADER_BYTES))).collect(),
    words: &WORDS,
    memory_bytes: (64 << 10, 64),
    replayed: 4_000,
};

fn file(bytes: &[u8]) {
    let Ok(manifest) = decode(bytes) else { return };
    let again = encode(&manifest).map(|bytes| decode(&bytes));
    assert_eq!(again.ok(), Some(Ok(manifest)), "what is decoded is encoded and decoded alike");
}

/// The header by `schemas/manifest.md`: magic number, version, checksum over what follows, length.
fn with_header(body: &[u8]) -> Vec<u8> {
    let checked = [&(body.len() as u64).to_le_bytes(), body].concat();
    [b"SWMANIF1", &2u32.to_le_bytes()[..], &crc32c::crc32c(&checked).to_le_bytes(), &checked].concat()
}

fn manifests() -> [Manifest; 2] {
    let key = |run: &str| SeriesKey::new("1", "lo\"ss/\u{1F9EA}", run);
    let file = |bytes| FileMeta { bytes, crc32c: 5, tail: None };
    let segment = SegmentMeta {
        file_name: "00000000000000000002.parquet".into(),
        tier: 1,
        purged: 3,
        file: file(u64::MAX),
        summaries: Some(file(8)),
        rollups: None,
        rows: 2,
        series: (key("a"), key("b")),
        step: (i64::MIN, i64::MAX),
        timestamp_us: (-1, 1),
        lsn: (1, 2),
    };
    let tombstone = Tombstone {
        id: 4,
        project_id: "1".into(),
        metric: None,
        run_id: Some("a".into()),
        before_us: Some(-9),
        lsn_below: Lsn(7),
    };
    let producer = ProducerState { producer: "p".into(), sequence: 1, first_lsn: 1, last_lsn: 2, seen_us: -3 };
    let full = Manifest {
        version: 7,
        wal_floor: Lsn(u64::MAX),
        next_segment: 3,
        segments: vec![segment],
        tombstones: vec![tombstone],
        producers: vec![producer],
    };
    [Manifest::default(), full]
}
