//! The log: a whole file, and the payload of one frame.

use std::{path::Path, sync::Arc};

use stepwell_env::{Disk, SimDisk};
use stepwell_types::{Batch, Lsn, ProducerSequence, SeriesKey};
use stepwell_wal::{ReplayReport, Wal, WalRecord, encode_frame, inspect};

use super::rows;
use crate::Target;

const DIR: &str = "/data/wal";
const PATH: &str = "/data/wal/00000000000000000001.wal";
const FILE_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 40;

/// The one file of a log, as it may be found after anything.
pub(super) const FILE: Target = Target {
    name: "wal",
    run: file,
    seeds: || files().into(),
    words: &["SWFR", "SWWALOG1"],
    memory_bytes: (1 << 20, 64),
    replayed: 2_000,
};

/// The payload of a frame whose headers and checksums are good.
pub(super) const PAYLOAD: Target = Target {
    name: "wal-payload",
    run: payload,
    seeds: || {
        records().iter().map(|record| [&record.batch.len().to_le_bytes()[..4], &payload_of(record)].concat()).collect()
    },
    words: &[],
    // The log that writes it anew keeps a MiB of zeros ahead.
    memory_bytes: (4 << 20, 64),
    replayed: 4_000,
};

fn disk_with(file: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    put(&disk, file).expect("a disk in memory without faults");
    disk
}

fn put(disk: &SimDisk, bytes: &[u8]) -> std::io::Result<()> {
    disk.create_dir_all(Path::new(DIR))?;
    let mut file = disk.create(Path::new(PATH))?;
    file.append(bytes)?;
    file.sync()?;
    disk.sync_dir(Path::new(DIR))
}

/// What a replay gives, without changing anything, or with recovery. `None` where the version is unknown.
fn replay(disk: &SimDisk, may_write: bool) -> Option<(Vec<WalRecord>, ReplayReport)> {
    let (disk, dir, mut records) = (Arc::new(disk.clone()), Path::new(DIR), Vec::new());
    let mut apply = |record| records.push(record);
    let report = if may_write {
        Wal::open(disk, dir, Lsn(1), &mut apply).map(|(_, report)| report)
    } else {
        Wal::replay_read_only(disk, dir, Lsn(1), &mut apply)
    };
    report.ok().map(|report| (records, report))
}

fn same(a: &[WalRecord], b: &[WalRecord]) -> bool {
    let equal = |(a, b): (&WalRecord, &WalRecord)| {
        (a.first_lsn, &a.producer, rows(&a.batch)) == (b.first_lsn, &b.producer, rows(&b.batch))
    };
    a.len() == b.len() && a.iter().zip(b).all(equal)
}

/// I7: whatever is there, two ways to read it agree, and recovery changes what is read by nothing, the second time as the first.
fn file(bytes: &[u8]) {
    let disk = disk_with(bytes);
    let info = inspect(&disk, Path::new(PATH));
    let Some((seen, report)) = replay(&disk, false) else {
        assert!(info.is_err(), "a file that is not replayed is not described");
        return;
    };
    let points: usize = seen.iter().map(|record| record.batch.len()).sum();
    assert_eq!((report.records, report.points), (seen.len() as u64, points as u64));
    let info = info.expect("a file that is replayed is described");
    assert!(info.frames >= report.records && info.bytes == bytes.len() as u64);
    let (recovered, first) = replay(&disk, true).expect("what is read is recovered");
    assert!(same(&seen, &recovered), "recovery reads what is there");
    assert_eq!(first.next_lsn, report.next_lsn);
    let (again, second) = replay(&disk, true).expect("what is recovered is recovered again");
    assert!(same(&recovered, &again), "recovery twice changes nothing");
    assert_eq!((second.next_lsn, second.torn_tail), (first.next_lsn, None));
}

fn payload(input: &[u8]) {
    let Some((points, payload)) = input.split_first_chunk::<4>() else { return };
    let file = file_around(u32::from_le_bytes(*points), payload);
    let Some((records, _)) = replay(&disk_with(&file), false) else { panic!("the headers are good") };
    let [record] = records.as_slice() else { return };
    assert_eq!(record.batch.len(), u32::from_le_bytes(*points) as usize);
    let again = file_around(record.batch.len() as u32, &payload_of(record));
    let read = replay(&disk_with(&again), false).map(|(records, _)| records);
    assert!(read.is_some_and(|read| same(&read, &records)), "what is decoded is encoded and decoded alike");
}

