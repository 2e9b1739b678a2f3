//! The bodies of `POST /api/v1/runs/{run_id}/log`: objects `{"step"?, "timestamp"?, "metrics": {…}}`, one or many.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use stepwell_app::LogRow;
use stepwell_types::limits;

use super::{
    Budget, DecodeCode, DecodeError,
    cell::{Cell, Members, malformed_json},
    error::too_many_points,
};

/// What a line takes, bytes, and what each of its metrics does while it is read, beside the text.
const LINE_BYTES: usize = 160;
const METRIC_BYTES: usize = 256;

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogLine {
    /// `None`: one past the run's last.
    pub(crate) step: Option<i64>,
    /// Microseconds since the Unix epoch, UTC; `None`: now.
    pub(crate) timestamp_us: Option<i64>,
    pub(crate) metrics: Vec<(String, f64)>,
}

impl From<LogLine> for LogRow {
    fn from(line: LogLine) -> Self {
        Self { step: line.step, timestamp_us: line.timestamp_us, metrics: line.metrics }
    }
}

/// Decodes one object, which may span lines, or any number of them with white space between.
pub(crate) fn decode(body: &[u8], budget: &mut Budget) -> Result<Vec<LogLine>, DecodeError> {
    let mut objects = serde_json::Deserializer::from_slice(body).into_iter::<Raw<'_>>();
    let mut lines = Vec::new();
    let mut points = 0;
    let mut newlines = Newlines { body, offset: 0, row: 1 };
    loop {
        let row = newlines.row_of_next(objects.byte_offset());
        let Some(object) = objects.next() else { break };
        let object = object.map_err(|error| malformed_json(&error, row));
        let line = object.and_then(|raw| line(raw, row, budget)).map_err(|error| error.row(row))?;
        points += line.metrics.len();
        if points > limits::BATCH_POINTS_MAX {
            return Err(too_many_points(points).row(row));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        let message = "the body is empty: send {\"metrics\": {\"loss\": 0.1}}";
        return Err(DecodeError::new(DecodeCode::MissingField, message).field("metrics"));
    }
    Ok(lines)
}

/// Counts lines up to a rising offset.
struct Newlines<'a> {
    body: &'a [u8],
    offset: usize,
    row: u64,
}

impl Newlines<'_> {
    /// The line on which the first byte that is not white space stands, from `offset` on.
    fn row_of_next(&mut self, offset: usize) -> u64 {
        let start = offset + self.body[offset..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.row += self.body[self.offset..start].iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.offset = start;
        self.row
    }
}

/// The members of an object, as they stand.
#[derive(Default)]
struct Raw<'a> {
    step: Option<Cell<'a>>,
    timestamp: Option<Cell<'a>>,
    metrics: Option<Metrics<'a>>,
    unknown: Option<String>,
    twice: Option<&'static str>,
}

/// The member `metrics`, which should be an object.
enum Metrics<'a> {
    Object(&'a RawValue),
    Other,
}

fn line(raw: Raw<'_>, row: u64, budget: &mut Budget) -> Result<LogLine, DecodeError> {
    budget.decode(LINE_BYTES)?;
    if let Some(name) = raw.unknown {
        let message = format!("{name:?} is unknown: a line has step, timestamp and metrics");
        return Err(DecodeError::new(DecodeCode::UnknownField, message).field(name));
    }
    if let Some(name) = raw.twice {
        return Err(DecodeError::new(DecodeCode::MalformedJson, format!("{name} is given twice")).field(name));
    }
    let metrics = match raw.metrics {
        Some(Metrics::Object(object)) => metrics(object.get(), row, budget)?,
        Some(Metrics::Other) => return Err(not_an_object()),
        None => {
            let message =
                "metrics is missing: a line is {\"metrics\": {\"loss\": 0.1}} and optionally step and timestamp";
            return Err(DecodeError::new(DecodeCode::MissingField, message).field("metrics"));
        }
    };
    Ok(LogLine {
        step: present(raw.step).map(|cell| cell.step("step")).transpose()?,
        timestamp_us: present(raw.timestamp).map(|cell| cell.timestamp_us("timestamp")).transpose()?,
        metrics,
    })
}

