//! Batches in pieces: whoever writes an answer does so a batch at a time, into memory that no budget has.

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Field, FieldRef},
};

/// Bytes that a piece is as JSON, by the mean of the rows; more only where one row is.
const PIECE_BYTES: usize = 4 << 20;
/// What JSON makes of a number or a time, without its name.
const CELL_BYTES: usize = 32;

/// All rows of `batch`, in order. Copies nothing.
pub(crate) fn pieces(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let bytes = batch.columns().iter().map(bytes_of).fold(0, usize::saturating_add);
    let names = batch.schema_ref().fields().iter().map(|field| written(field)).fold(0, usize::saturating_add);
    let row_bytes = names.saturating_add(bytes / rows.max(1));
    let piece_rows = (PIECE_BYTES / row_bytes.max(1)).max(1);
    // A batch without rows is one piece.
    (0..rows.max(1)).step_by(piece_rows).map(move |first| batch.slice(first, piece_rows.min(rows - first)))
}

/// Bytes that JSON writes for a column in each row besides its texts.
fn written(field: &Field) -> usize {
    members(field).iter().map(|member| written(member)).fold(field.name().len() + CELL_BYTES, usize::saturating_add)
}

/// Columns that a field is once it is opened.
pub(crate) fn leaves(field: &Field) -> u64 {
    members(field).iter().map(|member| leaves(member)).sum::<u64>().max(1)
}

fn members(field: &Field) -> &[FieldRef] {
    match field.data_type() {
        DataType::Struct(fields) => fields,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            std::slice::from_ref(item)
        }
        DataType::Map(entries, _) => members(entries),
        _ => &[],
    }
}

/// Bytes of what `column` shows; of buffers that it shares, its own part.
pub(crate) fn bytes_of(column: &ArrayRef) -> usize {
    let own = column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size());
    own + column.as_string_view_opt().map_or(0, |texts| texts.total_buffer_bytes_used())
}
