//! What the engine says of itself while something fails.

use std::{path::PathBuf, sync::Arc};

use stepwell_env::{Clock, Disk, ManualClock, Random, SeededRandom, SimDisk, SimFault, SystemClock};

use super::*;
use crate::{FaultKind, Health, Progress, Work};

fn env(disk: &SimDisk) -> (Env, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1_790_000_000_000_000));
    (Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) }, clock)
}

fn one(step: i64) -> Batch {
    batch(&[("loss", "a", step, 0.5)])
}

/// Waits for another thread of the engine; the clock of the engine goes on meanwhile.
fn soon(clock: &ManualClock, what: &str, is_done: impl Fn() -> bool) {
    let real = SystemClock::new();
    while !is_done() {
        assert!(real.monotonic() < Duration::from_secs(20), "{what}");
        clock.advance(Duration::from_millis(100));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// It used to stay "disk full" until somebody sent a batch, which nobody does whom a balancer keeps away.
#[test]
fn i8_a_full_disk_that_has_space_again_is_noticed_without_a_batch() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let (env, clock) = env(&disk);
    let engine = Engine::open(env, config(&dir)).unwrap();
    ingest(&engine, one(0), None).unwrap();
    engine.flush().unwrap();
    // What the flush made needless would make space if it went only after the fault.
    soon(&clock, "the flushed log file goes", || disk.list(&dir.join("wal")).unwrap().len() == 1);
    disk.inject(SimFault::Space(10));
    assert!(matches!(ingest(&engine, one(1), None), Err(EngineError::DiskFull { .. })));
    let (stats, faults) = (engine.stats(), engine.faults());
    assert_eq!((engine.takes_batches(), faults.len(), faults[0].work), (false, 1, Work::Log));
    assert!(stats.refusals.contains(&("disk_full", 1)), "{:?}", stats.refusals);
    clock.advance(Duration::from_secs(5));
    std::thread::sleep(Duration::from_millis(700));
    assert!(matches!(engine.health(), Health::DiskFull { .. }), "there is no space yet");
    disk.inject(SimFault::NoLimit);
    soon(&clock, "space is noticed", || engine.takes_batches());
    assert_eq!((engine.health(), engine.faults()), (Health::Ready, Vec::new()));
    assert!(!disk.list(&dir.join("wal")).unwrap().iter().any(|entry| entry.name.ends_with(".tmp")));
    ingest(&engine, one(1), None).unwrap();
    engine.shutdown().unwrap();
}

/// Only a writer without a message for half a second looked, and retries of what had been applied kept it from that for ever.
#[test]
fn i8_a_full_disk_that_has_space_again_is_noticed_among_duplicates() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let (env, clock) = env(&disk);
    let engine = Engine::open(env, config(&dir)).unwrap();
    ingest(&engine, one(0), producer("p", 0)).unwrap();
    engine.flush().unwrap();
    soon(&clock, "the flushed log file goes", || disk.list(&dir.join("wal")).unwrap().len() == 1);
    disk.inject(SimFault::Space(10));
    assert!(matches!(ingest(&engine, one(1), producer("p", 1)), Err(EngineError::DiskFull { .. })));
    let duplicates = || {
        for _ in 0..30 {
            clock.advance(Duration::from_millis(100));
            assert!(ingest(&engine, one(0), producer("p", 0)).unwrap().duplicate);
        }
    };
    duplicates();
    assert!(!engine.takes_batches(), "there is no space yet");
    disk.inject(SimFault::NoLimit);
    duplicates();
    assert!(engine.takes_batches());
    engine.shutdown().unwrap();
}

/// Each batch that fitted into the log used to say that all was well, and each try of the flush that the disk was full.
#[test]
fn i8_a_batch_that_fits_into_the_log_does_not_end_the_fault_of_the_flush() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let (env, clock) = env(&disk);
    let engine = Engine::open(env, config(&dir)).unwrap();
    ingest(&engine, one(0), None).unwrap();
    // A new log file can be made, the segment cannot.
    disk.inject(SimFault::Files(1));
    assert!(engine.flush().is_err());
    for step in 1..20 {
        ingest(&engine, one(step), None).unwrap();
        assert!(matches!(engine.health(), Health::DiskFull { .. }), "batch {step}");
    }
    let fault = &engine.faults()[0];
    assert!(engine.takes_batches() && fault.kind == FaultKind::DiskFull && fault.work == Work::Flush);
    disk.inject(SimFault::NoLimit);
    soon(&clock, "the flush is tried again", || engine.health() == Health::Ready);
    engine.flush().unwrap();
    assert_eq!(series(&engine, "loss", "a").len(), 20);
    engine.shutdown().unwrap();
}

