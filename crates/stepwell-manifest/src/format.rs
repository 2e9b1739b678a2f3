//! Bytes of the manifest; no I/O.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepwell_types::{FileMeta, Lsn, SegmentMeta, SeriesKey, TailMeta, Tombstone};

/// First bytes of the file.
pub(crate) const MAGIC: &[u8; 8] = b"SWMANIF1";
/// The version written; the newest read.
pub const FORMAT_VERSION: u32 = 3;
const FORMAT_VERSION_OLDEST: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 24;

/// Which segments are live, and where replay starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Number of commits so far.
    pub version: u64,
    /// All points below are in segments.
    pub wal_floor: Lsn,
    /// Number of the next segment file.
    pub next_segment: u64,
    pub segments: Vec<SegmentMeta>,
    /// What is deleted and may still be in segments or the log.
    pub tombstones: Vec<Tombstone>,
    pub producers: Vec<ProducerState>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            version: 0,
            wal_floor: Lsn(1),
            next_segment: 1,
            segments: Vec::new(),
            tombstones: Vec::new(),
            producers: Vec::new(),
        }
    }
}

/// The last batch of a producer that was applied (I3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    pub producer: Arc<str>,
    pub sequence: u64,
    pub first_lsn: u64,
    pub last_lsn: u64,
    /// When it was applied, microseconds since the Unix epoch, UTC.
    pub seen_us: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    version: u64,
    wal_floor: u64,
    next_segment: u64,
    segments: Vec<SegmentBody>,
    /// Since version 2.
    #[serde(default)]
    tombstones: Vec<TombstoneBody>,
    producers: Vec<(String, u64, u64, u64, i64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentBody {
    file_name: String,
    bytes: u64,
    rows: u64,
    crc32c: u32,
    /// From here to `rollups` since version 2; bytes and CRC-32C.
    #[serde(default)]
    tier: u32,
    #[serde(default)]
    purged: u64,
    #[serde(default)]
    summaries: Option<(u64, u32)>,
    #[serde(default)]
    rollups: Option<(u64, u32)>,
    /// Since version 3; of the files of points, summaries and rollups.
    #[serde(default)]
    tails: [Option<(u64, u32)>; 3],
    first: [String; 3],
    last: [String; 3],
    step: (i64, i64),
    timestamp_us: (i64, i64),
    lsn: (u64, u64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TombstoneBody {
    id: u64,
    project_id: String,
    metric: Option<String>,
    run_id: Option<String>,
    before_us: Option<i64>,
    lsn_below: u64,
}

impl From<&Tombstone> for TombstoneBody {
    fn from(tombstone: &Tombstone) -> Self {
        Self {
            id: tombstone.id,
            project_id: tombstone.project_id.to_string(),
            metric: tombstone.metric.as_ref().map(ToString::to_string),
            run_id: tombstone.run_id.as_ref().map(ToString::to_string),
            before_us: tombstone.before_us,
            lsn_below: tombstone.lsn_below.0,
        }
    }
}

impl From<TombstoneBody> for Tombstone {
    fn from(body: TombstoneBody) -> Self {
        Self {
            id: body.id,
            project_id: body.project_id.into(),
            metric: body.metric.map(Into::into),
            run_id: body.run_id.map(Into::into),
            before_us: body.before_us,
            lsn_below: Lsn(body.lsn_below),
        }
    }
}

/// Where and why bytes are not a manifest.
#[derive(Debug, PartialEq, Eq)]
pub enum DecodeError {
    Damaged { offset: u64, detail: String },
    UnknownVersion(u32),
}

/// The bytes of the file.
pub fn encode(manifest: &Manifest) -> Result<Vec<u8>, serde_json::Error> {
    let names = |key: &SeriesKey| [&key.project_id, &key.metric, &key.run_id].map(|name| name.to_string());
    let segment = |meta: &SegmentMeta| SegmentBody {
        file_name: meta.file_name.clone(),
        bytes: meta.file.bytes,
        rows: meta.rows,
        crc32c: meta.file.crc32c,
        tier: meta.tier,
        purged: meta.purged,
        summaries: meta.summaries.map(|file| (file.bytes, file.crc32c)),
        rollups: meta.rollups.map(|file| (file.bytes, file.crc32c)),
        tails: [Some(meta.file), meta.summaries, meta.rollups]
            .map(|file| file?.tail.map(|tail| (tail.bytes, tail.crc32c))),
        first: names(&meta.series.0),
        last: names(&meta.series.1),
        step: meta.step,
        timestamp_us: meta.timestamp_us,
        lsn: meta.lsn,
    };
    let body = serde_json::to_vec(&Body {
        version: manifest.version,
        wal_floor: manifest.wal_floor.0,
        next_segment: manifest.next_segment,
        segments: manifest.segments.iter().map(segment).collect(),
        tombstones: manifest.tombstones.iter().map(TombstoneBody::from).collect(),
        producers: manifest
            .producers
            .iter()
            .map(|p| (p.producer.to_string(), p.sequence, p.first_lsn, p.last_lsn, p.seen_us))
            .collect(),
    })?;
    let mut checked = (body.len() as u64).to_le_bytes().to_vec();
    checked.extend_from_slice(&body);
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&file), &checked);
    file.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(&checked);
    Ok(file)
}

/// Reads what [`encode`] wrote.
pub fn decode(file: &[u8]) -> Result<Manifest, DecodeError> {
    let damaged =
        |offset: usize, detail: &str| DecodeError::Damaged { offset: offset as u64, detail: detail.to_owned() };
    let (Some((magic, rest)), true) = (file.split_first_chunk::<8>(), file.len() >= HEADER_BYTES) else {
        return Err(damaged(file.len(), "the file ends within the header"));
    };
    if magic != MAGIC {
        return Err(damaged(0, "the magic number is wrong"));
    }
    let u32_at = |at: usize| rest[at..].first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let version = u32_at(0);
    if !(FORMAT_VERSION_OLDEST..=FORMAT_VERSION).contains(&version) {
        return Err(DecodeError::UnknownVersion(version));
    }
    // Up to version 2 it did not cover the version.
    let covered = if version <= 2 { &file[..0] } else { &file[..12] };
    if crc32c::crc32c_append(crc32c::crc32c(covered), &file[16..]) != u32_at(4) {
        // A version that was another one would have had its checksum made of other bytes.
        return Err(damaged(8, "the checksum does not fit version and content"));
    }
    let length = file[16..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if length != (file.len() - HEADER_BYTES) as u64 {
        return Err(damaged(16, "the length does not fit the file"));
    }
    let body: Body = serde_json::from_slice(&file[HEADER_BYTES..])
        .map_err(|error| damaged(HEADER_BYTES + error.column(), &error.to_string()))?;
    let key = |[project, metric, run]: [String; 3]| SeriesKey::new(project, metric, run);
    let file = |(bytes, crc32c), tail: Option<(u64, u32)>| FileMeta {
        bytes,
        crc32c,
        tail: tail.map(|(bytes, crc32c)| TailMeta { bytes, crc32c }),
    };
    let segment = |body: SegmentBody| SegmentMeta {
        file_name: body.file_name,
        tier: body.tier,
        purged: body.purged,
        file: file((body.bytes, body.crc32c), body.tails[0]),
        summaries: body.summaries.map(|summaries| file(summaries, body.tails[1])),
        rollups: body.rollups.map(|rollups| file(rollups, body.tails[2])),
        rows: body.rows,
        series: (key(body.first), key(body.last)),
        step: body.step,
        timestamp_us: body.timestamp_us,
        lsn: body.lsn,
    };
    let producer = |(producer, sequence, first_lsn, last_lsn, seen_us): (String, u64, u64, u64, i64)| ProducerState {
        producer: producer.into(),
        sequence,
        first_lsn,
        last_lsn,
        seen_us,
    };
    Ok(Manifest {
        version: body.version,
        wal_floor: Lsn(body.wal_floor),
        next_segment: body.next_segment,
        segments: body.segments.into_iter().map(segment).collect(),
        tombstones: body.tombstones.into_iter().map(Tombstone::from).collect(),
        producers: body.producers.into_iter().map(producer).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let key = |run: &str| SeriesKey::new("1", "lo\"ss", run);
        Manifest {
            version: 7,
            wal_floor: Lsn(u64::MAX),
            next_segment: 3,
            segments: vec![SegmentMeta {
                file_name: "00000000000000000002.parquet".into(),
                tier: 1,
                purged: 3,
                file: FileMeta { bytes: 9, crc32c: 5, tail: Some(TailMeta { bytes: 3, crc32c: 6 }) },
                summaries: Some(FileMeta { bytes: 8, crc32c: 4, tail: Some(TailMeta { bytes: 2, crc32c: 7 }) }),
                rollups: None,
                rows: 2,
                series: (key("a"), key("ü")),
                step: (i64::MIN, i64::MAX),
                timestamp_us: (-1, 1),
                lsn: (1, 2),
            }],
            tombstones: vec![Tombstone {
                id: 4,
                project_id: "1".into(),
                metric: None,
                run_id: Some("a".into()),
                before_us: Some(-9),
                lsn_below: Lsn(7),
            }],
            producers: vec![ProducerState {
                producer: "p".into(),
                sequence: 1,
                first_lsn: 1,
                last_lsn: 2,
                seen_us: -3,
            }],
        }
    }

    #[test]
    fn i12_manifests_round_trip_and_the_golden_bytes_still_decode() {
        assert_eq!(decode(&encode(&sample()).unwrap()), Ok(sample()));
        let golden = include_bytes!("../tests/golden/manifest-v3.bin");
        assert_eq!(decode(golden), Ok(sample()));
        assert_eq!(encode(&sample()).unwrap(), golden);
        // Version 2 knew no tails.
        let mut first = sample();
        first.segments[0].file.tail = None;
        first.segments[0].summaries = Some(FileMeta { bytes: 8, crc32c: 4, tail: None });
        assert_eq!(decode(include_bytes!("../tests/golden/manifest-v2.bin")), Ok(first.clone()));
        // Version 1 knew neither tiers nor summaries.
        (first.segments[0].tier, first.segments[0].purged, first.segments[0].summaries) = (0, 0, None);
        first.tombstones.clear();
        assert_eq!(decode(include_bytes!("../tests/golden/manifest-v1.bin")), Ok(first));
    }

    #[test]
    fn i11_every_flipped_bit_and_every_cut_is_noticed() {
        let file = encode(&sample()).unwrap();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged).is_err(), "byte {at} bit {bit}");
            }
            assert!(decode(&file[..at]).is_err(), "cut at {at}");
        }
    }
}
