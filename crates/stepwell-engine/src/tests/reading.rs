//! Charts and summaries against the points.

use proptest::prelude::*;
use stepwell_env::Env;
use stepwell_kernels::{BucketState, Grid, SummaryState, XAxis, bucketize};
use stepwell_types::{Batch, Bucket, LatestPoint, PointFilter, SeriesKey, Summary};

use super::*;
use crate::{ChartData, ChartRequest, ReadMemory, Snapshot};

/// A stretch of one run: consecutive steps from one on, logged every `every` steps; overlapping stretches repeat steps.
#[derive(Debug, Clone)]
struct Stretch {
    run: usize,
    first_step: i64,
    every: i64,
    points: usize,
    flush: bool,
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let every = prop_oneof![4 => Just(1i64), 1 => Just(10), 1 => Just(-1)];
    (0usize..2, -3_000i64..12_000, every, prop_oneof![1usize..300, 4_000usize..9_000], any::<bool>())
        .prop_map(|(run, first_step, every, points, flush)| Stretch { run, first_step, every, points, flush })
}

fn curve(step: i64, seed: u64) -> f64 {
    match (step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed) >> 40 {
        noise if noise % 97 == 0 => f64::NAN,
        noise if noise % 89 == 0 => f64::INFINITY,
        noise => f64::from((noise % 4_096) as f32),
    }
}

fn write(engine: &Engine, stretch: &Stretch, seed: u64) {
    let steps: Vec<i64> = (0..stretch.points as i64).map(|i| stretch.first_step + i * stretch.every).collect();
    let values = steps.iter().map(|step| curve(*step, seed)).collect();
    let series = vec![key("loss", ["a", "b"][stretch.run])];
    let batch = Batch::new(series, vec![0; stretch.points], steps.clone(), steps, values).unwrap();
    ingest(engine, batch, None).unwrap();
    if stretch.flush {
        engine.flush().unwrap();
    }
}

fn brute_force(snapshot: &Snapshot, key: &SeriesKey, request: &ChartRequest, grid: Grid) -> ChartData {
    let step = (request.from_step.unwrap_or(i64::MIN), request.to_step.unwrap_or(i64::MAX));
    let mut points = snapshot.series(key, &PointFilter { step, ..PointFilter::default() }).unwrap();
    points.keep_last_per_step();
    if points.len() <= request.buckets {
        return ChartData::Raw(points);
    }
    let states = bucketize(&points, XAxis::Step, i64::MIN, i64::MAX, grid);
    ChartData::Buckets(states.iter().map(BucketState::finish).collect())
}

fn bits(data: &ChartData) -> String {
    match data {
        // Values are float32-born, so that sums are exact in any grouping.
        ChartData::Buckets(buckets) => {
            format!("{:?}", buckets.iter().map(|b| Bucket { sum: b.sum + 0.0, ..*b }).collect::<Vec<_>>())
        }
        ChartData::Raw(points) => format!("{points:?}"),
    }
}

