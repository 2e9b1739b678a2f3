//! Every row that can be read of a damaged file, in a new one.

use std::path::Path;

use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    error::MetadataError,
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
/// Row numbers that are looked for where the last one cannot be read.
const ROWS_MAX: i64 = 1 << 32;
/// Reads that may fail for one table.
const FAILURES_MAX: usize = 20_000;

/// Copies every row that can be read to a new file.
pub(crate) async fn salvage(from: &Path, to: &Path, lines: &mut Vec<String>) -> Result<(), MetadataError> {
    Metadata::open(to).await?.close().await;
    let options = checked(SqliteConnectOptions::new().filename(to))?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false);
    let mut connection = options.connect().await?;
    // Not on this connection: it would prepare no statement any more once a list of tables is attached that it cannot read.
    let is_readable = lists_tables(from).await;
    if is_readable {
        let attached = sqlx::query("ATTACH ? AS old").bind(from.to_string_lossy().into_owned());
        attached.execute(&mut connection).await?;
    }
    if is_readable {
        for table in TABLES {
            // A file of an earlier version has fewer.
            let known = sqlx::query("SELECT 1 FROM old.sqlite_master WHERE type = 'table' AND name = ?").bind(table);
            if matches!(known.fetch_optional(&mut connection).await, Ok(None)) {
                continue;
            }
            let copied = copy_table(&mut connection, table).await?;
            lines.push(copied);
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

/// Copies what can be read of a table, range of row numbers by range, and halves those that cannot.
async fn copy_table(connection: &mut SqliteConnection, table: &str) -> Result<String, MetadataError> {
    let columns = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')")));
    let names: Vec<String> =
        columns.fetch_all(&mut *connection).await?.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let names = names.join(", ");
    let copy = format!(
        "INSERT OR IGNORE INTO main.{table} (rowid, {names}) \
         SELECT rowid, {names} FROM old.{table} NOT INDEXED WHERE rowid BETWEEN ? AND ?"
    );
    let last = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT coalesce(max(rowid), 0) FROM old.{table}")));
    let last: i64 = match last.fetch_one(&mut *connection).await {
        Ok(row) => row.try_get(0)?,
        Err(_) => ROWS_MAX,
    };
    let (mut copied, mut lost, mut failures) = (0, Vec::new(), 0);
    // The first project's is 0.
    let mut ranges = vec![(0, last)];
    while let Some((low, high)) = ranges.pop().filter(|(low, high)| low <= high) {
        let done = sqlx::query(sqlx::AssertSqlSafe(copy.clone())).bind(low).bind(high).execute(&mut *connection).await;
        match done {
            Ok(done) => copied += done.rows_affected(),
            Err(_) if low == high || failures >= FAILURES_MAX => lost.push((low, high)),
            Err(_) => {
                failures += 1;
                let middle = low.midpoint(high);
                ranges.extend([(middle + 1, high), (low, middle)]);
            }
        }
    }
    Ok(format!("{table}: {copied} rows kept; {}", lost_words(&lost)))
}

/// Rising ranges of row numbers, those that touch as one.
fn lost_words(lost: &[(i64, i64)]) -> String {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for &(low, high) in lost {
        match joined.last_mut() {
            Some(last) if last.1 + 1 == low => last.1 = high,
            _ => joined.push((low, high)),
        }
    }
    if joined.is_empty() {
        return "none is lost".to_owned();
    }
    let words: Vec<String> = joined.iter().map(|(low, high)| format!("{low} to {high}")).collect();
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
            "INSERT INTO main.artifact_store (url) SELECT subject FROM main.audit \
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
        let orphans = sqlx::AssertSqlSafe(format!("DELETE FROM main.{table} WHERE {lost}"));
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
