//! The log against a naive model, cut, flipped, crashed and starved.

use std::{path::Path, sync::Arc};

use proptest::prelude::*;
use stepwell_env::{Disk, SimDisk, SimFault};
use stepwell_types::{Batch, Lsn, ProducerSequence, SeriesKey};

use crate::{Wal, WalError, WalRecord, encode_frame, inspect};

const DIR: &str = "wal";

fn batch(tag: i64, points: usize) -> Batch {
    let series = vec![SeriesKey::new("1", "loss", "a"), SeriesKey::new("1", "acc", "ü")];
    let step: Vec<i64> = (0..points as i64).map(|i| tag + i).collect();
    let value = step.iter().map(|step| if tag % 2 == 0 { *step as f64 } else { 0.1 + *step as f64 }).collect();
    Batch::new(series, (0..points as u32).map(|i| i % 2).collect(), step.clone(), step, value).unwrap()
}

/// All of a record, its values as bits.
type Bits = (u64, Option<ProducerSequence>, Vec<SeriesKey>, Vec<u32>, Vec<i64>, Vec<i64>, Vec<u64>);

fn bits(record: &WalRecord) -> Bits {
    let batch = &record.batch;
    let values = batch.value().iter().map(|value| value.to_bits()).collect();
    let numbers = (batch.series_index().to_vec(), batch.step().to_vec(), batch.timestamp_us().to_vec());
    (record.first_lsn.0, record.producer.clone(), batch.series().to_vec(), numbers.0, numbers.1, numbers.2, values)
}

fn open(disk: &SimDisk, floor: u64) -> (Wal, Vec<WalRecord>, crate::ReplayReport) {
    let mut records = Vec::new();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (wal, report) = Wal::open(disk, Path::new(DIR), Lsn(floor), &mut |record| records.push(record)).unwrap();
    (wal, records, report)
}

fn append(wal: &mut Wal, lsn: &mut u64, batch: &Batch) -> Result<(), WalError> {
    let producer = ProducerSequence { producer: "p".into(), sequence: *lsn };
    wal.append(Lsn(*lsn), &encode_frame(batch, Some(&producer)).unwrap())?;
    wal.sync()?;
    *lsn += batch.len() as u64;
    Ok(())
}

fn hostile() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f32>().prop_map(f64::from),
        Just(f64::from_bits(0x7ff0_0000_0000_0001)),
        Just(-0.0),
        Just(f64::from_bits(1)),
        Just(f64::INFINITY)
    ]
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -3i64..300, Just(i64::MIN), Just(i64::MAX)]
}

proptest! {
    #[test]
    fn i5_batches_come_back_bit_for_bit(points in prop::collection::vec((0u32..3, integer(), integer(), hostile()), 1..50), named in any::<bool>()) {
        let series = ["a", "b", "ü\u{1F600}"].map(|run| SeriesKey::new("12", "m{a=b}", run)).to_vec();
        let batch = Batch::new(
            series,
            points.iter().map(|p| p.0).collect(),
            points.iter().map(|p| p.1).collect(),
            points.iter().map(|p| p.2).collect(),
            points.iter().map(|p| p.3).collect(),
        ).unwrap();
        let producer = named.then(|| ProducerSequence { producer: "producer-1".into(), sequence: u64::MAX });
        let disk = SimDisk::new();
        let (mut wal, ..) = open(&disk, 1);
        wal.append(Lsn(1), &encode_frame(&batch, producer.as_ref()).unwrap()).unwrap();
        wal.sync().unwrap();
        let (_, records, report) = open(&disk, 1);
        prop_assert_eq!(report.next_lsn, Lsn(1 + points.len() as u64));
        let written = WalRecord { first_lsn: Lsn(1), producer, batch };
        prop_assert_eq!(records.iter().map(bits).collect::<Vec<_>>(), vec![bits(&written)]);
    }
}

#[test]
fn files_rotate_are_released_and_floors_skip() {
    let disk = SimDisk::new();
    let (mut wal, ..) = open(&disk, 1);
    let mut lsn = 1;
    for tag in 0..6 {
        append(&mut wal, &mut lsn, &batch(tag, 10)).unwrap();
        if tag % 2 == 1 {
            wal.rotate(Lsn(lsn)).unwrap();
        }
    }
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 4);
    assert_eq!(wal.release(Lsn(41)).unwrap(), 2);
    let info = inspect(&disk, Path::new("wal/00000000000000000041.wal")).unwrap();
    assert_eq!((info.frames, info.points, info.lsn), (2, 20, Some((41, 60))));
    drop(wal);
    let (_, records, report) = open(&disk, 51);
    assert_eq!((records.len(), records[0].first_lsn, report.next_lsn), (1, Lsn(51), Lsn(61)));
    let (_, _, report) = open(&SimDisk::new(), 7);
    assert_eq!(report.next_lsn, Lsn(7), "an empty log goes on at the floor");
}

/// A log of three frames in one file, and the file's bytes.
fn three_frames() -> (SimDisk, Vec<u8>) {
    let disk = SimDisk::new();
    let (mut wal, ..) = open(&disk, 1);
    let mut lsn = 1;
    (0..3).for_each(|tag| append(&mut wal, &mut lsn, &batch(tag, 4)).unwrap());
    let file = disk.read(&path()).unwrap();
    (disk, file)
}

fn path() -> std::path::PathBuf {
    Path::new(DIR).join("00000000000000000001.wal")
}

