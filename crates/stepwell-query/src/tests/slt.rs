//! Runs `tests/sql/*.slt`: the row-wise part of the sqllogictest format. Records are set apart by blank lines; a record is
//! `query TYPES [rowsort]`, the SQL, `----` and the rows, cells apart by one space, or `query error TEXT` and SQL whose error
//! has TEXT in its `Debug` form. TYPES are not looked at. A null is `NULL`, the empty text `(empty)`.

use std::{fmt::Write, fs, path::Path};

use datafusion::arrow::{
    array::{Array, RecordBatch},
    util::display::{ArrayFormatter, FormatOptions},
};

use super::Fixture;

fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(batch.columns()).map(|(format, column)| match column.is_null(row) {
                true => "NULL".to_owned(),
                false => {
                    Some(format.value(row).to_string()).filter(|text| !text.is_empty()).unwrap_or("(empty)".into())
                }
            });
            rows.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    // EXPLAIN answers several lines in a cell.
    rows.iter()
        .flat_map(|row| row.lines())
        .map(|line| line.trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

async fn check(fixture: &Fixture, record: &[&str]) -> Result<(), String> {
    let mut head = record[0].splitn(3, ' ');
    let (kind, types, rest) = (head.next(), head.next(), head.next().unwrap_or_default());
    assert_eq!(kind, Some("query"), "a record starts with query");
    let cut = record.iter().position(|line| *line == "----").unwrap_or(record.len());
    let answer = fixture.ask(&record[1..cut].join("\n")).await;
    if types == Some("error") {
        return match answer {
            Err(error) if format!("{error:?}").contains(rest) => Ok(()),
            other => Err(format!("expected an error with {rest:?}, got {other:?}")),
        };
    }
    let mut actual = rows(&answer.map_err(|error| format!("{error:?}"))?);
    let mut expected: Vec<String> = record[(cut + 1).min(record.len())..].iter().map(|row| (*row).to_owned()).collect();
    if rest == "rowsort" {
        actual.sort();
        expected.sort();
    }
    if actual == expected {
        Ok(())
    } else {
        Err(format!("expected:\n{}\ngot:\n{}", expected.join("\n"), actual.join("\n")))
    }
}

#[tokio::test]
async fn sql_behaves_as_the_files_in_tests_sql_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sql");
    let fixture = Fixture::new(|config| config.threads = 2).await;
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty(), "no .slt file in {}", folder.display());
    let mut faults = String::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for record in lines.split(|line| line.is_empty()) {
            let record: Vec<&str> = record.iter().copied().filter(|line| !line.starts_with('#')).collect();
            if record.is_empty() {
                continue;
            }
            if let Err(fault) = check(&fixture, &record).await {
                writeln!(faults, "{}: {}\n{fault}\n", path.file_name().unwrap().display(), record[..].join("\n"))
                    .unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}
