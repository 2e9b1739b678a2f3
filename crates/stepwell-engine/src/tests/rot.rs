//! Damaged files under the whole engine (I11): what needs them fails and says so, the rest goes on.

use std::{fs, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use stepwell_env::{Disk, DiskOperation, DiskTrouble, RealDisk, SimDisk, SimFault};
use stepwell_types::ErrorKind;

use super::*;
use crate::{ChartRequest, Concern, check, repair};

fn quiet(dir: &Path) -> EngineConfig {
    EngineConfig { compaction: CompactionOptions { fan_in: 0, ..CompactionOptions::default() }, ..config(dir) }
}

/// Three segments: series `loss` of runs a, b and c.
fn three_segments(env: &Env, config: EngineConfig) -> Engine {
    let engine = Engine::open(env.clone(), config).unwrap();
    for run in ["a", "b", "c"] {
        ingest(&engine, batch(&[("loss", run, 1, 1.0), ("loss", run, 2, 2.0)]), None).unwrap();
        engine.flush().unwrap();
    }
    engine
}

fn segment_paths(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir.join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn flip(path: &Path, byte: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut old = [0];
    file.read_exact_at(&mut old, byte).unwrap();
    file.write_all_at(&[!old[0]], byte).unwrap();
}

/// In what is read first.
fn flip_near_end(path: &Path) {
    flip(path, fs::metadata(path).unwrap().len() - 30);
}

fn read(engine: &Engine, run: &str) -> Result<SeriesColumns, EngineError> {
    engine.snapshot().series(&key("loss", run), &PointFilter::default())
}

fn scan_all(engine: &Engine) -> Result<usize, EngineError> {
    let mut rows = 0;
    for part in engine.snapshot().scan(&PointFilter::default()) {
        for batch in part.open(&[0, 3, 5], Names::Views, 100)? {
            rows += batch?.num_rows();
        }
    }
    Ok(rows)
}

/// A missing segment used to be left out of all answers, which then looked whole, and so did one of a wrong length.
#[test]
fn i11_a_lost_segment_fails_the_queries_that_need_it_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(&Env::real(), quiet(dir.path())).shutdown().unwrap();
    let lost = segment_paths(dir.path()).swap_remove(1);
    fs::remove_file(&lost).unwrap();
    for read_only in [true, false] {
        let engine = match read_only {
            true => Engine::open_read_only(Env::real(), quiet(dir.path())).unwrap(),
            false => Engine::open(Env::real(), quiet(dir.path())).unwrap(),
        };
        assert_eq!((read(&engine, "a").unwrap().len(), read(&engine, "c").unwrap().len()), (2, 2));
        for error in [read(&engine, "b").unwrap_err(), scan_all(&engine).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::DataDamaged);
            assert!(error.to_string().contains(lost.to_str().unwrap()), "{error}");
        }
        assert_eq!(engine.stats().damaged, 1);
        // Its summaries are whole, and answer.
        assert_eq!(engine.snapshot().summaries(&PointFilter::default()).unwrap().len(), 3);
        engine.shutdown().unwrap();
    }
}

/// The merge of which it was a part failed again and again, and with it all merges of its tier; flushes went on until the
/// backlog was full, and then no more.
#[test]
fn i11_a_damaged_segment_stops_neither_merges_nor_flushes() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(&Env::real(), quiet(dir.path())).shutdown().unwrap();
    flip_near_end(&segment_paths(dir.path())[0]);
    let engine = Engine::open(Env::real(), config(dir.path())).unwrap();
    for step in 3..9 {
        ingest(&engine, batch(&[("loss", "c", step, 0.5)]), None).unwrap();
        engine.flush().unwrap();
    }
    engine.wait_for_compaction();
    let stats = engine.stats();
    assert!(stats.compactions >= 3 && stats.segments <= 5, "{stats:?}");
    assert_eq!(stats.damaged, 1);
    assert_eq!((read(&engine, "b").unwrap().len(), read(&engine, "c").unwrap().len()), (2, 8));
    assert!(matches!(read(&engine, "a"), Err(EngineError::Segment(_))));
    engine.shutdown().unwrap();
}

