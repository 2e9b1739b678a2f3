//! What is read back is what was written, or is reported (I11).

use super::*;
use crate::format::{FILE_HEADER_BYTES, FORMAT_VERSION};

/// I7: whatever the length a crash leaves, the whole records before it, and the same again.
#[test]
fn i7_a_log_cut_at_any_byte_is_a_prefix_of_its_records() {
    let source = disk();
    let records = write(&source, &[1, 4, 2, 3]);
    let bytes = source.read(&path(1)).unwrap();
    for length in 0..=bytes.len() {
        let disk = disk();
        put(&disk, &path(1), &bytes[..length]);
        let (seen, seen_report) = read_only(&disk, 1);
        let (_, replayed, report) = open(&disk);
        assert_same(&replayed, &records[..replayed.len()]);
        assert_same(&seen, &replayed);
        assert_eq!((seen_report.next_lsn, &report.damaged), (report.next_lsn, &vec![]), "cut at {length}");
        for disk in power_losses(&disk) {
            let (_, again, second) = open(&disk);
            assert_same(&again, &replayed);
            assert_eq!((second.next_lsn, second.torn_tail), (report.next_lsn, None), "cut at {length}");
        }
        assert_eq!(replayed.len() == records.len(), length == bytes.len());
    }
}

/// I11: nothing is lost with the header of a file that has no frame yet, and it is told all the same.
#[test]
fn i11_a_damaged_header_of_a_file_just_begun_is_told_as_a_torn_tail() {
    let source = disk();
    write(&source, &[1]);
    let header = source.read(&path(1)).unwrap()[..FILE_HEADER_BYTES].to_vec();
    for (byte, zeros) in (0..FILE_HEADER_BYTES).flat_map(|byte| [(byte, 0), (byte, 500)]) {
        let mut bytes = header.clone();
        bytes[byte] ^= 4;
        bytes.resize(FILE_HEADER_BYTES + zeros, 0);
        let disk = disk();
        put(&disk, &path(1), &bytes);
        let (_, report) = read_only(&disk, 1);
        let tail = report.torn_tail.map(|tail| (tail.offset, tail.bytes));
        assert_eq!((tail, report.damaged), (Some((0, bytes.len() as u64)), vec![]), "byte {byte}, {zeros} zeros");
    }
}

