//! Backups against a model, beside writers, on a disk that loses power, and with every file damaged.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use proptest::prelude::*;
use stepwell_env::{Disk, Env, ManualClock, RealDisk, SeededRandom, SimDisk, SimFault, in_parallel};
use stepwell_types::{Lsn, PointFilter};

use super::{BackupError, BackupIndex, BackupStore, Cut};
use crate::{
    Deletion, Engine, EngineConfig,
    tests::{batch, config, ingest, key, producer},
};

const RUNS: [&str; 3] = ["a", "b", "c"];
const METRICS: [&str; 2] = ["acc", "loss"];

fn store(dir: &Path) -> BackupStore {
    BackupStore::create(Arc::new(RealDisk), dir).unwrap()
}

fn back_up(env: &Env, data_dir: &Path, store: &BackupStore) -> Result<BackupIndex, BackupError> {
    let cut = Cut::take(env, data_dir, store, || Ok::<_, BackupError>(()))?;
    cut.copy_to(&*env.disk, store, &[])
}

fn retaining(dir: &Path, wal_retain_bytes: u64) -> EngineConfig {
    EngineConfig { wal_retain_bytes, ..config(dir) }
}

/// (metric, run, step, LSN, bits of the value) of every point, sorted.
fn points(engine: &Engine) -> Vec<(usize, usize, i64, u64, u64)> {
    let snapshot = engine.snapshot();
    let mut found = Vec::new();
    for (m, metric) in METRICS.iter().enumerate() {
        for (r, run) in RUNS.iter().enumerate() {
            let columns = snapshot.series(&key(metric, run), &PointFilter::default()).unwrap();
            found.extend(
                (0..columns.len()).map(|i| (m, r, columns.step[i], columns.lsn[i], columns.value[i].to_bits())),
            );
        }
    }
    found.sort_unstable();
    found
}

#[derive(Debug, Clone)]
enum Action {
    /// Producer, run, points of each metric.
    Ingest(usize, usize, usize),
    Flush,
    Compact,
    Restart,
    Delete(usize),
    BackUp,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0usize..2, 0usize..3, 1usize..40).prop_map(|(producer, run, points)| Action::Ingest(producer, run, points)),
        2 => Just(Action::Flush),
        1 => Just(Action::Compact),
        1 => Just(Action::Restart),
        1 => (0usize..3).prop_map(Action::Delete),
        2 => Just(Action::BackUp),
    ]
}

/// A batch as it was acknowledged: producer, sequence, first and last LSN.
type Sent = (usize, u64, u64, u64);

#[derive(Clone, Default)]
struct Model {
    points: Vec<(usize, usize, i64, u64, u64)>,
    sent: Vec<Sent>,
}

impl Model {
    /// The end of the last batch up to `lsn`.
    fn boundary(&self, lsn: u64) -> u64 {
        self.sent.iter().map(|sent| sent.3).filter(|end| *end <= lsn).max().unwrap_or(0)
    }

    fn last_sequence(&self, producer: usize, lsn: u64) -> u64 {
        self.sent.iter().filter(|sent| sent.0 == producer && sent.3 <= lsn).map(|sent| sent.1).max().unwrap_or(0)
    }
}

