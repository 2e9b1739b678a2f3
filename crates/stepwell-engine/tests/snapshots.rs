//! I10 under everything at once: snapshots held across flushes, merges and deletions, while batches go in. Each shows exactly its
//! points for as long as it is held, also from files that a merge has removed; when all are dropped, mappings and file descriptors
//! are those of the live files alone. Alone in its process, because it counts them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use stepwell_engine::{CompactionOptions, Deletion, Engine, EngineConfig, IngestAck, Snapshot};
use stepwell_env::{Clock, Env, SystemClock};
use stepwell_types::{Batch, PointFilter, SeriesKey};

const WRITERS: usize = 3;
const BATCHES: usize = 150;
const POINTS: usize = 100;
/// Snapshots that each reader holds at once, from the newest to one that is many flushes old.
const HELD: usize = 8;
const READERS: usize = 2;

fn kept(writer: usize) -> SeriesKey {
    SeriesKey::new("1", "kept", format!("run-{writer}").as_str())
}

fn gone(writer: usize) -> SeriesKey {
    SeriesKey::new("1", "gone", format!("run-{writer}").as_str())
}

/// Batch `number` of a writer: half its points stay, half are of the metric that is deleted again and again. Steps repeat.
fn batch(writer: usize, number: usize) -> Batch {
    let index = (0..POINTS).map(|i| (i % 2) as u32).collect();
    let step: Vec<i64> = (0..POINTS).map(|i| ((number / 2) * POINTS + i) as i64).collect();
    let value = (0..POINTS).map(|i| (number * POINTS + i) as f64).collect();
    Batch::new(vec![kept(writer), gone(writer)], index, step.clone(), step, value).unwrap()
}

fn ingest(engine: &Engine, batch: Batch) -> IngestAck {
    let (send, receive) = mpsc::channel();
    loop {
        let send = send.clone();
        match engine.ingest(batch.clone(), None, move |result| send.send(result).unwrap()) {
            Ok(()) => return receive.recv().unwrap().unwrap(),
            // The queue is full, which is an answer.
            Err(error) => assert!(error.retry_after().is_some(), "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Count and sum of what tells points apart.
type Sum = (usize, u64);

fn add(sum: &mut Sum, lsn: u64, step: i64, value: f64) {
    let mut mixed = lsn.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (step as u64).rotate_left(17) ^ value.to_bits();
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    *sum = (sum.0 + 1, sum.1.wrapping_add(mixed ^ (mixed >> 32)));
}

fn read(snapshot: &Snapshot, keys: impl Iterator<Item = SeriesKey>) -> Sum {
    let mut sum = (0, 0);
    for key in keys {
        let points = snapshot.series(&key, &PointFilter::default()).unwrap();
        assert!((1..points.len()).all(|i| (points.step[i - 1], points.lsn[i - 1]) < (points.step[i], points.lsn[i])));
        for i in 0..points.len() {
            add(&mut sum, points.lsn[i], points.step[i], points.value[i]);
        }
    }
    sum
}

/// A snapshot with what it showed when it was taken.
struct Held {
    snapshot: Snapshot,
    kept: Sum,
    gone: Sum,
}

impl Held {
    fn take(engine: &Engine) -> Self {
        let snapshot = engine.snapshot();
        let (kept, gone) = (read(&snapshot, (0..WRITERS).map(kept)), read(&snapshot, (0..WRITERS).map(gone)));
        Self { snapshot, kept, gone }
    }

    fn check(&self) {
        assert_eq!(read(&self.snapshot, (0..WRITERS).map(kept)), self.kept, "at LSN {}", self.snapshot.lsn());
        assert_eq!(read(&self.snapshot, (0..WRITERS).map(gone)), self.gone, "at LSN {}", self.snapshot.lsn());
    }
}

/// Names below a directory that this process has mapped, and of those the ones that exist no longer.
fn mapped(dir: &Path) -> (BTreeSet<String>, usize) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let names: BTreeSet<String> =
        maps.lines().filter_map(|line| Some(line[line.find(dir.to_str()?)?..].to_owned())).collect();
    let deleted = names.iter().filter(|name| name.ends_with("(deleted)")).count();
    (names, deleted)
}

/// File descriptors of files below a directory.
fn open_files(dir: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|path| path.starts_with(dir)).count()
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let dirs = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let parquet = dirs.flat_map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()));
    parquet.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect()
}

