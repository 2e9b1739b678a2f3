//! The schema of a stream, read from its flatbuffer: which column plays which part, and how it is decoded.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_ipc::{Endianness, Message, Precision, Type};

use super::malformed;
use crate::decode::{DecodeCode, DecodeError};

/// The columns of an ingest stream.
pub(super) const COLUMNS: [&str; 5] = ["run_id", "metric", "step", "timestamp", "value"];

/// How the columns of a stream lie.
pub(super) struct Layout {
    /// Dictionary columns stand here with the type of their indices, views of text as views of bytes.
    pub(super) decoded_schema: SchemaRef,
    pub(super) decoded_types: Vec<DataType>,
    /// The schema of each dictionary's values.
    pub(super) dictionary_schemas: HashMap<i64, SchemaRef>,
    pub(super) run_id: TextColumn,
    pub(super) metric: TextColumn,
    /// Positions in the schema.
    pub(super) step: usize,
    pub(super) timestamp: Option<usize>,
    pub(super) value: usize,
}

/// A column of names.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextColumn {
    pub(super) name: &'static str,
    pub(super) position: usize,
    /// The dictionary its indices refer to.
    pub(super) dictionary: Option<i64>,
}

/// One column as its flatbuffer describes it.
struct Column {
    name: &'static str,
    /// Of the values, for a dictionary.
    kind: DataType,
    dictionary: Option<(i64, DataType)>,
}

/// Reads the first message of a stream.
pub(super) fn read(message: &Message<'_>) -> Result<Layout, DecodeError> {
    let schema = message.header_as_schema().ok_or_else(|| malformed("the stream does not start with a schema"))?;
    if schema.endianness() != Endianness::Little {
        return Err(malformed("the stream is big-endian: write it little-endian"));
    }
    let fields = schema.fields().ok_or_else(|| malformed("the schema has no columns"))?;
    let mut columns: Vec<Column> = Vec::with_capacity(COLUMNS.len());
    for field in &fields {
        let column = read_column(&field)?;
        if columns.iter().any(|earlier| earlier.name == column.name) {
            return Err(malformed(format!("the column {} appears twice", column.name)).field(column.name));
        }
        columns.push(column);
    }
    layout(&columns)
}

fn layout(columns: &[Column]) -> Result<Layout, DecodeError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| {
            let kind = column.dictionary.as_ref().map_or_else(|| as_decoded(&column.kind), |(_, index)| index.clone());
            Field::new(column.name, kind, true)
        })
        .collect();
    let mut dictionary_schemas: HashMap<i64, SchemaRef> = HashMap::new();
    for column in columns {
        let Some((id, _)) = &column.dictionary else { continue };
        let schema = Arc::new(Schema::new(vec![Field::new("values", as_decoded(&column.kind), true)]));
        if dictionary_schemas.insert(*id, schema.clone()).is_some_and(|earlier| earlier != schema) {
            return Err(
                malformed(format!("two columns of different types share the dictionary {id}")).field(column.name)
            );
        }
    }
    Ok(Layout {
        decoded_types: fields.iter().map(|field| field.data_type().clone()).collect(),
        decoded_schema: Arc::new(Schema::new(fields)),
        dictionary_schemas,
        run_id: text_column(columns, "run_id")?,
        metric: text_column(columns, "metric")?,
        step: required(columns, "step")?,
        timestamp: position(columns, "timestamp"),
        value: required(columns, "value")?,
    })
}

/// Views are decoded as bytes: many views may show one long text, and a decoder of strings would verify it for each.
fn as_decoded(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View => DataType::BinaryView,
        other => other.clone(),
    }
}

fn text_column(columns: &[Column], name: &'static str) -> Result<TextColumn, DecodeError> {
    let position = required(columns, name)?;
    let dictionary = columns[position].dictionary.as_ref().map(|(id, _)| *id);
    Ok(TextColumn { name, position, dictionary })
}

fn position(columns: &[Column], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name == name)
}

fn required(columns: &[Column], name: &'static str) -> Result<usize, DecodeError> {
    position(columns, name).ok_or_else(|| {
        DecodeError::new(
            DecodeCode::MissingField,
            format!("the column {name} is missing: a stream needs run_id, metric, step and value"),
        )
        .field(name)
    })
}

