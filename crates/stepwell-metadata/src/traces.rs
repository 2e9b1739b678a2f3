//! Traces: what a program did in answer to one request. Their spans are artifacts.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::ControlFlow,
};

use futures::TryStreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{artifacts::delete_below, error::MetadataError, store::Metadata, tree_bytes::tree_bytes, write::audit};

/// The most that a trace may take in memory where it is told of, bytes: one request may name many. Those that an earlier version stored
/// may take more.
const TRACE_BYTES_MAX: usize = 16 << 20;

/// One trace. Times are microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub trace_id: String,
    pub project_id: String,
    pub started_at_us: i64,
    /// Absent while it goes on.
    pub duration_us: Option<i64>,
    /// How it went, in the tracer's word.
    pub state: String,
    pub client_request_id: Option<String>,
    pub request_preview: Option<String>,
    pub response_preview: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// What was thought of it, as it was sent.
    pub assessments: Vec<Value>,
    /// Runs that it was linked to.
    pub linked_runs: Vec<String>,
}

impl Trace {
    /// What a tag or a piece of metadata takes beside its texts where it is an object by itself, bytes.
    pub const PAIR_BYTES: usize = 820;

    /// Bytes of its texts, those of assessments left out.
    pub fn text_bytes(&self) -> usize {
        let pairs = self.metadata.iter().chain(&self.tags).map(|(key, value)| key.len() + value.len());
        let runs = self.linked_runs.iter().map(String::len);
        let alone = [&self.client_request_id, &self.request_preview, &self.response_preview];
        let alone = alone.into_iter().flatten().chain([&self.trace_id, &self.project_id, &self.state]).map(String::len);
        pairs.chain(runs).chain(alone).sum()
    }

    /// The most that it takes as a tree of JSON, bytes, where a tag or a piece of metadata takes `pair_bytes` beside its texts.
    pub fn tree_bytes(&self, pair_bytes: usize) -> usize {
        let pairs = self.metadata.len() + self.tags.len();
        let assessments = self.assessments.iter().map(|assessment| size_of::<Value>() + tree_bytes(assessment));
        self.text_bytes() + pairs * pair_bytes + assessments.sum::<usize>()
    }
}

/// Changes of a trace; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TracePatch {
    pub duration_us: Option<i64>,
    pub state: Option<String>,
    /// Added to those there are.
    pub metadata: BTreeMap<String, String>,
    /// Set, or removed where `None`.
    pub tags: BTreeMap<String, Option<String>>,
    pub linked_run: Option<String>,
}

/// Which traces of a project to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceSelection {
    /// Those that began by then.
    pub started_by_us: Option<i64>,
    /// So many at most, the oldest.
    pub limit: Option<u32>,
    /// Those named; any where it is empty.
    pub trace_ids: Vec<String>,
}

/// What became of traces that were to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletedTraces {
    /// How many there were.
    pub traces: usize,
    /// What their artifacts named, which may be nobody's now.
    pub hashes: BTreeSet<String>,
}

impl Metadata {
    /// Stores a trace; of one that is there already what is given wins, and what only the old one has stays. An id that a project in
    /// the trash has is taken: a restore is to find its trace.
    pub async fn put_trace(&self, mut trace: Trace, now_us: i64) -> Result<Trace, MetadataError> {
        let mut tx = self.writer.begin().await?;
        if let Some(old) = read_trace(&mut tx, &trace.trace_id).await? {
            for (key, value) in old.metadata {
                trace.metadata.entry(key).or_insert(value);
            }
            for (key, value) in old.tags {
                trace.tags.entry(key).or_insert(value);
            }
            trace.request_preview = trace.request_preview.or(old.request_preview);
            trace.response_preview = trace.response_preview.or(old.response_preview);
            trace.assessments = with_given(old.assessments, trace.assessments);
            trace.linked_runs.splice(0..0, old.linked_runs);
        } else if has_trace(&mut tx, &trace.trace_id).await? {
            return Err(MetadataError::InTrash { what: "project of trace", name: trace.trace_id });
        }
        write_trace(&mut tx, &trace).await?;
        audit(&mut tx, now_us, "put_trace", &trace.trace_id, &json!({"project_id": trace.project_id})).await?;
        self.commit_unseen(tx, trace).await
    }

