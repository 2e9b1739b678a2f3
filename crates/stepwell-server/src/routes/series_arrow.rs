//! Series as Arrow: one flat table, so that its schema does not depend on the data. A raw point is a bucket of one.

use std::{borrow::Cow, collections::HashMap, iter::repeat_n, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, BooleanBufferBuilder, DictionaryArray, Float64Array, Int64Array, RecordBatch,
        StringDictionaryBuilder, TimestampMicrosecondArray, UInt64Array,
    },
    datatypes::{Field, Int32Type, Schema},
    error::ArrowError,
};
use arrow_ipc::writer::StreamWriter;
use stepwell_app::{SeriesData, SeriesResponse};
use stepwell_types::{Bucket, SeriesColumns};

/// Rows of a batch: so many that the columns of one stay in a core's cache.
const BATCH_ROWS: usize = 8_192;

/// An answer on its way, as an Arrow stream of several batches; `snapshot_lsn` is in the schema's metadata.
pub(super) struct ArrowAnswer {
    response: SeriesResponse,
    /// The next series.
    next: usize,
    run_ids: Names,
    metrics: Names,
    /// `None` once the end is written.
    writer: Option<StreamWriter<Vec<u8>>>,
}

impl ArrowAnswer {
    pub(super) fn new(response: SeriesResponse) -> Result<Self, ArrowError> {
        let run_ids = Names::of(response.series.iter().map(|series| &*series.run_id));
        let metrics = Names::of(response.series.iter().map(|series| &*series.metric));
        let schema = Rows::default().to_batch(&run_ids, &metrics, response.snapshot_lsn)?.schema();
        let writer = Some(StreamWriter::try_new(Vec::new(), &schema)?);
        Ok(Self { response, next: 0, run_ids, metrics, writer })
    }

    /// Whether all bytes are made.
    pub(super) fn is_complete(&self) -> bool {
        self.writer.is_none()
    }

    /// The next bytes; none after the last.
    pub(super) fn next_chunk(&mut self) -> Result<Vec<u8>, ArrowError> {
        let Some(mut writer) = self.writer.take() else { return Ok(Vec::new()) };
        let mut rows = Rows::default();
        while rows.count < BATCH_ROWS && self.next < self.response.series.len() {
            rows.add(self.next, &self.response.series[self.next].data);
            self.next += 1;
        }
        let batch = rows.to_batch(&self.run_ids, &self.metrics, self.response.snapshot_lsn)?;
        writer.get_mut().reserve(batch.get_array_memory_size() + MESSAGE_BYTES);
        writer.write(&batch)?;
        if self.next == self.response.series.len() {
            return writer.into_inner();
        }
        let chunk = std::mem::take(writer.get_mut());
        self.writer = Some(writer);
        Ok(chunk)
    }
}

/// About what a message takes beside its buffers.
const MESSAGE_BYTES: usize = 8 << 10;

/// The names of one column, each once, and that of each series.
struct Names {
    dictionary: ArrayRef,
    numbers: Vec<i32>,
}

impl Names {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        names.for_each(|name| builder.append_value(name));
        let array = builder.finish();
        Self { dictionary: array.values().clone(), numbers: array.keys().values().to_vec() }
    }

    fn column(&self, rows: &Rows<'_>) -> Result<ArrayRef, ArrowError> {
        let mut numbers = Vec::with_capacity(rows.count);
        rows.parts.iter().for_each(|part| numbers.extend(repeat_n(self.numbers[part.series], part.buckets.len())));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(numbers.into(), self.dictionary.clone())?))
    }
}

/// Rows of one batch.
#[derive(Default)]
struct Rows<'a> {
    parts: Vec<Part<'a>>,
    count: usize,
}

/// Those of one series.
struct Part<'a> {
    series: usize,
    is_raw: bool,
    buckets: Cow<'a, [Bucket]>,
}

impl<'a> Rows<'a> {
    fn add(&mut self, series: usize, data: &'a SeriesData) {
        let (is_raw, buckets) = match data {
            SeriesData::Buckets(buckets) => (false, Cow::from(buckets)),
            SeriesData::Raw(points) => (true, (0..points.len()).map(|row| bucket_of_one(points, row)).collect()),
        };
        self.count += buckets.len();
        self.parts.push(Part { series, is_raw, buckets });
    }

    fn column<T>(&self, value: impl Fn(&Bucket) -> T) -> Vec<T> {
        let mut values = Vec::with_capacity(self.count);
        self.parts.iter().for_each(|part| values.extend(part.buckets.iter().map(&value)));
        values
    }

