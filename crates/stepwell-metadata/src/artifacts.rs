//! What artifacts are called: logical paths, and the blobs that they name. The bytes are not known here.

use std::collections::{BTreeSet, HashSet};

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{error::MetadataError, projects::number, store::Metadata, write::audit};

/// Rows read at once of a directory. Those of a directory within it that are more than the first are passed over.
const PAGE_ROWS: i64 = 256;

/// What a copy says of the owner of its object store.
pub(crate) const NOT_OWNED: &str = "";

/// An artifact. Its path has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub path: String,
    pub blob: BlobRow,
    pub written_at_us: i64,
}

/// What a row says of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    pub bytes: u64,
    /// Of its chunks, as whoever wrote it gave them.
    pub checksums: Vec<u8>,
}

/// Whom an artifact belongs to: what purges it when it is purged itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactOwner {
    Run { project_id: String, run_id: String },
    Trace { project_id: String, trace_id: String },
    Project { project_id: String },
}

/// What is right below a directory of artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactEntry {
    /// Name of a directory.
    Directory(String),
    /// Name and length of an artifact.
    File(String, u64),
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArtifactTotals {
    pub artifacts: u64,
    /// As if each had bytes of its own.
    pub bytes: u64,
    pub blobs: u64,
    /// On the disk.
    pub blob_bytes: u64,
}

