//! Batches of a data set as Arrow streams, encoded without looking at a name more than once.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit},
};
use arrow_ipc::writer::StreamWriter;
use serde::Serialize;

use crate::Dataset;

/// Encodes batches of a fixed number of points. A run's points are numbered row by row, and within a row by metric; batch `b`
/// holds those from `b × points` on.
pub struct BatchEncoder {
    dataset: Arc<Dataset>,
    points: u64,
    schema: SchemaRef,
    /// Names of the metrics, repeated once, so that any `metrics` in a row are a slice.
    names: Vec<String>,
    /// The metric column of a full batch, and the metric that it starts with.
    metrics: Option<(u64, ArrayRef)>,
    keys: Int32Array,
}

#[derive(Serialize)]
struct MlflowBatch<'a> {
    run_id: String,
    metrics: Vec<MlflowMetric<'a>>,
}

#[derive(Serialize)]
struct MlflowMetric<'a> {
    key: &'a str,
    value: MlflowValue,
    timestamp: i64,
    step: i64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum MlflowValue {
    Number(f64),
    /// What JSON has no number for.
    Word(&'static str),
}

/// The runs that the dictionary of a stream names.
pub(crate) struct RunNames {
    runs: Vec<u64>,
    names: ArrayRef,
}

impl RunNames {
    /// Of rising numbers of runs.
    pub(crate) fn new(dataset: &Dataset, runs: Vec<u64>) -> Self {
        let names = StringArray::from_iter_values(runs.iter().map(|run| dataset.run_id(*run)));
        Self { runs, names: Arc::new(names) }
    }

    fn column(&self, run: u64, len: u64) -> Result<ArrayRef> {
        let number = self.runs.binary_search(&run).ok().context("a run that is not of this stream")?;
        let keys = Int32Array::from(vec![number as i32; len as usize]);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, self.names.clone())?))
    }
}

impl BatchEncoder {
    /// For batches of `points` points.
    pub fn new(dataset: Arc<Dataset>, points: u64) -> Self {
        let (points, metrics) = (points.max(1), dataset.shape().metrics);
        let names: Vec<String> = (0..metrics).map(|metric| dataset.metric(metric)).collect();
        let keys = (0..points).map(|point| (point % metrics) as i32).collect::<Vec<_>>().into();
        let name = |name: &str| Field::new_dictionary(name, DataType::Int32, DataType::Utf8, false);
        let schema = Arc::new(Schema::new(vec![
            name("run_id"),
            name("metric"),
            Field::new("step", DataType::Int64, false),
            Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new("value", DataType::Float64, false),
        ]));
        Self { names: [names.clone(), names].concat(), dataset, points, schema, metrics: None, keys }
    }

    /// Batches that the whole run makes; the last may be short.
    pub fn batches(&self, run: u64) -> u64 {
        self.dataset.points(run).div_ceil(self.points)
    }

    /// Points in a batch.
    pub fn len(&self, run: u64, batch: u64) -> u64 {
        let first = batch * self.points;
        self.dataset.points(run).saturating_sub(first).min(self.points)
    }

    /// A batch as one Arrow stream. The same batch always has the same bytes.
    pub fn encode(&mut self, run: u64, batch: u64) -> Result<Vec<u8>> {
        let runs = RunNames::new(&self.dataset, vec![run]);
        let batch = self.record_batch(&runs, run, batch)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        Ok(writer.into_inner()?)
    }

    /// The same batch as the body of MLflow's `log-batch`, with times in milliseconds.
    pub(crate) fn log_batch(&self, run: u64, batch: u64) -> Result<Vec<u8>> {
        let (first, len, width) = (batch * self.points, self.len(run, batch), self.dataset.shape().metrics);
        let metrics = (first..first + len).map(|number| {
            let point = self.dataset.point(run, number % width, number / width);
            let key = self.names[(number % width) as usize].as_str();
            let value = match point.value {
                value if value.is_nan() => MlflowValue::Word("NaN"),
                f64::INFINITY => MlflowValue::Word("Infinity"),
                f64::NEG_INFINITY => MlflowValue::Word("-Infinity"),
                value => MlflowValue::Number(value),
            };
            MlflowMetric { key, value, timestamp: point.timestamp_us.div_euclid(1_000), step: point.step }
        });
        let body = MlflowBatch { run_id: self.dataset.run_id(run), metrics: metrics.collect() };
        Ok(serde_json::to_vec(&body)?)
    }

    /// The columns of the schema that all batches have.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A batch of a run that `runs` names. Its dictionaries are the same from batch to batch, as long as its metrics are.
    pub(crate) fn record_batch(&mut self, runs: &RunNames, run: u64, batch: u64) -> Result<RecordBatch> {
        let (first, len, width) = (batch * self.points, self.len(run, batch), self.dataset.shape().metrics);
        let metrics = self.metric_column(first % width, len)?;
        let capacity = len as usize;
        let (mut steps, mut times) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        let mut values = Vec::with_capacity(capacity);
        for number in first..first + len {
            let point = self.dataset.point(run, number % width, number / width);
            steps.push(point.step);
            times.push(point.timestamp_us);
            values.push(point.value);
        }
        let columns: Vec<ArrayRef> = vec![
            runs.column(run, len)?,
            metrics,
            Arc::new(Int64Array::from(steps)),
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
            Arc::new(Float64Array::from(values)),
        ];
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn metric_column(&mut self, first: u64, len: u64) -> Result<ArrayRef> {
        if let Some((begin, column)) = &self.metrics
            && *begin == first
            && len == self.points
        {
            return Ok(column.clone());
        }
        let distinct = self.dataset.shape().metrics.min(len);
        let names = &self.names[first as usize..(first + distinct) as usize];
        let names = StringArray::from_iter_values(names);
        let keys = self.keys.slice(0, len as usize);
        let column: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(names))?);
        if len == self.points {
            self.metrics = Some((first, column.clone()));
        }
        Ok(column)
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::Float64Type};
    use arrow_ipc::reader::StreamReader;

    use super::*;
    use crate::Shape;

    #[test]
    fn batches_of_any_size_hold_each_point_of_a_run_once() {
        let dataset = Arc::new(Dataset::new("sweep", Shape { runs: 2, metrics: 7, steps: 40 }, 3));
        for points in [1, 3, 7, 10, 14, 1_000] {
            let mut encoder = BatchEncoder::new(dataset.clone(), points);
            let mut read = Vec::new();
            for batch in 0..encoder.batches(1) {
                let bytes = encoder.encode(1, batch).unwrap();
                let decoded = StreamReader::try_new(&bytes[..], None).unwrap().next().unwrap().unwrap();
                assert_eq!(decoded.num_rows() as u64, encoder.len(1, batch));
                let names = decoded.column(1).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
                let values = decoded.column(4).as_primitive::<Float64Type>().values();
                read.extend(names.into_iter().map(|n| n.unwrap().to_owned()).zip(values.iter().map(|v| v.to_bits())));
            }
            let expected = (0..dataset.points(1)).map(|number| {
                let point = dataset.point(1, number % 7, number / 7);
                (dataset.metric(number % 7), point.value.to_bits())
            });
            assert_eq!(read, expected.collect::<Vec<_>>(), "{points} points a batch");
        }
    }
}
