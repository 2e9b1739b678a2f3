//! Every row that can be read of a damaged file, in a new one.

use std::{collections::BTreeSet, path::Path};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};
use stepwell_env::{Disk, RealDisk, write_atomically};

use crate::{
    btree::{Part, parts},
    error::MetadataError,
    lost_pages::{self, Column, ColumnKind, Made, Mended, Table},
    prepare::failed,
    store::{Metadata, checked},
};

/// Tables in the order in which their rows can be copied.
pub(crate) const TABLES: [&str; 24] = [
    "projects",
    "project_tags",
    "runs",
    "params",
    "tags",
    "registered_models",
    "registered_model_tags",
    "model_versions",
    "model_version_tags",
    "model_aliases",
    "logged_models",
    "logged_model_params",
    "logged_model_tags",
    "logged_model_metrics",
    "datasets",
    "run_datasets",
    "run_dataset_tags",
    "run_models",
    "webhooks",
    "outbox",
    "artifacts",
    "artifact_store",
    "traces",
    "audit",
];
/// Rows that hang on others, in the order in which they can go: those for which the condition holds hang on a lost one.
const ORPHANS: [(&str, &str); 13] = [
    ("registered_model_tags", "registered_model_id NOT IN (SELECT registered_model_id FROM main.registered_models)"),
    ("model_versions", "registered_model_id NOT IN (SELECT registered_model_id FROM main.registered_models)"),
    ("model_version_tags", "model_version_id NOT IN (SELECT model_version_id FROM main.model_versions)"),
    (
        "model_aliases",
        "(registered_model_id, version) NOT IN (SELECT registered_model_id, version FROM main.model_versions)",
    ),
    ("logged_model_params", "model_id NOT IN (SELECT model_id FROM main.logged_models)"),
    ("logged_model_tags", "model_id NOT IN (SELECT model_id FROM main.logged_models)"),
    ("logged_model_metrics", "model_id NOT IN (SELECT model_id FROM main.logged_models)"),
    ("logged_model_metrics", "run_id NOT IN (SELECT run_id FROM main.runs)"),
    ("run_datasets", "run_id NOT IN (SELECT run_id FROM main.runs)"),
    ("run_datasets", "dataset_id NOT IN (SELECT dataset_id FROM main.datasets)"),
    ("run_dataset_tags", "input_id NOT IN (SELECT input_id FROM main.run_datasets)"),
    ("run_models", "run_id NOT IN (SELECT run_id FROM main.runs)"),
    ("outbox", "webhook_id NOT IN (SELECT webhook_id FROM main.webhooks)"),
];

/// First and last row numbers.
type RowRanges = Vec<(i64, i64)>;

/// Copies every row that can be read to a new file.
pub(crate) async fn salvage(from: &Path, to: &Path, lines: &mut Vec<String>) -> Result<(), MetadataError> {
    Metadata::open(to).await?.close().await;
    let options = checked(SqliteConnectOptions::new().filename(to))?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false);
    let mut connection = options.connect().await?;
    // Not on this connection: it would prepare no statement any more once a list of tables is attached that it cannot read.
    if lists_tables(from).await {
        let listed = listed(from).await?;
        let mut file = RealDisk.read(from).map_err(failed("read", from))?;
        let made = mend_interior(from, &mut file, &listed, lines)?;
        let attached = sqlx::query("ATTACH ? AS old").bind(from.to_string_lossy().into_owned());
        attached.execute(&mut connection).await?;
        for table in TABLES {
            // A file of an earlier version has fewer.
            let Some(table) = listed.iter().find(|listed| listed.name == table) else { continue };
            let (whole, mut lost) = ranges(&file, table);
            let made = made.iter().filter(|made| made.table == table.name);
            lost.extend(made.flat_map(|made| made.gaps.iter().copied()));
            lines.push(copy_table(&mut connection, &table.name, whole, lost).await?);
        }
        tidy(&mut connection, lines).await?;
        keep_highest_ids(&mut connection, lines).await;
        // Without it the indexes of the damaged file would be made anew as well.
        sqlx::query("DETACH old").execute(&mut connection).await?;
        sqlx::query("REINDEX").execute(&mut connection).await?;
    } else {
        lines.push(
            "its list of tables cannot be read: no project and no run is known any more; their points are".to_owned(),
        );
    }
    sqlx::query("PRAGMA main.wal_checkpoint(TRUNCATE)").fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Whether SQLite can read the whole list of tables of a file: one page of it that is damaged keeps all of them from it.
async fn lists_tables(path: &Path) -> bool {
    let Ok(options) = checked(SqliteConnectOptions::new().filename(path)) else { return false };
    let Ok(mut connection) = options.connect().await else { return false };
    let runs = sqlx::query("SELECT sum(name = 'runs') FROM sqlite_master").fetch_one(&mut connection).await;
    let is_listed = runs.is_ok_and(|row| row.try_get::<i64, _>(0).is_ok_and(|found| found > 0));
    connection.close().await.is_ok() && is_listed
}

