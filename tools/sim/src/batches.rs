//! Batches of points that are hard to keep: each can be told from all others by its value or its timestamp.

use stepwell_types::{Batch, SeriesKey};

use crate::dice::Dice;

/// A point as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Position among [`all_series`].
    pub(crate) series: usize,
    pub(crate) step: i64,
    pub(crate) timestamp_us: i64,
    pub(crate) bits: u64,
    /// Whether no other point has its bits; else none has its timestamp.
    pub(crate) has_own_bits: bool,
}

const RUNS: [&str; 4] = ["a", "a-2", "b", "run/ü"];
const METRICS: [&str; 3] = ["acc{split=val}", "loss", "lr"];

/// The series of every world, in key order.
pub(crate) fn all_series() -> Vec<SeriesKey> {
    let mut all = Vec::new();
    for project in ["1", "2"] {
        for metric in METRICS {
            all.extend(RUNS.map(|run| SeriesKey::new(project, metric, run)));
        }
    }
    all.sort();
    all
}

/// Names of runs and metrics, for deletions.
pub(crate) fn names() -> (&'static [&'static str], &'static [&'static str]) {
    (&RUNS, &METRICS)
}

/// Where timestamps begin: ranges so far from one another that a counter added to them never makes two alike.
const TIMES_US: [i64; 5] = [i64::MIN, -1_000_000_000, 0, 1_790_000_000_000_000, i64::MAX - (1 << 40)];

/// Rows of a new batch; `next_id` counts all points of the world.
pub(crate) fn rows(dice: &Dice, points_max: u64, next_id: &mut u64) -> Vec<Row> {
    let series_count = all_series().len() as u64;
    // Few series at a time, so that some get long.
    let of: Vec<usize> = (0..1 + dice.below(4)).map(|_| dice.below(series_count) as usize).collect();
    let mut step = match dice.below(8) {
        0 => i64::MIN,
        1 => i64::MAX - 500,
        2 => dice.any() as i64,
        // Overlaps with what was sent before.
        3..5 => dice.below(200) as i64,
        _ => *next_id as i64,
    };
    let time_base = *dice.pick(&TIMES_US);
    let count = 1 + dice.below(points_max);
    let mut rows = Vec::new();
    for _ in 0..count {
        *next_id += 1;
        let id = *next_id;
        if !dice.once_in(6) {
            step = step.saturating_add(1);
        }
        let (bits, has_own_bits) = value(dice, id);
        // Points with bits of their own may share a time, as those of one step do.
        let timestamp_us = if has_own_bits && dice.once_in(2) { 1_790_000_000_000_000 } else { time_base + id as i64 };
        rows.push(Row { series: *dice.pick(&of), step, timestamp_us, bits, has_own_bits });
    }
    rows
}

fn value(dice: &Dice, id: u64) -> (u64, bool) {
    let noise = dice.below(1 << 19) << 32;
    match dice.below(16) {
        0 => (f64::INFINITY.to_bits(), false),
        1 => (f64::NEG_INFINITY.to_bits(), false),
        2 => ((-0.0_f64).to_bits(), false),
        3 => (0.0_f64.to_bits(), false),
        // Quiet and signalling NaN with a payload, either sign.
        4 => ((0x7ff8_u64 << 48) | id | (dice.below(2) << 63), true),
        5 => ((0x7ff0_u64 << 48) | id, true),
        // Subnormal.
        6 => (id | (dice.below(2) << 63), true),
        // Of any size.
        7 => (((1 + dice.below(2_045)) << 52) | noise | id | (dice.below(2) << 63), true),
        _ => (((1_010 + dice.below(26)) << 52) | noise | id | (dice.below(2) << 63), true),
    }
}

/// The batch that carries them.
pub(crate) fn batch(all: &[SeriesKey], rows: &[Row]) -> Batch {
    let mut of: Vec<usize> = Vec::new();
    let mut index = Vec::new();
    for row in rows {
        let known = of.iter().position(|series| *series == row.series);
        index.push(known.unwrap_or_else(|| {
            of.push(row.series);
            of.len() - 1
        }) as u32);
    }
    let series = of.into_iter().map(|series| all[series].clone()).collect();
    let step = rows.iter().map(|row| row.step).collect();
    let timestamp_us = rows.iter().map(|row| row.timestamp_us).collect();
    let value = rows.iter().map(|row| f64::from_bits(row.bits)).collect();
    Batch::new(series, index, step, timestamp_us, value).expect("columns of one length")
}