impl Metadata {
    /// Has a path name a blob, in place of what it named before: that blob's hash is returned, and may be nobody's now. Its owner, if it
    /// has one, must be there, or it would stay when all else of the owner is gone.
    pub async fn put_artifact(
        &self,
        artifact: &Artifact,
        owner: Option<&ArtifactOwner>,
    ) -> Result<Option<String>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        if let Some(owner) = owner
            && !is_there(&mut tx, owner).await?
        {
            return Err(owner.not_found());
        }
        if let Some(other) = in_the_way(&mut tx, &artifact.path).await? {
            return Err(MetadataError::ArtifactInTheWay { path: artifact.path.clone(), other });
        }
        let old = sqlx::query("SELECT sha256 FROM artifacts WHERE path = ?").bind(&artifact.path);
        let old: Option<String> = old.fetch_optional(&mut *tx).await?.map(|row| row.try_get(0)).transpose()?;
        sqlx::query(
            "INSERT INTO artifacts (path, sha256, bytes, checksums, written_at_us) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (path) DO UPDATE SET sha256 = excluded.sha256, bytes = excluded.bytes, \
             checksums = excluded.checksums, written_at_us = excluded.written_at_us",
        )
        .bind(&artifact.path)
        .bind(&artifact.blob.sha256)
        .bind(artifact.blob.bytes as i64)
        .bind(&artifact.blob.checksums)
        .bind(artifact.written_at_us)
        .execute(&mut *tx)
        .await?;
        let detail = json!({"sha256": artifact.blob.sha256, "bytes": artifact.blob.bytes});
        audit(&mut tx, artifact.written_at_us, "put_artifact", &artifact.path, &detail).await?;
        self.commit_unseen(tx, old.filter(|old| *old != artifact.blob.sha256)).await
    }

    /// Whether an owner is there, be it in the trash.
    pub async fn has_artifact_owner(&self, owner: &ArtifactOwner) -> Result<bool, MetadataError> {
        is_there(&mut *self.readers.acquire().await?, owner).await
    }

    /// The artifact of that path.
    pub async fn artifact(&self, path: &str) -> Result<Option<Artifact>, MetadataError> {
        let row =
            sqlx::query("SELECT * FROM artifacts WHERE path = ?").bind(path).fetch_optional(&self.readers).await?;
        row.as_ref().map(artifact).transpose()
    }

    /// What is right below a directory, by name; all of the top where it is empty.
    pub async fn artifacts_in(&self, directory: &str) -> Result<Vec<ArtifactEntry>, MetadataError> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        // A character past all that a path may begin with, and one past `/`.
        let end = if directory.is_empty() { "\u{10ffff}".to_owned() } else { format!("{directory}0") };
        let mut from = prefix.clone();
        let mut entries = Vec::new();
        // One connection, one transaction: the list is of one moment.
        let mut tx = self.readers.begin().await?;
        loop {
            let rows =
                sqlx::query("SELECT path, bytes FROM artifacts WHERE path >= ? AND path < ? ORDER BY path LIMIT ?")
                    .bind(&from)
                    .bind(&end)
                    .bind(PAGE_ROWS)
                    .fetch_all(&mut *tx)
                    .await?;
            for row in &rows {
                let name: &str = row.try_get::<&str, _>(0)?.get(prefix.len()..).unwrap_or_default();
                match name.split_once('/') {
                    None => entries.push(ArtifactEntry::File(name.to_owned(), row.try_get::<i64, _>(1)? as u64)),
                    Some((name, _)) => {
                        let entry = ArtifactEntry::Directory(name.to_owned());
                        if entries.last() != Some(&entry) {
                            entries.push(entry);
                        }
                    }
                }
            }
            if (rows.len() as i64) < PAGE_ROWS {
                entries.sort_by(|a, b| a.name().cmp(b.name()));
                return Ok(entries);
            }
            from = match entries.last() {
                Some(ArtifactEntry::Directory(name)) => format!("{prefix}{name}0"),
                Some(ArtifactEntry::File(name, _)) => format!("{prefix}{name}\u{1}"),
                None => return Ok(entries),
            };
        }
    }

    /// Whether there is an artifact below a directory.
    pub async fn is_artifact_directory(&self, path: &str) -> Result<bool, MetadataError> {
        let found = sqlx::query("SELECT 1 FROM artifacts WHERE path > ? AND path < ? LIMIT 1")
            .bind(format!("{path}/"))
            .bind(format!("{path}0"))
            .fetch_optional(&self.readers)
            .await?;
        Ok(found.is_some())
    }

    /// Removes the artifact of a path, and all below it. Returns the hashes that they named, which may be nobody's now.
    pub async fn delete_artifacts(&self, path: &str, now_us: i64) -> Result<BTreeSet<String>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let hashes = delete_below(&mut tx, path, now_us).await?;
        self.commit_unseen(tx, hashes).await
    }

    /// Removes all artifacts that name a blob. Returns their paths.
    pub async fn delete_artifacts_of_blob(&self, sha256: &str, now_us: i64) -> Result<Vec<String>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let rows = sqlx::query("DELETE FROM artifacts WHERE sha256 = ? RETURNING path")
            .bind(sha256)
            .fetch_all(&mut *tx)
            .await?;
        let paths: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        audit(&mut tx, now_us, "delete_artifacts_of_blob", sha256, &json!({"paths": paths})).await?;
        self.commit_unseen(tx, paths).await
    }

    /// Paths of artifacts that name a blob, at most so many.
    pub async fn artifacts_of_blob(&self, sha256: &str, limit: u32) -> Result<Vec<String>, MetadataError> {
        let rows = sqlx::query("SELECT path FROM artifacts WHERE sha256 = ? ORDER BY path LIMIT ?")
            .bind(sha256)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// The hashes that begin with two hexadecimal digits and are named.
    pub async fn named_blobs(&self, digits: &str) -> Result<HashSet<String>, MetadataError> {
        let rows = sqlx::query("SELECT DISTINCT sha256 FROM artifacts WHERE sha256 >= ? AND sha256 < ?")
            .bind(digits)
            .bind(format!("{digits}g"))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Whether the file has rows of artifacts: one that an earlier version wrote, and that is only read, has not.
    pub async fn knows_artifacts(&self) -> Result<bool, MetadataError> {
        let table = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = 'artifacts'");
        Ok(table.fetch_optional(&self.readers).await?.is_some())
    }

    /// The URL of the object store that has the blobs; `None` where the data directory has them. A file that an earlier version
    /// wrote, and that is only read, has no such table.
    pub async fn artifact_store(&self) -> Result<Option<String>, MetadataError> {
        let table = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = 'artifact_store'");
        if table.fetch_optional(&self.readers).await?.is_none() {
            return Ok(None);
        }
        let row = sqlx::query("SELECT url FROM artifact_store").fetch_optional(&self.readers).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// What the data directory is called in that store as its owner; `None` if it does not own it.
    pub async fn artifact_owner(&self) -> Result<Option<String>, MetadataError> {
        Ok(self.said_owner().await?.filter(|owner| owner != NOT_OWNED))
    }

    /// Whether the file is a copy of which it is said that it does not own that store. Where nothing is said, it is from before there were
    /// owners.
    pub async fn disowns_artifacts(&self) -> Result<bool, MetadataError> {
        Ok(self.said_owner().await?.is_some_and(|owner| owner == NOT_OWNED))
    }

    async fn said_owner(&self) -> Result<Option<String>, MetadataError> {
        self.said_of_store(
            "SELECT 1 FROM pragma_table_info('artifact_store') WHERE name = 'owner'",
            "SELECT owner FROM artifact_store",
        )
        .await
    }

    /// Which directory was made that owner, as its disk tells it from a copy; `None` where it does not, or nobody looked.
    pub async fn artifact_owner_directory(&self) -> Result<Option<String>, MetadataError> {
        let column = "SELECT 1 FROM pragma_table_info('artifact_store') WHERE name = 'directory'";
        self.said_of_store(column, "SELECT directory FROM artifact_store").await
    }

    /// The answer of `statement`, if the file, which an earlier version may have written, has the `column`.
    async fn said_of_store(
        &self,
        column: &'static str,
        statement: &'static str,
    ) -> Result<Option<String>, MetadataError> {
        if sqlx::query(column).fetch_optional(&self.readers).await?.is_none() {
            return Ok(None);
        }
        let row = sqlx::query(statement).fetch_optional(&self.readers).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
    }

    /// Says what the data directory is called there, and which one it is.
    pub async fn set_artifact_owner(
        &self,
        owner: &str,
        directory: Option<&str>,
        now_us: i64,
    ) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let said = sqlx::query("UPDATE artifact_store SET owner = ?, directory = ?").bind(owner).bind(directory);
        said.execute(&mut *tx).await?;
        audit(&mut tx, now_us, "set_artifact_owner", owner, &json!({})).await?;
        self.commit_unseen(tx, ()).await
    }

    /// Says for good that blobs are in an object store.
    pub async fn set_artifact_store(&self, url: &str, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        sqlx::query("DELETE FROM artifact_store").execute(&mut *tx).await?;
        sqlx::query("INSERT INTO artifact_store (url) VALUES (?)").bind(url).execute(&mut *tx).await?;
        audit(&mut tx, now_us, "set_artifact_store", url, &json!({})).await?;
        self.commit_unseen(tx, ()).await
    }

    /// Named blobs by their hashes, the next so many after one.
    pub async fn blobs_after(&self, sha256: &str, limit: u32) -> Result<Vec<BlobRow>, MetadataError> {
        let rows = sqlx::query(
            "SELECT sha256, bytes, checksums FROM artifacts WHERE sha256 > ? GROUP BY sha256 ORDER BY sha256 LIMIT ?",
        )
        .bind(sha256)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(blob).collect()
    }

    /// How much there is.
    pub async fn artifact_totals(&self) -> Result<ArtifactTotals, MetadataError> {
        // From the index alone.
        let row = sqlx::query(
            "SELECT count(*), coalesce(sum(n), 0), coalesce(sum(n * bytes), 0), coalesce(sum(bytes), 0) \
             FROM (SELECT count(*) AS n, max(bytes) AS bytes FROM artifacts GROUP BY sha256)",
        )
        .fetch_one(&self.readers)
        .await?;
        let figure = |at: usize| Ok::<u64, MetadataError>(row.try_get::<i64, _>(at)? as u64);
        Ok(ArtifactTotals { blobs: figure(0)?, artifacts: figure(1)?, bytes: figure(2)?, blob_bytes: figure(3)? })
    }
}

impl ArtifactEntry {
    /// Its name within the directory.
    pub fn name(&self) -> &str {
        match self {
            Self::Directory(name) | Self::File(name, _) => name,
        }
    }
}

impl ArtifactOwner {
    fn not_found(&self) -> MetadataError {
        match self.clone() {
            Self::Run { run_id, .. } => MetadataError::RunNotFound { run_id },
            Self::Trace { trace_id, .. } => MetadataError::TraceNotFound { trace_id },
            Self::Project { project_id } => MetadataError::ProjectNotFound { name: project_id },
        }
    }
}

async fn is_there(connection: &mut SqliteConnection, owner: &ArtifactOwner) -> Result<bool, MetadataError> {
    let (statement, project_id, id) = match owner {
        ArtifactOwner::Run { project_id, run_id } => {
            ("SELECT 1 FROM runs WHERE project_id = ? AND run_id = ?", project_id, Some(run_id))
        }
        ArtifactOwner::Trace { project_id, trace_id } => {
            ("SELECT 1 FROM traces WHERE project_id = ? AND trace_id = ?", project_id, Some(trace_id))
        }
        ArtifactOwner::Project { project_id } => ("SELECT 1 FROM projects WHERE project_id = ?", project_id, None),
    };
    let mut found = sqlx::query(statement).bind(number(project_id));
    if let Some(id) = id {
        found = found.bind(id);
    }
    Ok(found.fetch_optional(connection).await?.is_some())
}

/// Removes the artifact of a path, and all below it, in the transaction of a change. Returns the hashes that they named.
pub(crate) async fn delete_below(
    connection: &mut SqliteConnection,
    path: &str,
    now_us: i64,
) -> Result<BTreeSet<String>, MetadataError> {
    let rows = sqlx::query("DELETE FROM artifacts WHERE path = ? OR (path > ? AND path < ?) RETURNING sha256")
        .bind(path)
        .bind(format!("{path}/"))
        .bind(format!("{path}0"))
        .fetch_all(&mut *connection)
        .await?;
    if !rows.is_empty() {
        audit(connection, now_us, "delete_artifacts", path, &json!({"artifacts": rows.len()})).await?;
    }
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// An artifact that a path would lie within, or that would lie within it.
async fn in_the_way(connection: &mut SqliteConnection, path: &str) -> Result<Option<String>, MetadataError> {
    let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
    let row = sqlx::query(
        "SELECT path FROM artifacts WHERE path IN (SELECT value FROM json_each(?)) OR (path > ? AND path < ?) LIMIT 1",
    )
    .bind(json!(above).to_string())
    .bind(format!("{path}/"))
    .bind(format!("{path}0"))
    .fetch_optional(&mut *connection)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

fn artifact(row: &SqliteRow) -> Result<Artifact, MetadataError> {
    Ok(Artifact { path: row.try_get("path")?, blob: blob(row)?, written_at_us: row.try_get("written_at_us")? })
}

pub(crate) fn blob(row: &SqliteRow) -> Result<BlobRow, MetadataError> {
    let (sha256, bytes): (String, i64) = (row.try_get("sha256")?, row.try_get("bytes")?);
    let detail = format!("{bytes} bytes");
    let bytes =
        u64::try_from(bytes).map_err(|_| MetadataError::Damaged { what: "length", subject: sha256.clone(), detail })?;
    Ok(BlobRow { sha256, bytes, checksums: row.try_get("checksums")? })
}
