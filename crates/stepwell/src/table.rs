//! Arrow batches as a table for people.

use anyhow::Result;
use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

/// Most rows shown; a table longer than that is not read but exported.
const ROWS_MAX: usize = 1_000;

/// The rows as a table with a line about how many there are.
pub(crate) fn render(schema: &Schema, batches: &[RecordBatch]) -> Result<String> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(schema.fields().iter().map(|field| field.name().clone()));
    let mut left = ROWS_MAX;
    for batch in batches {
        let shown = left.min(batch.num_rows());
        add_rows(&mut table, batch, shown)?;
        left -= shown;
    }
    for (column, field) in table.column_iter_mut().zip(schema.fields()) {
        if is_number(field.data_type()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let noun = if rows == 1 { "row" } else { "rows" };
    let cut =
        if rows > ROWS_MAX { format!(", the first {ROWS_MAX} shown; --format csv gives all") } else { String::new() };
    Ok(format!("{table}\n{rows} {noun}{cut}"))
}

fn add_rows(table: &mut Table, batch: &RecordBatch, rows: usize) -> Result<()> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<Vec<_>, _>>()?;
    for row in 0..rows {
        let cells = columns.iter().map(|column| column.value(row).try_to_string().map(Cell::new));
        table.add_row(cells.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(())
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;

    #[test]
    fn numbers_stand_right_and_rows_are_counted() {
        let name: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let value: ArrayRef = Arc::new(Float64Array::from(vec![1.5, f64::NAN]));
        let batch = RecordBatch::try_from_iter([("name", name), ("a long heading", value)]).unwrap();
        let text = render(&batch.schema(), &[batch]).unwrap();
        assert!(text.contains("NULL") && text.contains("           NaN"), "{text}");
        assert!(text.ends_with("2 rows"), "{text}");
    }
}