/// Restores a backup and compares it with the model as of the end of the last batch up to `wanted`.
fn check(store: &BackupStore, index: &BackupIndex, wanted: Option<u64>, model: &Model) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("restored");
    let restored = store.restore(index, wanted.map(Lsn), &Env::real().disk, &data_dir).unwrap();
    let lsn = model.boundary(wanted.unwrap_or(index.lsn));
    prop_assert_eq!(restored.lsn.0, lsn);
    let engine = Engine::open(Env::real(), config(&data_dir)).unwrap();
    let expected: Vec<_> = model.points.iter().filter(|point| point.3 <= lsn).copied().collect();
    prop_assert_eq!(points(&engine), expected.clone());
    prop_assert_eq!(engine.stats().damaged, 0);
    let counted: u64 =
        engine.snapshot().summaries(&PointFilter::default()).unwrap().iter().map(|(_, summary)| summary.count).sum();
    prop_assert_eq!(counted, expected.len() as u64, "the summaries are of these points");
    for number in 0..2 {
        let name = format!("p{number}");
        let last = model.last_sequence(number, lsn);
        let retry = |sequence| ingest(&engine, batch(&[("acc", "a", -1, 0.0)]), producer(&name, sequence)).unwrap();
        if last > 0 {
            prop_assert!(retry(last).duplicate, "sequence {} of {} was in the backup (I3)", last, name);
        }
        // Sequences go up by two, so that an odd one was never sent.
        let accepted = retry(last + 2);
        prop_assert!(!accepted.duplicate, "sequence {} of {} was not", last + 2, name);
    }
    // What comes after is not taken for deleted, and survives a flush and a restart.
    engine.flush().unwrap();
    engine.shutdown().unwrap();
    let engine = Engine::open(Env::real(), config(&data_dir)).unwrap();
    prop_assert_eq!(points(&engine).len(), expected.len() + 2);
    engine.shutdown().unwrap();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_backup_restores_to_what_was_acknowledged_at_any_lsn_in_reach(
        actions in prop::collection::vec(action(), 1..30),
        retain in prop_oneof![Just(0u64), Just(2_000), Just(1 << 30)],
        fractions in prop::collection::vec(0.0f64..1.0, 3),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let store = store(&dir.path().join("backups"));
        let mut engine = Engine::open(Env::real(), retaining(&data_dir, retain)).unwrap();
        let mut model = Model::default();
        let mut backups: Vec<(BackupIndex, Model)> = Vec::new();
        let mut sequences = [0, 0];
        for (number, action) in actions.iter().chain([&Action::BackUp]).enumerate() {
            match action {
                Action::Ingest(sender, run, n) => {
                    sequences[*sender] += 2;
                    let rows: Vec<(usize, i64, f64)> = (0..*n as i64).flat_map(|i| (0..2).map(move |m| (m, i))).map(|(m, i)| {
                        (m, number as i64 * 20 + i, (number * 100) as f64 + i as f64 / 8.0)
                    }).collect();
                    let sent: Vec<_> = rows.iter().map(|(m, step, value)| (METRICS[*m], RUNS[*run], *step, *value)).collect();
                    let ack = ingest(&engine, batch(&sent), producer(&format!("p{sender}"), sequences[*sender])).unwrap();
                    let (first, last) = (ack.first_lsn.unwrap().0, ack.last_lsn.unwrap().0);
                    model.sent.push((*sender, sequences[*sender], first, last));
                    model.points.extend(rows.iter().zip(first..).map(|((m, step, value), lsn)| (*m, *run, *step, lsn, value.to_bits())));
                    model.points.sort_unstable();
                }
                Action::Flush => engine.flush().unwrap(),
                Action::Compact => engine.wait_for_compaction(),
                Action::Restart => {
                    engine.shutdown().unwrap();
                    engine = Engine::open(Env::real(), retaining(&data_dir, retain)).unwrap();
                }
                Action::Delete(run) => {
                    let run_id = Some(RUNS[*run].into());
                    engine.delete(Deletion { project_id: "1".into(), metric: None, run_id, before_us: None }).unwrap();
                    model.points.retain(|point| point.1 != *run);
                }
                Action::BackUp => backups.push((back_up(&Env::real(), &data_dir, &store).unwrap(), model.clone())),
            }
        }
        engine.shutdown().unwrap();
        for (index, model) in &backups {
            prop_assert_eq!(store.index(index.number).unwrap(), index.clone());
            store.verify(index).unwrap();
            prop_assert_eq!(index.lsn, model.boundary(u64::MAX));
        }
        let (index, model) = &backups[backups.len() - 1];
        if retain == 1 << 30 {
            prop_assert_eq!(index.reach(), Lsn(0), "all of the log is kept");
        }
        let (first, model_of_first) = &backups[0];
        check(&store, first, None, model_of_first)?;
        check(&store, index, None, model)?;
        let (reach, span) = (index.reach().0, index.lsn - index.reach().0);
        for wanted in fractions.iter().map(|fraction| reach + (fraction * span as f64) as u64).chain([reach]) {
            check(&store, index, Some(wanted), model)?;
        }
        for wanted in [reach.checked_sub(1), Some(index.lsn + 1)].into_iter().flatten() {
            let error = store.restore(index, Some(Lsn(wanted)), &Env::real().disk, &dir.path().join("never")).unwrap_err();
            prop_assert!(matches!(error, BackupError::OutOfReach { .. }), "{}", error);
        }
    }
}

