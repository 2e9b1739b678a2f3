//! What flushes and merges that fail leave on the disk: nothing that stays.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use stepwell_env::{DiskOperation, SimDisk, SimFault, Simulation};
use stepwell_manifest::ManifestStore;
use stepwell_segment::SEGMENT_DIRS;

use super::{
    simulated::{TURNS_MAX, open_in},
    watched::Watched,
    *,
};
use crate::{Deletion, Health, Work, check};

/// A batch of a series that is long enough for rollups.
fn long(first_step: i64) -> Batch {
    let steps: Vec<i64> = (first_step..first_step + 5_000).collect();
    let values = vec![0.5; steps.len()];
    Batch::new(vec![key("loss", "a")], vec![0; steps.len()], steps.clone(), steps, values).unwrap()
}

/// Writes it; the answer comes through a channel of the simulation.
fn write(engine: &Engine, first_step: i64) {
    let (send, receive) = stepwell_env::channel::bounded(1);
    let done = move |result: Result<IngestAck, EngineError>| send.send(result.is_ok()).unwrap();
    engine.ingest(long(first_step), None, done).unwrap();
    assert!(receive.recv().unwrap());
}

/// Files in the directories of segments, and those that the manifest names.
fn files(disk: &SimDisk) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let dirs = SEGMENT_DIRS.map(|dir| Path::new("data").join(dir));
    let is_of_segment = |path: &PathBuf| dirs.iter().any(|dir| path.starts_with(dir));
    let there = disk.files().into_iter().map(|(path, _)| path).filter(is_of_segment).collect();
    let manifest = ManifestStore::read(disk, Path::new("data/MANIFEST")).unwrap();
    let mut named = BTreeSet::new();
    for meta in manifest.segments {
        let tables = [Some(meta.file), meta.summaries, meta.rollups];
        named.extend(
            tables.iter().zip(&dirs).filter(|(file, _)| file.is_some()).map(|(_, dir)| dir.join(&meta.file_name)),
        );
    }
    (there, named)
}

/// A flush and the merge behind it, of which some operations fail once. Returns how many flushes and merges failed.
fn failures(faults: &[SimFault]) -> u64 {
    let (result, _) = Simulation::run(1, TURNS_MAX, |simulation| {
        let disk = SimDisk::new();
        let engine = open_in(simulation, &disk, config(Path::new("data")));
        write(&engine, 0);
        engine.flush().unwrap();
        write(&engine, 5_000);
        faults.iter().for_each(|fault| disk.inject(*fault));
        while engine.flush().is_err() {
            // The fault met the log instead.
            if matches!(engine.health(), Health::Poisoned { .. }) {
                return 0;
            }
            simulation.sleep(Duration::from_millis(100));
        }
        while engine.stats().segments > 1 {
            simulation.sleep(Duration::from_secs(1));
        }
        let stats = engine.stats();
        engine.shutdown().unwrap();
        let (there, named) = files(&disk);
        assert_eq!((there, stats.segment_rows), (named, 10_000), "{faults:?}");
        stats.flush_failures + stats.compaction_failures
    });
    result.unwrap()
}

/// A points file that had its name stayed where its rollups failed, and a segment where its commit did, until the next start: one
/// more each second, until nothing was left of the disk.
#[test]
fn i8_flushes_and_merges_that_fail_anywhere_leave_no_file_behind() {
    let operations = [
        DiskOperation::Create,
        DiskOperation::Append,
        DiskOperation::Sync,
        DiskOperation::Rename,
        DiskOperation::SyncDir,
    ];
    for operation in operations {
        // Of the flush, its commit, the merge and its commit.
        let met: u64 = (0..20).map(|n| failures(&[SimFault::Error(operation, n)])).sum();
        assert!(met > 5, "{operation:?}: {met} failures");
    }
    // Of the three files of a segment one is not opened, nor when that is tried once more behind the others.
    let opening = |n| failures(&[n, n / 3 * 3 + 3].map(|n| SimFault::Error(DiskOperation::Map, n)));
    assert_eq!((0..6).map(opening).collect::<Vec<_>>(), [1; 6]);
}