#[test]
fn i7_every_cut_leaves_a_prefix_and_recovery_twice_changes_nothing() {
    let (_, file) = three_frames();
    let mut seen = std::collections::BTreeSet::new();
    for cut in 0..file.len() {
        let disk = SimDisk::new();
        disk.create(&path()).unwrap().append(&file[..cut]).unwrap();
        let (_, records, report) = open(&disk, 1);
        let expected: Vec<_> = (0..records.len() as i64).map(|tag| batch(tag, 4)).collect();
        assert_eq!(records.iter().map(|record| record.batch.clone()).collect::<Vec<_>>(), expected, "cut at {cut}");
        assert!(report.damaged.is_empty(), "cut at {cut}: {report:?}");
        let (_, again, second) = open(&disk, 1);
        assert_eq!(
            (again, second.next_lsn, second.torn_tail),
            (records.clone(), report.next_lsn, None),
            "cut at {cut}"
        );
        seen.insert(records.len());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn i11_every_flipped_bit_is_noticed_and_costs_at_most_its_frame() {
    let (_, file) = three_frames();
    let good: Vec<Batch> = (0..3).map(|tag| batch(tag, 4)).collect();
    for byte in 0..file.len() {
        let disk = SimDisk::new();
        let mut damaged = file.clone();
        damaged[byte] ^= 1 << (byte % 8);
        disk.create(&path()).unwrap().append(&damaged).unwrap();
        let mut records = Vec::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        match Wal::open(shared, Path::new(DIR), Lsn(1), &mut |record| records.push(record)) {
            Err(WalError::UnknownVersion { .. }) => assert!((8..12).contains(&byte)),
            Err(error) => panic!("byte {byte}: {error}"),
            Ok((_, report)) => {
                assert!(records.iter().all(|record| good.contains(&record.batch)), "byte {byte}: wrong data");
                assert!(!report.damaged.is_empty() || report.torn_tail.is_some(), "byte {byte} goes unnoticed");
                assert!(records.len() >= 2, "byte {byte} cost {} frames", 3 - records.len());
                if report.torn_tail.is_none() {
                    let copies = disk.list(Path::new(DIR)).unwrap();
                    assert!(copies.iter().any(|entry| entry.name.ends_with(".damaged")), "byte {byte}: no copy kept");
                }
            }
        }
    }
}

#[test]
fn i1_i7_a_loss_of_power_at_every_sync_keeps_what_was_acknowledged() {
    let mut n = 0;
    loop {
        let disk = SimDisk::new();
        disk.inject(SimFault::PowerLossAtSync(n));
        let mut acknowledged = 0;
        let mut attempted = 0;
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        if let Ok((mut wal, _)) = Wal::open(shared, Path::new(DIR), Lsn(1), &mut |_| {}) {
            let mut lsn = 1;
            for tag in 0..8 {
                attempted = tag + 1;
                if append(&mut wal, &mut lsn, &batch(tag, 100)).is_err() {
                    break;
                }
                acknowledged = tag + 1;
                if tag % 3 == 2 && wal.rotate(Lsn(lsn)).is_err() {
                    break;
                }
            }
        }
        for seed in 0..20 {
            let (mut wal, records, report) = open(&disk.crash(seed), 1);
            let tags: Vec<Batch> = (0..records.len() as i64).map(|tag| batch(tag, 100)).collect();
            assert_eq!(records.iter().map(|r| r.batch.clone()).collect::<Vec<_>>(), tags, "sync {n} seed {seed}");
            let range = acknowledged as usize..=attempted as usize;
            assert!(range.contains(&records.len()), "sync {n} seed {seed}: {} of {range:?}", records.len());
            assert!(report.damaged.is_empty(), "sync {n} seed {seed}: {report:?}");
            let mut lsn = report.next_lsn.0;
            append(&mut wal, &mut lsn, &batch(1, 3)).unwrap();
        }
        if acknowledged == 8 {
            break;
        }
        n += 1;
    }
    assert!(n > 10, "{n} crash points");
}

#[test]
fn i8_after_a_failed_sync_nothing_is_taken_until_a_replay() {
    let disk = SimDisk::new();
    let (mut wal, ..) = open(&disk, 1);
    let mut lsn = 1;
    append(&mut wal, &mut lsn, &batch(0, 4)).unwrap();
    disk.inject(SimFault::SyncError(0));
    assert!(matches!(append(&mut wal, &mut lsn, &batch(1, 4)), Err(WalError::Io { .. })));
    assert!(matches!(append(&mut wal, &mut lsn, &batch(2, 4)), Err(WalError::Poisoned { .. })));
    assert!(matches!(wal.rotate(Lsn(5)), Err(WalError::Poisoned { .. })));
    let (_, records, _) = open(&disk.crash(3), 1);
    assert_eq!(records.len(), 1);
}

#[test]
fn i8_a_full_disk_refuses_and_takes_again_when_space_returns() {
    let disk = SimDisk::new();
    let (mut wal, ..) = open(&disk, 1);
    let mut lsn = 1;
    append(&mut wal, &mut lsn, &batch(0, 4)).unwrap();
    disk.inject(SimFault::Space(30));
    assert!(matches!(append(&mut wal, &mut lsn, &batch(1, 4)), Err(WalError::DiskFull { .. })));
    assert!(matches!(wal.rotate(Lsn(5)), Err(WalError::DiskFull { .. })));
    disk.inject(SimFault::NoLimit);
    append(&mut wal, &mut lsn, &batch(2, 4)).unwrap();
    wal.rotate(Lsn(lsn)).unwrap();
    append(&mut wal, &mut lsn, &batch(3, 4)).unwrap();
    drop(wal);
    let (_, records, report) = open(&disk, 1);
    let tags: Vec<Batch> = [0, 2, 3].map(|tag| batch(tag, 4)).to_vec();
    assert_eq!(records.into_iter().map(|record| record.batch).collect::<Vec<_>>(), tags);
    assert_eq!((report.next_lsn, report.torn_tail, report.damaged.len()), (Lsn(13), None, 0));
}
