//! Segments against a naive filter.

mod golden;
mod rot;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type},
};
use proptest::prelude::*;
use stepwell_env::{Disk, RealDisk};
use stepwell_types::{PointFilter, SegmentMeta, SeriesColumns, SeriesKey};

use crate::{FooterCache, Names, SEGMENT_DIRS, Segment, SegmentDamages, SegmentError, SegmentOptions, SegmentWriter};

type Row = (String, String, String, i64, i64, u64, u64);

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn rows(batch: &RecordBatch) -> Vec<Row> {
    let texts = [0, 1, 2].map(|column| cast(batch.column(column), &DataType::Utf8).unwrap());
    let text = |column: usize, row| texts[column].as_string::<i32>().value(row).to_owned();
    let row = |i| {
        (
            text(0, i),
            text(1, i),
            text(2, i),
            batch.column(3).as_primitive::<Int64Type>().value(i),
            batch.column(4).as_primitive::<TimestampMicrosecondType>().value(i),
            batch.column(5).as_primitive::<Float64Type>().value(i).to_bits(),
            batch.column(6).as_primitive::<UInt64Type>().value(i),
        )
    };
    (0..batch.num_rows()).map(row).collect()
}

fn write(dir: &Path, series: &[(SeriesKey, SeriesColumns)]) -> Result<SegmentMeta, SegmentError> {
    // Small pages and row groups, so that there is something to prune.
    let options = SegmentOptions { row_group_rows: 64, page_rows: 8, zstd_level: 1 };
    SEGMENT_DIRS.iter().for_each(|name| std::fs::create_dir_all(dir.join(name)).unwrap());
    let mut writer = SegmentWriter::create(Arc::new(RealDisk), dir, "1.parquet", &options)?;
    for (key, points) in series {
        writer.write(key, points)?;
    }
    writer.finish()
}

fn scan(segment: &Segment, filter: &PointFilter) -> Result<Vec<Row>, SegmentError> {
    scan_as(segment, filter, Names::Views)
}

fn scan_as(segment: &Segment, filter: &PointFilter, names: Names) -> Result<Vec<Row>, SegmentError> {
    let batches = segment.scan(filter, &[0, 1, 2, 3, 4, 5, 6], names, 10)?;
    let batches = batches.collect::<Result<Vec<RecordBatch>, _>>()?;
    Ok(batches.iter().flat_map(rows).collect())
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -20i64..20, Just(i64::MIN), Just(i64::MAX)]
}

fn points() -> impl Strategy<Value = SeriesColumns> {
    prop::collection::vec((integer(), integer(), any::<u64>()), 0..60).prop_map(|points| {
        let mut columns = SeriesColumns::default();
        for (lsn, (step, time_us, bits)) in (1..).zip(points) {
            columns.push(step, time_us, f64::from_bits(bits), lsn);
        }
        columns.sort();
        columns
    })
}

fn names(wanted: Option<Vec<usize>>, all: &[&str]) -> Option<BTreeSet<Arc<str>>> {
    wanted.map(|wanted| wanted.into_iter().map(|i| all[i % all.len()].into()).collect())
}

const PROJECTS: [&str; 2] = ["1", "2"];
const METRICS: [&str; 4] = ["a", "loss", "loss/x", "zz"];
const RUNS: [&str; 3] = ["r", "ü", "not there"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn i5_scans_equal_a_naive_filter(all in prop::collection::vec(points(), 16), a in integer(), b in integer(), c in integer(), d in integer(),
        projects in prop::option::of(prop::collection::vec(0usize..9, 0..2)), metrics in prop::option::of(prop::collection::vec(0usize..9, 0..3)),
        runs in prop::option::of(prop::collection::vec(0usize..9, 0..3)), by_step in any::<bool>(), by_time in any::<bool>()) {
        let mut all = all.into_iter();
        let mut series: Vec<(SeriesKey, SeriesColumns)> = Vec::new();
        for project in PROJECTS { for metric in METRICS { for run in &RUNS[..2] {
            series.push((SeriesKey::new(project, metric, *run), all.next().unwrap()));
        } } }
        let dir = tempfile::tempdir().unwrap();
        let meta = match write(dir.path(), &series) {
            Err(SegmentError::Empty) => return Ok(()),
            result => result.unwrap(),
        };
        let segment = Segment::open(&disk(), dir.path(), &meta, &FooterCache::new(1 << 20)).unwrap();
        prop_assert_eq!(segment.damages().unwrap(), SegmentDamages::default());
        let everything = (i64::MIN, i64::MAX);
        let filter = PointFilter {
            project_ids: names(projects, &PROJECTS), metrics: names(metrics, &METRICS), run_ids: names(runs, &RUNS),
            step: if by_step { (a.min(b), a.max(b)) } else { everything },
            timestamp_us: if by_time { (c.min(d), c.max(d)) } else { everything },
        };
        let mut expected = Vec::new();
        for (key, points) in series.iter().filter(|(key, _)| filter.accepts_series(key)) {
            for i in 0..points.len() {
                if filter.accepts_point(points.step[i], points.timestamp_us[i]) {
                    expected.push((key.project_id.to_string(), key.metric.to_string(), key.run_id.to_string(),
                        points.step[i], points.timestamp_us[i], points.value[i].to_bits(), points.lsn[i]));
                }
            }
        }
        prop_assert!(expected.is_empty() || meta.might_match(&filter));
        prop_assert!(segment.scan_rows_estimate(&filter) >= expected.len() as u64);
        prop_assert_eq!(&scan(&segment, &filter).unwrap(), &expected);
        prop_assert_eq!(&scan_as(&segment, &filter, Names::Numbers).unwrap(), &expected);
        let only_values = segment.scan(&filter, &[5], Names::Views, 10).unwrap();
        prop_assert_eq!(only_values.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), expected.len());
    }
}

