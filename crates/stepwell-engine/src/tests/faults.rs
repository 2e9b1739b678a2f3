//! Crashes, failing syncs and a full disk under the whole engine.

use std::{path::PathBuf, sync::Arc};

use stepwell_env::{ManualClock, SeededRandom, SimDisk, SimFault};

use super::*;
use crate::{Health, Lane};

fn env(disk: &SimDisk) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(1_790_000_000_000_000)),
        random: Arc::new(SeededRandom::new(1)),
    }
}

/// Batch `i` of a scripted workload: two runs, a repeated step, a NaN payload.
fn script(i: i64) -> Batch {
    let nan = f64::from_bits(0x7ff8_0000_0000_0000 | (i as u64 + 1));
    batch(&[("loss", "a", i, nan), ("loss", "b", i / 2, i as f64), ("acc", "a", i, -0.0)])
}

/// Values of all points, as bits, sorted.
fn stored(engine: &Engine) -> Vec<(i64, u64)> {
    let mut points: Vec<(i64, u64)> = Vec::new();
    for (metric, run) in [("loss", "a"), ("loss", "b"), ("acc", "a")] {
        let columns = series(engine, metric, run);
        points.extend((0..columns.len()).map(|i| (columns.step[i], columns.value[i].to_bits())));
    }
    points.sort_unstable();
    points
}

fn expected(batches: i64) -> Vec<(i64, u64)> {
    let mut points: Vec<(i64, u64)> = (0..batches)
        .flat_map(|i| {
            let batch = script(i);
            (0..batch.len()).map(move |row| (batch.step()[row], batch.value()[row].to_bits())).collect::<Vec<_>>()
        })
        .collect();
    points.sort_unstable();
    points
}

#[test]
fn i1_i3_i7_a_loss_of_power_at_every_sync_loses_and_doubles_nothing() {
    const BATCHES: i64 = 6;
    let dir = PathBuf::from("data");
    let mut crash_points = 0;
    for n in 0.. {
        let disk = SimDisk::new();
        disk.inject(SimFault::PowerLossAtSync(n));
        let mut acknowledged = 0;
        if let Ok(engine) = Engine::open(env(&disk), config(&dir)) {
            for i in 0..BATCHES {
                if ingest(&engine, script(i), producer("p", i as u64)).is_err() {
                    break;
                }
                acknowledged = i + 1;
                if i % 2 == 1 && engine.flush().is_err() {
                    break;
                }
                // So that the n-th sync is always the same one, of a flush or of a merge.
                engine.wait_for_compaction();
            }
            drop(engine.shutdown());
        }
        for seed in 0..6 {
            let crashed = disk.crash(seed);
            let engine = Engine::open(env(&crashed), config(&dir)).unwrap();
            let recovered = stored(&engine);
            let batches = recovered.len() as i64 / 3;
            assert!((acknowledged..=BATCHES).contains(&batches), "sync {n} seed {seed}: {batches} of {acknowledged}");
            assert_eq!(recovered, expected(batches), "sync {n} seed {seed}");
            // The producer sends again all it is not sure of.
            for i in 0..BATCHES {
                let ack = ingest(&engine, script(i), producer("p", i as u64)).unwrap();
                assert_eq!(ack.duplicate, i < batches, "sync {n} seed {seed} batch {i}");
            }
            engine.shutdown().unwrap();
            let again = Engine::open(env(&crashed), config(&dir)).unwrap();
            assert_eq!(stored(&again), expected(BATCHES), "sync {n} seed {seed}, opened again");
            drop(again.shutdown());
        }
        crash_points += 1;
        if acknowledged == BATCHES && disk.syncs() <= n {
            break;
        }
    }
    assert!(crash_points > 20, "{crash_points} crash points");
}

#[test]
fn i8_a_failed_sync_stops_acknowledging_and_reads_go_on() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let engine = Engine::open(env(&disk), config(&dir)).unwrap();
    ingest(&engine, script(0), producer("p", 0)).unwrap();
    disk.inject(SimFault::SyncError(0));
    assert!(matches!(ingest(&engine, script(1), producer("p", 1)), Err(EngineError::Poisoned { .. })));
    assert!(matches!(ingest(&engine, script(2), producer("p", 2)), Err(EngineError::Poisoned { .. })));
    assert!(matches!(engine.health(), Health::Poisoned { .. }));
    assert_eq!(stored(&engine), expected(1), "what was acknowledged is still read");
    for seed in 0..10 {
        let engine = Engine::open(env(&disk.crash(seed)), config(&dir)).unwrap();
        // The batch that was refused may have reached the disk, whole; its retry is then a duplicate.
        let batches = stored(&engine).len() as i64 / 3;
        assert!((1..=2).contains(&batches));
        assert_eq!(stored(&engine), expected(batches));
        assert_eq!(ingest(&engine, script(1), producer("p", 1)).unwrap().duplicate, batches == 2);
        drop(engine.shutdown());
    }
}

