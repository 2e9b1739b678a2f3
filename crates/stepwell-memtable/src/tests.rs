//! The memtable against a plain vector.

use std::sync::Arc;

use proptest::prelude::*;
use stepwell_types::{Batch, Lsn, PointFilter, SeriesColumns, SeriesKey};

use crate::{
    Memtable, MemtableView, PART_ROWS, Rows, SeriesHandle, SlabPool,
    rows::{SLAB_BYTES, SLAB_ROWS},
};

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::NAN),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::from_bits(1)),
    ]
}

fn step() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -3i64..3, Just(i64::MIN), Just(i64::MAX)]
}

fn keys() -> Vec<SeriesKey> {
    let names = ["a", "b", "c"];
    names.iter().flat_map(|m| names.iter().map(|r| SeriesKey::new("1", *m, *r))).collect()
}

/// All parts of a series, each checked to be no longer than it may.
fn read(view: &MemtableView, series: &SeriesHandle, filter: &PointFilter, part_rows: usize) -> SeriesColumns {
    let mut out = SeriesColumns::default();
    let mut parts = view.parts(series, filter);
    parts.part_rows = part_rows;
    let rows_max = part_rows.max(view.rows_max().div_ceil(32));
    loop {
        let before = out.len();
        if !parts.read(&mut out) {
            assert!(out.len() == before && parts.is_done());
            return out;
        }
        assert!(out.len() > before && out.len() - before <= rows_max);
    }
}

fn bits(columns: &SeriesColumns) -> Vec<(i64, i64, u64, u64)> {
    (0..columns.len())
        .map(|i| (columns.step[i], columns.timestamp_us[i], columns.value[i].to_bits(), columns.lsn[i]))
        .collect()
}

proptest! {
    #[test]
    fn i5_i6_reads_equal_a_plain_vector(points in prop::collection::vec((0u32..9, step(), step(), value()), 0..200), cut in 0usize..200, low in step(), high in step(), part_rows in 1usize..9, is_in_order: bool) {
        let memtable = Arc::new(Memtable::new(SlabPool::default()));
        let mut points = points;
        if is_in_order {
            points.sort_by_key(|point| point.1);
        }
        let batch = Batch::new(
            keys(),
            points.iter().map(|p| p.0).collect(),
            points.iter().map(|p| p.1).collect(),
            points.iter().map(|p| p.2).collect(),
            points.iter().map(|p| p.3).collect(),
        ).unwrap();
        memtable.insert(&batch, Lsn(100), Rows::All);
        let visible = Lsn(100 + cut.min(points.len()) as u64);
        let view = memtable.view(visible);
        // Later inserts must not show.
        memtable.insert(&batch, Lsn(100 + points.len() as u64), Rows::All);
        let filter = PointFilter { step: (low.min(high), low.max(high)), ..PointFilter::default() };
        for (number, key) in keys().iter().enumerate() {
            let mut expected: Vec<_> = points
                .iter()
                .enumerate()
                .take(cut)
                .filter(|(_, p)| p.0 as usize == number && filter.accepts_point(p.1, p.2))
                .map(|(i, p)| (p.1, p.2, p.3.to_bits(), 100 + i as u64))
                .collect();
            expected.sort_by_key(|p| (p.0, p.3));
            let mut out = SeriesColumns::default();
            for handle in view.series(&PointFilter::series(key)) {
                prop_assert_eq!(handle.key(), key);
                out = read(&view, &handle, &filter, part_rows);
                let all = read(&view, &handle, &PointFilter::default(), part_rows);
                prop_assert_eq!(view.steps(&handle), all.step.first().copied().zip(all.step.last().copied()));
            }
            prop_assert_eq!(bits(&out), expected);
        }
        prop_assert!(view.series(&PointFilter::default()).is_sorted_by(|a, b| a.key() < b.key()));
    }
}

#[test]
fn rows_of_which_none_passes_are_not_the_end() {
    let memtable = Arc::new(Memtable::new(SlabPool::default()));
    let steps: Vec<i64> = (0..10).collect();
    let batch = Batch::new(keys(), vec![0; 10], steps.clone(), steps, vec![1.5; 10]).unwrap();
    memtable.insert(&batch, Lsn(1), Rows::All);
    let view = memtable.view(Lsn(u64::MAX));
    let filter = PointFilter { step: (7, 8), ..PointFilter::default() };
    assert_eq!(read(&view, &view.series(&filter)[0], &filter, 2).step, [7, 8]);
}