/// The latest points alone are those that summaries have.
#[track_caller]
pub(super) fn check_latest(snapshot: &Snapshot) {
    let everything = PointFilter::default();
    let expected = snapshot.summaries(&everything).unwrap().into_iter().map(|(key, summary)| {
        let Summary { last_step: step, latest_time_us: timestamp_us, latest: value, .. } = summary;
        (key, LatestPoint { step, timestamp_us, value })
    });
    assert_eq!(format!("{:?}", snapshot.latest(&everything).unwrap()), format!("{:?}", expected.collect::<Vec<_>>()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn i2_i6_charts_and_summaries_equal_brute_force(stretches in prop::collection::vec(stretch(), 1..6), seed: u64,
        from in prop::option::of(-4_000i64..20_000), width in 1i64..20_000, buckets in prop_oneof![1usize..40, 40usize..2_000], settle: bool) {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(&Env::real(), dir.path());
        for (number, stretch) in stretches.iter().enumerate() {
            write(&engine, stretch, seed.wrapping_add(number as u64));
        }
        if settle {
            engine.wait_for_compaction();
        }
        let snapshot = engine.snapshot();
        let series = vec![key("loss", "a"), key("loss", "b"), key("loss", "nobody")];
        let request = ChartRequest { series: series.clone(), from_step: from, to_step: from.map(|from| from + width), buckets };
        let all: Vec<i64> = series.iter().flat_map(|key| snapshot.series(key, &PointFilter::default()).unwrap().step).collect();
        let (low, high) = (from.or(all.iter().min().copied()).unwrap(), request.to_step.or(all.iter().max().copied()).unwrap());
        let grid = Grid::covering(low, high, buckets);
        let got = snapshot.chart(&request).unwrap();
        let by_two = snapshot.chart_by(2, &request).unwrap();
        prop_assert_eq!(by_two.iter().map(bits).collect::<Vec<_>>(), got.iter().map(bits).collect::<Vec<_>>());
        for (key, got) in series.iter().zip(&got) {
            prop_assert_eq!(bits(got), bits(&brute_force(&snapshot, key, &request, grid)), "{:?}", key);
        }
        for (key, summary) in snapshot.summaries(&PointFilter::default()).unwrap() {
            let mut state = SummaryState::default();
            state.update(&snapshot.series(&key, &PointFilter::default()).unwrap());
            prop_assert_eq!(format!("{summary:?}"), format!("{:?}", state.finish().unwrap()));
        }
        check_latest(&snapshot);
        engine.shutdown().unwrap();
    }
}

/// The last step of a run in a snapshot that was held moved on with the run.
#[test]
fn i10_the_last_step_of_a_snapshot_stays() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&Env::real(), dir.path());
    ingest(&engine, batch(&[("loss", "a", 7, 1.0), ("acc", "a", 3, 1.0)]), None).unwrap();
    let held = engine.snapshot();
    for step in [9, 8] {
        ingest(&engine, batch(&[("acc", "a", step, 1.0), ("lr", "a", step, 1.0)]), None).unwrap();
        assert_eq!(held.last_step("1", "a").unwrap(), Some(7));
        assert_eq!(engine.snapshot().last_step("1", "a").unwrap(), Some(9));
    }
}

/// Summaries of all segments stood together before they became one, and none of it counted: gigabytes for `SELECT count(*) FROM summaries`.
#[test]
fn i9_summaries_and_latest_points_count_as_memory_of_who_reads() {
    const SERIES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let compaction = CompactionOptions { fan_in: 0, ..CompactionOptions::default() };
    let engine = Engine::open(Env::real(), EngineConfig { compaction, ..config(dir.path()) }).unwrap();
    let keys: Vec<SeriesKey> = (0..SERIES).map(|number| key("loss", &format!("run{number}"))).collect();
    let segments: i64 = 8;
    for step in 0..segments {
        let batch = Batch::new(
            keys.clone(),
            (0..SERIES as u32).collect(),
            vec![step; SERIES],
            vec![0; SERIES],
            vec![0.5; SERIES],
        );
        ingest(&engine, batch.unwrap(), None).unwrap();
        engine.flush().unwrap();
    }
    let everything = PointFilter::default();
    let by = |limit| {
        let memory = ReadMemory::new(limit);
        let snapshot = engine.snapshot().read_by(memory.reader());
        (memory, snapshot)
    };
    let (memory, snapshot) = by(2 << 20);
    assert!(matches!(snapshot.summaries(&everything), Err(EngineError::ReadTooLarge { .. })));
    assert!(matches!(snapshot.latest(&everything), Err(EngineError::ReadTooLarge { .. })));
    assert_eq!(memory.used(), 0, "what was refused is given back");
    // Of the eight segments no more than three stand together, and as much again where they are sorted.
    let of_all = SERIES * size_of::<(SeriesKey, SummaryState)>();
    let (memory, snapshot) = by(8 * of_all);
    let summaries = snapshot.summaries(&everything).unwrap();
    assert!(summaries.len() == SERIES && summaries.iter().all(|(_, summary)| summary.count == segments as u64));
    assert!((of_all..2 * of_all).contains(&memory.used()), "{} bytes are held with the answer", memory.used());
    drop(snapshot);
    assert_eq!(memory.used(), 0);
}
