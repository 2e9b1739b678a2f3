//! One value as text.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{
        DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use stepwell_types::format_utc_us;

use super::EncodeError;

pub(super) fn write_json_string(text: &str, out: &mut Vec<u8>) {
    // Serialising a string into memory cannot fail.
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// The text of a value that is no container; `None` for a container.
enum Scalar {
    /// Valid JSON as it stands.
    Bare(String),
    /// Needs quotes in JSON.
    Text(String),
}

fn float(value: f64, shortest: String) -> Scalar {
    match value {
        value if value.is_nan() => Scalar::Text("NaN".to_owned()),
        f64::INFINITY => Scalar::Text("Infinity".to_owned()),
        f64::NEG_INFINITY => Scalar::Text("-Infinity".to_owned()),
        _ => Scalar::Bare(shortest),
    }
}

fn scalar(column: &ArrayRef, row: usize) -> Result<Scalar, EncodeError> {
    macro_rules! integer {
        ($kind:ty) => {
            Scalar::Bare(column.as_primitive::<$kind>().value(row).to_string())
        };
    }
    Ok(match column.data_type() {
        DataType::Boolean => Scalar::Bare(column.as_boolean().value(row).to_string()),
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            float(f64::from(value), format!("{value:?}"))
        }
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            float(value, format!("{value:?}"))
        }
        DataType::Utf8 => Scalar::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Scalar::Text(column.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Scalar::Text(column.as_string_view().value(row).to_owned()),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            Scalar::Text(format_utc_us(column.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        _ => Scalar::Text(ArrayFormatter::try_new(column, &FormatOptions::default())?.value(row).try_to_string()?),
    })
}

pub(super) fn write_json(column: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match column.data_type() {
        DataType::List(_) => write_list(&column.as_list::<i32>().value(row), out),
        DataType::LargeList(_) => write_list(&column.as_list::<i64>().value(row), out),
        DataType::FixedSizeList(..) => write_list(&column.as_fixed_size_list().value(row), out),
        DataType::Struct(fields) => {
            let columns = column.as_struct();
            let members =
                fields.iter().zip(columns.columns()).map(|(field, column)| (field.name().clone(), column, row));
            write_object(members, out)
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let mut members = Vec::with_capacity(entries.len());
            for i in 0..entries.len() {
                let (Scalar::Bare(key) | Scalar::Text(key)) = scalar(keys, i)?;
                members.push((key, values, i));
            }
            write_object(members.into_iter(), out)
        }
        DataType::Dictionary(_, value_type) => {
            write_json(&arrow::compute::cast(&column.slice(row, 1), value_type)?, 0, out)
        }
        _ => {
            match scalar(column, row)? {
                Scalar::Bare(text) => out.extend_from_slice(text.as_bytes()),
                Scalar::Text(text) => write_json_string(&text, out),
            }
            Ok(())
        }
    }
}

fn write_list(items: &ArrayRef, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.push(b'[');
    for i in 0..items.len() {
        if i > 0 {
            out.push(b',');
        }
        write_json(items, i, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_object<'a>(
    members: impl Iterator<Item = (String, &'a ArrayRef, usize)>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    out.push(b'{');
    for (i, (name, column, row)) in members.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_json_string(&name, out);
        out.push(b':');
        write_json(column, row, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Quotes text where RFC 4180 asks for it, and the empty text, so that it differs from null.
pub(super) fn write_csv_text(text: &str, out: &mut Vec<u8>) {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

pub(super) fn write_csv(column: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if column.is_null(row) {
        return Ok(());
    }
    if column.data_type().is_nested() || matches!(column.data_type(), DataType::Dictionary(..)) {
        let mut json = Vec::new();
        write_json(column, row, &mut json)?;
        write_csv_text(&String::from_utf8_lossy(&json), out);
        return Ok(());
    }
    match scalar(column, row)? {
        Scalar::Bare(text) => out.extend_from_slice(text.as_bytes()),
        Scalar::Text(text) => write_csv_text(&text, out),
    }
    Ok(())
}
