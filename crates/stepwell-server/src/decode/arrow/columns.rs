//! The columns of a decoded record batch, appended to the batch in the making.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayAccessor, ArrayRef, AsArray, PrimitiveArray, RecordBatch},
    datatypes::{
        ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

use super::{
    dictionary::{Dictionary, Role},
    malformed,
    schema::{Layout, TextColumn},
};
use crate::decode::{
    Budget, DecodeCode, DecodeError,
    series_table::{BatchBuilder, Names},
};

/// Appends all rows of `batch`.
pub(super) fn append(
    batch: &RecordBatch,
    layout: &Layout,
    dictionaries: &mut HashMap<i64, Dictionary>,
    now_us: i64,
    builder: &mut BatchBuilder,
    budget: &mut Budget,
) -> Result<(), DecodeError> {
    builder.limit_names(budget);
    let first_row = builder.value.len() as u64 + 1;
    let runs = text(batch, layout.run_id, Role::RunId, dictionaries, &mut builder.runs, first_row)?;
    let metrics = text(batch, layout.metric, Role::Metric, dictionaries, &mut builder.metrics, first_row)?;
    builder.charge(budget)?;
    builder.extend_series(&runs, &metrics);
    builder.charge(budget)?;
    integers(batch.column(layout.step), "step", first_row, &mut builder.step)?;
    match layout.timestamp {
        Some(position) => timestamps(batch.column(position), now_us, first_row, &mut builder.timestamp_us)?,
        None => builder.timestamp_us.resize(builder.timestamp_us.len() + batch.num_rows(), now_us),
    }
    values(batch.column(layout.value), first_row, &mut builder.value)
}

/// The numbers of the names in a column.
fn text(
    batch: &RecordBatch,
    column: TextColumn,
    role: Role,
    dictionaries: &mut HashMap<i64, Dictionary>,
    names: &mut Names,
    first_row: u64,
) -> Result<Vec<u32>, DecodeError> {
    let array = batch.column(column.position);
    refuse_nulls(array, column.name, first_row)?;
    if let Some(id) = column.dictionary {
        let dictionary = dictionaries.entry(id).or_default();
        return indices(array, column.name, role, dictionary, names, first_row);
    }
    match array.data_type() {
        DataType::Utf8 => plain(array.as_string::<i32>(), column.name, first_row, |name| names.id(name)),
        DataType::LargeUtf8 => plain(array.as_string::<i64>(), column.name, first_row, |name| names.id(name)),
        DataType::BinaryView => plain(array.as_binary_view(), column.name, first_row, |name| names.id_of_bytes(name)),
        other => Err(unexpected(column.name, other)),
    }
}

fn plain<A: ArrayAccessor>(
    array: A,
    column: &'static str,
    first_row: u64,
    mut id: impl FnMut(A::Item) -> Result<u32, DecodeError>,
) -> Result<Vec<u32>, DecodeError> {
    let id_at = |row| id(array.value(row)).map_err(|error| error.row(first_row + row as u64).field(column));
    (0..array.len()).map(id_at).collect()
}

fn indices(
    array: &ArrayRef,
    column: &'static str,
    role: Role,
    dictionary: &mut Dictionary,
    names: &mut Names,
    first_row: u64,
) -> Result<Vec<u32>, DecodeError> {
    let mut ids = Vec::with_capacity(array.len());
    each_integer(array, column, |row, index| {
        let resolved = match usize::try_from(index) {
            Ok(index) => dictionary.resolve(role, index, names),
            Err(_) => Err(malformed(format!("index {index} into a dictionary"))),
        };
        ids.push(resolved.map_err(|error| error.row(first_row + row as u64).field(column))?);
        Ok(())
    })?;
    Ok(ids)
}

/// Appends a column of integers of any width that must fit into 64 signed bits.
fn integers(array: &ArrayRef, column: &'static str, first_row: u64, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    refuse_nulls(array, column, first_row)?;
    if let Some(exact) = array.as_primitive_opt::<Int64Type>() {
        out.extend_from_slice(exact.values());
        return Ok(());
    }
    each_integer(array, column, |row, wide| {
        out.push(narrow(wide, column, first_row + row as u64)?);
        Ok(())
    })
}

fn narrow(wide: i128, column: &'static str, row: u64) -> Result<i64, DecodeError> {
    i64::try_from(wide).map_err(|_| {
        DecodeError::new(DecodeCode::OutOfRange, format!("{column} {wide} does not fit into a signed 64-bit integer"))
            .row(row)
            .field(column)
    })
}

/// Appends timestamps in microseconds; nulls are `now_us`, nanoseconds are cut towards the past.
fn timestamps(array: &ArrayRef, now_us: i64, first_row: u64, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    match array.data_type() {
        DataType::Null => {
            out.resize(out.len() + array.len(), now_us);
            Ok(())
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            scaled(array.as_primitive::<TimestampSecondType>(), now_us, first_row, out, |t| t.checked_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            scaled(array.as_primitive::<TimestampMillisecondType>(), now_us, first_row, out, |t| t.checked_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            scaled(array.as_primitive::<TimestampMicrosecondType>(), now_us, first_row, out, Some)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            scaled(array.as_primitive::<TimestampNanosecondType>(), now_us, first_row, out, |t| {
                Some(t.div_euclid(1_000))
            })
        }
        _ => each_integer(array, "timestamp", |row, wide| {
            out.push(if array.is_null(row) { now_us } else { narrow(wide, "timestamp", first_row + row as u64)? });
            Ok(())
        }),
    }
}

fn scaled<T: ArrowPrimitiveType<Native = i64>>(
    array: &PrimitiveArray<T>,
    now_us: i64,
    first_row: u64,
    out: &mut Vec<i64>,
    to_us: impl Fn(i64) -> Option<i64>,
) -> Result<(), DecodeError> {
    out.reserve(array.len());
    for (row, &given) in array.values().iter().enumerate() {
        if array.is_null(row) {
            out.push(now_us);
            continue;
        }
        out.push(to_us(given).ok_or_else(|| {
            DecodeError::new(
                DecodeCode::OutOfRange,
                format!("timestamp {given} does not fit into 64 bits of microseconds since 1970"),
            )
            .row(first_row + row as u64)
            .field("timestamp")
        })?);
    }
    Ok(())
}

/// Appends values. Floats widen exactly; an integer that no 64-bit float equals is refused rather than rounded (I5).
fn values(array: &ArrayRef, first_row: u64, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    refuse_nulls(array, "value", first_row)?;
    match array.data_type() {
        DataType::Float64 => out.extend_from_slice(array.as_primitive::<Float64Type>().values()),
        DataType::Float32 => out.extend(array.as_primitive::<Float32Type>().values().iter().map(|&v| f64::from(v))),
        DataType::Float16 => out.extend(array.as_primitive::<Float16Type>().values().iter().map(|v| v.to_f64())),
        _ => {
            return each_integer(array, "value", |row, wide| {
                let value = wide as f64;
                if value as i128 != wide {
                    return Err(DecodeError::new(
                        DecodeCode::OutOfRange,
                        format!("value {wide} has no exact 64-bit float: send it as a float if it may be rounded"),
                    )
                    .row(first_row + row as u64)
                    .field("value"));
                }
                out.push(value);
                Ok(())
            });
        }
    }
    Ok(())
}

/// Calls `each` with every row of an integer column, nulls included.
fn each_integer(
    array: &ArrayRef,
    column: &'static str,
    each: impl FnMut(usize, i128) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    fn walk<T: ArrowPrimitiveType<Native: Into<i128>>>(
        array: &ArrayRef,
        mut each: impl FnMut(usize, i128) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        array.as_primitive::<T>().values().iter().enumerate().try_for_each(|(row, &value)| each(row, value.into()))
    }
    match array.data_type() {
        DataType::Int8 => walk::<Int8Type>(array, each),
        DataType::Int16 => walk::<Int16Type>(array, each),
        DataType::Int32 => walk::<Int32Type>(array, each),
        DataType::Int64 => walk::<Int64Type>(array, each),
        DataType::UInt8 => walk::<UInt8Type>(array, each),
        DataType::UInt16 => walk::<UInt16Type>(array, each),
        DataType::UInt32 => walk::<UInt32Type>(array, each),
        DataType::UInt64 => walk::<UInt64Type>(array, each),
        other => Err(unexpected(column, other)),
    }
}

fn refuse_nulls(array: &ArrayRef, column: &'static str, first_row: u64) -> Result<(), DecodeError> {
    if array.null_count() == 0 {
        return Ok(());
    }
    let row = (0..array.len()).find(|&row| array.is_null(row)).unwrap_or_default();
    Err(DecodeError::new(DecodeCode::NullValue, format!("{column} is null in row {}", first_row + row as u64))
        .row(first_row + row as u64)
        .field(column))
}

fn unexpected(column: &'static str, kind: &DataType) -> DecodeError {
    DecodeError::new(DecodeCode::WrongType, format!("the column {column} is {kind}")).field(column)
}
