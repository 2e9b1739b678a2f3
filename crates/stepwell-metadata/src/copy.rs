//! A copy of the tables as they were at one moment, taken beside whoever changes them.

use std::path::Path;

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use crate::{
    artifacts::{BlobRow, NOT_OWNED, blob},
    error::MetadataError,
    prepare::{State, state},
    store::{BUSY_TIMEOUT, Metadata},
    vfs,
};

/// Table by table into a new file, over one read transaction of the source. SQLite's own ways do not fit: `VACUUM INTO` cannot
/// say at which moment it looked, and the backup interface starts anew whenever somebody writes.
pub struct MetadataCopy {
    /// To the new file; the source is attached to it, for reading only.
    connection: SqliteConnection,
}

impl MetadataCopy {
    /// Makes `copy`, a new file that is still empty, and opens `source`, which a server may be using.
    pub async fn open(source: &Path, copy: &Path) -> Result<Self, MetadataError> {
        let options = SqliteConnectOptions::new()
            .filename(copy)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Delete)
            // Rows come table by table, so that what they refer to may not be there yet.
            .foreign_keys(false)
            .busy_timeout(BUSY_TIMEOUT);
        let mut connection = options.connect().await?;
        sqlx::query("ATTACH DATABASE ? AS source").bind(read_only_uri(source)?).execute(&mut connection).await?;
        Ok(Self { connection })
    }

    /// Fixes the moment that is copied to now, instead of what was fixed before.
    pub async fn pin(&mut self) -> Result<(), MetadataError> {
        // There is none to end the first time.
        drop(self.run("ROLLBACK").await);
        self.run("BEGIN").await?;
        // SQLite takes its view of a file at the first read, not at BEGIN.
        self.run("SELECT count(*) FROM source.sqlite_schema").await
    }

    /// What is said of artifacts at the moment pinned.
    pub async fn artifacts(&mut self) -> Result<ArtifactsOfCopy, MetadataError> {
        artifacts_in(&mut self.connection, "source").await
    }

    /// Copies everything as it was at the moment pinned, and checks the copy. It is not synced.
    pub async fn finish(mut self) -> Result<(), MetadataError> {
        let schema = "SELECT type, name, sql FROM source.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        let schema = sqlx::query(schema).fetch_all(&mut self.connection).await?;
        let parts = schema.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        let parts = parts.collect::<Result<Vec<(String, String, String)>, sqlx::Error>>()?;
        let (tables, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(kind, ..)| kind == "table");
        for (_, name, sql) in &tables {
            self.run(sql).await?;
            let name = name.replace('"', "\"\"");
            self.run(&format!("INSERT INTO main.\"{name}\" SELECT * FROM source.\"{name}\"")).await?;
        }
        // The highest ids ever given, so that none is given again.
        let has_ids = "SELECT 1 FROM source.sqlite_schema WHERE name = 'sqlite_sequence'";
        if sqlx::query(has_ids).fetch_optional(&mut self.connection).await?.is_some() {
            self.run("DELETE FROM main.sqlite_sequence").await?;
            self.run("INSERT INTO main.sqlite_sequence SELECT * FROM source.sqlite_sequence").await?;
        }
        // What is restored from it does not own the object store: the directory that is copied does.
        let has_owner = "SELECT 1 FROM main.pragma_table_info('artifact_store') WHERE name = 'owner'";
        if sqlx::query(has_owner).fetch_optional(&mut self.connection).await?.is_some() {
            let disown = sqlx::query("UPDATE main.artifact_store SET owner = ?").bind(NOT_OWNED);
            disown.execute(&mut self.connection).await?;
        }
        for (_, _, sql) in &others {
            self.run(sql).await?;
        }
        self.run("COMMIT").await?;
        self.run("DETACH DATABASE source").await?;
        check(&mut self.connection).await?;
        self.connection.close().await?;
        Ok(())
    }

    async fn run(&mut self, sql: &str) -> Result<(), MetadataError> {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// Whether a copy that nobody changes is whole: every page, every index, every reference.
pub async fn check_copy(path: &Path) -> Result<(), MetadataError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut connection = options.connect().await?;
    check(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Has a copy that becomes a data directory of its own say that it does not own the object store that it names. One of an earlier version
/// says nothing of that, as its original does, and gets the tables for it.
pub async fn disown_artifacts(path: &Path, now_us: i64) -> Result<(), MetadataError> {
    let copy = Metadata::open_read_only(path).await?;
    let is_said = copy.artifact_store().await?.is_none() || copy.disowns_artifacts().await?;
    copy.close().await;
    if is_said {
        return Ok(());
    }
    let copy = Metadata::open(path).await?;
    let said = copy.set_artifact_owner(NOT_OWNED, None, now_us).await;
    copy.close().await;
    said
}

/// What such a copy says of artifacts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactsOfCopy {
    /// The object store that has their blobs, if one has.
    pub store: Option<String>,
    /// The blobs that they name; none in a copy from before there were artifacts.
    pub blobs: Vec<BlobRow>,
}

/// Reads what a copy says of artifacts.
pub async fn artifacts_of_copy(path: &Path) -> Result<ArtifactsOfCopy, MetadataError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut connection = options.connect().await?;
    let found = artifacts_in(&mut connection, "main").await?;
    connection.close().await?;
    Ok(found)
}

/// The same of one of a connection's databases.
async fn artifacts_in(connection: &mut SqliteConnection, database: &str) -> Result<ArtifactsOfCopy, MetadataError> {
    let names = format!("SELECT name FROM {database}.sqlite_schema WHERE name IN ('artifacts', 'artifact_store')");
    let names = sqlx::query(AssertSqlSafe(names)).fetch_all(&mut *connection).await?;
    let names = names.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    let has = |name: &str| names.iter().any(|known| known == name);
    let mut found = ArtifactsOfCopy::default();
    if has("artifact_store") {
        let url = format!("SELECT url FROM {database}.artifact_store");
        let url = sqlx::query(AssertSqlSafe(url)).fetch_optional(&mut *connection).await?;
        found.store = url.map(|row| row.try_get(0)).transpose()?;
    }
    if has("artifacts") {
        let rows = format!("SELECT sha256, bytes, checksums FROM {database}.artifacts GROUP BY sha256 ORDER BY sha256");
        let rows = sqlx::query(AssertSqlSafe(rows)).fetch_all(&mut *connection).await?;
        found.blobs = rows.iter().map(blob).collect::<Result<_, _>>()?;
    }
    Ok(found)
}

async fn check(connection: &mut SqliteConnection) -> Result<(), MetadataError> {
    let damaged = |what, detail: String| MetadataError::Damaged { what, subject: "copy".to_owned(), detail };
    let found: String = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut *connection).await?.try_get(0)?;
    if found != "ok" {
        return Err(damaged("database", found));
    }
    match sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut *connection).await? {
        None => Ok(()),
        Some(row) => Err(damaged("reference", format!("a row of {:?} refers to none", row.try_get::<String, _>(0)?))),
    }
}

/// A path as the URI with which SQLite opens a file for reading only.
fn read_only_uri(source: &Path) -> Result<String, MetadataError> {
    // Through the layer that checks each page: what is damaged is not backed up for whole.
    let layer = match state(source)? {
        State::Checked if vfs::register() => format!("&vfs={}", vfs::NAME),
        State::Damaged { path, offset, detail } => return Err(MetadataError::DamagedFile { path, offset, detail }),
        _ => String::new(),
    };
    let path = source.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Ok(format!("file:{path}?mode=ro{layer}"))
}