/// A disk on which an operation on one path fails for as long as it is told to.
fn failing(
    disk: &SimDisk,
    at: (DiskOperation, &'static str),
    is_failing: &Arc<AtomicBool>,
) -> Arc<dyn stepwell_env::Disk> {
    let is_failing = is_failing.clone();
    Watched::over(disk, move |operation, path| {
        let strikes = is_failing.load(Ordering::SeqCst) && (operation, path) == (at.0, Path::new(at.1));
        if strikes { Err(io::Error::other("it fails for good")) } else { Ok(()) }
    })
}

/// Each try wrote all of it anew, under a new name, and kept it: within minutes the disk was full, and then there was no room for the
/// commit that would have ended it.
#[test]
fn i7_i8_commits_that_go_on_failing_leave_one_segment_behind_at_most() {
    // Before its rename the manifest is known to name nothing new; from then on it may.
    let places = [
        (DiskOperation::Create, "data/MANIFEST.tmp", 0),
        (DiskOperation::SyncDir, "data", 1),
        (DiskOperation::Create, "data/MANIFEST.copy.tmp", 1),
    ];
    for ((operation, path, kept), work) in places.into_iter().flat_map(|at| [(at, Work::Flush), (at, Work::Compaction)])
    {
        let (result, _) = Simulation::run(1, TURNS_MAX, |simulation| {
            let (disk, is_failing) = (SimDisk::new(), Arc::new(AtomicBool::new(false)));
            let config = config(Path::new("data"));
            let compaction = CompactionOptions { fan_in: 0, ..CompactionOptions::default() };
            let engine = open_in(simulation, &disk, EngineConfig { compaction, ..config.clone() });
            write(&engine, 0);
            engine.flush().unwrap();
            if work == Work::Compaction {
                write(&engine, 5_000);
            }
            engine.shutdown().unwrap();
            let env = simulation.env(failing(&disk, (operation, path), &is_failing));
            let engine = Engine::open(env, config.clone()).unwrap();
            let of_points = || files(&disk).0.iter().filter(|path| path.starts_with("data/segments")).count();
            let before = of_points();
            is_failing.store(true, Ordering::SeqCst);
            if work == Work::Flush {
                write(&engine, 5_000);
                assert!(engine.flush().is_err());
            }
            for _ in 0..60 {
                simulation.sleep(Duration::from_secs(1));
                assert!(of_points() <= before + 1);
            }
            // Between two tries.
            simulation.sleep(Duration::from_millis(500));
            let stats = engine.stats();
            assert!(stats.flush_failures + stats.compaction_failures > 4, "{stats:?}");
            assert_eq!(of_points(), before + kept);
            for seed in 0..8 {
                let again = open_in(simulation, &disk.crash(seed), config.clone());
                assert_eq!(rows(&again), 10_000, "seed {seed}");
                drop(again.shutdown());
            }
            is_failing.store(false, Ordering::SeqCst);
            while engine.stats().segments > 1 || engine.stats().segment_rows < 10_000 {
                simulation.sleep(Duration::from_secs(1));
            }
            engine.shutdown().unwrap();
            let (there, named) = files(&disk);
            assert_eq!(there, named);
        });
        assert_eq!(result, Ok(()), "{operation:?} {path} {work:?}");
    }
}

/// The manifest of a commit that failed and that of the one behind it have one number, and what the first has new goes with the second.
/// A check that had read the first reported lost points; who read only, damage.
#[test]
fn i7_who_reads_beside_a_commit_that_is_made_in_place_of_a_failed_one_looks_again() {
    let looks: [fn(Env, EngineConfig); 2] = [
        |env, config| {
            let found = check(&env, &config).unwrap();
            assert!(found.is_healthy(), "{:?}", found.damages);
        },
        |env, config| assert_eq!(rows(&Engine::open_read_only(env, config).unwrap()), 5_000),
    ];
    for look in looks {
        let (result, _) = Simulation::run(1, TURNS_MAX, |simulation| {
            let (disk, is_failing) = (SimDisk::new(), Arc::new(AtomicBool::new(false)));
            let copy = (DiskOperation::Create, "data/MANIFEST.copy.tmp");
            let config = config(Path::new("data"));
            let engine = Engine::open(simulation.env(failing(&disk, copy, &is_failing)), config.clone()).unwrap();
            write(&engine, 0);
            is_failing.store(true, Ordering::SeqCst);
            assert!(engine.flush().is_err());
            is_failing.store(false, Ordering::SeqCst);
            let (there, named) = files(&disk);
            assert!(!there.is_empty() && there == named, "it was named before the copy failed");
            let is_made = AtomicBool::new(false);
            let beside = Watched::over(&disk, move |operation, path| {
                let is_segment = operation == DiskOperation::Map && path.starts_with("data/segments");
                if is_segment && !is_made.swap(true, Ordering::SeqCst) {
                    let of = Deletion { project_id: "9".into(), metric: None, run_id: None, before_us: None };
                    engine.delete(of).unwrap();
                }
                Ok(())
            });
            look(simulation.env(beside), config);
            assert!(files(&disk).0.is_disjoint(&there));
        });
        assert_eq!(result, Ok(()));
    }
}
