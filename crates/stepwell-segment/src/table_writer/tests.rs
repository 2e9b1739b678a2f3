//! What is written against what Parquet's own reader finds.

use std::{fs::File, path::Path};

use arrow::{
    array::AsArray,
    compute::concat_batches,
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type},
};
use parquet::{
    arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    basic::Encoding,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData},
        page_index::column_index::ColumnIndexMetaData,
        statistics::Statistics,
    },
};
use proptest::prelude::*;
use stepwell_env::RealDisk;

use super::*;
use crate::format::{LSN, TIMESTAMP};

const VALUE: usize = TIMESTAMP + 1;

/// Steps, times, bits of values and LSNs.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rows {
    steps: Vec<i64>,
    times: Vec<i64>,
    bits: Vec<u64>,
    lsns: Vec<i64>,
}

impl Rows {
    fn of_times(times: Vec<i64>) -> Self {
        let numbers: Vec<i64> = (0..times.len() as i64).collect();
        let bits = numbers.iter().map(|number| (*number as f64).to_bits()).collect();
        Self { steps: numbers.clone(), times, bits, lsns: numbers }
    }
}

fn write(dir: &Path, options: &SegmentOptions, rows: &Rows) -> FileMeta {
    std::fs::create_dir_all(dir.join("segments")).unwrap();
    let mut writer = TableWriter::create(Arc::new(RealDisk), dir, Kind::Points, "1.parquet", options).unwrap();
    let mut from = 0;
    while from < rows.times.len() {
        let to = rows.times.len().min(from + writer.room());
        let fill = |columns: &mut [Column]| {
            let [Column::Integers(steps), Column::Integers(times), Column::Values(values), Column::Integers(lsns)] =
                columns
            else {
                panic!("not the columns of points")
            };
            steps.extend(&rows.steps[from..to]);
            times.extend(&rows.times[from..to]);
            values.extend(rows.bits[from..to].iter().map(|bits| f64::from_bits(*bits)));
            lsns.extend(&rows.lsns[from..to]);
        };
        writer.append(&SeriesKey::new("1", "loss", "r"), to - from, fill).unwrap();
        from = to;
    }
    writer.finish().unwrap()
}

/// Reads with the library alone.
fn read(dir: &Path) -> (Rows, Arc<ParquetMetaData>) {
    let file = File::open(dir.join("segments/1.parquet")).unwrap();
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let (schema, metadata) = (builder.schema().clone(), builder.metadata().clone());
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    let all = concat_batches(&schema, &batches).unwrap();
    let rows = Rows {
        steps: all.column(STEP).as_primitive::<Int64Type>().values().to_vec(),
        times: all.column(TIMESTAMP).as_primitive::<TimestampMicrosecondType>().values().to_vec(),
        bits: all.column(VALUE).as_primitive::<Float64Type>().values().iter().map(|value| value.to_bits()).collect(),
        lsns: all.column(LSN).as_primitive::<UInt64Type>().values().iter().map(|lsn| *lsn as i64).collect(),
    };
    (rows, metadata)
}

/// Checks what row groups and pages say of a column of integers; `key` turns a value into what they are compared by.
fn check_bounds<K: Ord + std::fmt::Debug>(
    metadata: &ParquetMetaData,
    column: usize,
    values: &[i64],
    key: fn(i64) -> K,
) {
    let bounds = |values: &[i64]| {
        let keys = || values.iter().map(|value| key(*value));
        (keys().min(), keys().max())
    };
    let mut group_first = 0;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let in_group = &values[group_first..group_first + group.num_rows() as usize];
        group_first += in_group.len();
        let Some(Statistics::Int64(of_group)) = group.column(column).statistics() else { panic!("no statistics") };
        let said = (of_group.min_opt().map(|v| key(*v)), of_group.max_opt().map(|v| key(*v)));
        assert_eq!(said, bounds(in_group));
        let ColumnIndexMetaData::INT64(index) = &metadata.column_index().unwrap()[number][column] else {
            panic!("no column index")
        };
        let pages = metadata.offset_index().unwrap()[number][column].page_locations();
        for (page, location) in pages.iter().enumerate() {
            let end = pages.get(page + 1).map_or(in_group.len(), |next| next.first_row_index as usize);
            let in_page = &in_group[location.first_row_index as usize..end];
            let said = (index.min_value(page).map(|v| key(*v)), index.max_value(page).map(|v| key(*v)));
            assert_eq!(said, bounds(in_page), "page {page}");
        }
    }
    assert_eq!(group_first, values.len());
}