/// A scripted directory: two segments, a deletion, a log. Its engine is still open.
fn filled(env: &Env, data_dir: &Path) -> Engine {
    let engine = Engine::open(env.clone(), config(data_dir)).unwrap();
    for round in 0..3 {
        for i in 0..4 {
            let step = round * 10 + i;
            let rows = [("acc", "a", step, step as f64), ("loss", "b", step, -0.0)];
            ingest(&engine, batch(&rows), producer("p0", (round * 4 + i + 1) as u64)).unwrap();
        }
        if round < 2 {
            engine.flush().unwrap();
            engine.wait_for_compaction();
        }
    }
    engine
}

#[test]
fn a_second_backup_copies_only_what_is_new_and_pruning_leaves_what_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let store = store(&dir.path().join("backups"));
    let engine = filled(&Env::real(), &data_dir);
    let first = back_up(&Env::real(), &data_dir, &store).unwrap();
    assert_eq!(first.new_bytes, first.bytes());
    let same = back_up(&Env::real(), &data_dir, &store).unwrap();
    assert_eq!((same.new_bytes, same.files == first.files, same.number), (0, true, 2));
    engine.flush().unwrap();
    engine.wait_for_compaction();
    let third = back_up(&Env::real(), &data_dir, &store).unwrap();
    let known: Vec<_> = third.files.iter().filter(|file| first.files.contains(file)).collect();
    let known_bytes: u64 = known.iter().map(|file| file.bytes).sum();
    assert_eq!(third.new_bytes, third.bytes() - known_bytes);

    std::fs::write(store.root().join("files/segments/left.tmp"), b"of an interrupted one").unwrap();
    let pruned = store.prune(1).unwrap();
    assert_eq!((pruned.backups, store.numbers().unwrap()), (2, vec![3]));
    store.verify(&third).unwrap();
    let left = walk(&store.root().join("files"));
    assert_eq!(left.len(), third.files.len(), "{left:?}");
    assert!(matches!(store.index(1), Err(BackupError::NoSuchBackup { .. })));

    // It is not known what a damaged index names, so that nothing goes.
    let path = store.root().join("backups/00000003.backup");
    std::fs::write(&path, b"SWBACKUP").unwrap();
    back_up(&Env::real(), &data_dir, &store).unwrap();
    assert!(store.prune(2).is_err());
    assert_eq!(walk(&store.root().join("files")).len(), left.len());
    engine.shutdown().unwrap();
}

/// All files below.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in RealDisk.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn i11_a_changed_byte_of_any_file_is_found_and_named_and_nothing_is_restored_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let store = store(&dir.path().join("backups"));
    let engine = filled(&Env::real(), &data_dir);
    let index = back_up(&Env::real(), &data_dir, &store).unwrap();
    let target = dir.path().join("restored");
    let mut flips = 0;
    for path in walk(&store.root().join("files")) {
        let good = std::fs::read(&path).unwrap();
        for at in (0..40).map(|part| part * (good.len() - 1) / 39) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let error = store.verify(&index).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            let error = store.restore(&index, None, &Env::real().disk, &target).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(!target.exists());
            flips += 1;
        }
        for bad in [&good[..good.len() - 1], b""] {
            std::fs::write(&path, bad).unwrap();
            assert!(
                store.verify(&index).is_err()
                    && store.restore(&index, None, &Env::real().disk, &target).is_err()
                    && !target.exists()
            );
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(store.verify(&index), Err(BackupError::Missing { .. })));
        assert!(store.restore(&index, None, &Env::real().disk, &target).is_err() && !target.exists());
        std::fs::write(&path, &good).unwrap();
    }
    assert!(flips >= 4 * 40);
    let refused = |temporary: &Path| {
        assert!(temporary.join("MANIFEST").exists() && !target.exists());
        Err(BackupError::Missing { path: temporary.to_owned() })
    };
    assert!(store.restore_with(&index, None, &Env::real().disk, &target, refused).is_err() && !target.exists());
    store.restore(&index, None, &Env::real().disk, &target).unwrap();
    let error = store.restore(&index, None, &Env::real().disk, &target).unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    engine.shutdown().unwrap();
}

