//! The tables of a segment: Parquet files whose checksum the manifest knows, and whose content is anything.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, OnceLock},
};

use arrow::{
    array::{
        ArrayRef, AsArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
        UInt64Array,
    },
    datatypes::{Int32Type, SchemaRef},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{metadata::KeyValue, properties::WriterProperties},
};
use stepwell_env::{Disk, SimDisk};
use stepwell_segment::{FooterCache, Names, SEGMENT_DIRS, Segment, SegmentError, SegmentOptions, SegmentWriter};
use stepwell_types::{FileMeta, PointFilter, SegmentMeta, SeriesColumns, SeriesKey, points_schema};

use crate::Target;

const DIR: &str = "/data";
const NAME: &str = "1.parquet";
/// Rows after which a scan is left: a few bytes can say that a row comes again a billion times.
const ROWS_MAX: usize = 200_000;

/// Points: opened, pruned, scanned in several ways.
pub(super) const POINTS: Target = target(
    "segment-points",
    |bytes| table(0, bytes),
    || {
        vec![
            segment()[0].clone(),
            plain_points(Compression::UNCOMPRESSED),
            plain_points(Compression::ZSTD(ZstdLevel::default())),
        ]
    },
);

/// A summary for each series.
pub(super) const SUMMARIES: Target =
    target("segment-summaries", |bytes| table(1, bytes), || vec![segment()[1].clone()]);

/// Buckets of long series.
pub(super) const ROLLUPS: Target = target("segment-rollups", |bytes| table(2, bytes), || vec![segment()[2].clone()]);

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    // One page and one dictionary of each column may be there at a time.
    Target { name, run, seeds, words: &["PAR1"], memory_bytes: (128 << 20, 256), replayed: 1_000 }
}

fn put(disk: &SimDisk, table: usize, bytes: &[u8]) -> std::io::Result<FileMeta> {
    let dir = Path::new(DIR).join(SEGMENT_DIRS[table]);
    disk.create_dir_all(&dir)?;
    disk.create(&dir.join(NAME))?.append(bytes)?;
    Ok(FileMeta { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes), tail: None })
}

/// Reads a table in every way there is. I11: an error or rows, nothing else.
fn table(table: usize, bytes: &[u8]) {
    let disk = SimDisk::new();
    let file = put(&disk, table, bytes).expect("a disk in memory without faults");
    // A segment is opened by its points; where another table is meant they are good, and few, since they stand in for it.
    let points = if table == 0 { Ok(file) } else { put(&disk, 0, few_points()) };
    let everything = (i64::MIN, i64::MAX);
    let meta = SegmentMeta {
        file_name: NAME.to_owned(),
        tier: 0,
        purged: 0,
        file: points.expect("a disk in memory without faults"),
        summaries: (table == 1).then_some(file),
        rollups: (table == 2).then_some(file),
        rows: u64::MAX,
        series: (SeriesKey::new("", "", ""), SeriesKey::new("\u{10ffff}", "", "")),
        step: everything,
        timestamp_us: everything,
        lsn: (0, u64::MAX),
    };
    let footers = FooterCache::new(1 << 20);
    let segment = Segment::open(&(Arc::new(disk) as Arc<dyn Disk>), Path::new(DIR), &meta, &footers)
        .expect("length and checksum are right");
    segment.verify().expect("the checksum is right");
    let named = |names: &[&str]| Some(names.iter().map(|name| Arc::from(*name)).collect::<BTreeSet<Arc<str>>>());
    let filters = [
        PointFilter::default(),
        PointFilter { metrics: named(&["loss"]), run_ids: named(&["a", "b"]), ..PointFilter::default() },
        PointFilter {
            project_ids: named(&["1"]),
            step: (1, 40),
            timestamp_us: (i64::MIN, 1_030),
            ..PointFilter::default()
        },
    ];
    for filter in &filters {
        match table {
            0 => points_of(&segment, filter),
            1 => {
                allowed(segment.summaries(filter));
                allowed(segment.extents(filter));
            }
            _ => allowed(segment.rollups(filter, 7, (i64::MIN, i64::MAX))),
        }
    }
    if let Ok(list) = segment.series_list() {
        list.take(ROWS_MAX).for_each(allowed);
    }
    segment.verify().expect("reading changes nothing");
}

/// Errors are; that reading goes on after one is for its caller.
fn allowed<T>(result: Result<T, SegmentError>) {
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
}

