//! I9: what a flush and a merge hold beside the points themselves is bounded by the settings, not by what is written. The rows of a series
//! that is long, or of which steps came in any order, pass through in parts, and the writer holds one row group.

use std::{path::Path, sync::Arc};

use stepwell_allocation::{CountingAllocator, peak_bytes};
use stepwell_env::RealDisk;
use stepwell_memtable::{Memtable, PART_ROWS, Rows, SlabPool};
use stepwell_segment::{SEGMENT_DIRS, SegmentOptions, SegmentWriter, SeriesExtent};
use stepwell_types::{Batch, Lsn, PointFilter, SeriesColumns, SeriesKey};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MIB: usize = 1 << 20;
const ROW_BYTES: usize = SeriesColumns::POINT_BYTES;

/// A memtable with one series of `steps`.
fn memtable(steps: &[i64]) -> Arc<Memtable> {
    let memtable = Arc::new(Memtable::new(SlabPool::default()));
    for (number, steps) in (0..).zip(steps.chunks(1 << 16)) {
        let n = steps.len();
        let series = vec![SeriesKey::new("1", "loss", "r")];
        let batch = Batch::new(series, vec![0; n], steps.to_vec(), vec![7; n], vec![0.5; n]).unwrap();
        memtable.insert(&batch, Lsn(1 + number * (1 << 16)), Rows::All);
    }
    memtable
}

#[test]
fn i9_a_long_series_is_read_in_parts_whatever_the_order_of_its_steps() {
    let rows = 1 << 20;
    let in_order: Vec<i64> = (0..rows).collect();
    // An odd factor: each step once, near none of its neighbours.
    let shuffled: Vec<i64> = in_order.iter().map(|step| step * 7_919 % rows).collect();
    let resumed: Vec<i64> = (0..rows / 2).chain(rows / 4..rows * 3 / 4).collect();
    for (name, steps, most) in [
        ("in order", &in_order, 2 * PART_ROWS * ROW_BYTES),
        ("shuffled", &shuffled, 6 * PART_ROWS * ROW_BYTES),
        ("resumed", &resumed, 6 * PART_ROWS * ROW_BYTES),
    ] {
        let view = memtable(steps).view(Lsn(u64::MAX));
        let series = view.series(&PointFilter::default()).pop().unwrap();
        let (read, peak) = peak_bytes(|| {
            let (mut part, mut read) = (SeriesColumns::default(), 0);
            let mut last = (i64::MIN, 0);
            let mut parts = view.parts(&series, &PointFilter::default());
            while parts.read(&mut part) {
                for row in part.step.iter().copied().zip(part.lsn.iter().copied()) {
                    assert!(row > last, "{name}: {row:?} behind {last:?}");
                    last = row;
                }
                read += part.len();
                part.clear();
            }
            read
        });
        assert_eq!(read, steps.len(), "{name}");
        assert!(peak <= most, "{name}: {peak} bytes beside the {} of the series", steps.len() * ROW_BYTES);
    }
}

/// What is written, in calls of at most a part: one long series; many whose names are long; many long enough for rollups.
fn write(dir: &Path, options: &SegmentOptions, series: usize, points: usize, name_bytes: usize) -> usize {
    SEGMENT_DIRS.iter().for_each(|name| std::fs::create_dir_all(dir.join(name)).unwrap());
    let (written, peak) = peak_bytes(|| {
        let mut writer = SegmentWriter::create(Arc::new(RealDisk), dir, "1.parquet", options).unwrap();
        let mut part = SeriesColumns::default();
        for number in 0..series {
            let key = SeriesKey::new("1", format!("{number:0>name_bytes$}"), "r");
            let extent = SeriesExtent { points: points as u64, first_step: 0, last_step: points as i64 - 1 };
            writer.begin(&key, extent).unwrap();
            for begin in (0..points).step_by(PART_ROWS) {
                part.clear();
                for step in begin..points.min(begin + PART_ROWS) {
                    // Values that do not compress.
                    let value = f64::from_bits((step as u64 * 31 + number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    part.push(step as i64, step as i64 * 1_003, value, (number * points + step) as u64 + 1);
                }
                writer.append(&part).unwrap();
            }
        }
        writer.finish().unwrap()
    });
    assert_eq!(written.rows, (series * points) as u64);
    peak
}

#[test]
fn i9_a_segment_is_written_within_the_memory_that_it_may_have() {
    let within = 8 * MIB;
    let options = SegmentOptions::within(within);
    for (name, series, points, name_bytes) in [
        ("one series", 1, 600_000, 10),
        ("long names", 60_000, 2, 1_000),
        ("many series", 300_000, 1, 20),
        ("rollups", 200, 4_096, 20),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let peak = write(dir.path(), &options, series, points, name_bytes);
        println!("{name}: {peak} bytes");
        assert!(peak <= within, "{name}: {peak} bytes where it may have {within}");
    }
}
