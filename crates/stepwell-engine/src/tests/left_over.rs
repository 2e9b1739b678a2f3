//! What flushes and merges that fail leave on the disk: nothing that stays.

use std::{collections::BTreeSet, path::PathBuf};

use stepwell_env::{DiskOperation, SimDisk, SimFault, Simulation};
use stepwell_manifest::ManifestStore;
use stepwell_segment::SEGMENT_DIRS;

use super::{
    simulated::{TURNS_MAX, open_in},
    *,
};
use crate::Health;

/// A batch of a series that is long enough for rollups.
fn long(first_step: i64) -> Batch {
    let steps: Vec<i64> = (first_step..first_step + 5_000).collect();
    let values = vec![0.5; steps.len()];
    Batch::new(vec![key("loss", "a")], vec![0; steps.len()], steps.clone(), steps, values).unwrap()
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
        let write = |first_step| {
            let (send, receive) = stepwell_env::channel::bounded(1);
            let done = move |result: Result<IngestAck, EngineError>| send.send(result.is_ok()).unwrap();
            engine.ingest(long(first_step), None, done).unwrap();
            assert!(receive.recv().unwrap());
        };
        write(0);
        engine.flush().unwrap();
        write(5_000);
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
