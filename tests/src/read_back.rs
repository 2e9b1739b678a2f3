//! What a server has of a run, to be compared bit for bit.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use arrow::{
    array::AsArray,
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};

use crate::{Http, arrow_stream::Row};

/// Metric, timestamp and the bits of the value.
pub(crate) type Bits = (String, i64, u64);

pub(crate) fn bits(row: &Row) -> Bits {
    (row.metric.clone(), row.timestamp_us, row.value.to_bits())
}

/// Every point of a run of a project by its step; fails if a step is there twice.
pub(crate) fn read(http: &Http, project: &str, run_id: &str) -> Result<BTreeMap<i64, Bits>> {
    let query = format!("SELECT metric, step, timestamp, value FROM points WHERE run_id = '{run_id}'");
    let mut found = BTreeMap::new();
    for batch in http.sql_arrow(project, &query)? {
        let metric = cast(batch.column(0), &DataType::Utf8)?;
        let timestamp = cast(batch.column(2), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
        let (metric, step) = (metric.as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        let (timestamp, value) =
            (timestamp.as_primitive::<TimestampMicrosecondType>(), batch.column(3).as_primitive::<Float64Type>());
        for row in 0..batch.num_rows() {
            let bits = (metric.value(row).to_owned(), timestamp.value(row), value.value(row).to_bits());
            ensure!(found.insert(step.value(row), bits).is_none(), "step {} is there twice (I3)", step.value(row));
        }
    }
    Ok(found)
}