    /// The trace of that id, unless its project is in the trash.
    pub async fn trace(&self, trace_id: &str) -> Result<Option<Trace>, MetadataError> {
        read_trace(&mut *self.readers.acquire().await?, trace_id).await
    }

    /// Shows `visit` the traces of a project that is not in the trash, those that began last first, one in memory at a time, until
    /// it breaks or fails. They come without previews and assessments, which nobody searches by and which may be long.
    pub async fn each_trace<E: From<MetadataError>>(
        &self,
        project_id: i64,
        mut visit: impl FnMut(Trace) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut rows = sqlx::query(
            "SELECT trace_id, project_id, started_at_us, duration_us, state, client_request_id, NULL AS request_preview, \
             NULL AS response_preview, metadata, tags, '[]' AS assessments, linked_runs FROM traces WHERE project_id = ? \
             AND project_id IN (SELECT project_id FROM projects WHERE deleted_at_us IS NULL) \
             ORDER BY started_at_us DESC, trace_id DESC",
        )
        .bind(project_id)
        .fetch(&self.readers);
        while let Some(row) = rows.try_next().await.map_err(MetadataError::from)? {
            if visit(trace(&row)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Changes a trace.
    pub async fn update_trace(&self, trace_id: &str, patch: TracePatch, now_us: i64) -> Result<Trace, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let not_found = || MetadataError::TraceNotFound { trace_id: trace_id.to_owned() };
        let mut trace = read_trace(&mut tx, trace_id).await?.ok_or_else(not_found)?;
        trace.duration_us = patch.duration_us.or(trace.duration_us);
        trace.state = patch.state.unwrap_or(trace.state);
        trace.metadata.extend(patch.metadata);
        for (key, value) in patch.tags.clone() {
            match value {
                Some(value) => trace.tags.insert(key, value),
                None => trace.tags.remove(&key),
            };
        }
        if let Some(run_id) = patch.linked_run.filter(|run_id| !trace.linked_runs.contains(run_id)) {
            trace.linked_runs.push(run_id);
        }
        write_trace(&mut tx, &trace).await?;
        audit(&mut tx, now_us, "update_trace", trace_id, &json!({"state": trace.state, "tags": patch.tags})).await?;
        self.commit_unseen(tx, trace).await
    }

    /// Changes what was thought of a trace; `edit` sees it as it is, and nobody changes it meanwhile. Where it fails nothing is changed.
    pub async fn edit_assessments<T, E: From<MetadataError>>(
        &self,
        trace_id: &str,
        now_us: i64,
        edit: impl FnOnce(&mut Vec<Value>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tx = self.writer.begin().await.map_err(MetadataError::from)?;
        let not_found = || MetadataError::TraceNotFound { trace_id: trace_id.to_owned() };
        let mut trace = read_trace(&mut tx, trace_id).await?.ok_or_else(not_found)?;
        let done = edit(&mut trace.assessments)?;
        write_trace(&mut tx, &trace).await?;
        let detail = json!({"assessments": trace.assessments.len()});
        audit(&mut tx, now_us, "edit_assessments", trace_id, &detail).await?;
        Ok(self.commit_unseen(tx, done).await?)
    }

    /// Deletes traces of a project, and all artifacts below the directory of each: without its row nobody finds them again.
    /// One transaction: whoever deletes many asks for some at a time.
    pub async fn delete_traces(
        &self,
        project_id: i64,
        selection: &TraceSelection,
        directory: impl Fn(&str) -> String,
        now_us: i64,
    ) -> Result<DeletedTraces, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let rows = sqlx::query(
            "DELETE FROM traces WHERE trace_id IN (SELECT trace_id FROM traces WHERE project_id = ? AND started_at_us <= ? \
             AND (? OR trace_id IN (SELECT value FROM json_each(?))) ORDER BY started_at_us, trace_id LIMIT ?) \
             RETURNING trace_id",
        )
        .bind(project_id)
        .bind(selection.started_by_us.unwrap_or(i64::MAX))
        .bind(selection.trace_ids.is_empty())
        .bind(json!(selection.trace_ids).to_string())
        .bind(selection.limit.map_or(-1, i64::from))
        .fetch_all(&mut *tx)
        .await?;
        let trace_ids: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut deleted = DeletedTraces { traces: trace_ids.len(), hashes: BTreeSet::new() };
        for trace_id in &trace_ids {
            deleted.hashes.extend(delete_below(&mut tx, &directory(trace_id), now_us).await?);
        }
        if !trace_ids.is_empty() {
            audit(&mut tx, now_us, "delete_traces", &project_id.to_string(), &json!({"traces": trace_ids})).await?;
        }
        self.commit_unseen(tx, deleted).await
    }
}

/// The assessments that there are, and those given that are not among them: who had no answer sends them again.
fn with_given(mut there: Vec<Value>, given: Vec<Value>) -> Vec<Value> {
    // No text, or an empty one, is no id.
    let id = |assessment: &Value| {
        let id = assessment.get("assessment_id").and_then(Value::as_str).filter(|id| !id.is_empty());
        id.map(ToOwned::to_owned)
    };
    let known: HashSet<String> = there.iter().map(Value::to_string).collect();
    let ids: HashSet<String> = there.iter().filter_map(id).collect();
    let is_new = |given: &Value| !known.contains(&given.to_string()) && id(given).is_none_or(|id| !ids.contains(&id));
    there.extend(given.into_iter().filter(is_new));
    there
}

/// Whether there is a trace of that id, its project in the trash or not.
async fn has_trace(connection: &mut SqliteConnection, trace_id: &str) -> Result<bool, MetadataError> {
    let found = sqlx::query("SELECT 1 FROM traces WHERE trace_id = ?").bind(trace_id);
    Ok(found.fetch_optional(connection).await?.is_some())
}

async fn write_trace(connection: &mut SqliteConnection, trace: &Trace) -> Result<(), MetadataError> {
    if trace.tree_bytes(Trace::PAIR_BYTES) > TRACE_BYTES_MAX {
        return Err(MetadataError::TraceTooLarge { trace_id: trace.trace_id.clone(), bytes_max: TRACE_BYTES_MAX });
    }
    sqlx::query(
        "INSERT OR REPLACE INTO traces (trace_id, project_id, started_at_us, duration_us, state, client_request_id, \
         request_preview, response_preview, metadata, tags, assessments, linked_runs) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&trace.trace_id)
    .bind(trace.project_id.parse::<i64>().unwrap_or(-1))
    .bind(trace.started_at_us)
    .bind(trace.duration_us)
    .bind(&trace.state)
    .bind(&trace.client_request_id)
    .bind(&trace.request_preview)
    .bind(&trace.response_preview)
    .bind(text_of(&trace.metadata)?)
    .bind(text_of(&trace.tags)?)
    .bind(text_of(&trace.assessments)?)
    .bind(text_of(&trace.linked_runs)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// The text of a column, without a tree of it.
fn text_of(value: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

async fn read_trace(connection: &mut SqliteConnection, trace_id: &str) -> Result<Option<Trace>, MetadataError> {
    let row = sqlx::query(
        "SELECT * FROM traces WHERE trace_id = ? \
         AND project_id IN (SELECT project_id FROM projects WHERE deleted_at_us IS NULL)",
    )
    .bind(trace_id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(trace).transpose()
}

fn trace(row: &SqliteRow) -> Result<Trace, MetadataError> {
    let trace_id: String = row.try_get("trace_id")?;
    Ok(Trace {
        project_id: row.try_get::<i64, _>("project_id")?.to_string(),
        started_at_us: row.try_get("started_at_us")?,
        duration_us: row.try_get("duration_us")?,
        state: row.try_get("state")?,
        client_request_id: row.try_get("client_request_id")?,
        request_preview: row.try_get("request_preview")?,
        response_preview: row.try_get("response_preview")?,
        metadata: json_of(row, "metadata", &trace_id)?,
        tags: json_of(row, "tags", &trace_id)?,
        assessments: json_of(row, "assessments", &trace_id)?,
        linked_runs: json_of(row, "linked_runs", &trace_id)?,
        trace_id,
    })
}

fn json_of<T: serde::de::DeserializeOwned>(
    row: &SqliteRow,
    what: &'static str,
    trace_id: &str,
) -> Result<T, MetadataError> {
    let text: &str = row.try_get(what)?;
    let damaged = |error: serde_json::Error| MetadataError::Damaged {
        what,
        subject: trace_id.to_owned(),
        detail: error.to_string(),
    };
    serde_json::from_str(text).map_err(damaged)
}
