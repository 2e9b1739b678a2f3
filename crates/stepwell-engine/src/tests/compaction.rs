//! Merging segments: nothing lost, doubled or out of order; few files; bounded rewriting; readers go on.

use std::{path::PathBuf, sync::Arc};

use stepwell_env::{ManualClock, SeededRandom, SimDisk};
use stepwell_types::Lsn;

use super::*;

/// (metric, run, step, LSN, value) of all points in the order of the scan.
fn all(engine: &Engine) -> Vec<(i64, u64, u64)> {
    let mut points = Vec::new();
    for metric in ["acc", "loss"] {
        for run in ["a", "b", "c"] {
            let columns = series(engine, metric, run);
            points.extend((0..columns.len()).map(|i| (columns.step[i], columns.lsn[i], columns.value[i].to_bits())));
        }
    }
    points
}

#[test]
fn i5_i6_merged_segments_hold_the_same_points_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    let mut seed = 7u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..16 {
        let points: Vec<_> = (0..300)
            .map(|_| {
                let name = (["acc", "loss"][next(2) as usize], ["a", "b", "c"][next(3) as usize]);
                // Steps repeat, within and across segments.
                (name.0, name.1, next(200) as i64 - 100, f64::from_bits(0x7ff8_0000_0000_0000 | next(1 << 40)))
            })
            .collect();
        ingest(&engine, batch(&points), None).unwrap();
        let before = all(&engine);
        let held = engine.snapshot();
        engine.flush().unwrap();
        engine.wait_for_compaction();
        assert_eq!(all(&engine), before);
        let rows: usize = held
            .scan(&PointFilter::default())
            .iter()
            .flat_map(|part| part.open(&[3], Names::Views, 100).unwrap())
            .map(|b| b.unwrap().num_rows())
            .sum();
        assert_eq!(rows, before.len(), "I10: a snapshot outlives the files that were merged away");
    }
    assert_eq!((rows(&engine), engine.stats().segments), (16 * 300, 1), "sixteen flushes, four tiers of two");
    let files = |name: &str| std::fs::read_dir(dir.path().join(name)).unwrap().count();
    assert_eq!((files("segments"), files("summaries"), files("rollups")), (1, 1, 0));
    let expected = all(&engine);
    engine.shutdown().unwrap();
    let again = open(&Env::real(), dir.path());
    assert_eq!(all(&again), expected);
    assert_eq!(again.snapshot().lsn(), Lsn(16 * 300));
}

/// A day of an idle server with slow runs, a flush a minute by the clock.
#[test]
fn a_day_of_small_flushes_leaves_few_files_and_writes_each_byte_at_most_four_times() {
    const MINUTES: i64 = 1_440;
    let disk = SimDisk::new();
    let clock = Arc::new(ManualClock::new(1_790_000_000_000_000));
    let env = Env { disk: Arc::new(disk), clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
    let engine = Engine::open(env, EngineConfig::new(PathBuf::from("data"))).unwrap();
    let names: Vec<String> = (0..100).map(|run| format!("run-{run:03}")).collect();
    let mut files_max = 0;
    for minute in 0..MINUTES {
        let points: Vec<_> = names.iter().map(|run| ("loss", run.as_str(), minute, minute as f64)).collect();
        ingest(&engine, batch(&points), None).unwrap();
        clock.advance(Duration::from_secs(60));
        engine.flush().unwrap();
        engine.wait_for_compaction();
        files_max = files_max.max(engine.stats().segments);
    }
    let stats = engine.stats();
    let amplification = 1.0 + stats.compacted_bytes as f64 / stats.flushed_bytes as f64;
    assert_eq!((stats.flushes, stats.segment_rows), (MINUTES as u64, MINUTES as u64 * 100));
    assert!(files_max < 40, "{files_max} segments");
    assert!(amplification <= 4.0, "each byte was written {amplification} times");
    engine.shutdown().unwrap();
}
