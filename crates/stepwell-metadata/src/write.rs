//! Changing runs: one transaction per change, its audit row included.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, Transaction};

use crate::{
    changes::Change,
    error::MetadataError,
    model::{NewRun, ParamValue, Run, RunPatch, RunStatus},
    projects::number,
    read::read_run,
    store::Metadata,
};

/// Rows that one statement writes: each value of each is a variable, of which SQLite has 32,766.
const ROWS_MAX: usize = 1_000;

impl Metadata {
    /// Makes a run in an existing project.
    pub async fn create_run(&self, new: NewRun, now_us: i64) -> Result<Run, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let known = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE run_id = ?), \
             EXISTS (SELECT 1 FROM projects WHERE project_id = ? AND deleted_at_us IS NULL)",
        );
        let known = known.bind(&new.run_id).bind(number(&new.project_id)).fetch_one(&mut *tx).await?;
        if known.try_get::<bool, _>(0)? {
            return Err(match read_run(&mut tx, &new.run_id).await? {
                Some(_) => MetadataError::RunExists { run_id: new.run_id },
                None => MetadataError::InTrash { what: "run", name: new.run_id },
            });
        }
        if !known.try_get::<bool, _>(1)? {
            return Err(MetadataError::RunNotFound { run_id: new.run_id });
        }
        let fork_run_id = new.forked_from.as_ref().map(|fork| fork.run_id.as_str());
        check_related(&mut tx, "parent_run_id", new.parent_run_id.as_deref()).await?;
        check_related(&mut tx, "forked_from", fork_run_id).await?;
        sqlx::query(
            "INSERT INTO runs (run_id, project_id, name, status, started_at_us, created_at_us, user_name, notes, \
             git_commit, dataset_version, environment, parent_run_id, fork_run_id, fork_step) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.run_id)
        .bind(number(&new.project_id))
        .bind(&new.name)
        .bind(RunStatus::Running.as_str())
        .bind(new.started_at_us.unwrap_or(now_us))
        .bind(now_us)
        .bind(&new.user_name)
        .bind(&new.notes)
        .bind(&new.git_commit)
        .bind(&new.dataset_version)
        .bind(new.environment.as_ref().map(ToString::to_string))
        .bind(&new.parent_run_id)
        .bind(fork_run_id)
        .bind(new.forked_from.as_ref().map(|fork| fork.step))
        .execute(&mut *tx)
        .await?;
        set_params(&mut tx, &new.run_id, &BTreeMap::new(), &new.params, true).await?;
        let tags = new.tags.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        set_tags(&mut tx, &new.run_id, &tags).await?;
        audit(&mut tx, now_us, "create_run", &new.run_id, &json!({"project_id": new.project_id, "name": new.name}))
            .await?;
        let run = made(new, now_us);
        self.commit_run(tx, &run.run_id.clone(), run).await
    }

    /// Changes a run, or nothing of it. A status that ends the run does so now where no other time is given or known.
    pub async fn update_run(&self, run_id: &str, patch: RunPatch, now_us: i64) -> Result<Run, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let not_found = || MetadataError::RunNotFound { run_id: run_id.to_owned() };
        let old = read_run(&mut tx, run_id).await?.ok_or_else(not_found)?;
        check_related(&mut tx, "parent_run_id", patch.parent_run_id.as_deref()).await?;
        let status = patch.status.unwrap_or(old.status);
        let ended_at_us = match patch.ended_at_us {
            Some(given) => Some(given),
            None if patch.keeps_end => old.ended_at_us,
            None if status.is_open() => None,
            None => old.ended_at_us.or(Some(now_us)),
        };
        let is_scheduled = status == RunStatus::Scheduled;
        sqlx::query(
            "UPDATE runs SET status = ?, scheduled = ?, ended_at_us = ?, name = ?, user_name = ?, notes = ?, \
             git_commit = ?, parent_run_id = ? WHERE run_id = ?",
        )
        .bind(if is_scheduled { RunStatus::Running.as_str() } else { status.as_str() })
        .bind(is_scheduled.then_some(1))
        .bind(ended_at_us)
        .bind(patch.name.as_ref().or(old.name.as_ref()))
        .bind(patch.user_name.as_ref().or(old.user_name.as_ref()))
        .bind(patch.notes.as_ref().or(old.notes.as_ref()))
        .bind(patch.git_commit.as_ref().or(old.git_commit.as_ref()))
        .bind(patch.parent_run_id.as_ref().or(old.parent_run_id.as_ref()))
        .bind(run_id)
        .execute(&mut *tx)
        .await?;
        set_params(&mut tx, run_id, &old.params, &patch.params, patch.params_are_exact).await?;
        set_tags(&mut tx, run_id, &patch.tags).await?;
        let params: Vec<&String> = patch.params.keys().collect();
        let detail = json!({"status": status.as_str(), "params": params, "tags": patch.tags});
        audit(&mut tx, now_us, "update_run", run_id, &detail).await?;
        let run = read_run(&mut tx, run_id).await?.ok_or_else(not_found)?;
        self.commit_run(tx, run_id, run).await
    }

    /// The audit row of a metric's deletion; the points themselves are the engine's.
    pub async fn note_deleted_metric(&self, project: &str, metric: &str, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        audit(&mut tx, now_us, "delete_metric", project, &json!({"metric": metric})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// Commits what may have changed any number of runs. What changed one, or none, says so by the functions below.
    pub(crate) async fn commit<T>(&self, tx: Transaction<'static, Sqlite>, done: T) -> Result<T, MetadataError> {
        self.commit_as(tx, |metadata| metadata.changed(Some(Change::Runs)), done).await
    }

    /// Commits a change of one run, its params and tags.
    pub(crate) async fn commit_run<T>(
        &self,
        tx: Transaction<'static, Sqlite>,
        run_id: &str,
        done: T,
    ) -> Result<T, MetadataError> {
        let change = Change::Run(run_id.into());
        self.commit_as(tx, |metadata| metadata.changed(Some(change)), done).await
    }

    /// Commits what changes nothing of projects and runs: what was read of them before is still true.
    pub(crate) async fn commit_unseen<T>(&self, tx: Transaction<'static, Sqlite>, done: T) -> Result<T, MetadataError> {
        self.commit_as(tx, |_| {}, done).await
    }

    /// Commits what changed no run.
    pub(crate) async fn commit_beside_runs<T>(
        &self,
        tx: Transaction<'static, Sqlite>,
        done: T,
    ) -> Result<T, MetadataError> {
        self.commit_as(tx, |metadata| metadata.changed(None), done).await
    }

    async fn commit_as<T>(
        &self,
        tx: Transaction<'static, Sqlite>,
        note: impl FnOnce(&Self) + Send + 'static,
        done: T,
    ) -> Result<T, MetadataError> {
        let metadata = self.clone();
        // A task of its own: whose caller goes away meanwhile is committed all the same, and must not be so unnoticed.
        let commit = tokio::spawn(async move {
            let committed = tx.commit().await;
            metadata.committed(committed.is_ok());
            // Also what failed: nobody knows how far it came.
            note(&metadata);
            committed
        });
        commit.await.map_err(|error| sqlx::Error::Protocol(error.to_string()))??;
        Ok(done)
    }
}

/// A run that another one names must be there.
async fn check_related(
    connection: &mut SqliteConnection,
    field: &'static str,
    run_id: Option<&str>,
) -> Result<(), MetadataError> {
    match run_id {
        Some(run_id) if read_run(connection, run_id).await?.is_none() => {
            Err(MetadataError::RelatedRunNotFound { field, run_id: run_id.to_owned() })
        }
        _ => Ok(()),
    }
}

async fn set_params(
    connection: &mut SqliteConnection,
    run_id: &str,
    old: &BTreeMap<String, ParamValue>,
    new: &BTreeMap<String, ParamValue>,
    are_exact: bool,
) -> Result<(), MetadataError> {
    let mut added = Vec::new();
    for (key, value) in new {
        match old.get(key) {
            Some(old) if if are_exact { old == value } else { old.is_same(value) } => continue,
            Some(old) => {
                let (run_id, key) = (run_id.to_owned(), key.clone());
                return Err(MetadataError::ParamConflict { run_id, key, old: old.clone(), new: value.clone() });
            }
            None => {}
        }
        added.push((key, value));
    }
    for some in added.chunks(ROWS_MAX) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO params (run_id, key, kind, value) ");
        insert.push_values(some, |mut row, (key, value)| {
            row.push_bind(run_id).push_bind(*key).push_bind(value.kind()).push_bind(value.text());
        });
        insert.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn set_tags(
    connection: &mut SqliteConnection,
    run_id: &str,
    tags: &BTreeMap<String, Option<String>>,
) -> Result<(), MetadataError> {
    let set: Vec<_> = tags.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).collect();
    for some in set.chunks(ROWS_MAX) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO tags (run_id, key, value) ");
        insert.push_values(some, |mut row, (key, value)| {
            row.push_bind(run_id).push_bind(*key).push_bind(*value);
        });
        insert.push(" ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value");
        insert.build().persistent(false).execute(&mut *connection).await?;
    }
    for (key, _) in tags.iter().filter(|(_, value)| value.is_none()) {
        let delete = sqlx::query("DELETE FROM tags WHERE run_id = ? AND key = ?").bind(run_id).bind(key);
        delete.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A run as it is read back: each question to SQLite is a way to its thread and back, so none is asked.
fn made(new: NewRun, now_us: i64) -> Run {
    // As text they may lose what they were, such as the kind of a NaN.
    let stored = |value: ParamValue| ParamValue::parse(value.kind(), &value.text()).unwrap_or(value);
    Run {
        run_id: new.run_id,
        project_id: new.project_id,
        name: new.name,
        status: RunStatus::Running,
        started_at_us: new.started_at_us.unwrap_or(now_us),
        ended_at_us: None,
        created_at_us: now_us,
        deleted_at_us: None,
        params: new.params.into_iter().map(|(key, value)| (key, stored(value))).collect(),
        tags: new.tags,
        user_name: new.user_name,
        notes: new.notes,
        git_commit: new.git_commit,
        dataset_version: new.dataset_version,
        environment: new.environment,
        parent_run_id: new.parent_run_id,
        forked_from: new.forked_from,
    }
}

pub(crate) async fn audit(
    connection: &mut SqliteConnection,
    now_us: i64,
    action: &str,
    subject: &str,
    detail: &serde_json::Value,
) -> Result<(), MetadataError> {
    sqlx::query("INSERT INTO audit (at_us, action, subject, detail) VALUES (?, ?, ?, ?)")
        .bind(now_us)
        .bind(action)
        .bind(subject)
        .bind(detail.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
