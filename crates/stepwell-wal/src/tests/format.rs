//! The bytes: as specified, for any batch, and whatever they claim.

use super::*;
use crate::{
    columns::{decode_integers, decode_values, encode_integers, encode_values},
    format::{FRAME_HEADER_BYTES, FileHeader, FrameHeader, file_header, read_file_header},
    inspect,
    payload::{Cursor, decode_payload},
};

fn frame_bytes(record: &WalRecord) -> Vec<u8> {
    let mut out = Vec::new();
    let frame = encode_frame(&record.batch, record.producer.as_ref()).unwrap();
    frame.write(record.first_lsn, Lsn(0), 0, &mut out);
    assert_eq!((out.len(), record.batch.len()), (frame.bytes(), frame.points()));
    out
}

fn decode_frame(bytes: &[u8]) -> Option<WalRecord> {
    let header = FrameHeader::decode(bytes, 0)?;
    decode_payload(&header, &bytes[FRAME_HEADER_BYTES..])
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// I12: version 1, byte by byte as in schemas/wal.md. If this fails, logs on disk have become unreadable.
const GOLDEN: &str = include_str!("golden_v1.hex");

fn golden_record() -> WalRecord {
    let series = vec![SeriesKey::new("7", "loss", "r1"), SeriesKey::new("7", "lr", "r1")];
    let batch = Batch::new(
        series,
        vec![0, 1, 0],
        vec![5, 5, 6],
        vec![1_000_000, 1_000_000, 1_000_300],
        vec![0.5, f64::from_bits(0x7ff8_0000_0000_0001), -0.0],
    );
    let producer = Some(ProducerSequence { producer: "ab".into(), sequence: 9 });
    WalRecord { first_lsn: Lsn(258), producer, batch: batch.unwrap() }
}

fn golden() -> Vec<u8> {
    hex(&GOLDEN.lines().map(|line| line.split('#').next().unwrap_or_default()).collect::<String>())
}

#[test]
fn i12_the_golden_bytes_are_read_and_written() {
    let disk = disk();
    let (mut wal, _, _) = try_open(&disk, 258).unwrap();
    append_synced(&mut wal, &golden_record()).unwrap();
    wal.close().unwrap();
    let written = disk.read(&path(258)).unwrap();
    let text: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, golden(), "wrote {text}");
    let disk = self::disk();
    put(&disk, &path(258), &golden());
    let (_, records, report) = try_open(&disk, 258).unwrap();
    assert_same(&records, &[golden_record()]);
    assert_eq!((report.next_lsn, report.torn_tail, report.damaged), (Lsn(261), None, vec![]));
}

#[test]
fn integers_take_the_narrowest_code() {
    let bytes = |values: &[i64]| {
        let mut out = Vec::new();
        encode_integers(values, &mut out);
        out.len()
    };
    assert_eq!(bytes(&[7; 1_000]), 1 + 8);
    assert_eq!(bytes(&(0..1_000).collect::<Vec<_>>()), 1 + 8 + 8 + 1 + 999, "steps: a byte each");
    assert_eq!(bytes(&(0..1_000).map(|i| i % 200).collect::<Vec<_>>()), 1 + 8 + 1 + 1_000);
    assert_eq!(bytes(&[i64::MIN, i64::MAX, 0]), 1 + 8 + 1 + 3 * 8);
}

/// A build that lost the sign of zero where all values are floats passed all other tests: random batches have a NaN beside it.
#[test]
fn i5_floats_keep_every_bit() {
    let values = [-0.0, 0.0, 1.5, f64::from(f32::MIN_POSITIVE), f64::NEG_INFINITY];
    let mut out = Vec::new();
    encode_values(&values, &mut out);
    assert_eq!(out.len(), 1 + 4 * values.len(), "as floats");
    let back = decode_values(&mut Cursor::new(&out), values.len()).unwrap();
    assert_eq!(back.into_iter().map(f64::to_bits).collect::<Vec<_>>(), values.map(f64::to_bits));
}