#[test]
fn i11_points_answer_where_summaries_or_rollups_are_damaged_and_a_merge_makes_them_anew() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Env::real(), quiet(dir.path())).unwrap();
    let points: Vec<_> = (0..5_000).map(|step| ("loss", "a", step, (step % 7) as f64)).collect();
    ingest(&engine, batch(&points), None).unwrap();
    engine.flush().unwrap();
    let request = ChartRequest { series: vec![key("loss", "a")], from_step: None, to_step: None, buckets: 20 };
    let answers = |engine: &Engine| {
        let snapshot = engine.snapshot();
        (format!("{:?}", snapshot.summaries(&PointFilter::default()).unwrap()), snapshot.chart(&request).unwrap())
    };
    let whole = answers(&engine);
    engine.shutdown().unwrap();
    for name in ["summaries", "rollups"] {
        let path = fs::read_dir(dir.path().join(name)).unwrap().next().unwrap().unwrap().path();
        flip_near_end(&path);
        let engine = Engine::open(Env::real(), quiet(dir.path())).unwrap();
        assert_eq!(answers(&engine), whole, "{name}");
        assert_eq!(engine.stats().damaged, 1, "{name}");
        engine.shutdown().unwrap();
        // With merges on it is written anew, once its damage is known.
        let engine = Engine::open(Env::real(), config(dir.path())).unwrap();
        assert_eq!(answers(&engine), whole, "{name}");
        engine.delete(crate::Deletion { project_id: "9".into(), metric: None, run_id: None, before_us: None }).unwrap();
        engine.wait_for_compaction();
        assert_eq!((engine.stats().damaged, answers(&engine)), (0, whole.clone()), "{name}");
        engine.shutdown().unwrap();
    }
}

/// A directory without its manifest was once taken for a new one, and its segments for what a crash had left: all were removed.
#[test]
fn i11_without_the_manifest_nothing_opens_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(&Env::real(), quiet(dir.path())).shutdown().unwrap();
    let whole = fs::read(dir.path().join("MANIFEST")).unwrap();
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    fs::remove_file(dir.path().join("MANIFEST.copy")).unwrap();
    let before = segment_paths(dir.path());
    for error in [
        Engine::open(Env::real(), quiet(dir.path())).map(drop).unwrap_err(),
        Engine::open_read_only(Env::real(), quiet(dir.path())).map(drop).unwrap_err(),
        repair(&Env::real(), &quiet(dir.path()), false).map(drop).unwrap_err(),
    ] {
        assert!(error.kind() == ErrorKind::DataDamaged && error.to_string().contains("MANIFEST is missing"), "{error}");
    }
    let found = check(&Env::real(), &quiet(dir.path())).unwrap();
    assert_eq!(found.damages[0].concerns, Concern::Everything);
    assert_eq!(segment_paths(dir.path()), before);
    // Either of the two is enough.
    for name in ["MANIFEST", "MANIFEST.copy"] {
        for name in ["MANIFEST", "MANIFEST.copy"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        fs::write(dir.path().join(name), &whole).unwrap();
        let engine = Engine::open(Env::real(), quiet(dir.path())).unwrap();
        assert_eq!(scan_all(&engine).unwrap(), 6, "{name}");
        engine.shutdown().unwrap();
    }
}

/// Put back over a newer one, it would have had all that only the newer one names deleted.
#[test]
fn i11_an_older_manifest_is_refused_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = three_segments(&Env::real(), quiet(dir.path()));
    let older = fs::read(dir.path().join("MANIFEST")).unwrap();
    ingest(&engine, batch(&[("loss", "d", 1, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    engine.shutdown().unwrap();
    let before = segment_paths(dir.path());
    for name in ["MANIFEST", "MANIFEST.copy"] {
        fs::write(dir.path().join(name), &older).unwrap();
    }
    let error = Engine::open(Env::real(), quiet(dir.path())).map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::DataDamaged && error.to_string().contains("older"), "{error}");
    assert_eq!((segment_paths(dir.path()), before.len()), (before.clone(), 4));
}

#[test]
fn i11_a_damaged_manifest_is_read_from_its_copy_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(&Env::real(), quiet(dir.path())).shutdown().unwrap();
    let path = dir.path().join("MANIFEST");
    flip(&path, 40);
    assert_eq!(check(&Env::real(), &quiet(dir.path())).unwrap().damages.len(), 1);
    let engine = Engine::open(Env::real(), quiet(dir.path())).unwrap();
    assert_eq!((scan_all(&engine).unwrap(), engine.stats().damaged), (6, 1));
    engine.shutdown().unwrap();
    assert!(check(&Env::real(), &quiet(dir.path())).unwrap().is_healthy());
}

/// Beside a server that merges and flushes a check finds nothing, whatever it takes away meanwhile.
#[test]
fn a_check_beside_a_busy_engine_finds_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let engine = three_segments(&Env::real(), config(dir.path()));
    std::thread::scope(|scope| {
        let checker =
            scope.spawn(|| (0..20).map(|_| check(&Env::real(), &config(dir.path())).unwrap()).collect::<Vec<_>>());
        for step in 0..30 {
            ingest(&engine, batch(&[("loss", "a", step, 0.5)]), None).unwrap();
            engine.flush().unwrap();
        }
        for report in checker.join().unwrap() {
            assert!(report.is_healthy(), "{:?}", report.damages);
        }
    });
    engine.shutdown().unwrap();
}

