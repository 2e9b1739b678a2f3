//! Reading back what was acknowledged, and comparing every bit with what the data set says.

use std::fmt;

use anyhow::{Context, Result, ensure};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use stepwell_client::Client;

use crate::{BatchEncoder, Load, Point, Sent};

/// Points of a run that are read back at once, about: a query has a budget of memory and a deadline.
const SLICE_POINTS: u64 = 4_000_000;

/// What was compared.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Runs whose number of points was compared.
    pub runs: u64,
    /// Runs of which every point was compared.
    pub whole_runs: u64,
    pub points: u64,
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, whole_runs, points } = self;
        write!(
            f,
            "verified: each of {runs} runs has its number of points; {points} points of {whole_runs} runs bit for bit"
        )
    }
}

/// Compares the number of points of every run, and every point of up to `whole_runs` runs; fails at the first difference.
pub fn verify(load: &Load, sent: &Sent, whole_runs: usize) -> Result<VerifyReport> {
    let client = Client::new(&load.server)?;
    let encoder = BatchEncoder::new(load.dataset.clone(), load.batch);
    let expected = |run: u64, batches: u64| (0..batches).map(|batch| encoder.len(run, batch)).sum::<u64>();
    let query = "SELECT run_id, count(*) AS points FROM points GROUP BY run_id";
    let (_, counted) = client.sql_arrow(query, Some(&load.project))?;
    let mut counts = std::collections::HashMap::new();
    for batch in &counted {
        let (ids, points) = (text(batch, 0)?, cast(batch.column(1), &DataType::Int64)?);
        let points = points.as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            counts.insert(ids.as_string::<i32>().value(row).to_owned(), points.value(row) as u64);
        }
    }
    let mut report = VerifyReport::default();
    for (run, batches) in sent {
        let (id, wanted) = (load.dataset.run_id(*run), expected(*run, *batches));
        let found = counts.remove(&id).unwrap_or(0);
        ensure!(found == wanted, "run {id}: {wanted} points were acknowledged, {found} are there");
        report.runs += 1;
    }
    ensure!(counts.is_empty(), "runs that were not sent have points: {:?}", counts.keys());
    let stride = sent.len().div_ceil(whole_runs.max(1)).max(1);
    for (run, batches) in sent.iter().step_by(stride).take(whole_runs) {
        let points = expected(*run, *batches);
        verify_run(&client, load, *run, points).with_context(|| format!("run {}", load.dataset.run_id(*run)))?;
        report.points += points;
        report.whole_runs += 1;
    }
    Ok(report)
}

fn verify_run(client: &Client, load: &Load, run: u64, points: u64) -> Result<()> {
    let data = &load.dataset;
    let width = data.shape().metrics;
    let mut metrics: Vec<(String, u64)> = (0..width).map(|metric| (data.metric(metric), metric)).collect();
    metrics.sort();
    let per_slice = SLICE_POINTS / points.div_ceil(width).max(1);
    let slices = metrics.chunks(usize::try_from(per_slice.max(1))?);
    slices.into_iter().try_for_each(|slice| verify_slice(client, load, run, points, slice))
}

/// Compares some series of a run that has `points` points.
fn verify_slice(client: &Client, load: &Load, run: u64, points: u64, metrics: &[(String, u64)]) -> Result<()> {
    let data = &load.dataset;
    let width = data.shape().metrics;
    let names: Vec<String> = metrics.iter().map(|(name, _)| format!("'{name}'")).collect();
    let query = format!(
        "SELECT metric, step, timestamp, value FROM points WHERE run_id = '{}' AND metric IN ({}) ORDER BY metric, step, lsn",
        data.run_id(run),
        names.join(", ")
    );
    let (_, batches) = client.sql_arrow(&query, Some(&load.project))?;
    let mut rows = batches.iter().map(columns).collect::<Result<Vec<_>>>()?.into_iter().flatten();
    for (name, metric) in metrics {
        let len = (points + width - 1 - metric) / width;
        let mut series: Vec<Point> = (0..len).map(|row| data.point(run, *metric, row)).collect();
        // Stable: points at one step stay in the order in which they were sent.
        series.sort_by_key(|point| point.step);
        for point in series {
            let (found_name, found) = rows.next().context("a point is missing")?;
            let same = found_name == *name
                && (found.step, found.timestamp_us) == (point.step, point.timestamp_us)
                && found.value.to_bits() == point.value.to_bits();
            ensure!(same, "expected {name} {point:?}, found {found_name} {found:?}");
        }
    }
    ensure!(rows.next().is_none(), "there are points that were not sent");
    Ok(())
}

fn text(batch: &RecordBatch, column: usize) -> Result<arrow::array::ArrayRef> {
    Ok(cast(batch.column(column), &DataType::Utf8)?)
}

fn columns(batch: &RecordBatch) -> Result<Vec<(String, Point)>> {
    ensure!(batch.columns().iter().all(|column| column.null_count() == 0), "a null came back");
    let names = text(batch, 0)?;
    let times = cast(batch.column(2), &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let (names, times) = (names.as_string::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
    let (steps, values) = (batch.column(1).as_primitive::<Int64Type>(), batch.column(3).as_primitive::<Float64Type>());
    let point = |row| Point { step: steps.value(row), timestamp_us: times.value(row), value: values.value(row) };
    Ok((0..batch.num_rows()).map(|row| (names.value(row).to_owned(), point(row))).collect())
}