fn wait(what: &str, is_done: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !is_done() {
        assert!(clock.monotonic() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn i10_snapshots_outlive_flushes_merges_and_deletions_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(dir.path()).unwrap();
    let path = path.as_path();
    let compaction = CompactionOptions { fan_in: 2, ..CompactionOptions::default() };
    let config = EngineConfig { shards: 2, compaction, footer_bytes: 20_000, ..EngineConfig::new(path) };
    let engine = Engine::open(Env::real(), config).unwrap();
    let open_before = open_files(path);
    let acks = Mutex::new(Vec::new());
    let readings = Mutex::new(Vec::new());
    let writing = AtomicUsize::new(WRITERS);
    let is_writing = || writing.load(Ordering::SeqCst) > 0;
    let held = thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (engine, acks, writing) = (&engine, &acks, &writing);
            scope.spawn(move || {
                for number in 0..BATCHES {
                    let ack = ingest(engine, batch(writer, number));
                    acks.lock().unwrap().push((ack.first_lsn.unwrap().0, writer, number));
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        scope.spawn(|| {
            while is_writing() {
                engine.flush().unwrap();
            }
        });
        scope.spawn(|| {
            while is_writing() {
                let deletion =
                    Deletion { project_id: "1".into(), metric: Some("gone".into()), run_id: None, before_us: None };
                let below = engine.snapshot().lsn();
                engine.delete(deletion).unwrap();
                // What had been visible before the deletion is in no snapshot taken after it.
                let after = engine.snapshot();
                for key in (0..WRITERS).map(gone) {
                    let points = after.series(&key, &PointFilter::default()).unwrap();
                    assert!(points.lsn.iter().all(|lsn| *lsn > below.0));
                }
                thread::sleep(Duration::from_millis(30));
            }
        });
        let read = || {
            let mut ring: Vec<Held> = Vec::new();
            let mut number = 0;
            while is_writing() {
                if ring.len() == HELD {
                    // The oldest stays to the end; others go in turn.
                    ring.remove(1).check();
                }
                let taken = Held::take(&engine);
                readings.lock().unwrap().push((taken.snapshot.lsn().0, taken.kept));
                ring.push(taken);
                ring[number % ring.len()].check();
                number += 1;
            }
            ring
        };
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<Held>>()
    });
    // Merges take what the last snapshots read.
    for number in 0..4 {
        ingest(&engine, batch(0, BATCHES + number));
        engine.flush().unwrap();
        engine.wait_for_compaction();
    }
    assert!(engine.stats().compactions > 3 && engine.stats().flushes > 6, "{:?}", engine.stats());

    // Each snapshot showed the points that stay up to its LSN, each once: the acknowledgements say which those are.
    let mut points = Vec::new();
    for (first_lsn, writer, number) in acks.into_inner().unwrap() {
        let batch = batch(writer, number);
        let kept = (0..POINTS).filter(|i| i % 2 == 0);
        points.extend(kept.map(|i| (first_lsn + i as u64, batch.step()[i], batch.value()[i])));
    }
    points.sort_by_key(|point| point.0);
    let mut sums = vec![(0, (0, 0))];
    let mut sum = (0, 0);
    for (lsn, step, value) in points {
        add(&mut sum, lsn, step, value);
        sums.push((lsn, sum));
    }
    let readings = readings.into_inner().unwrap();
    for (lsn, kept) in &readings {
        let expected = sums[sums.partition_point(|known| known.0 <= *lsn) - 1].1;
        assert_eq!(*kept, expected, "at LSN {lsn}");
    }
    assert!(readings.len() > HELD, "{} readings", readings.len());

    // What merges have removed is still mapped by those who read it, and read.
    let (_, deleted) = mapped(path);
    assert!(deleted > 0, "no snapshot outlived a file");
    held.iter().for_each(Held::check);
    eprintln!(
        "{} readings, {} snapshots held to the end over {deleted} removed files, {} flushes, {} merges",
        readings.len(),
        held.len(),
        engine.stats().flushes,
        engine.stats().compactions
    );
    drop(held);
    wait("what nobody reads is let go", || mapped(path).1 == 0);
    let live = || files(path).iter().map(|file| file.to_str().unwrap().to_owned()).collect::<BTreeSet<String>>();
    wait("live files are mapped, and nothing else", || mapped(path).0 == live());
    assert_eq!(open_files(path), open_before, "descriptors");
    engine.shutdown().unwrap();
    drop(engine);
    assert!(mapped(path).0.is_empty() && open_files(path) == 0, "{:?}", mapped(path));
}