/// I7: power goes at every sync of a repair; the next one finishes it, and nothing undamaged is lost on the way.
#[test]
fn i7_i11_a_repair_that_is_cut_short_is_finished_by_the_next() {
    let dir = PathBuf::from("data");
    let env = |disk: &SimDisk| Env { disk: Arc::new(disk.clone()), ..Env::real() };
    let disk = SimDisk::new();
    let engine = three_segments(&env(&disk), quiet(&dir));
    ingest(&engine, batch(&[("loss", "a", 7, 7.0)]), None).unwrap();
    ingest(&engine, batch(&[("loss", "a", 8, 8.0)]), None).unwrap();
    let crashed = disk.crash(0);
    drop(engine.shutdown());
    // One segment, the manifest, and the first of two batches in the log, behind which one is that says it was synced.
    let names = |name: &str| -> Vec<PathBuf> {
        let entries = crashed.list(&dir.join(name)).unwrap().into_iter();
        entries.map(|entry| dir.join(name).join(entry.name)).collect()
    };
    let segment = names("segments").swap_remove(0);
    crashed.flip_bit(&segment, crashed.read(&segment).unwrap().len() - 30, 3).unwrap();
    crashed.flip_bit(&dir.join("MANIFEST"), 100, 3).unwrap();
    crashed.flip_bit(names("wal").last().unwrap(), 32 + 40 + 10, 3).unwrap();
    let mut crash_points = 0;
    for n in 0.. {
        let disk = crashed.crash(0);
        disk.inject(SimFault::PowerLossAtSync(n));
        let is_done = repair(&env(&disk), &quiet(&dir), false).is_ok();
        for seed in 0..3 {
            let after = disk.crash(seed);
            let again = repair(&env(&after), &quiet(&dir), false).unwrap();
            assert!(again.after.is_none_or(|after| after.is_healthy()), "sync {n} seed {seed}");
            assert!(check(&env(&after), &quiet(&dir)).unwrap().is_healthy(), "sync {n} seed {seed}");
            let engine = Engine::open(env(&after), quiet(&dir)).unwrap();
            // Of run a the segment is lost and one of the points in the log; both other runs are whole.
            let found = ["a", "b", "c"].map(|run| read(&engine, run).unwrap().step);
            assert_eq!(found, [vec![8], vec![1, 2], vec![1, 2]], "sync {n} seed {seed}");
            drop(engine.shutdown());
            let kept = |name: &str| after.exists(&dir.join("quarantine").join(name));
            assert!(kept("MANIFEST") || n == 0 || !is_done, "sync {n} seed {seed}");
        }
        crash_points += 1;
        if is_done {
            break;
        }
    }
    assert!(crash_points > 10, "{crash_points}");
}