/// The tables of a file, whose log must be in it.
async fn listed(path: &Path) -> Result<Vec<Table>, MetadataError> {
    let mut connection = checked(SqliteConnectOptions::new().filename(path))?.connect().await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(&mut connection).await?;
    let listed = sqlx::query("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table' AND rootpage > 0");
    let mut tables = Vec::new();
    for row in listed.fetch_all(&mut connection).await? {
        let (name, root): (String, u32) = (row.try_get(0)?, row.try_get(1)?);
        let columns = "SELECT type, \"notnull\", dflt_value IS NOT NULL, pk > 0 AND sum(pk > 0) OVER () = 1 FROM pragma_table_info(?)";
        let columns = sqlx::query(columns).bind(&name).fetch_all(&mut connection).await?;
        let column = |row: &SqliteRow| {
            let (declared, can_be_null): (String, bool) = (row.try_get(0)?, !row.try_get(1)?);
            let kind = match row.try_get(3)? {
                true if declared.eq_ignore_ascii_case("INTEGER") => ColumnKind::RowNumber,
                _ => ColumnKind::of(&declared),
            };
            Ok(Column { kind, can_be_null, can_be_absent: can_be_null || row.try_get(2)? })
        };
        let columns = columns.iter().map(column).collect::<Result<_, sqlx::Error>>()?;
        tables.push(Table { name, root, columns });
    }
    connection.close().await?;
    Ok(tables)
}

/// Makes lost pages anew that lead to others, in a file that nobody has open.
fn mend_interior(
    path: &Path,
    file: &mut Vec<u8>,
    tables: &[Table],
    lines: &mut Vec<String>,
) -> Result<Vec<Made>, MetadataError> {
    let Mended { made, unplaced, may_be_free } = lost_pages::mend(file, tables);
    for Made { table, offset, children, .. } in &made {
        lines.push(format!(
            "the page at byte {offset} led to rows of {table}; it is made anew from {children} that are left below it"
        ));
    }
    if unplaced > 0 {
        lines.push(format!("{unplaced} pages with rows cannot be told to be of one table, and are left out"));
    }
    if may_be_free > 0 {
        lines.push(format!(
            "which pages are free is not known any more: {may_be_free} pages with rows, to which lost pages led or which were deleted, are left out"
        ));
    }
    if !made.is_empty() {
        write_atomically(&RealDisk, path, file).map_err(failed("write", path))?;
    }
    Ok(made)
}

/// Row numbers of a table between which no page is lost, and those that lost pages may have had.
fn ranges(file: &[u8], table: &Table) -> (RowRanges, RowRanges) {
    let (mut whole, mut lost) = (RowRanges::new(), RowRanges::new());
    let mut is_behind_lost = true;
    for part in parts(file, table.root, &mut BTreeSet::new()) {
        match (part, whole.last_mut()) {
            (Part::Leaf { last, .. }, Some(range)) if !is_behind_lost => range.1 = last,
            (Part::Leaf { first, last, .. }, _) => whole.push((first, last)),
            (Part::Lost(page), _) => lost.push((page.above.saturating_add(1).max(0), page.up_to)),
        }
        is_behind_lost = matches!(part, Part::Lost(_));
    }
    // At the edge of what a page that was made anew leads to, which has the row numbers of its gaps.
    lost.retain(|(low, high)| low <= high);
    (whole, lost)
}

/// Copies ranges of row numbers of a table, and halves those of which something cannot be read. `lost` cannot for certain.
async fn copy_table(
    connection: &mut SqliteConnection,
    table: &str,
    mut ranges: RowRanges,
    mut lost: RowRanges,
) -> Result<String, MetadataError> {
    // Of a file of an earlier version, those that it has.
    let columns = sqlx::query(
        "SELECT name FROM pragma_table_info(?, 'main') INTERSECT SELECT name FROM pragma_table_info(?, 'old')",
    );
    let columns = columns.bind(table).bind(table).fetch_all(&mut *connection).await?;
    let names: Vec<String> = columns.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let names = names.join(", ");
    let copy = format!(
        "INSERT OR IGNORE INTO main.{table} (rowid, {names}) SELECT rowid, {names} FROM old.{table} NOT INDEXED WHERE"
    );
    // Behind the last row of a range SQLite looks for one more, in a page that may be lost; for one row it does not.
    let (one, many) = (format!("{copy} rowid = ?"), format!("{copy} rowid BETWEEN ? AND ?"));
    let mut copied = 0;
    while let Some((low, high)) = ranges.pop() {
        let statement = match low == high {
            true => sqlx::query(AssertSqlSafe(one.clone())).bind(low),
            false => sqlx::query(AssertSqlSafe(many.clone())).bind(low).bind(high),
        };
        match statement.execute(&mut *connection).await.map_err(MetadataError::from) {
            Ok(done) => copied += done.rows_affected(),
            Err(MetadataError::DamagedFile { .. }) if low == high => lost.push((low, high)),
            Err(MetadataError::DamagedFile { .. }) => {
                let middle = low.midpoint(high);
                ranges.extend([(middle + 1, high), (low, middle)]);
            }
            Err(error) => return Err(error),
        }
    }
    lost.sort_unstable();
    Ok(format!("{table}: {copied} rows kept; {}", lost_words(&lost)))
}

