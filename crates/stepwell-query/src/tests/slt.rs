//! Runs `tests/sql/*.slt` with sqllogictest. A null is `NULL`, the empty text `(empty)`; errors are matched in their `Debug`
//! form, which has their kind and fields.

use std::{fs, path::Path, sync::Arc};

use async_trait::async_trait;
use datafusion::arrow::{
    array::{Array, RecordBatch},
    datatypes::DataType,
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::StreamExt;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner, strict_column_validator};

use super::Fixture;
use crate::QueryError;

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
struct AskError(QueryError);

struct Session(Arc<Fixture>);

#[async_trait]
impl AsyncDB for Session {
    type Error = AskError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, AskError> {
        let mut stream = self.0.start(sql, Vec::new()).await.map_err(AskError)?;
        let types = stream.schema().fields().iter().map(|field| kind(field.data_type())).collect();
        let mut lines = Vec::new();
        while let Some(batch) = stream.next().await {
            lines.extend(rows(&batch.map_err(AskError)?));
        }
        Ok(DBOutput::Rows { types, rows: lines })
    }

    async fn shutdown(&mut self) {}
}

fn kind(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        integer if integer.is_integer() => DefaultColumnType::Integer,
        float if float.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let columns: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let cell = |column: usize, row: usize| match batch.column(column).is_null(row) {
        true => "NULL".to_owned(),
        false => {
            Some(columns[column].value(row).to_string()).filter(|text| !text.is_empty()).unwrap_or("(empty)".into())
        }
    };
    let mut lines = Vec::new();
    for row in 0..batch.num_rows() {
        let text = (0..columns.len()).map(|column| cell(column, row)).collect::<Vec<_>>().join(" ");
        // EXPLAIN answers several lines in a cell.
        lines.extend(text.lines().filter(|line| !line.trim().is_empty()).map(|line| vec![line.to_owned()]));
    }
    lines
}

#[tokio::test]
async fn sql_behaves_as_the_files_in_tests_sql_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sql");
    let fixture = Arc::new(Fixture::new(|config| config.threads = 2).await);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty(), "no .slt file in {}", folder.display());
    let mut runner = Runner::new(|| async { Ok(Session(fixture.clone())) });
    runner.with_column_validator(strict_column_validator);
    let mut faults = Vec::new();
    for file in files {
        if let Err(fault) = runner.run_file_async(&file).await {
            faults.push(fault.display(false).to_string());
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
}
