//! Series as JSON: parallel arrays.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use stepwell_app::{SeriesData, SeriesResponse, SeriesResult};
use stepwell_types::{Bucket, SeriesColumns};
use utoipa::ToSchema;

use crate::json_float::JsonFloat;

/// Series as of one snapshot.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which is written from the columns")]
pub(crate) struct SeriesAnswer {
    /// The last LSN that the answer takes in.
    snapshot_lsn: u64,
    series: Vec<OneSeries>,
}

/// One metric of one run.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which is written from the columns")]
pub(crate) struct OneSeries {
    run_id: String,
    metric: String,
    /// Points in the range, before downsampling.
    points: u64,
    /// Whether the columns are step, timestamp and value: so where there are no more points than buckets.
    raw: bool,
    columns: SeriesColumnArrays,
}

/// Parallel arrays: with `raw` the first three, else the others, an entry per bucket that has points. Times are
/// microseconds since 1970 UTC; values that are no numbers are the texts NaN, Infinity and -Infinity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which is written from the columns")]
pub(crate) struct SeriesColumnArrays {
    step: Option<Vec<i64>>,
    timestamp: Option<Vec<i64>>,
    value: Option<Vec<f64>>,
    first_step: Option<Vec<i64>>,
    last_step: Option<Vec<i64>>,
    first_time: Option<Vec<i64>>,
    last_time: Option<Vec<i64>>,
    count: Option<Vec<u64>>,
    finite: Option<Vec<u64>>,
    nan: Option<Vec<u64>>,
    pos_inf: Option<Vec<u64>>,
    neg_inf: Option<Vec<u64>>,
    /// Of the finite values; NaN where there are none.
    min: Option<Vec<f64>>,
    min_step: Option<Vec<i64>>,
    max: Option<Vec<f64>>,
    max_step: Option<Vec<i64>>,
    /// Of the finite values.
    sum: Option<Vec<f64>>,
    first: Option<Vec<f64>>,
    last: Option<Vec<f64>>,
}

/// About how long the answer is, rather more: numbers of usual lengths.
pub(super) fn bytes_estimate(response: &SeriesResponse) -> usize {
    let rows = |series: &SeriesResult| match &*series.data {
        SeriesData::Raw(points) => points.len() * 48,
        SeriesData::Buckets(buckets) => buckets.len() * 192,
    };
    response.series.iter().map(|series| 256 + series.run_id.len() + series.metric.len() + rows(series)).sum()
}

/// The whole answer.
pub(super) fn encode(response: &SeriesResponse) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&Answer(response)).map_err(|error| error.to_string())
}

struct Answer<'a>(&'a SeriesResponse);
struct One<'a>(&'a SeriesResult);
struct Raw<'a>(&'a SeriesColumns);
struct Buckets<'a>(&'a [Bucket]);
/// One column: a function of each row.
struct Column<'a, R, F>(&'a [R], F);

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("snapshot_lsn", &self.0.snapshot_lsn)?;
        map.serialize_entry("series", &Column(&self.0.series, One))?;
        map.end()
    }
}

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("run_id", &*self.0.run_id)?;
        map.serialize_entry("metric", &*self.0.metric)?;
        map.serialize_entry("points", &self.0.points)?;
        map.serialize_entry("raw", &matches!(*self.0.data, SeriesData::Raw(_)))?;
        match &*self.0.data {
            SeriesData::Raw(columns) => map.serialize_entry("columns", &Raw(columns))?,
            SeriesData::Buckets(buckets) => map.serialize_entry("columns", &Buckets(buckets))?,
        }
        map.end()
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("step", &self.0.step)?;
        map.serialize_entry("timestamp", &self.0.timestamp_us)?;
        map.serialize_entry("value", &Column(&self.0.value, |value: &f64| JsonFloat(*value)))?;
        map.end()
    }
}

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(16))?;
        map.serialize_entry("first_step", &Column(self.0, |b: &Bucket| b.first_step))?;
        map.serialize_entry("last_step", &Column(self.0, |b: &Bucket| b.last_step))?;
        map.serialize_entry("first_time", &Column(self.0, |b: &Bucket| b.first_time_us))?;
        map.serialize_entry("last_time", &Column(self.0, |b: &Bucket| b.last_time_us))?;
        map.serialize_entry("count", &Column(self.0, |b: &Bucket| b.count))?;
        map.serialize_entry("finite", &Column(self.0, |b: &Bucket| b.finite))?;
        map.serialize_entry("nan", &Column(self.0, |b: &Bucket| b.nan))?;
        map.serialize_entry("pos_inf", &Column(self.0, |b: &Bucket| b.pos_inf))?;
        map.serialize_entry("neg_inf", &Column(self.0, |b: &Bucket| b.neg_inf))?;
        map.serialize_entry("min", &Column(self.0, |b: &Bucket| JsonFloat(b.min)))?;
        map.serialize_entry("min_step", &Column(self.0, |b: &Bucket| b.min_step))?;
        map.serialize_entry("max", &Column(self.0, |b: &Bucket| JsonFloat(b.max)))?;
        map.serialize_entry("max_step", &Column(self.0, |b: &Bucket| b.max_step))?;
        map.serialize_entry("sum", &Column(self.0, |b: &Bucket| JsonFloat(b.sum)))?;
        map.serialize_entry("first", &Column(self.0, |b: &Bucket| JsonFloat(b.first)))?;
        map.serialize_entry("last", &Column(self.0, |b: &Bucket| JsonFloat(b.last)))?;
        map.end()
    }
}

impl<'a, R, T: Serialize, F: Fn(&'a R) -> T> Serialize for Column<'a, R, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for row in self.0 {
            seq.serialize_element(&(self.1)(row))?;
        }
        seq.end()
    }
}