#[test]
fn i11_a_damaged_data_directory_is_not_backed_up() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let store = store(&dir.path().join("backups"));
    let engine = filled(&Env::real(), &data_dir);
    engine.shutdown().unwrap();
    let before = back_up(&Env::real(), &data_dir, &store).unwrap();
    let fresh = |name: &str| self::store(&dir.path().join(name));
    for (at, path) in
        walk(&data_dir).into_iter().filter(|path| path.extension().is_some_and(|e| e == "parquet")).enumerate()
    {
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let error = back_up(&Env::real(), &data_dir, &fresh(&format!("d{at}"))).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = back_up(&Env::real(), &data_dir, &fresh(&format!("m{at}"))).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        std::fs::write(&path, good).unwrap();
    }
    // Taken for a new directory's, an absent manifest made for a backup without a point, and pruning then took the others.
    for (name, lost) in [("MANIFEST", "without"), ("MANIFEST.copy", "without-both")] {
        std::fs::remove_file(data_dir.join(name)).unwrap();
        let error = back_up(&Env::real(), &data_dir, &fresh(lost)).unwrap_err();
        assert!(error.to_string().contains("MANIFEST"), "{error}");
    }
    assert_eq!(store.numbers().unwrap(), [before.number]);
    assert!(matches!(
        back_up(&Env::real(), &dir.path().join("nothing"), &store),
        Err(BackupError::NotADataDirectory { .. })
    ));
    assert!(matches!(BackupStore::open(Arc::new(RealDisk), &data_dir), Err(BackupError::NotABackup { .. })));
}