proptest! {
    /// I5: bits go in and come out.
    #[test]
    fn i5_any_batch_round_trips(record in hostile_record()) {
        let back = decode_frame(&frame_bytes(&record));
        prop_assert!(back.is_some_and(|back| same(&back, &record)));
    }

    #[test]
    fn any_integers_round_trip(values in (0usize..100).prop_flat_map(hostile_integers)) {
        let mut out = Vec::new();
        encode_integers(&values, &mut out);
        let mut cursor = Cursor::new(&out);
        prop_assert_eq!(decode_integers(&mut cursor, values.len()), Some(values));
        prop_assert!(cursor.u8().is_none());
    }

    /// Decoding ends with a record or without, on bytes whose checksum happens to be good.
    #[test]
    fn any_payload_is_decoded_or_refused(points in prop_oneof![0u32..20, any::<u32>()], payload: Vec<u8>) {
        let header = FrameHeader { payload_bytes: 0, payload_crc: 0, first_lsn: 1, synced_below: 1, points };
        let _ = decode_payload(&header, &payload);
    }

    /// The same, on bytes that are nearly right; what is decoded obeys the invariants of a batch.
    #[test]
    fn a_changed_payload_is_decoded_or_refused(
        record in hostile_record(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        points in prop_oneof![Just(None), (0u32..400).prop_map(Some), Just(Some(u32::MAX))],
    ) {
        let mut bytes = frame_bytes(&record);
        let mut header = FrameHeader::decode(&bytes, 0).unwrap();
        header.points = points.unwrap_or(header.points);
        for (at, byte) in changes {
            let payload = &mut bytes[FRAME_HEADER_BYTES..];
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if let Some(back) = decode_payload(&header, &bytes[FRAME_HEADER_BYTES..]) {
            prop_assert_eq!(back.batch.len(), header.points as usize);
        }
    }

    #[test]
    fn any_headers_are_decoded_or_refused(bytes: Vec<u8>) {
        prop_assert_eq!(FrameHeader::decode(&bytes, 0), None);
        prop_assert_eq!(read_file_header(&bytes), FileHeader::Bad);
    }
}

#[test]
fn i9_claimed_counts_are_checked_against_the_bytes_before_any_memory_is_taken() {
    let header = FrameHeader { payload_bytes: 0, payload_crc: 0, first_lsn: 1, synced_below: 1, points: 4_000_000 };
    let names = [&[0, 0][..], &u32::MAX.to_le_bytes(), &[0; 8]].concat();
    assert!(decode_payload(&header, &names).is_none());
    let series = [&[0, 0][..], &0u32.to_le_bytes(), &u32::MAX.to_le_bytes(), &[0; 12]].concat();
    assert!(decode_payload(&header, &series).is_none());
    let width_8 = [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..], &[0; 8], &[8], &[0; 64]].concat();
    assert!(decode_payload(&header, &width_8).is_none());
}

#[test]
fn headers_round_trip() {
    assert_eq!(read_file_header(&file_header(u64::MAX)), FileHeader::Valid { first_lsn: u64::MAX });
    let header =
        FrameHeader { payload_bytes: 1, payload_crc: 2, first_lsn: u64::MAX, synced_below: 3, points: u32::MAX };
    assert_eq!(FrameHeader::decode(&header.encode(77), 77), Some(header));
    assert_eq!(FrameHeader::decode(&header.encode(77), 78), None, "a frame is valid in its place only");
}

#[test]
fn a_name_beyond_its_length_field_is_refused_with_a_reason() {
    let series = vec![SeriesKey::new("1", "m".repeat(70_000), "r")];
    let batch = Batch::new(series, vec![0], vec![0], vec![0], vec![0.0]).unwrap();
    assert!(matches!(encode_frame(&batch, None), Err(WalError::FrameTooLarge { actual: 70_000, .. })));
}

#[test]
fn inspect_tells_what_a_file_holds() {
    let disk = disk();
    write(&disk, &[3, 4]);
    let whole = inspect(&disk, &path(1)).unwrap();
    assert_eq!((whole.first_lsn, whole.frames, whole.points, whole.lsn), (Some(1), 2, 7, Some((1, 7))));
    assert!(whole.gaps.is_empty());
    disk.truncate(&path(1), whole.bytes - 1).unwrap();
    let cut = inspect(&disk, &path(1)).unwrap();
    assert_eq!((cut.frames, cut.lsn, cut.gaps.len()), (1, Some((1, 3)), 1));
    assert!(matches!(inspect(&disk, &path(2)), Err(WalError::Io { .. })));
}