/// A segment that could not be opened at start for a passing error, of the medium or for want of descriptors, was left out of all answers
/// until the next start, and they looked whole. To give it up in a repair would have lost what is whole.
#[test]
fn i11_segments_that_cannot_be_opened_for_a_while_fail_their_queries_and_then_answer() {
    let (disk, dir) = (SimDisk::new(), PathBuf::from("data"));
    let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
    three_segments(&env, quiet(&dir)).shutdown().unwrap();
    let before = disk.list(&dir.join("segments")).unwrap();
    let fail = |of_10_000| {
        let errors = [(DiskOperation::Map, of_10_000)].into();
        disk.set_trouble(DiskTrouble { errors, ..DiskTrouble::default() });
    };
    fail(10_000);
    let engine = Engine::open(env.clone(), config(&dir)).unwrap();
    for (run, file) in ["a", "b", "c"].into_iter().zip(&before) {
        let error = read(&engine, run).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(&file.name), "{error}");
    }
    assert!(scan_all(&engine).is_err() && engine.snapshot().summaries(&PointFilter::default()).is_err());
    assert_eq!(read(&engine, "z").unwrap().len(), 0, "no segment can have it");
    let stats = engine.stats();
    assert_eq!((stats.damaged, stats.compactions), (6, 0), "three files of points and three of summaries");
    assert_eq!(check(&env, &quiet(&dir)).unwrap().damages.len(), 3);
    let refused = repair(&env, &quiet(&dir), false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert_eq!(disk.list(&dir.join("segments")).unwrap(), before);
    fail(0);
    for run in ["a", "b", "c"] {
        assert_eq!(read(&engine, run).unwrap().len(), 2);
    }
    assert_eq!(scan_all(&engine).unwrap(), 6);
    // What was not merged meanwhile is.
    ingest(&engine, batch(&[("loss", "d", 1, 1.0)]), None).unwrap();
    engine.flush().unwrap();
    engine.wait_for_compaction();
    let stats = engine.stats();
    assert!(stats.segments <= 2 && stats.damaged == 0, "{stats:?}");
    assert_eq!(scan_all(&engine).unwrap(), 7);
    engine.shutdown().unwrap();
}

/// A repair took the whole log that was kept for restores, for one damaged file of it.
#[test]
fn a_repair_of_the_log_that_is_kept_leaves_what_is_behind_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = EngineConfig { wal_retain_bytes: 1 << 30, ..quiet(dir.path()) };
    three_segments(&Env::real(), keeping.clone()).shutdown().unwrap();
    let logs = || -> Vec<PathBuf> {
        stepwell_wal::files(&RealDisk, &dir.path().join("wal")).unwrap().into_iter().map(|(_, path)| path).collect()
    };
    let before = logs();
    assert!(before.len() > 3, "{before:?}");
    flip(&before[1], fs::metadata(&before[1]).unwrap().len() / 2);
    let found = check(&Env::real(), &keeping).unwrap().damages;
    assert!(found.len() == 1 && matches!(found[0].concerns, Concern::Nothing(_)), "{found:?}");
    let done = repair(&Env::real(), &quiet(dir.path()), false).unwrap();
    assert!(done.after.unwrap().is_healthy() && done.quarantined.len() == 1);
    assert_eq!(logs(), before[2..]);
    let engine = Engine::open(Env::real(), keeping).unwrap();
    assert_eq!(scan_all(&engine).unwrap(), 6);
    engine.shutdown().unwrap();
}

/// A start after a crash between the two files of a commit removed what only the copy named, which was then all there was to read.
#[test]
fn i7_i11_after_a_crash_anywhere_and_a_start_the_copy_of_the_manifest_is_enough() {
    let dir = PathBuf::from("data");
    let env = |disk: &SimDisk| Env { disk: Arc::new(disk.clone()), ..Env::real() };
    for n in 0.. {
        let disk = SimDisk::new();
        disk.inject(SimFault::PowerLossAtSync(n));
        let mut acked = 0;
        let is_done = Engine::open(env(&disk), config(&dir)).is_ok_and(|engine| {
            let is_done = (0..4).all(|step| {
                let taken = ingest(&engine, batch(&[("loss", "a", step, 0.5)]), None).is_ok();
                acked += usize::from(taken);
                taken && engine.flush().is_ok()
            });
            engine.wait_for_compaction();
            engine.shutdown().is_ok() && is_done
        });
        let after = disk.crash(n);
        let engine = Engine::open(env(&after), config(&dir)).unwrap();
        let killed = after.crash(n);
        drop(engine.shutdown());
        killed.flip_bit(&dir.join("MANIFEST"), 100, 3).unwrap();
        let engine = Engine::open(env(&killed), config(&dir)).unwrap();
        let found = scan_all(&engine).unwrap_or_else(|error| panic!("sync {n}: {error}"));
        assert!(found >= acked && found <= 4, "sync {n}: {found} of {acked}");
        drop(engine.shutdown());
        if is_done {
            assert!(n > 30, "{n} syncs");
            return;
        }
    }
}