#[test]
fn i8_a_full_disk_refuses_and_recovers_without_a_restart() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let engine = Engine::open(env(&disk), config(&dir)).unwrap();
    ingest(&engine, script(0), producer("p", 0)).unwrap();
    // To a log file without zeros ahead, for which there would be room.
    engine.flush().unwrap();
    disk.inject(SimFault::Space(10));
    assert!(matches!(ingest(&engine, script(1), producer("p", 1)), Err(EngineError::DiskFull { .. })));
    assert!(matches!(engine.health(), Health::DiskFull { .. }));
    assert_eq!(stored(&engine), expected(1));
    disk.inject(SimFault::NoLimit);
    assert!(!ingest(&engine, script(1), producer("p", 1)).unwrap().duplicate);
    assert_eq!(engine.health(), Health::Ready);
    engine.flush().unwrap();
    assert_eq!(stored(&engine), expected(2));
}

/// A retry of what had been applied is answered without the log, and used to end its fault: a full server called itself ready.
#[test]
fn i8_a_duplicate_does_not_end_the_fault_of_the_log() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let engine = Engine::open(env(&disk), config(&dir)).unwrap();
    ingest(&engine, script(0), producer("p", 0)).unwrap();
    engine.flush().unwrap();
    disk.inject(SimFault::Space(10));
    assert!(matches!(ingest(&engine, script(1), producer("p", 1)), Err(EngineError::DiskFull { .. })));
    assert!(ingest(&engine, script(0), producer("p", 0)).unwrap().duplicate);
    assert!(matches!(engine.health(), Health::DiskFull { .. }) && !engine.takes_batches());
}

/// The writer refused one batch of a stream for want of space; there was space for the next. Applied, it would have made the
/// retry of the first a duplicate.
#[test]
fn i3_i4_what_is_queued_behind_a_refused_batch_of_its_lane_is_refused_too() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let engine = Engine::open(env(&disk), config(&dir)).unwrap();
    let lane = Lane::default();
    let queue = |lane: &Lane, i: i64| {
        let (send, receive) = std::sync::mpsc::channel();
        let done = move |result| send.send(result).unwrap();
        engine.ingest_in(lane, script(i), producer("p", i as u64), done).unwrap();
        receive.recv().unwrap()
    };
    assert!(!queue(&lane, 0).unwrap().duplicate);
    engine.flush().unwrap();
    disk.inject(SimFault::Space(10));
    assert!(matches!(queue(&lane, 1), Err(EngineError::DiskFull { .. })));
    disk.inject(SimFault::NoLimit);
    assert!(matches!(queue(&lane, 2), Err(EngineError::LaneBroken)));
    let retried = Lane::default();
    assert!(!queue(&retried, 1).unwrap().duplicate && !queue(&retried, 2).unwrap().duplicate);
    assert_eq!(stored(&engine), expected(3));
}

#[test]
fn a_batch_refused_at_once_comes_back_and_leaves_its_lane_whole() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let engine = Engine::open(env(&disk), config(&dir)).unwrap();
    engine.shutdown().unwrap();
    let lane = Lane::default();
    let refused = engine.ingest_in(&lane, script(1), None, |_| unreachable!()).unwrap_err();
    assert!(matches!(refused.error, EngineError::ShuttingDown) && !lane.is_broken());
    assert_eq!(refused.batch.step(), script(1).step());
}

/// A flush that fails before its commit has changed nothing: the log keeps its files whatever is written meanwhile. Builds that
/// raised the floor of the log before the commit, or showed readers nothing of what was frozen, passed all other tests.
#[test]
fn i7_a_flush_that_fails_at_any_sync_releases_no_log() {
    let dir = PathBuf::from("data");
    let mut failures = 0;
    for n in 0.. {
        let disk = SimDisk::new();
        let engine = Engine::open(env(&disk), config(&dir)).unwrap();
        ingest(&engine, script(0), None).unwrap();
        disk.inject(SimFault::SyncError(n));
        let is_flushed = engine.flush().is_ok();
        // Behind each group the writer removes log files below the floor; behind the second, it has done so for the first.
        let taken = (1..3).take_while(|&i| ingest(&engine, script(i), None).is_ok()).count() as i64;
        assert_eq!(stored(&engine), expected(taken + 1), "sync {n}: what waits for its flush is read (I2, I10)");
        for seed in 0..6 {
            let recovered = stored(&Engine::open(env(&disk.crash(seed)), config(&dir)).unwrap());
            let batches = recovered.len() as i64 / 3;
            assert!(batches > taken, "sync {n} seed {seed}: {batches} of {} are left", taken + 1);
            assert_eq!(recovered, expected(batches), "sync {n} seed {seed}");
        }
        if is_flushed {
            break;
        }
        failures += 1;
    }
    assert!(failures > 5, "{failures} syncs of a flush failed");
}
