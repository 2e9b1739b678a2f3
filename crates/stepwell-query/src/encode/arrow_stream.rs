//! Arrow streams in types that every reader knows.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::StreamWriter,
};

/// Writes text and binary views, which many readers cannot sort or take at all yet, as plain columns.
pub(super) struct ArrowEncoder {
    pub(super) writer: StreamWriter<Vec<u8>>,
    schema: SchemaRef,
}

impl ArrowEncoder {
    pub(super) fn new(schema: &Schema) -> Result<Self, ArrowError> {
        let plain = |field: &Arc<Field>| match field.data_type() {
            DataType::Utf8View => Arc::new(Field::clone(field).with_data_type(DataType::Utf8)),
            DataType::BinaryView => Arc::new(Field::clone(field).with_data_type(DataType::Binary)),
            _ => field.clone(),
        };
        let fields: Vec<_> = schema.fields().iter().map(plain).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        Ok(Self { writer: StreamWriter::try_new(Vec::new(), &schema)?, schema })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast(column, field.data_type()),
        });
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_, _>>()?)?)
    }
}