/// Where the footer of a summary or rollup was what did not fit, the library told it as a text, and it was called a flush that fails.
#[test]
fn i8_a_disk_that_is_full_at_any_of_the_last_bytes_of_a_flush_is_called_full() {
    // More than the log's zeros ahead give back when it turns to a new file.
    let steps: Vec<i64> = (0..60_000).collect();
    let random = SeededRandom::new(1);
    let values: Vec<f64> = steps.iter().map(|_| f64::from_bits(random.next_u64() >> 2)).collect();
    let fits = |space: u64| {
        let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
        let engine = Engine::open(env(&disk).0, config(&dir)).unwrap();
        let many =
            Batch::new(vec![key("loss", "a")], vec![0; steps.len()], steps.clone(), steps.clone(), values.clone());
        ingest(&engine, many.unwrap(), None).unwrap();
        disk.inject(SimFault::Space(space));
        let is_flushed = engine.flush().is_ok();
        let health = engine.health();
        assert!(is_flushed || matches!(health, Health::DiskFull { .. }), "{space} bytes: {health:?}");
        drop(engine.shutdown());
        is_flushed
    };
    let (mut few, mut enough) = (0, 1 << 20);
    assert!(fits(enough) && !fits(few));
    while enough - few > 1 {
        let middle = (few + enough) / 2;
        *(if fits(middle) { &mut enough } else { &mut few }) = middle;
    }
    assert!((1..6_000).step_by(197).all(|missing| !fits(enough - missing)));
}

/// Without an inode for the next log file nothing is frozen, and the one that is open went on taking points: memory grew until
/// the process was killed.
#[test]
fn i9_a_log_that_cannot_be_turned_to_a_new_file_does_not_fill_memory() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let (env, clock) = env(&disk);
    let limit = 3 << 20;
    let engine = Engine::open(env, EngineConfig { memtable_bytes: limit, ..config(&dir) }).unwrap();
    disk.inject(SimFault::Files(0));
    let steps: Vec<i64> = (0..10_000).collect();
    let many = || {
        let series = vec![key("loss", "a")];
        Batch::new(series, vec![0; steps.len()], steps.clone(), steps.clone(), vec![0.5; steps.len()]).unwrap()
    };
    let refused = (0..100).find_map(|_| ingest(&engine, many(), None).err()).expect("a batch is refused");
    assert!(matches!(refused, EngineError::DiskFull { .. }), "{refused}");
    let stats = engine.stats();
    assert!(!engine.takes_batches() && stats.memtable_bytes < 2 * limit as u64, "{} bytes", stats.memtable_bytes);
    disk.inject(SimFault::NoLimit);
    soon(&clock, "the rotation is tried again", || engine.takes_batches());
    ingest(&engine, many(), None).unwrap();
    engine.shutdown().unwrap();
}

#[test]
fn i4_every_refusal_of_a_batch_is_counted_by_why() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let (env, _) = env(&disk);
    let engine = Engine::open(env, EngineConfig { series_per_run_max: 1, ..config(&dir) }).unwrap();
    assert!(ingest(&engine, batch(&[("loss", "a", 0, 0.5), ("acc", "a", 0, 0.5)]), None).is_err());
    disk.inject(SimFault::SyncError(0));
    assert!(ingest(&engine, one(0), None).is_err());
    let lane = crate::Lane::default();
    assert!(engine.ingest_in(&lane, one(0), None, |_| ()).is_err(), "refused at once");
    assert!(!engine.takes_batches());
    drop(engine.shutdown());
    assert!(ingest(&engine, one(0), None).is_err());
    let stats = engine.stats();
    let met: Vec<_> = stats.refusals.iter().copied().filter(|(_, count)| *count > 0).collect();
    assert_eq!(met, [("log_failed", 2), ("too_many_series", 1), ("shutting_down", 1)]);
    assert_eq!((stats.wal_sync_failures, stats.queue_batches, stats.queue_bytes), (1, 0, 0));
}

#[test]
fn durations_of_syncs_and_flushes_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    for step in 0..10 {
        ingest(&engine, one(step), None).unwrap();
    }
    engine.flush().unwrap();
    let stats = engine.stats();
    assert!(stats.wal_sync.count() == 10 && stats.wal_sync.sum_us > 0 && stats.flush.count() == 1);
    assert!(stats.wal_sync.sum_us >= stats.wal_sync_us_max && stats.wal_files >= 1 && stats.wal_file_bytes > 0);
    engine.shutdown().unwrap();
}

#[test]
fn the_progress_of_a_replay_ends_at_its_whole() {
    let disk = SimDisk::new();
    let dir = PathBuf::from("data");
    let engine = Engine::open(env(&disk).0, config(&dir)).unwrap();
    for step in 0..50 {
        ingest(&engine, one(step), None).unwrap();
    }
    // As after a kill: what was acknowledged is in the log alone.
    let crashed = disk.crash(1);
    drop(engine.shutdown());
    let progress = Progress::default();
    assert_eq!(progress.read().bytes_total, 0);
    let again = Engine::open_watched(env(&crashed).0, config(&dir), &progress).unwrap();
    let read = progress.read();
    assert_eq!((read.points, again.stats().replay_points), (50, 50));
    assert!(read.bytes_total > 0 && read.bytes_done == read.bytes_total, "{read:?}");
    again.shutdown().unwrap();
}
