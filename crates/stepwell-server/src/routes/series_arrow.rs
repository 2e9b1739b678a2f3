//! Series as Arrow: one flat table, so that its schema does not depend on the data. A raw point is a bucket of one.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringDictionaryBuilder,
        TimestampMicrosecondBuilder, UInt64Builder,
    },
    datatypes::{Field, Int32Type, Schema},
    error::ArrowError,
};
use arrow_ipc::writer::StreamWriter;
use stepwell_app::{SeriesData, SeriesResponse};
use stepwell_types::{Bucket, SeriesColumns};

/// The whole answer as an Arrow stream; `snapshot_lsn` is in the schema's metadata.
pub(super) fn encode(response: &SeriesResponse) -> Result<Vec<u8>, String> {
    write(response).map_err(|error| error.to_string())
}

fn write(response: &SeriesResponse) -> Result<Vec<u8>, ArrowError> {
    let mut table = Table::default();
    for series in &response.series {
        let (run_id, metric) = (&*series.run_id, &*series.metric);
        match &series.data {
            SeriesData::Buckets(buckets) => buckets.iter().for_each(|bucket| table.push(run_id, metric, false, bucket)),
            SeriesData::Raw(points) => {
                (0..points.len()).for_each(|row| table.push(run_id, metric, true, &bucket_of_one(points, row)));
            }
        }
    }
    let batch = table.finish(response.snapshot_lsn)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.into_inner()
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

#[derive(Default)]
struct Table {
    run_id: StringDictionaryBuilder<Int32Type>,
    metric: StringDictionaryBuilder<Int32Type>,
    raw: BooleanBuilder,
    steps: [Int64Builder; 4],
    times: [TimestampMicrosecondBuilder; 2],
    counts: [UInt64Builder; 5],
    values: [Float64Builder; 5],
}

impl Table {
    fn push(&mut self, run_id: &str, metric: &str, raw: bool, b: &Bucket) {
        self.run_id.append_value(run_id);
        self.metric.append_value(metric);
        self.raw.append_value(raw);
        let steps = [b.first_step, b.last_step, b.min_step, b.max_step];
        self.steps.iter_mut().zip(steps).for_each(|(column, step)| column.append_value(step));
        let times = [b.first_time_us, b.last_time_us];
        self.times.iter_mut().zip(times).for_each(|(column, time)| column.append_value(time));
        let counts = [b.count, b.finite, b.nan, b.pos_inf, b.neg_inf];
        self.counts.iter_mut().zip(counts).for_each(|(column, count)| column.append_value(count));
        let values = [b.min, b.max, b.sum, b.first, b.last];
        self.values.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
    }

    fn finish(self, snapshot_lsn: u64) -> Result<RecordBatch, ArrowError> {
        let Self { mut run_id, mut metric, mut raw, steps, times, counts, values } = self;
        let [first_step, last_step, min_step, max_step] = steps.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let [first_time, last_time] =
            times.map(|mut column| Arc::new(column.finish().with_timezone("UTC")) as ArrayRef);
        let [count, finite, nan, pos_inf, neg_inf] = counts.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let [min, max, sum, first, last] = values.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let columns: [(&str, ArrayRef); 19] = [
            ("run_id", Arc::new(run_id.finish())),
            ("metric", Arc::new(metric.finish())),
            ("raw", Arc::new(raw.finish())),
            ("first_step", first_step),
            ("last_step", last_step),
            ("first_time", first_time),
            ("last_time", last_time),
            ("count", count),
            ("finite", finite),
            ("nan", nan),
            ("pos_inf", pos_inf),
            ("neg_inf", neg_inf),
            ("min", min),
            ("min_step", min_step),
            ("max", max),
            ("max_step", max_step),
            ("sum", sum),
            ("first", first),
            ("last", last),
        ];
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), false)).collect();
        let metadata = HashMap::from([("snapshot_lsn".to_owned(), snapshot_lsn.to_string())]);
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect())
    }
}