fn read_column(field: &arrow_ipc::Field<'_>) -> Result<Column, DecodeError> {
    let given = field.name().unwrap_or_default();
    let Some(name) = COLUMNS.into_iter().find(|column| *column == given) else {
        let shown: String = given.chars().take(100).collect();
        return Err(DecodeError::new(
            DecodeCode::UnknownField,
            format!("the column {shown:?} is unknown: a stream has run_id, metric, step, timestamp and value"),
        )
        .field(shown));
    };
    let kind = read_type(field);
    let dictionary = match field.dictionary() {
        None => None,
        Some(encoding) => {
            let index = encoding.indexType().map_or(Some(DataType::Int32), |int| int_type(&int));
            let index =
                index.ok_or_else(|| malformed(format!("the dictionary of {name} has no index type")).field(name))?;
            Some((encoding.id(), index))
        }
    };
    match kind {
        Some(kind) if fits(name, &kind, dictionary.is_some()) => Ok(Column { name, kind, dictionary }),
        kind => Err(wrong_type(name, field, kind, dictionary.is_some())),
    }
}

fn fits(name: &str, kind: &DataType, dictionary: bool) -> bool {
    match name {
        "run_id" | "metric" => matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        _ if dictionary => false,
        "step" => kind.is_integer(),
        "timestamp" => kind.is_integer() || matches!(kind, DataType::Timestamp(..) | DataType::Null),
        _ => kind.is_integer() || kind.is_floating(),
    }
}

fn wrong_type(
    name: &'static str,
    field: &arrow_ipc::Field<'_>,
    kind: Option<DataType>,
    dictionary: bool,
) -> DecodeError {
    let wanted = match name {
        "run_id" | "metric" => "a string column or a dictionary of strings",
        "step" => "an integer column",
        "timestamp" => "a timestamp column, or integers of microseconds since 1970 UTC",
        _ => "a column of floats or integers",
    };
    let given = match kind {
        Some(kind) => kind.to_string(),
        None => field.type_type().variant_name().unwrap_or("of an unknown type").to_owned(),
    };
    let given = if dictionary { format!("a dictionary of {given}") } else { given };
    DecodeError::new(DecodeCode::WrongType, format!("the column {name} is {given}: it must be {wanted}")).field(name)
}

/// The Arrow type of a field, for the types that any column may have.
fn read_type(field: &arrow_ipc::Field<'_>) -> Option<DataType> {
    match field.type_type() {
        Type::Null => Some(DataType::Null),
        Type::Utf8 => Some(DataType::Utf8),
        Type::LargeUtf8 => Some(DataType::LargeUtf8),
        Type::Utf8View => Some(DataType::Utf8View),
        Type::Int => int_type(&field.type_as_int()?),
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::HALF => Some(DataType::Float16),
            Precision::SINGLE => Some(DataType::Float32),
            Precision::DOUBLE => Some(DataType::Float64),
            _ => None,
        },
        Type::Timestamp => {
            // A zone changes how an instant is shown, not which it is; without one UTC is meant.
            let unit = match field.type_as_timestamp()?.unit() {
                arrow_ipc::TimeUnit::SECOND => TimeUnit::Second,
                arrow_ipc::TimeUnit::MILLISECOND => TimeUnit::Millisecond,
                arrow_ipc::TimeUnit::MICROSECOND => TimeUnit::Microsecond,
                arrow_ipc::TimeUnit::NANOSECOND => TimeUnit::Nanosecond,
                _ => return None,
            };
            Some(DataType::Timestamp(unit, None))
        }
        _ => None,
    }
}

fn int_type(int: &arrow_ipc::Int<'_>) -> Option<DataType> {
    Some(match (int.bitWidth(), int.is_signed()) {
        (8, true) => DataType::Int8,
        (16, true) => DataType::Int16,
        (32, true) => DataType::Int32,
        (64, true) => DataType::Int64,
        (8, false) => DataType::UInt8,
        (16, false) => DataType::UInt16,
        (32, false) => DataType::UInt32,
        (64, false) => DataType::UInt64,
        _ => return None,
    })
}