/// I11: with any one bit flipped, every record is the written one or gone; none goes unreported, except that the last
/// synced group cannot be told from a torn tail.
#[test]
fn i11_no_flipped_bit_gives_wrong_data() {
    let source = disk();
    let records = write(&source, &[1, 3, 2]);
    let bits = source.read(&path(1)).unwrap().len() as u64 * 8;
    for bit in 0..bits {
        let disk = copy(&source);
        disk.flip_bit(&path(1), (bit / 8) as usize, (bit % 8) as u8).unwrap();
        let before = contents(&disk);
        let (seen, _) = read_only(&disk, 1);
        assert_eq!(contents(&disk), before, "bit {bit}: reading changed the log");
        let (_, replayed, report) = open(&disk);
        assert_same(&seen, &replayed);
        assert!(replayed.iter().all(|record| records.iter().any(|written| same(written, record))), "bit {bit}");
        let lost = records.len() - replayed.len();
        assert!(lost <= 1, "bit {bit} took {lost} records");
        let lost_last = lost == 1 && replayed.last().is_none_or(|last| last.first_lsn < records[2].first_lsn);
        assert_eq!(report.torn_tail.is_some(), lost_last, "bit {bit}");
        assert_eq!(!report.damaged.is_empty(), !lost_last, "bit {bit}: {:?}", report.damaged);
        let (_, again, second) = open(&disk);
        assert_same(&again, &replayed);
        assert_eq!(second.next_lsn, report.next_lsn, "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn i11_no_overwritten_stretch_gives_wrong_data(
        at: proptest::sample::Index,
        bytes in prop_oneof![proptest::collection::vec(any::<u8>(), 1..200), (1usize..400).prop_map(|n| vec![0; n])],
    ) {
        let source = disk();
        let records = write(&source, &[2, 1, 40, 3]);
        let mut file = source.read(&path(1)).unwrap();
        let at = at.index(file.len());
        let end = file.len().min(at + bytes.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
        let disk = disk();
        put(&disk, &path(1), &file);
        let (_, replayed, report) = open(&disk);
        prop_assert!(replayed.iter().all(|record| records.iter().any(|written| same(written, record))));
        let is_silent = report.damaged.is_empty() && report.torn_tail.is_none();
        prop_assert!(replayed.len() == records.len() || !is_silent);
        prop_assert!(replayed.windows(2).all(|pair| pair[0].first_lsn < pair[1].first_lsn));
    }

    /// Bytes that are no log at all: no panic, no record.
    #[test]
    fn a_file_of_anything_gives_nothing(bytes: Vec<u8>) {
        let disk = disk();
        put(&disk, &path(1), &bytes);
        prop_assert_eq!(open(&disk).1.len(), 0);
    }
}

/// A payload may hold, as values, the bytes of a frame: a client must not be able to plant records for the day of rot,
/// whether the payload or the header around it rots. The frame is planted as it would be at the start of its file, and as
/// at the very place where it comes to lie.
#[test]
fn a_frame_inside_a_damaged_frame_is_not_found() {
    // Where the values begin: headers, producer, names, series, three columns, tag.
    let values_at = 32 + 40 + 2 + (4 + 3 + 3 + 3) + (4 + 12) + 3 * 9 + 1;
    for (planted_for, rotten_at) in [(32, 32), (32, 32 + 40), (values_at, 32 + 40)] {
        let mut planted = Vec::new();
        encode_frame(&record(2, 3).batch, None).unwrap().write(Lsn(2), Lsn(2), planted_for, &mut planted);
        planted.resize(planted.len().next_multiple_of(8), 0);
        let value: Vec<f64> = planted.as_chunks::<8>().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect();
        let zeros = vec![0; value.len()];
        let batch = Batch::new(vec![SeriesKey::new("1", "m", "r")], vec![0; value.len()], zeros.clone(), zeros, value);
        let carrier = WalRecord { first_lsn: Lsn(1), producer: None, batch: batch.unwrap() };
        let disk = disk();
        let (mut wal, _, _) = open(&disk);
        append_synced(&mut wal, &carrier).unwrap();
        let last = record(1 + carrier.batch.len() as u64, 2);
        append_synced(&mut wal, &last).unwrap();
        let bytes = disk.read(&path(1)).unwrap();
        assert!(bytes[values_at as usize..].starts_with(b"SWFR"));
        disk.flip_bit(&path(1), rotten_at, 0).unwrap();
        let (_, replayed, report) = open(&disk);
        assert_same(&replayed, &[last]);
        assert_eq!(report.damaged.len(), 1);
    }
}

#[test]
fn i11_damage_leaves_the_rest_and_a_copy_for_the_operator() {
    let disk = disk();
    let records = write(&disk, &[2, 2, 2]);
    disk.flip_bit(&path(1), 32 + 40 + 4, 0).unwrap();
    let rotten = disk.read(&path(1)).unwrap();
    let (mut wal, replayed, report) = open(&disk);
    assert_same(&replayed, &records[1..]);
    assert_eq!((report.damaged.len(), report.damaged[0].offset, &report.damaged[0].path), (1, 32, &path(1)));
    assert_eq!(disk.read(&dir().join("00000000000000000001.wal.damaged")).unwrap(), rotten);
    append_synced(&mut wal, &record(7, 1)).unwrap();
    wal.release(Lsn(7)).unwrap();
    let names: Vec<String> = disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["00000000000000000001.wal.damaged", "00000000000000000007.wal"]);
}

#[test]
fn a_missing_file_or_end_of_file_is_reported() {
    let disk = disk();
    let records = write(&disk, &[2, 2]);
    let (mut wal, _, _) = open(&disk);
    append_synced(&mut wal, &record(5, 1)).unwrap();
    let later = record(5, 1);
    // The first file loses its last frame at a bound, which no checksum sees.
    let cut = copy(&disk);
    let frame = encode_frame(&records[1].batch, records[1].producer.as_ref()).unwrap();
    cut.truncate(&path(1), cut.read(&path(1)).unwrap().len() as u64 - frame.bytes() as u64).unwrap();
    let (_, replayed, report) = open(&cut);
    assert_same(&replayed, &[records[0].clone(), later.clone()]);
    assert_eq!(report.damaged.len(), 1, "{:?}", report.damaged);
    // The first file is gone.
    let gone = copy(&disk);
    gone.remove(&path(1)).unwrap();
    let (_, replayed, report) = open(&gone);
    assert_same(&replayed, &[later]);
    assert_eq!((report.damaged.len(), report.next_lsn), (1, Lsn(6)), "{:?}", report.damaged);
}

/// I12: a later version is refused; a rotten version number is rot.
#[test]
fn an_unknown_version_is_refused_and_nothing_is_touched() {
    let disk = disk();
    write(&disk, &[2]);
    let mut bytes = disk.read(&path(1)).unwrap();
    bytes[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..32]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.remove(&path(1)).unwrap();
    put(&disk, &path(1), &bytes);
    let before = contents(&disk);
    assert!(matches!(try_open(&disk, 1), Err(WalError::UnknownVersion { actual: 2, newest: 1, .. })));
    assert_eq!(contents(&disk), before);
}