fn points_of(segment: &Segment, filter: &PointFilter) {
    let estimate = segment.scan_rows_estimate(filter);
    let mut counts = Vec::new();
    for (projection, names) in
        [(&[0, 1, 2, 3, 4, 5, 6][..], Names::Views), (&[0, 1, 2, 3, 4, 5, 6], Names::Numbers), (&[5, 3], Names::Views)]
    {
        let Ok(scan) = segment.scan(filter, projection, names, 1_000) else { return };
        let mut rows = Some(0);
        for batch in scan {
            match batch {
                Ok(batch) => rows = rows.map(|rows| rows + checked(&batch, projection, filter)),
                Err(_) => rows = None,
            }
            if rows.is_none_or(|rows| rows > ROWS_MAX) {
                rows = None;
                break;
            }
        }
        counts.push(rows);
    }
    let complete: BTreeSet<usize> = counts.iter().flatten().copied().collect();
    // Pages that contradict one another give as many rows as each has; the estimate is of what the footer says.
    assert!(complete.iter().all(|rows| *rows as u64 <= estimate), "{complete:?} rows of at most {estimate}");
}

/// The rows of a batch, all of which pass.
fn checked(batch: &RecordBatch, projection: &[usize], filter: &PointFilter) -> usize {
    assert_eq!(batch.num_columns(), projection.len());
    let steps = projection.iter().position(|column| *column == 3).map(|at| batch.column(at));
    if let Some(steps) = steps.and_then(|steps| steps.as_primitive_opt::<arrow::datatypes::Int64Type>()) {
        assert!(
            steps.values().iter().all(|step| (filter.step.0..=filter.step.1).contains(step)),
            "a step beside the filter"
        );
    }
    batch.num_rows()
}

/// The three files of a small segment, as the engine writes them, with a series just long enough for rollups.
fn segment() -> &'static [Vec<u8>; 3] {
    static SEGMENT: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    SEGMENT.get_or_init(|| written_segment(4_096))
}

/// The points of the same series, fewer of them.
fn few_points() -> &'static [u8] {
    static POINTS: OnceLock<Vec<u8>> = OnceLock::new();
    POINTS.get_or_init(|| written_segment(50)[0].clone())
}

fn written_segment(longest: i64) -> [Vec<u8>; 3] {
    let disk = SimDisk::new();
    let write = || -> Result<[Vec<u8>; 3], Box<dyn std::error::Error>> {
        SEGMENT_DIRS.iter().try_for_each(|dir| disk.create_dir_all(&Path::new(DIR).join(dir)))?;
        let options = SegmentOptions { row_group_rows: 3_000, page_rows: 1_000, zstd_level: 1 };
        let mut writer = SegmentWriter::create(Arc::new(disk.clone()), Path::new(DIR), NAME, &options)?;
        for (metric, run, points) in [("acc", "a", 50), ("loss", "a", longest), ("loss", "b", 50)] {
            let mut columns = SeriesColumns::default();
            (0..points).for_each(|i| {
                columns.push(i, 1_000 + i, if i == 3 { f64::NAN } else { (i % 4) as f64 * 0.25 }, i as u64 + 1)
            });
            writer.write(&SeriesKey::new("1", metric, run), &columns)?;
        }
        writer.finish()?;
        let read = |dir| {
            let path = Path::new(DIR).join(dir).join(NAME);
            if disk.exists(&path) { disk.read(&path) } else { Ok(Vec::new()) }
        };
        Ok([read(SEGMENT_DIRS[0])?, read(SEGMENT_DIRS[1])?, read(SEGMENT_DIRS[2])?])
    };
    write().expect("a disk in memory without faults")
}

/// Points as another program could write them: pages without checksums, so that a changed page is decoded.
fn plain_points(compression: Compression) -> Vec<u8> {
    let rows = 60;
    let text = |names: [&str; 2]| -> ArrayRef {
        Arc::new((0..rows).map(|row| Some(names[usize::from(row >= rows / 2)])).collect::<DictionaryArray<Int32Type>>())
    };
    let columns: [ArrayRef; 7] = [
        text(["1", "1"]),
        text(["acc", "loss"]),
        text(["a", "a"]),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row % 30))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(1_000..1_000 + rows).with_timezone("UTC")),
        Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64 * 0.1))),
        Arc::new(UInt64Array::from_iter_values(1..=rows as u64)),
    ];
    let write = || -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let schema: SchemaRef = points_schema();
        let columns = columns.iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
        let batch = RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)?;
        let key_value = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_data_page_row_count_limit(20)
            .set_write_batch_size(20)
            .set_key_value_metadata(Some(vec![
                key_value("stepwell.format_version", "1"),
                key_value("stepwell.kind", "points"),
            ]));
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build()))?;
        writer.write(&batch)?;
        Ok(writer.into_inner()?)
    };
    write().expect("columns of one length")
}