/// A log file with one frame, made by `schemas/wal.md` and not by the crate: file header, frame header, payload.
fn file_around(points: u32, payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; FILE_HEADER_BYTES + FRAME_HEADER_BYTES];
    file[..8].copy_from_slice(b"SWWALOG1");
    file[8..12].copy_from_slice(&1u32.to_le_bytes());
    file[16..24].copy_from_slice(&1u64.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&file[..12]), &file[16..FILE_HEADER_BYTES]);
    file[12..16].copy_from_slice(&crc.to_le_bytes());
    let frame = &mut file[FILE_HEADER_BYTES..];
    frame[..4].copy_from_slice(b"SWFR");
    frame[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    frame[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    frame[16..24].copy_from_slice(&1u64.to_le_bytes());
    frame[24..32].copy_from_slice(&1u64.to_le_bytes());
    frame[32..36].copy_from_slice(&points.to_le_bytes());
    frame[36] = 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..12]), &frame[16..]);
    let crc = crc32c::crc32c_append(crc, &(FILE_HEADER_BYTES as u64).to_le_bytes());
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(payload);
    file
}

fn records() -> Vec<WalRecord> {
    let series = |metric: &str| SeriesKey::new("7", metric, "r1");
    let batch = |series: Vec<SeriesKey>, index, step, value: Vec<f64>| {
        let timestamps = (0..value.len() as i64).map(|at| 1_790_000_000_000_000 + at * 1_003).collect();
        Batch::new(series, index, step, timestamps, value).expect("columns of one length")
    };
    let hostile = vec![f64::from_bits(0x7ff8_0000_0000_0001), -0.0, f64::INFINITY, 5e-324];
    let batches = [
        batch(vec![series("loss"), series("lr")], vec![0, 1, 0], vec![5, 5, 6], vec![0.5, 0.25, 0.125]),
        batch(vec![series("µ/\u{1F9EA}")], vec![0; 4], vec![i64::MIN, i64::MAX, 0, -1], hostile),
        batch(vec![series("a")], vec![0; 300], (0..300).collect(), (0..300).map(|at| f64::from(at) * 0.1).collect()),
        batch(Vec::new(), Vec::new(), Vec::new(), Vec::new()),
    ];
    let mut next = 1;
    let record = |batch: Batch| {
        let first_lsn = Lsn(next);
        next += batch.len() as u64;
        let producer = (next % 2 == 0).then(|| ProducerSequence { producer: "ab".into(), sequence: u64::MAX });
        WalRecord { first_lsn, producer, batch }
    };
    batches.into_iter().map(record).collect()
}

/// A log of some of the records, with the zeros that a log keeps ahead cut to a few.
fn file_of(records: &[WalRecord]) -> Vec<u8> {
    let disk = SimDisk::new();
    let write = || -> Option<Vec<u8>> {
        disk.create_dir_all(Path::new(DIR)).ok()?;
        let (mut wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), Lsn(1), &mut |_| {}).ok()?;
        for record in records {
            wal.append(record.first_lsn, &encode_frame(&record.batch, record.producer.as_ref()).ok()?).ok()?;
            wal.sync().ok()?;
        }
        wal.close().ok()?;
        disk.read(Path::new(PATH)).ok()
    };
    write().expect("a disk in memory without faults")
}

fn payload_of(record: &WalRecord) -> Vec<u8> {
    let record = WalRecord { first_lsn: Lsn(1), ..record.clone() };
    file_of(&[record]).split_off(FILE_HEADER_BYTES + FRAME_HEADER_BYTES)
}

fn files() -> [Vec<u8>; 4] {
    let all = records();
    let with_zeros = [file_of(&all[..2]), vec![0; 200]].concat();
    [file_of(&[]), file_of(&all[..1]), file_of(&all), with_zeros]
}