    fn integers(&self, value: impl Fn(&Bucket) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from(self.column(value)))
    }

    fn times(&self, value: impl Fn(&Bucket) -> i64) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(self.column(value)).with_timezone("UTC"))
    }

    fn counts(&self, value: impl Fn(&Bucket) -> u64) -> ArrayRef {
        Arc::new(UInt64Array::from(self.column(value)))
    }

    fn values(&self, value: impl Fn(&Bucket) -> f64) -> ArrayRef {
        Arc::new(Float64Array::from(self.column(value)))
    }

    fn to_batch(&self, run_ids: &Names, metrics: &Names, snapshot_lsn: u64) -> Result<RecordBatch, ArrowError> {
        let mut raw = BooleanBufferBuilder::new(self.count);
        self.parts.iter().for_each(|part| raw.append_n(part.buckets.len(), part.is_raw));
        let columns: [(&str, ArrayRef); 19] = [
            ("run_id", run_ids.column(self)?),
            ("metric", metrics.column(self)?),
            ("raw", Arc::new(BooleanArray::new(raw.finish(), None))),
            ("first_step", self.integers(|b| b.first_step)),
            ("last_step", self.integers(|b| b.last_step)),
            ("first_time", self.times(|b| b.first_time_us)),
            ("last_time", self.times(|b| b.last_time_us)),
            ("count", self.counts(|b| b.count)),
            ("finite", self.counts(|b| b.finite)),
            ("nan", self.counts(|b| b.nan)),
            ("pos_inf", self.counts(|b| b.pos_inf)),
            ("neg_inf", self.counts(|b| b.neg_inf)),
            ("min", self.values(|b| b.min)),
            ("min_step", self.integers(|b| b.min_step)),
            ("max", self.values(|b| b.max)),
            ("max_step", self.integers(|b| b.max_step)),
            ("sum", self.values(|b| b.sum)),
            ("first", self.values(|b| b.first)),
            ("last", self.values(|b| b.last)),
        ];
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), false)).collect();
        let metadata = HashMap::from([("snapshot_lsn".to_owned(), snapshot_lsn.to_string())]);
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect())
    }
}

/// A point seen as a bucket.
fn bucket_of_one(points: &SeriesColumns, row: usize) -> Bucket {
    let (step, time_us, value) = (points.step[row], points.timestamp_us[row], points.value[row]);
    let extreme = if value.is_finite() { value } else { f64::NAN };
    Bucket {
        first_step: step,
        last_step: step,
        first_time_us: time_us,
        last_time_us: time_us,
        count: 1,
        finite: u64::from(value.is_finite()),
        nan: u64::from(value.is_nan()),
        pos_inf: u64::from(value == f64::INFINITY),
        neg_inf: u64::from(value == f64::NEG_INFINITY),
        min: extreme,
        min_step: step,
        max: extreme,
        max_step: step,
        sum: if value.is_finite() { value } else { 0.0 },
        first: value,
        last: value,
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::Int64Type};
    use arrow_ipc::reader::StreamReader;
    use stepwell_app::{ReadMemory, SeriesResult};

    use super::*;

    #[test]
    fn an_answer_of_many_batches_is_one_stream_with_its_names_said_once() {
        let buckets = |run: i64, rows: i64| {
            let mut points = SeriesColumns::default();
            (0..rows).for_each(|step| points.push(run * 1_000_000 + step, step, 0.5, 1));
            (0..points.len()).map(|row| bucket_of_one(&points, row)).collect::<Vec<_>>()
        };
        let lengths = [5_000, 5_000, 0, 9_000, 1];
        let series = |(run, rows): (i64, i64)| SeriesResult {
            run_id: format!("r{run}"),
            metric: "loss".to_owned(),
            points: rows as u64,
            data: Arc::new(SeriesData::Buckets(buckets(run, rows))),
        };
        let reader = ReadMemory::new(usize::MAX).reader();
        let response = SeriesResponse { snapshot_lsn: 7, series: (0..).zip(lengths).map(series).collect(), reader };
        let mut answer = ArrowAnswer::new(response).unwrap();
        let (mut bytes, mut chunks) = (Vec::new(), 0);
        while !answer.is_complete() {
            bytes.extend(answer.next_chunk().unwrap());
            chunks += 1;
        }
        assert_eq!((chunks, answer.next_chunk().unwrap().len()), (3, 0));
        let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(reader.schema().metadata()["snapshot_lsn"], "7");
        let mut rows = Vec::new();
        for batch in reader.map(Result::unwrap) {
            let runs =
                batch.column(0).as_dictionary::<Int32Type>().downcast_dict::<arrow::array::StringArray>().unwrap();
            let steps = batch.column(3).as_primitive::<Int64Type>();
            rows.extend(runs.into_iter().flatten().map(str::to_owned).zip(steps.values().iter().copied()));
        }
        let expected = (0..)
            .zip(lengths)
            .flat_map(|(run, rows)| (0..rows).map(move |step| (format!("r{run}"), run * 1_000_000 + step)));
        assert!(rows.into_iter().eq(expected));
    }
}
