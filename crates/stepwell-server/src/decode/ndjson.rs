//! NDJSON ingest: one point a line, with the names of the Arrow columns.

use stepwell_types::{Batch, limits};

use super::{
    Budget, DecodeCode, DecodeError,
    cell::{Cell, Members, malformed_json},
    error::too_many_points,
    series_table::BatchBuilder,
};

/// One more than a line may have: among so many, one is unknown or given twice.
const MEMBERS_MAX: usize = 6;
/// Lines between two charges of the budget.
const LINES_PER_CHARGE: usize = 1_024;

/// The members of a line, as they stand.
#[derive(Default)]
struct Line<'a> {
    run_id: Option<Cell<'a>>,
    metric: Option<Cell<'a>>,
    step: Option<Cell<'a>>,
    timestamp: Option<Cell<'a>>,
    value: Option<Cell<'a>>,
}

/// Decodes all lines to one batch; empty lines are skipped but counted. `now_us` stands in for absent and null timestamps.
pub(crate) fn decode(body: &[u8], now_us: i64, budget: &mut Budget) -> Result<Batch, DecodeError> {
    let mut builder = BatchBuilder::new();
    for (index, line) in body.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let row = index as u64 + 1;
        if builder.value.len() == limits::BATCH_POINTS_MAX {
            return Err(too_many_points(limits::BATCH_POINTS_MAX + 1).row(row));
        }
        point(line, row, now_us, &mut builder).map_err(|error| error.row(row))?;
        if builder.value.len().is_multiple_of(LINES_PER_CHARGE) {
            builder.charge(budget)?;
        }
    }
    builder.charge(budget)?;
    builder.finish()
}

fn point(line: &[u8], row: u64, now_us: i64, builder: &mut BatchBuilder) -> Result<(), DecodeError> {
    let line = read_line(line, row)?;
    let run = named(&line.run_id, "run_id", |text| builder.runs.id(text))?;
    let metric = named(&line.metric, "metric", |text| builder.metrics.id(text))?;
    let step = required(&line.step, "step")?.step("step")?;
    let timestamp_us = match &line.timestamp {
        None | Some(Cell::Null) => now_us,
        Some(cell) => cell.timestamp_us("timestamp")?,
    };
    let value = required(&line.value, "value")?.value("value")?;
    builder.push(run, metric, step, timestamp_us, value);
    Ok(())
}

fn read_line(line: &[u8], row: u64) -> Result<Line<'_>, DecodeError> {
    let Members(members) = members(line, row)?;
    let mut read = Line::default();
    for (name, cell) in members {
        let slot = match &*name {
            "run_id" => &mut read.run_id,
            "metric" => &mut read.metric,
            "step" => &mut read.step,
            "timestamp" => &mut read.timestamp,
            "value" => &mut read.value,
            _ => return Err(unknown(&name)),
        };
        if slot.replace(cell).is_some() {
            return Err(twice(&name));
        }
    }
    Ok(read)
}

fn members(line: &[u8], row: u64) -> Result<Members<'_, MEMBERS_MAX>, DecodeError> {
    let mut parser = serde_json::Deserializer::from_slice(line);
    let members = <Members<'_, MEMBERS_MAX> as serde::Deserialize>::deserialize(&mut parser);
    members.and_then(|members| parser.end().map(|()| members)).map_err(|error| malformed_json(&error, row))
}

fn required<'a, 'b>(cell: &'b Option<Cell<'a>>, name: &'static str) -> Result<&'b Cell<'a>, DecodeError> {
    cell.as_ref().ok_or_else(|| {
        DecodeError::new(
            DecodeCode::MissingField,
            format!(
                "{name} is missing: a line is {{\"run_id\",\"metric\",\"step\",\"value\"}} and optionally \"timestamp\""
            ),
        )
        .field(name)
    })
}

fn named(
    cell: &Option<Cell<'_>>,
    name: &'static str,
    mut id: impl FnMut(&str) -> Result<u32, DecodeError>,
) -> Result<u32, DecodeError> {
    id(required(cell, name)?.text(name)?)
}

fn unknown(name: &str) -> DecodeError {
    let shown: String = name.chars().take(100).collect();
    DecodeError::new(
        DecodeCode::UnknownField,
        format!("{shown:?} is unknown: a line has run_id, metric, step, timestamp and value"),
    )
    .field(shown)
}

fn twice(name: &str) -> DecodeError {
    DecodeError::new(DecodeCode::MalformedJson, format!("{name} is given twice")).field(name)
}

#[cfg(test)]
mod tests;