fn present(cell: Option<Cell<'_>>) -> Option<Cell<'_>> {
    cell.filter(|cell| *cell != Cell::Null)
}

fn metrics(object: &str, row: u64, budget: &mut Budget) -> Result<Vec<(String, f64)>, DecodeError> {
    // Each metric has a colon, so that there are no more of them than colons.
    budget.decode(object.bytes().filter(|&byte| byte == b':').count().saturating_mul(METRIC_BYTES))?;
    let members = serde_json::from_str::<Members<'_, { usize::MAX }>>(object);
    let Members(members) = members.map_err(|error| malformed_json(&error, row))?;
    let mut metrics: Vec<(String, f64)> = Vec::with_capacity(members.len());
    let mut seen = std::collections::HashSet::with_capacity(members.len());
    for (name, cell) in &members {
        stepwell_types::check_metric(name).map_err(|error| DecodeError::name(&error))?;
        if !seen.insert(name) {
            let message = format!("the metric {name:?} is given twice in one object");
            return Err(DecodeError::new(DecodeCode::MalformedJson, message).field(name.as_ref()));
        }
        metrics.push((name.to_string(), cell.value(name)?));
    }
    Ok(metrics)
}

fn not_an_object() -> DecodeError {
    DecodeError::new(DecodeCode::WrongType, "metrics must be an object such as {\"loss\": 0.1}").field("metrics")
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with metrics")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut raw = Raw::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let twice = match &*name {
                "step" => raw.step.replace(map.next_value()?).is_some().then_some("step"),
                "timestamp" => raw.timestamp.replace(map.next_value()?).is_some().then_some("timestamp"),
                "metrics" => raw.metrics.replace(map.next_value()?).is_some().then_some("metrics"),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    raw.unknown.get_or_insert_with(|| name.chars().take(100).collect());
                    None
                }
            };
            raw.twice = raw.twice.or(twice);
        }
        Ok(raw)
    }
}

impl<'de> Deserialize<'de> for Metrics<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A raw value first: only an object is looked into, everything else is one error of ours.
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(if raw.get().starts_with('{') { Self::Object(raw) } else { Self::Other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::InFlight;

    fn decode(body: &[u8]) -> Result<Vec<LogLine>, DecodeError> {
        super::decode(body, &mut Budget::new(InFlight::new(1 << 20), 1 << 20))
    }

    #[test]
    fn one_object_over_lines_and_many_in_lines() {
        let one = decode(b"{\n \"metrics\": {\"loss\": 0.1,\n \"acc\": \"NaN\"}\n}").unwrap();
        assert_eq!(one[0].metrics[0], ("loss".to_owned(), 0.1));
        assert!(one[0].metrics[1].1.is_nan());
        let body =
            b"{\"step\":1,\"metrics\":{\"a\":-0.0}}\n\n{\"timestamp\":\"1970-01-01T00:00:01Z\",\"metrics\":{}}\n";
        let two = decode(body).unwrap();
        assert_eq!((two[0].step, two[0].metrics[0].1.to_bits()), (Some(1), (-0.0_f64).to_bits()));
        assert_eq!((two[1].step, two[1].timestamp_us), (None, Some(1_000_000)));
    }

    #[test]
    fn i4_refusals_name_line_and_field() {
        let check = |body: &str, code, row, field: Option<&str>| {
            let error = decode(body.as_bytes()).unwrap_err();
            assert_eq!((error.code, error.row, error.field.as_deref()), (code, row, field), "{body}: {error}");
        };
        check("", DecodeCode::MissingField, None, Some("metrics"));
        check("{}", DecodeCode::MissingField, Some(1), Some("metrics"));
        check("{\"metrics\":[1]}", DecodeCode::WrongType, Some(1), Some("metrics"));
        check("{\"metrics\":{}}\n{\"loss\":1}", DecodeCode::UnknownField, Some(2), Some("loss"));
        check("{\"metrics\":{\"a\":null}}", DecodeCode::NullValue, Some(1), Some("a"));
        check("{\"metrics\":{\"a\":true}}", DecodeCode::WrongType, Some(1), Some("a"));
        check("{\"metrics\":{\"\":1}}", DecodeCode::InvalidName, Some(1), Some("metric"));
        check("{\"metrics\":{\"a\":1,\"a\":2}}", DecodeCode::MalformedJson, Some(1), Some("a"));
        check("{\"step\":1.5,\"metrics\":{}}", DecodeCode::WrongType, Some(1), Some("step"));
        check("{\"metrics\":{}}\n\n{\"metrics\"", DecodeCode::MalformedJson, Some(3), None);
        check("[1]", DecodeCode::MalformedJson, Some(1), None);
    }
}