fn small(dir: &Path) -> SegmentMeta {
    let mut columns = SeriesColumns::default();
    (0..20).for_each(|i| columns.push(i, i, if i == 3 { f64::NAN } else { -0.0 }, i as u64 + 1));
    write(dir, &[(SeriesKey::new("1", "loss", "a"), columns)]).unwrap()
}

#[test]
fn columns_come_in_the_order_asked_for_and_keys_must_rise() {
    let dir = tempfile::tempdir().unwrap();
    let meta = small(dir.path());
    assert_eq!((meta.rows, meta.step, meta.lsn), (20, (0, 19), (1, 20)));
    assert!(!RealDisk.exists(&dir.path().join("segments/1.parquet.tmp")));
    let segment = Segment::open(&disk(), dir.path(), &meta, &FooterCache::new(1 << 20)).unwrap();
    let filter = PointFilter { step: (5, 9), ..PointFilter::default() };
    let batch = segment.scan(&filter, &[5, 2], Names::Views, 100).unwrap().next().unwrap().unwrap();
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!((names.join(","), batch.num_rows()), ("value,run_id".to_owned(), 5));
    let rows: usize =
        segment.scan(&filter, &[], Names::Views, 100).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 5, "counting needs no column");
    let mut one = SeriesColumns::default();
    one.push(1, 1, 1.0, 1);
    let (a, b) = (SeriesKey::new("1", "a", "x"), SeriesKey::new("1", "b", "x"));
    let result = write(dir.path(), &[(b, one.clone()), (a, one)]);
    assert!(matches!(result, Err(SegmentError::OutOfOrder { .. })));
}

/// A hundred open segments, of whose footers there is room for a few: what is used again and again stays, and none is
/// answered from less than its file.
#[test]
fn i9_footers_are_kept_up_to_their_budget_and_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let meta = small(dir.path());
    let everything = PointFilter::default();
    let open = |footers: &FooterCache| Segment::open(&disk(), dir.path(), &meta, footers).unwrap();
    let roomy = FooterCache::new(usize::MAX);
    let expected = scan(&open(&roomy), &everything).unwrap();
    assert_eq!(roomy.bytes(), 0, "what is closed is not kept");
    let one = open(&roomy);
    scan(&one, &everything).unwrap();
    let each = roomy.bytes();
    assert!(each > 0);
    let footers = FooterCache::new(3 * each);
    let segments: Vec<Segment> = (0..100).map(|_| open(&footers)).collect();
    for segment in &segments {
        for favourite in [&segments[0], segment] {
            assert_eq!(scan(favourite, &everything).unwrap(), expected);
            assert!(footers.bytes() <= 3 * each, "{} of {each} each", footers.bytes());
        }
    }
    assert!(segments[0].has_footer(), "it was used between any two others");
    assert_eq!(segments.iter().filter(|segment| segment.has_footer()).count(), 3);
    let none = FooterCache::new(0);
    assert_eq!((scan(&open(&none), &everything).unwrap(), none.bytes()), (expected, 0));
    drop(segments);
    assert_eq!(footers.bytes(), 0);
}

proptest! {
    /// From many threads, whatever the order, the count of bytes comes out even.
    #[test]
    fn footers_of_many_readers_are_counted_once(order in prop::collection::vec(0usize..4, 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let meta = small(dir.path());
        let footers = FooterCache::new(10_000);
        let segments: Vec<Segment> =
            (0..4).map(|_| Segment::open(&disk(), dir.path(), &meta, &footers).unwrap()).collect();
        std::thread::scope(|scope| {
            for part in order.chunks(10) {
                let segments = &segments;
                scope.spawn(move || part.iter().for_each(|i| assert!(scan(&segments[*i], &PointFilter::default()).is_ok())));
            }
        });
        prop_assert!(footers.bytes() <= 10_000);
        drop(segments);
        prop_assert_eq!(footers.bytes(), 0);
    }
}
