//! Waits that never ended, and what was shown of the deleted: each bug as a small world, in the orders of several seeds.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use stepwell_env::{Disk, DiskOperation, DiskTrouble, SimDisk, SimFault, Simulation, channel, spawn};

use super::{
    descriptors::{NO_FILES, creating},
    *,
};
use crate::{Deletion, Health};

/// `EIO` of Linux.
const IO_ERROR: i32 = 5;
/// Turns that none of these needs.
pub(super) const TURNS_MAX: u64 = 50_000;

pub(super) fn open_in(simulation: &Simulation, disk: &SimDisk, config: EngineConfig) -> Engine {
    let env = simulation.env(Arc::new(disk.clone()) as Arc<dyn Disk>);
    Engine::open(env, config).unwrap()
}

/// Queues a batch; the answer comes through a channel of the simulation.
fn queue(engine: &Engine, i: i64) -> Result<channel::Receiver<bool>, EngineError> {
    let (send, receive) = channel::bounded(1);
    engine.ingest(batch(&[("loss", "a", i, i as f64)]), None, move |result| {
        let _ = send.send(result.is_ok());
    })?;
    Ok(receive)
}

/// The log failed while memory was full. The batches behind it in the queue waited for memory, which only a flush could free, and
/// whoever waited for their answers waited for ever.
#[test]
fn i4_a_batch_behind_the_failure_of_the_log_is_answered_though_memory_is_full() {
    for seed in 0..20 {
        let (result, _) = Simulation::run(seed, TURNS_MAX, |simulation| {
            let failing = Arc::new(AtomicI32::new(0));
            let disk = creating(&SimDisk::new(), &failing);
            // Any point fills a generation.
            let config = EngineConfig { memtable_bytes: 1, frozen_max: 1, ..config(&PathBuf::from("data")) };
            let engine = Engine::open(simulation.env(disk), config).unwrap();
            // The log gets no new file, so that no generation is frozen; then the next try fails for good.
            failing.store(NO_FILES, Ordering::SeqCst);
            while queue(&engine, 1).unwrap().recv().unwrap() {}
            failing.store(IO_ERROR, Ordering::SeqCst);
            let answers: Vec<_> = (0..10).filter_map(|i| queue(&engine, i).ok()).collect();
            answers.into_iter().for_each(|answer| assert!(!answer.recv().unwrap()));
            assert!(matches!(engine.health(), Health::Poisoned { .. }), "{:?}", engine.health());
        });
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

/// Each flush that was asked for froze one more generation, though none of those before it could be written: memory without bound.
#[test]
fn i9_flushes_that_are_asked_for_and_fail_take_no_more_memory() {
    for seed in 0..20 {
        let (result, _) = Simulation::run(seed, TURNS_MAX, |simulation| {
            let disk = SimDisk::new();
            let engine = open_in(simulation, &disk, EngineConfig { frozen_max: 2, ..config(&PathBuf::from("data")) });
            // No segment gets its name; the log needs no renames.
            let errors = BTreeMap::from([(DiskOperation::Rename, 10_000)]);
            disk.set_trouble(DiskTrouble { errors, ..DiskTrouble::default() });
            // Two ask at once and points go on coming, also between a look at whether there is room and the freezing.
            let ask = |engine: Engine| {
                for _ in 0..20 {
                    assert!(matches!(engine.flush(), Err(EngineError::FlushFails { .. })));
                    assert!(engine.stats().frozen_generations <= 2, "{:?}", engine.stats());
                }
            };
            let feed = |engine: Engine| (0..40).for_each(|i| assert!(queue(&engine, i).unwrap().recv().unwrap()));
            assert!(queue(&engine, 40).unwrap().recv().unwrap());
            let mut threads = vec![spawn("feeds", {
                let engine = engine.clone();
                move || feed(engine)
            })];
            for _ in 0..2 {
                let engine = engine.clone();
                threads.push(spawn("asks", move || ask(engine)));
            }
            threads.into_iter().for_each(|thread| thread.unwrap().join().unwrap());
            disk.set_trouble(DiskTrouble::default());
            // They are tried again after a while.
            while engine.flush().is_err() {
                simulation.sleep(Duration::from_millis(100));
            }
            let stats = engine.stats();
            assert_eq!((stats.frozen_generations, stats.segment_rows, stats.memtable_points), (0, 41, 0));
        });
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

/// Flushes waited for compaction to catch up where no merge was due: the segments were too few for one, or too large.
#[test]
fn a_flush_does_not_wait_for_a_merge_that_is_not_due() {
    for (fan_in, segment_bytes_max) in [(10, 1 << 30), (2, 1)] {
        let (result, _) = Simulation::run(1, TURNS_MAX, |simulation| {
            let compaction = CompactionOptions { fan_in, segment_bytes_max, backlog_max: 2 };
            let config = EngineConfig { compaction, ..config(&PathBuf::from("data")) };
            let engine = open_in(simulation, &SimDisk::new(), config);
            for i in 0..5 {
                assert!(queue(&engine, i).unwrap().recv().unwrap());
                engine.flush().unwrap();
            }
            assert_eq!(engine.stats().segments, 5);
        });
        assert_eq!(result, Ok(()), "merges of {fan_in} segments");
    }
}

/// The last step of a run was that of points in memory which had been deleted.
#[test]
fn the_last_step_is_not_that_of_deleted_points() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let env = Env { disk: Arc::new(disk), ..Env::real() };
    let engine = Engine::open(env, config(&dir)).unwrap();
    ingest(&engine, batch(&[("loss", "a", 7, 1.0), ("acc", "a", 3, 1.0)]), None).unwrap();
    let delete = |metric: &str| {
        let of = (Some(metric.into()), Some("a".into()));
        engine.delete(Deletion { project_id: "1".into(), metric: of.0, run_id: of.1, before_us: None }).unwrap();
    };
    delete("loss");
    assert_eq!(engine.snapshot().last_step("1", "a").unwrap(), Some(3));
    delete("acc");
    assert_eq!(engine.snapshot().last_step("1", "a").unwrap(), None);
    ingest(&engine, batch(&[("loss", "a", 2, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    assert_eq!(engine.snapshot().last_step("1", "a").unwrap(), Some(2));
}

/// The log is slow. Batches wait in the queue as far as its budget goes; who comes then is told so at once, and is taken later.
#[test]
fn i9_a_full_queue_refuses_until_there_is_room() {
    let queue_bytes = 4_000;
    for seed in 0..10 {
        let (result, _) = Simulation::run(seed, TURNS_MAX, |simulation| {
            let disk = SimDisk::new();
            let engine = open_in(simulation, &disk, EngineConfig { queue_bytes, ..config(&PathBuf::from("data")) });
            let slowest = Duration::from_secs(10);
            disk.set_trouble(DiskTrouble { slow: 10_000, slowest, ..DiskTrouble::default() });
            let mut answers = Vec::new();
            let refused = loop {
                match queue(&engine, answers.len() as i64) {
                    Ok(answer) => answers.push(answer),
                    Err(error) => break error,
                }
            };
            let held = engine.stats().queue_bytes as usize;
            assert!(matches!(refused, EngineError::QueueFull { .. }), "{refused}");
            assert!(held <= queue_bytes && answers.len() > 3, "{} batches of {held} bytes wait", answers.len());
            answers.into_iter().for_each(|answer| assert!(answer.recv().unwrap()));
            assert!(queue(&engine, 0).unwrap().recv().unwrap());
            assert_eq!((engine.stats().queue_bytes, engine.stats().refused), (0, 1));
        });
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

/// A process was killed between the rename of a manifest and the sync of its directory. The next one went by the new manifest and
/// removed log files that only the old one needs, durably; then the power went, and the old one was back.
#[test]
fn i7_nothing_is_removed_by_a_manifest_that_is_not_durable() {
    for (seed, n) in (0..8).flat_map(|seed| (0..6).map(move |n| (seed, n))) {
        let (result, _) = Simulation::run(seed, TURNS_MAX, |simulation| {
            let disk = SimDisk::new();
            let config = config(&PathBuf::from("data"));
            let engine = open_in(simulation, &disk, config.clone());
            assert!(queue(&engine, 1).unwrap().recv().unwrap());
            // The n-th sync of a directory from here, the last of which is that of the manifest's.
            disk.inject(SimFault::Error(DiskOperation::SyncDir, n));
            drop(engine.flush());
            let killed = disk.copy(seed);
            let _second = open_in(simulation, &killed, config.clone());
            // Its writer looks after what it can release.
            simulation.sleep(Duration::from_secs(2));
            let engine = open_in(simulation, &killed.crash(seed), config);
            assert_eq!((rows(&engine), engine.stats().damaged), (1, 0));
        });
        assert_eq!(result, Ok(()), "seed {seed}, sync {n}");
    }
}
