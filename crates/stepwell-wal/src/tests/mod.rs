//! The log against its specification, hostile bytes, and a disk that crashes and fails: the invariants one by one.

mod crash;
mod faults;
mod format;
mod rot;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;
use stepwell_env::{Disk, SimDisk};
use stepwell_types::{Batch, Lsn, ProducerSequence, SeriesKey};

use crate::{ReplayReport, Wal, WalError, WalRecord, encode_frame};

fn dir() -> PathBuf {
    PathBuf::from("/data/wal")
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(&dir()).unwrap();
    disk
}

/// What a power loss can leave, of many.
fn power_losses(disk: &SimDisk) -> impl Iterator<Item = SimDisk> {
    (0..12).map(|seed| disk.crash(seed))
}

/// A disk of its own with the same content; all of `disk` is synced.
fn copy(disk: &SimDisk) -> SimDisk {
    let copy = disk.crash(0);
    assert_eq!(contents(&copy), contents(disk));
    copy
}

fn path(first_lsn: u64) -> PathBuf {
    dir().join(format!("{first_lsn:020}.wal"))
}

fn try_open(disk: &SimDisk, floor: u64) -> Result<(Wal, Vec<WalRecord>, ReplayReport), WalError> {
    let mut records = Vec::new();
    let (wal, report) = Wal::open(Arc::new(disk.clone()), &dir(), Lsn(floor), &mut |record| records.push(record))?;
    Ok((wal, records, report))
}

fn open(disk: &SimDisk) -> (Wal, Vec<WalRecord>, ReplayReport) {
    try_open(disk, 1).unwrap()
}

fn read_only(disk: &SimDisk, floor: u64) -> (Vec<WalRecord>, ReplayReport) {
    let mut records = Vec::new();
    let report =
        Wal::replay_read_only(Arc::new(disk.clone()), &dir(), Lsn(floor), &mut |record| records.push(record)).unwrap();
    (records, report)
}

/// All files of the log with their bytes.
fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let entries = disk.list(&dir()).unwrap();
    entries.into_iter().map(|entry| (entry.name.clone(), disk.read(&dir().join(entry.name)).unwrap())).collect()
}

/// A batch that its number tells apart, of `points` points.
fn record(first_lsn: u64, points: usize) -> WalRecord {
    let series = (0..2).map(|i| SeriesKey::new("1", format!("metric/{i}"), format!("run-{first_lsn}"))).collect();
    let index = (0..points as u32).map(|i| i % 2).collect();
    let step: Vec<i64> = (0..points as i64).map(|i| first_lsn as i64 * 1_000 + i / 2).collect();
    let timestamp_us = step.iter().map(|step| 1_790_000_000_000_000 + step * 1_009).collect();
    let value = step.iter().map(|step| (*step as f64).sin()).collect();
    let producer = ProducerSequence { producer: "p".into(), sequence: first_lsn };
    let batch = Batch::new(series, index, step, timestamp_us, value).unwrap();
    WalRecord { first_lsn: Lsn(first_lsn), producer: first_lsn.is_multiple_of(2).then_some(producer), batch }
}

fn append(wal: &mut Wal, record: &WalRecord) -> Result<(), WalError> {
    wal.append(record.first_lsn, &encode_frame(&record.batch, record.producer.as_ref()).unwrap())
}

fn append_synced(wal: &mut Wal, record: &WalRecord) -> Result<(), WalError> {
    append(wal, record)?;
    wal.sync()
}

/// A log of one synced record per count of points, LSNs from 1 on.
fn write(disk: &SimDisk, points: &[usize]) -> Vec<WalRecord> {
    let (mut wal, _, _) = open(disk);
    let mut next = 1;
    let mut records = Vec::new();
    for &points in points {
        let record = record(next, points);
        append_synced(&mut wal, &record).unwrap();
        next += points as u64;
        records.push(record);
    }
    wal.close().unwrap();
    records
}

/// Puts a file of these bytes there, durably.
fn put(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let mut file = disk.create(path).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(&dir()).unwrap();
}

/// Equality of bits: NaN is itself, and 0.0 is not -0.0.
fn same(a: &WalRecord, b: &WalRecord) -> bool {
    let bits = |record: &WalRecord| record.batch.value().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    (a.first_lsn, &a.producer) == (b.first_lsn, &b.producer)
        && a.batch.series() == b.batch.series()
        && a.batch.series_index() == b.batch.series_index()
        && a.batch.step() == b.batch.step()
        && a.batch.timestamp_us() == b.batch.timestamp_us()
        && bits(a) == bits(b)
}

#[track_caller]
fn assert_same(actual: &[WalRecord], expected: &[WalRecord]) {
    let equal = actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, b)| same(a, b));
    let lsns = |records: &[WalRecord]| records.iter().map(|record| record.first_lsn.0).collect::<Vec<_>>();
    assert!(equal, "records {:?}, expected {:?}", lsns(actual), lsns(expected));
}

fn hostile_integers(len: usize) -> impl Strategy<Value = Vec<i64>> {
    let extreme = prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(-1), any::<i64>()];
    prop_oneof![
        any::<i64>().prop_map(move |value| vec![value; len]),
        proptest::collection::vec(extreme, len),
        // Regular, with a jitter of each width, wherever in the range and whatever the stride.
        (any::<i64>(), any::<i64>(), 0u32..40, proptest::collection::vec(any::<u64>(), len)).prop_map(
            |(start, stride, bits, jitter)| {
                let jitter = jitter.iter().map(|value| (value & ((1 << bits) - 1)) as i64).enumerate();
                jitter.map(|(i, j)| start.wrapping_add(stride.wrapping_mul(i as i64)).wrapping_add(j)).collect()
            }
        ),
    ]
}

fn hostile_values(len: usize) -> impl Strategy<Value = Vec<f64>> {
    let special = prop_oneof![
        Just(0x7ff8_0000_0000_0000),
        Just(0xfff8_dead_beef_0001),
        Just(0x7ff0_0000_0000_0001),
        Just(f64::INFINITY.to_bits()),
        Just(f64::NEG_INFINITY.to_bits()),
        Just((-0.0f64).to_bits()),
        Just(1),
        Just(f64::MIN_POSITIVE.to_bits()),
        any::<u64>(),
    ];
    let float = any::<u32>().prop_map(|bits| f64::from(f32::from_bits(bits)));
    prop_oneof![proptest::collection::vec(special.prop_map(f64::from_bits), len), proptest::collection::vec(float, len)]
}

fn hostile_record() -> impl Strategy<Value = WalRecord> {
    let name = || prop_oneof!["[a-c]", ".{0,20}", Just("µ/\u{1F9EA}".repeat(150))];
    let key = (name(), name(), name()).prop_map(|(project, metric, run)| SeriesKey::new(project, metric, run));
    let producer = proptest::option::of(("[!-~]{1,128}", any::<u64>()));
    (0usize..300, proptest::collection::vec(key, 1..6), producer, 1u64..=u64::MAX / 2).prop_flat_map(
        |(len, series, producer, first_lsn)| {
            let index = proptest::collection::vec(0..series.len() as u32, len);
            let columns = (index, hostile_integers(len), hostile_integers(len), hostile_values(len));
            columns.prop_map(move |(index, step, timestamp_us, value)| WalRecord {
                first_lsn: Lsn(first_lsn),
                producer: producer
                    .clone()
                    .map(|(producer, sequence)| ProducerSequence { producer: producer.into(), sequence }),
                batch: Batch::new(series.clone(), index, step, timestamp_us, value).unwrap(),
            })
        },
    )
}