/// Tells the others when it goes, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn beside_writers_flushes_merges_and_deletions_each_backup_has_what_was_acknowledged_before_it() {
    const WRITERS: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let engine = Engine::open(Env::real(), config(&data_dir)).unwrap();
    let acked: [AtomicU64; WRITERS] = Default::default();
    let is_over = AtomicBool::new(false);
    let store = store(&dir.path().join("backups"));
    let write = |writer: usize| {
        for n in 1..10_000 {
            if is_over.load(Ordering::SeqCst) {
                return;
            }
            // Three points a batch, of the step that is its number.
            let rows = ["loss", "acc", "loss"].map(|metric| (metric, RUNS[writer], n as i64, n as f64));
            ingest(&engine, batch(&rows), producer(RUNS[writer], n)).unwrap();
            acked[writer].store(n, Ordering::SeqCst);
        }
    };
    let replace = || {
        for n in 0.. {
            if is_over.load(Ordering::SeqCst) {
                return;
            }
            engine.flush().unwrap();
            if n % 5 == 0 {
                let metric = Some("gone".into());
                engine.delete(Deletion { project_id: "1".into(), metric, run_id: None, before_us: None }).unwrap();
            }
        }
    };
    let back_up_often = || {
        let _over = Over(&is_over);
        let mut made = Vec::new();
        for _ in 0..25 {
            let before = [0, 1, 2].map(|writer: usize| acked[writer].load(Ordering::SeqCst));
            made.push((back_up(&Env::real(), &data_dir, &store).unwrap(), before));
        }
        made
    };
    let made = in_parallel("part", WRITERS + 2, |part| match part {
        0 => back_up_often(),
        1 => {
            replace();
            Vec::new()
        }
        part => {
            write(part - 2);
            Vec::new()
        }
    });
    engine.shutdown().unwrap();
    for (index, before) in &made[0] {
        store.verify(index).unwrap();
        let target = dir.path().join(format!("r{}", index.number));
        let restored = store.restore(index, None, &Env::real().disk, &target).unwrap();
        let engine = Engine::open(Env::real(), config(&target)).unwrap();
        assert_eq!((restored.lsn.0, engine.snapshot().lsn().0), (index.lsn, index.lsn));
        let mut total = 0;
        for (writer, run) in RUNS.iter().enumerate() {
            let loss = engine.snapshot().series(&key("loss", run), &PointFilter::default()).unwrap();
            let acc = engine.snapshot().series(&key("acc", run), &PointFilter::default()).unwrap();
            let last = *acc.step.last().unwrap_or(&0);
            assert!(
                last as u64 >= before[writer],
                "backup {}: {last} of {run}, {} acknowledged",
                index.number,
                before[writer]
            );
            assert_eq!(acc.step, (1..=last).collect::<Vec<_>>(), "each batch once");
            assert_eq!(loss.step, (1..=last).flat_map(|step| [step, step]).collect::<Vec<_>>(), "each batch whole");
            total += loss.len() + acc.len();
        }
        assert_eq!(total as u64, index.lsn, "nothing that was acknowledged is passed over");
        engine.shutdown().unwrap();
        std::fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn i7_a_loss_of_power_at_any_sync_of_a_backup_leaves_the_earlier_ones_whole() {
    let (data_dir, root) = (PathBuf::from("data"), PathBuf::from("backups"));
    let env = |disk: &SimDisk| Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(1_790_000_000_000_000)),
        random: Arc::new(SeededRandom::new(1)),
    };
    let open = |disk: &SimDisk| BackupStore::create(Arc::new(disk.clone()), &root).unwrap();
    let mut crash_points = 0;
    for n in 0.. {
        let disk = SimDisk::new();
        let engine = filled(&env(&disk), &data_dir);
        let first = back_up(&env(&disk), &data_dir, &open(&disk)).unwrap();
        engine.flush().unwrap();
        engine.wait_for_compaction();
        let store = open(&disk);
        disk.inject(SimFault::PowerLossAtSync(n));
        let second = back_up(&env(&disk), &data_dir, &store).and_then(|second| store.prune(2).map(|_| second));
        for seed in 0..4 {
            let after = disk.crash(seed);
            let store = open(&after);
            for number in store.numbers().unwrap() {
                store.verify(&store.index(number).unwrap()).unwrap();
            }
            store.verify(&first).unwrap();
            if let Ok(second) = &second {
                store.verify(second).unwrap();
            }
            let again = back_up(&env(&after), &data_dir, &store).unwrap();
            store.prune(2).unwrap();
            store.verify(&again).unwrap();
        }
        // Of an engine without a disk.
        drop(engine.shutdown());
        if second.is_ok() {
            break;
        }
        crash_points += 1;
    }
    assert!(crash_points > 8, "{crash_points}");
}

#[test]
fn a_log_file_that_is_damaged_and_only_kept_shortens_the_reach_and_one_that_is_needed_fails_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let engine = Engine::open(Env::real(), retaining(&data_dir, 1 << 30)).unwrap();
    for round in 0..3 {
        ingest(&engine, batch(&[("acc", "a", round, 0.5), ("acc", "b", round, 1.5)]), None).unwrap();
        if round < 2 {
            engine.flush().unwrap();
        }
    }
    let logs = walk(&data_dir.join("wal"));
    assert_eq!(logs.len(), 3);
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[60] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let back_up = |name: &str| back_up(&Env::real(), &data_dir, &store(&dir.path().join(name)));
    assert_eq!(back_up("whole").unwrap().reach(), Lsn(0));
    flip(&logs[0]);
    assert_eq!(back_up("shorter").unwrap().reach(), Lsn(2));
    std::fs::remove_file(&logs[1]).unwrap();
    assert_eq!(back_up("shortest").unwrap().reach(), Lsn(4));
    engine.shutdown().unwrap();
}
