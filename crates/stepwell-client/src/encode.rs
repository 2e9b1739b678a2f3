//! Points as an Arrow IPC stream.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::Int32Type,
    error::ArrowError,
};
use arrow_ipc::writer::StreamWriter;

use crate::ClientError;

/// Media type of Arrow streams.
pub const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// Points to send, as columns. The same points in the same order always encode to the same bytes.
#[derive(Debug, Clone, Default)]
pub struct Points {
    run_ids: Names,
    metrics: Names,
    step: Vec<i64>,
    timestamp_us: Vec<i64>,
    value: Vec<f64>,
}

/// A dictionary-encoded text column.
#[derive(Debug, Clone, Default)]
struct Names {
    index: HashMap<Arc<str>, i32>,
    names: Vec<Arc<str>>,
    keys: Vec<i32>,
}

impl Names {
    fn push(&mut self, name: &str) {
        let key = match self.index.get(name) {
            Some(&key) => key,
            None => {
                let key = i32::try_from(self.names.len()).unwrap_or(i32::MAX);
                let name: Arc<str> = name.into();
                self.names.push(name.clone());
                self.index.insert(name, key);
                key
            }
        };
        self.keys.push(key);
    }

    fn array(&self) -> Result<ArrayRef, ArrowError> {
        let values: StringArray = self.names.iter().map(|name| Some(name.as_ref())).collect();
        let keys = Int32Array::from(self.keys.clone());
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
    }
}

impl Points {
    /// Adds a point. `timestamp_us` counts microseconds since the Unix epoch, UTC.
    pub fn push(&mut self, run_id: &str, metric: &str, step: i64, timestamp_us: i64, value: f64) {
        self.run_ids.push(run_id);
        self.metrics.push(metric);
        self.step.push(step);
        self.timestamp_us.push(timestamp_us);
        self.value.push(value);
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.step.len()
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.step.is_empty()
    }

    /// The points as one Arrow stream, as `POST /api/v1/ingest` takes it.
    pub fn encode(&self) -> Result<Vec<u8>, ClientError> {
        self.try_encode().map_err(|source| ClientError::Encode { source })
    }

    fn try_encode(&self) -> Result<Vec<u8>, ArrowError> {
        let timestamps = TimestampMicrosecondArray::from(self.timestamp_us.clone()).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 5] = [
            ("run_id", self.run_ids.array()?),
            ("metric", self.metrics.array()?),
            ("step", Arc::new(Int64Array::from(self.step.clone()))),
            ("timestamp", Arc::new(timestamps)),
            ("value", Arc::new(Float64Array::from(self.value.clone()))),
        ];
        let batch = RecordBatch::try_from_iter(columns)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        writer.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::Float64Type};
    use arrow_ipc::reader::StreamReader;

    use super::*;

    #[test]
    fn i5_values_keep_their_bits_and_equal_points_encode_to_equal_bytes() {
        let values = [f64::from_bits(0x7ff8_0000_0000_0001), -0.0, f64::NEG_INFINITY, 1.5];
        let mut points = Points::default();
        for (step, value) in values.iter().enumerate() {
            points.push("r", ["a", "b"][step % 2], step as i64, 7, *value);
        }
        let bytes = points.encode().unwrap();
        assert_eq!(points.clone().encode().unwrap(), bytes);
        let batch = StreamReader::try_new(&bytes[..], None).unwrap().next().unwrap().unwrap();
        let read = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>().values().to_vec();
        assert_eq!(read.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.map(f64::to_bits));
        let metrics = batch.column(1).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
        assert_eq!(metrics.into_iter().map(Option::unwrap).collect::<Vec<_>>(), ["a", "b", "a", "b"]);
    }
}