/// Of the data pages of the first row group.
fn encoding(metadata: &ParquetMetaData, column: usize) -> Encoding {
    let mut encodings = metadata.row_group(0).column(column).encodings();
    encodings.find(|encoding| *encoding != Encoding::RLE).unwrap()
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -20i64..20, Just(i64::MIN), Just(i64::MAX)]
}

/// Stretches that come again and stretches that do not.
fn times() -> impl Strategy<Value = Vec<i64>> {
    let stretch = (prop::collection::vec(integer(), 1..70), 1usize..12);
    let stretches = prop::collection::vec(stretch, 1..5);
    stretches.prop_map(|all| all.into_iter().flat_map(|(stretch, times)| stretch.repeat(times)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn i5_i12_any_rows_come_back_from_parquet_and_their_bounds_hold(times in times(), seed in any::<u64>(),
        page_rows in 1usize..40, row_group_rows in 1usize..700) {
        let bits: Vec<u64> = (0..times.len() as u64).map(|i| noise(seed ^ i)).collect();
        let lsns = bits.iter().map(|bits| *bits as i64).collect();
        let rows = Rows { steps: times.iter().rev().copied().collect(), times, bits, lsns };
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &SegmentOptions { row_group_rows, page_rows, zstd_level: 1 }, &rows);
        let (found, metadata) = read(dir.path());
        prop_assert_eq!(&found, &rows);
        check_bounds(&metadata, STEP, &rows.steps, |step| step);
        check_bounds(&metadata, TIMESTAMP, &rows.times, |time| time);
        check_bounds(&metadata, LSN, &rows.lsns, |lsn| lsn as u64);
    }
}

/// The finaliser of SplitMix64.
fn noise(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Times of a clock that ticks four times a second, 40 ms more or less.
fn jittered(runs: usize, steps: usize) -> Vec<i64> {
    let time =
        |row: usize| 1_767_225_600_000_000 + (row % steps) as i64 * 250_000 + (noise(row as u64) % 40_000) as i64;
    (0..runs * steps).map(time).collect()
}

/// The encoding of the times, and bytes that each takes.
fn stored(times: Vec<i64>) -> (Encoding, f64) {
    let rows = times.len() as f64;
    let dir = tempfile::tempdir().unwrap();
    let rows_written = Rows::of_times(times);
    write(dir.path(), &SegmentOptions::default(), &rows_written);
    let (found, metadata) = read(dir.path());
    assert!(found == rows_written, "what was read is not what was written");
    (encoding(&metadata, TIMESTAMP), metadata.row_group(0).column(TIMESTAMP).compressed_size() as f64 / rows)
}

#[test]
fn times_that_all_metrics_share_are_stored_once_and_others_by_their_differences() {
    for (runs, steps) in [(1, 60), (64, 80), (30, 1_000)] {
        let (encoding, bytes) = stored(jittered(runs, steps).repeat(200_000 / (runs * steps)));
        assert!(encoding == Encoding::PLAIN && bytes < 0.6, "{runs} runs of {steps} steps: {encoding}, {bytes}");
    }
    let (encoding, bytes) = stored(jittered(2, 50_000));
    assert!(encoding == Encoding::DELTA_BINARY_PACKED && bytes < 2.3, "nothing comes again: {encoding}, {bytes}");
    let (encoding, bytes) = stored((0..100_000).map(|row| row % 5_000 * 1_000_000).collect());
    assert!(encoding == Encoding::DELTA_BINARY_PACKED && bytes < 0.1, "clocks without jitter: {encoding}, {bytes}");
}

#[test]
fn each_byte_of_values_is_compressed_apart() {
    // Three bytes of noise and an exponent, as 32-bit floats have them.
    let bits = (0..8_192u64).map(|i| f64::from(1.0 + (noise(i) >> 41) as f32 / 8_388_608.0).to_bits());
    let rows = Rows { bits: bits.collect(), ..Rows::of_times((0..8_192).collect()) };
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &SegmentOptions::default(), &rows);
    let (found, metadata) = read(dir.path());
    assert_eq!(found, rows);
    let bytes = metadata.row_group(0).column(VALUE).compressed_size() as f64 / 8_192.0;
    assert!(bytes < 3.1, "{bytes}");
}