/// Rising ranges of row numbers, those that touch as one.
fn lost_words(lost: &[(i64, i64)]) -> String {
    let mut joined = RowRanges::new();
    for &(low, high) in lost {
        match joined.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => joined.push((low, high)),
        }
    }
    if joined.is_empty() {
        return "none is lost".to_owned();
    }
    let words = |range: &(i64, i64)| match range {
        (low, i64::MAX) => format!("from {low} on"),
        (low, high) => format!("{low} to {high}"),
    };
    let words: Vec<String> = joined.iter().map(words).collect();
    format!("those with row numbers {} are lost, as far as there were such", words.join(", "))
}

/// Leaves no row that hangs on a lost one.
async fn tidy(connection: &mut SqliteConnection, lines: &mut Vec<String>) -> Result<(), MetadataError> {
    const STEPS: [(&str, &str); 6] = [
        (
            "projects made anew under the name recovered-<id>, of which rows are left though their own is lost",
            "INSERT INTO main.projects (project_id, name, created_at_us) \
             SELECT project_id, 'recovered-' || project_id, 0 FROM ( \
                SELECT project_id FROM main.runs UNION SELECT project_id FROM main.project_tags UNION \
                SELECT project_id FROM main.traces UNION SELECT project_id FROM main.logged_models UNION \
                SELECT project_id FROM main.datasets) \
             WHERE project_id NOT IN (SELECT project_id FROM main.projects)",
        ),
        (
            "runs without their parent, which is lost",
            "UPDATE main.runs SET parent_run_id = NULL \
             WHERE parent_run_id NOT IN (SELECT run_id FROM main.runs)",
        ),
        (
            "runs without the run that they were forked from, which is lost",
            "UPDATE main.runs SET fork_run_id = NULL, fork_step = NULL \
             WHERE fork_run_id NOT IN (SELECT run_id FROM main.runs)",
        ),
        (
            "URL of the object store that has the artifacts, known from the audit",
            "INSERT INTO main.artifact_store (url, owner) SELECT subject, '' FROM main.audit \
             WHERE action = 'set_artifact_store' AND NOT EXISTS (SELECT 1 FROM main.artifact_store) \
             ORDER BY audit_id DESC LIMIT 1",
        ),
        ("params of lost runs left out", "DELETE FROM main.params WHERE run_id NOT IN (SELECT run_id FROM main.runs)"),
        ("tags of lost runs left out", "DELETE FROM main.tags WHERE run_id NOT IN (SELECT run_id FROM main.runs)"),
    ];
    for (what, statement) in STEPS {
        let rows = sqlx::query(statement).execute(&mut *connection).await?.rows_affected();
        if rows > 0 {
            lines.push(format!("{rows} {what}"));
        }
    }
    for (table, lost) in ORPHANS {
        let orphans = AssertSqlSafe(format!("DELETE FROM main.{table} WHERE {lost}"));
        let rows = sqlx::query(orphans).execute(&mut *connection).await?.rows_affected();
        if rows > 0 {
            lines.push(format!("{rows} rows of {table} left out, of which the row that they belong to is lost"));
        }
    }
    Ok(())
}

/// Has no id given again, also not one that is gone.
async fn keep_highest_ids(connection: &mut SqliteConnection, lines: &mut Vec<String>) {
    const STEPS: [&str; 2] = [
        "UPDATE main.sqlite_sequence SET seq = max(sqlite_sequence.seq, was.seq) \
         FROM old.sqlite_sequence AS was WHERE was.name = sqlite_sequence.name",
        "INSERT INTO main.sqlite_sequence (name, seq) SELECT name, seq FROM old.sqlite_sequence \
         WHERE name NOT IN (SELECT name FROM main.sqlite_sequence)",
    ];
    for step in STEPS {
        if let Err(error) = sqlx::query(step).execute(&mut *connection).await {
            lines.push(format!(
                "the highest ids ever given cannot be read, those of lost rows may be given again: {error}"
            ));
            return;
        }
    }
}