#[test]
#[cfg_attr(miri, ignore = "one thread and many points, as below")]
fn slabs_fill_and_chosen_rows_keep_their_lsn() {
    let memtable = Arc::new(Memtable::new(SlabPool::default()));
    let n = 3 * SLAB_ROWS + 7;
    let steps: Vec<i64> = (0..n as i64).collect();
    let batch = Batch::new(keys(), vec![4; n], steps.clone(), steps.clone(), vec![1.5; n]).unwrap();
    let odd: Vec<u32> = (1..n as u32).step_by(2).collect();
    memtable.insert(&batch, Lsn(10), Rows::Some(&odd));
    let view = memtable.view(Lsn(u64::MAX));
    let out = read(&view, &view.series(&PointFilter::default())[0], &PointFilter::default(), 1_000);
    assert_eq!(out.len(), odd.len());
    assert!((0..out.len()).all(|i| out.lsn[i] == 10 + out.step[i] as u64 && out.step[i] % 2 == 1));
    assert_eq!((memtable.series_len(), memtable.view(Lsn(10)).rows_max()), (1, 0));
    assert_eq!(view.last_step("1", "b"), odd.last().map(|&row| i64::from(row)));
    assert_eq!(view.last_step("2", "b"), None);
    let earlier = [(18, Some(7)), (11, None)];
    assert!(earlier.iter().all(|(lsn, last)| memtable.view(Lsn(*lsn)).last_step("1", "b") == *last));
}

#[test]
fn i10_a_reader_beside_the_writer_sees_whole_prefixes() {
    let memtable = Arc::new(Memtable::new(SlabPool::default()));
    // An interpreter that looks at every access is a thousand times slower.
    let (batches, views) = if cfg!(miri) { (40, 10) } else { (2_000, 300) };
    let key = vec![SeriesKey::new("1", "m", "r")];
    let batch =
        |i: i64| Batch::new(key.clone(), vec![0; 10], (i * 10..i * 10 + 10).collect(), vec![0; 10], vec![0.0; 10]);
    std::thread::scope(|scope| {
        let writer = memtable.clone();
        scope.spawn(move || {
            (0..batches).for_each(|i| writer.insert(&batch(i).unwrap(), Lsn(1 + i as u64 * 10), Rows::All))
        });
        for _ in 0..views {
            let view = memtable.view(Lsn(10_001));
            let mut out = SeriesColumns::default();
            for handle in view.series(&PointFilter::default()) {
                out = read(&view, &handle, &PointFilter::default(), 64);
            }
            assert_eq!(out.len() % 10, 0, "a batch is seen whole or not at all");
            assert!(out.step.iter().enumerate().all(|(i, step)| *step == i as i64) && out.len() <= 10_000);
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "one thread and many points: an hour in the interpreter, which sees nothing in it")]
fn i9_memory_goes_from_memtable_to_memtable_and_not_more_than_allowed() {
    let pool = SlabPool::new(2 * SLAB_BYTES + 1);
    let n = 3 * SLAB_ROWS;
    let batch = |value: f64| {
        let series = vec![SeriesKey::new("1", "loss", "r")];
        Batch::new(series, vec![0; n], (0..n as i64).collect(), vec![7; n], vec![value; n]).unwrap()
    };
    for value in [1.0, 2.0] {
        let memtable = Arc::new(Memtable::new(pool.clone()));
        memtable.insert(&batch(value), Lsn(1), Rows::All);
        assert_eq!(pool.free_bytes(), 0);
        let view = memtable.view(Lsn(u64::MAX));
        let columns = read(&view, &view.series(&PointFilter::default())[0], &PointFilter::default(), PART_ROWS);
        assert!(columns.len() == n && columns.value.iter().all(|read| *read == value));
        drop(view);
        drop(memtable);
        assert_eq!(pool.free_bytes(), 2 * SLAB_BYTES);
    }
}
