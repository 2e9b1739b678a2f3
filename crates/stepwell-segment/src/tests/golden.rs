//! I12: the three files of a segment as each version wrote them, kept. If this fails, segments on disk have become unreadable,
//! or mean something else.

use std::path::PathBuf;

use stepwell_kernels::Edge;

use super::*;
use crate::FORMAT_VERSION;

const NAN_WITH_PAYLOAD: u64 = 0xfff8_dead_beef_0001;
/// Enough for rollups of two levels.
const LONG_POINTS: i64 = 8_192;

fn hostile() -> SeriesColumns {
    let mut columns = SeriesColumns::default();
    columns.push(i64::MIN, i64::MAX, f64::from_bits(NAN_WITH_PAYLOAD), 5);
    columns.push(-1, -1, -0.0, 2);
    columns.push(7, 0, 5e-324, 3);
    columns.push(7, 1, f64::NEG_INFINITY, 4);
    columns.push(i64::MAX, i64::MIN, 1.5, u64::MAX);
    columns
}

/// Values whose sums are exact: (0 + 1 + 2 + 3) / 4 every four steps.
fn long() -> SeriesColumns {
    let mut columns = SeriesColumns::default();
    (0..LONG_POINTS).for_each(|i| columns.push(i, 1_000 * i, (i % 4) as f64 * 0.25, 100 + i as u64));
    columns
}

fn series() -> Vec<(SeriesKey, SeriesColumns)> {
    vec![(SeriesKey::new("1", "acc", "ü"), hostile()), (SeriesKey::new("1", "loss", "a"), long())]
}

/// Where the files of a version are kept, one for each table.
fn golden(version: &str, table: usize) -> PathBuf {
    let name = format!("tests/golden/{}-v{version}.parquet", SEGMENT_DIRS[table]);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Writes the content, as segments are written.
fn fresh(dir: &Path) -> SegmentMeta {
    SEGMENT_DIRS.iter().for_each(|name| std::fs::create_dir_all(dir.join(name)).unwrap());
    let mut writer = SegmentWriter::create(Arc::new(RealDisk), dir, "1.parquet", &SegmentOptions::default()).unwrap();
    series().iter().for_each(|(key, points)| writer.write(key, points).unwrap());
    writer.finish().unwrap()
}

/// What is known of files that lie below `dir`, without trusting who wrote them.
fn meta_of(dir: &Path) -> SegmentMeta {
    let file = |table: usize| {
        let bytes = std::fs::read(dir.join(SEGMENT_DIRS[table]).join("1.parquet")).unwrap();
        stepwell_types::FileMeta { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes), tail: None }
    };
    let (first, last) = (series()[0].0.clone(), series()[1].0.clone());
    SegmentMeta {
        file_name: "1.parquet".into(),
        tier: 0,
        purged: 0,
        file: file(0),
        summaries: Some(file(1)),
        rollups: Some(file(2)),
        rows: 5 + LONG_POINTS as u64,
        series: (first, last),
        step: (i64::MIN, i64::MAX),
        timestamp_us: (i64::MIN, i64::MAX),
        lsn: (2, u64::MAX),
    }
}

