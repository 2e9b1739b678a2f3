//! Snapshots, read in every way and compared.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type},
};
use stepwell_engine::{ChartData, ChartRequest, EngineError, Snapshot};
use stepwell_segment::Names;
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey};

use crate::{dice::Dice, model::Seen, naive};

/// All points of a snapshot, in no order, or what kept it from being read.
pub(crate) fn all_points(snapshot: &Snapshot, all: &[SeriesKey], dice: &Dice) -> Result<Vec<Seen>, EngineError> {
    let numbers: BTreeMap<&SeriesKey, usize> = all.iter().enumerate().map(|(number, key)| (key, number)).collect();
    let mut points = Vec::new();
    let batch_rows = *dice.pick(&[50, 1_000, 8_192]);
    for partition in snapshot.scan(&PointFilter::default()) {
        for batch in partition.open(&[0, 1, 2, 3, 4, 5, 6], Names::Views, batch_rows)? {
            take(&batch?, &numbers, &mut points);
        }
    }
    Ok(points)
}

fn take(batch: &RecordBatch, numbers: &BTreeMap<&SeriesKey, usize>, points: &mut Vec<Seen>) {
    let names = [0, 1, 2].map(|column| batch.column(column).as_string_view());
    let step = batch.column(3).as_primitive::<Int64Type>();
    let timestamp_us = batch.column(4).as_primitive::<TimestampMicrosecondType>();
    let value = batch.column(5).as_primitive::<Float64Type>();
    let lsn = batch.column(6).as_primitive::<UInt64Type>();
    for row in 0..batch.num_rows() {
        let key = SeriesKey::new(names[0].value(row), names[1].value(row), names[2].value(row));
        points.push(Seen {
            series: numbers.get(&key).copied().unwrap_or(usize::MAX),
            step: step.value(row),
            timestamp_us: timestamp_us.value(row),
            bits: value.value(row).to_bits(),
            lsn: lsn.value(row),
        });
    }
}

/// Points by series, each sorted by (step, LSN).
pub(crate) fn by_series(points: &[Seen]) -> BTreeMap<usize, Vec<Seen>> {
    let mut of: BTreeMap<usize, Vec<Seen>> = BTreeMap::new();
    for point in points {
        of.entry(point.series).or_default().push(*point);
    }
    of.values_mut().for_each(|points| points.sort_by_key(|point| (point.step, point.lsn)));
    of
}

fn seen(series: usize, columns: &SeriesColumns) -> Vec<Seen> {
    let at = |i: usize| Seen {
        series,
        step: columns.step[i],
        timestamp_us: columns.timestamp_us[i],
        bits: columns.value[i].to_bits(),
        lsn: columns.lsn[i],
    };
    (0..columns.len()).map(at).collect()
}

/// What is made of the points of a snapshot, against the same made of `points`, which are all of them.
pub(crate) fn check_derived(
    snapshot: &Snapshot,
    points: &[Seen],
    all: &[SeriesKey],
    dice: &Dice,
) -> Result<Result<(), String>, EngineError> {
    let of = by_series(points);
    let summaries = snapshot.summaries(&PointFilter::default())?;
    let keys: Vec<&SeriesKey> = summaries.iter().map(|(key, _)| key).collect();
    if keys != of.keys().map(|series| &all[*series]).collect::<Vec<_>>() {
        return Ok(Err(format!("summaries are of {keys:?}, points of {:?}", of.keys())));
    }
    for ((key, summary), points) in summaries.iter().zip(of.values()) {
        if let Err(wrong) = naive::check_summary(summary, points) {
            return Ok(Err(format!("summary of {key:?}: {wrong}")));
        }
    }
    for _ in 0..3 {
        let series = dice.below(all.len() as u64) as usize;
        if let Err(wrong) = check_one(snapshot, &of, series, &all[series])? {
            return Ok(Err(format!("{:?}: {wrong}", all[series])));
        }
    }
    check_chart(snapshot, &of, all, dice)
}

fn check_one(
    snapshot: &Snapshot,
    of: &BTreeMap<usize, Vec<Seen>>,
    series: usize,
    key: &SeriesKey,
) -> Result<Result<(), String>, EngineError> {
    let expected = of.get(&series).cloned().unwrap_or_default();
    let read = seen(series, &snapshot.series(key, &PointFilter::default())?);
    if read != expected {
        return Ok(Err(format!("I6: a series of {} points was read as {} points", expected.len(), read.len())));
    }
    let last = snapshot.last_step(&key.project_id, &key.run_id)?;
    Ok(check_last_step(last, of, series))
}

/// Of all metrics of the run that the series is of.
fn check_last_step(last: Option<i64>, of: &BTreeMap<usize, Vec<Seen>>, series: usize) -> Result<(), String> {
    let all = crate::batches::all_series();
    let is_of_run = |other: &usize| {
        (&all[*other].project_id, &all[*other].run_id) == (&all[series].project_id, &all[series].run_id)
    };
    let steps = of.iter().filter(|(other, _)| is_of_run(other)).flat_map(|(_, points)| points);
    let expected = steps.map(|point| point.step).max();
    if last == expected { Ok(()) } else { Err(format!("the last step of the run is {expected:?}, not {last:?}")) }
}

fn check_chart(
    snapshot: &Snapshot,
    of: &BTreeMap<usize, Vec<Seen>>,
    all: &[SeriesKey],
    dice: &Dice,
) -> Result<Result<(), String>, EngineError> {
    let mut wanted: Vec<usize> = (0..all.len()).filter(|_| dice.once_in(4)).collect();
    wanted.extend(of.iter().max_by_key(|(_, points)| points.len()).map(|(series, _)| *series));
    wanted.sort_unstable();
    wanted.dedup();
    let bound = |dice: &Dice| dice.once_in(3).then(|| *dice.pick(&[dice.below(300) as i64, dice.any() as i64]));
    let request = ChartRequest {
        series: wanted.iter().map(|series| all[*series].clone()).collect(),
        from_step: bound(dice),
        to_step: bound(dice),
        buckets: *dice.pick(&[1, 4, 30, 1_000]),
    };
    let (from, to) = (request.from_step.unwrap_or(i64::MIN), request.to_step.unwrap_or(i64::MAX));
    for (series, chart) in wanted.iter().zip(snapshot.chart(&request)?) {
        let points = of.get(series).map(|points| naive::last_per_step(points)).unwrap_or_default();
        let points: Vec<Seen> = points.into_iter().filter(|point| (from..=to).contains(&point.step)).collect();
        let wrong = match &chart {
            ChartData::Raw(raw) if seen(*series, raw) == points => Ok(()),
            ChartData::Raw(raw) => Err(format!("{} points instead of {}", raw.len(), points.len())),
            ChartData::Buckets(buckets) => naive::check_buckets(buckets, &points),
        };
        if let Err(wrong) = wrong {
            return Ok(Err(format!("chart of {:?}: {wrong}; {request:?}", all[*series])));
        }
    }
    Ok(Ok(()))
}