/// Decodes all three files of a version to exact values.
#[track_caller]
fn check(version: &str, dir: &Path, meta: &SegmentMeta) {
    let segment = Segment::open(&disk(), dir, meta, &FooterCache::new(1 << 20)).unwrap();
    let expected = series();
    let expected = expected.iter().flat_map(|(key, points)| {
        (0..points.len()).map(|i| {
            let [project, metric, run] = [&key.project_id, &key.metric, &key.run_id].map(ToString::to_string);
            (project, metric, run, points.step[i], points.timestamp_us[i], points.value[i].to_bits(), points.lsn[i])
        })
    });
    assert!(scan(&segment, &PointFilter::default()).unwrap() == expected.collect::<Vec<Row>>(), "points");

    let listed: Vec<_> = segment.series_list().unwrap().map(|series| series.unwrap()).collect();
    assert_eq!(listed.iter().map(|series| series.extent.points).collect::<Vec<_>>(), [5, LONG_POINTS as u64]);
    let extents = segment.extents(&PointFilter::default()).unwrap().unwrap();
    assert_eq!(extents.iter().map(|extent| extent.rollup_levels).collect::<Vec<_>>(), [None, Some((7, 10))]);
    match segment.summaries(&PointFilter::default()).unwrap() {
        Some(summaries) => check_summaries(&summaries),
        None => assert_eq!(version, "1", "only the first version's do not say all"),
    }

    for (level, cells, steps) in [(7, 64, 128), (10, 8, 1_024)] {
        let rollups = segment.rollups(&PointFilter::default(), level, (i64::MIN, i64::MAX)).unwrap();
        let [(key, buckets)] = &rollups[..] else { panic!("{rollups:?}") };
        assert_eq!((key, buckets.len()), (&SeriesKey::new("1", "loss", "a"), cells));
        for (bucket, start) in buckets.iter().zip((0..).step_by(steps as usize)) {
            let (bucket, sum) = bucket.parts();
            let end = start + steps - 1;
            assert_eq!((bucket.first_step, bucket.last_step), (start, end));
            assert_eq!((bucket.first_time_us, bucket.last_time_us), (1_000 * start, 1_000 * end));
            assert_eq!((bucket.finite, bucket.nan, bucket.pos_inf, bucket.neg_inf), (steps as u64, 0, 0, 0));
            assert_eq!((bucket.min, bucket.min_step, bucket.max, bucket.max_step), (0.0, start, 0.75, start + 3));
            assert_eq!((bucket.first, bucket.last, sum.parts()), (0.0, 0.75, (steps as f64 * 0.375, 0.0)));
        }
    }
}

fn check_summaries(summaries: &[crate::SeriesSummary]) {
    let [hostile, long] = summaries else { panic!("{summaries:?}") };
    let counts = |summary: &crate::SeriesSummary| {
        let state = &summary.state;
        [state.finite, state.nan, state.pos_inf, state.neg_inf]
    };
    assert_eq!((counts(hostile), counts(long)), ([3, 1, 0, 1], [LONG_POINTS as u64, 0, 0, 0]));
    let first = hostile.state.first.unwrap();
    assert_eq!((first.step, first.lsn, first.time_us), (i64::MIN, 5, i64::MAX));
    assert_eq!(first.value.to_bits(), NAN_WITH_PAYLOAD);
    let last = Edge { step: i64::MAX, lsn: u64::MAX, time_us: i64::MIN, value: 1.5 };
    assert_eq!((hostile.state.last, hostile.state.latest), (Some(last), Some(last)));
    let (min, min_step) = hostile.state.min.unwrap();
    assert_eq!((min.to_bits(), min_step, hostile.state.max), ((-0.0f64).to_bits(), -1, Some((1.5, i64::MAX))));
    assert_eq!((hostile.state.sum.parts(), hostile.rollup_levels), ((1.5, 5e-324), None));
    assert_eq!((long.state.sum.parts(), long.rollup_levels), ((3_072.0, 0.0), Some((7, 10))));
    assert_eq!((long.state.min, long.state.max), (Some((0.0, 0)), Some((0.75, 3))));
}

#[test]
fn i12_the_golden_files_are_read_and_what_is_written_reads_alike() {
    let dir = tempfile::tempdir().unwrap();
    let meta = fresh(dir.path());
    check(FORMAT_VERSION, dir.path(), &meta);
    for version in ["1", FORMAT_VERSION] {
        let kept = tempfile::tempdir().unwrap();
        for (table, name) in SEGMENT_DIRS.iter().enumerate() {
            // A new version needs files of its own; those of versions before stay, and stay readable.
            let golden = golden(version, table);
            if version == FORMAT_VERSION && !golden.exists() && std::env::var_os("WRITE_GOLDEN").is_some() {
                std::fs::copy(dir.path().join(name).join("1.parquet"), &golden).unwrap();
            }
            std::fs::create_dir_all(kept.path().join(name)).unwrap();
            let copied = std::fs::copy(&golden, kept.path().join(name).join("1.parquet"));
            copied.unwrap_or_else(|error| panic!("{}: {error}: run with WRITE_GOLDEN=1", golden.display()));
        }
        check(version, kept.path(), &meta_of(kept.path()));
    }
}
