//! Changing rows: one transaction per change, its audit row included.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::{
    error::MetadataError,
    model::{NewRun, ParamValue, Project, Run, RunPatch, RunStatus},
    read::{project, read_run},
    store::Metadata,
};

impl Metadata {
    /// Makes a project; its name must be new.
    pub async fn create_project(&self, name: &str, now_us: i64) -> Result<Project, MetadataError> {
        let mut tx = self.writer.begin().await?;
        match insert_project(&mut tx, name, now_us).await? {
            Some(project) => self.commit(tx, project).await,
            None => Err(match self.project_by_name(name).await? {
                Some(_) => MetadataError::ProjectExists { name: name.to_owned() },
                None => MetadataError::InTrash { what: "project", name: name.to_owned() },
            }),
        }
    }

    /// The project of that name, made if absent.
    pub async fn ensure_project(&self, name: &str, now_us: i64) -> Result<Project, MetadataError> {
        if let Some(project) = self.project_by_name(name).await? {
            return Ok(project);
        }
        match self.create_project(name, now_us).await {
            // Somebody else made it meanwhile.
            Err(MetadataError::ProjectExists { .. }) => {
                self.project_by_name(name).await?.ok_or_else(|| MetadataError::ProjectExists { name: name.to_owned() })
            }
            result => result,
        }
    }

    /// Makes a run in an existing project.
    pub async fn create_run(&self, new: NewRun, now_us: i64) -> Result<Run, MetadataError> {
        let mut tx = self.writer.begin().await?;
        if read_run(&mut tx, &new.run_id).await?.is_some() {
            return Err(MetadataError::RunExists { run_id: new.run_id });
        }
        let known = sqlx::query("SELECT 1 FROM runs WHERE run_id = ?").bind(&new.run_id);
        if known.fetch_optional(&mut *tx).await?.is_some() {
            return Err(MetadataError::InTrash { what: "run", name: new.run_id });
        }
        let fork_run_id = new.forked_from.as_ref().map(|fork| fork.run_id.as_str());
        for (field, related) in [("parent_run_id", new.parent_run_id.as_deref()), ("forked_from", fork_run_id)] {
            if let Some(run_id) = related
                && read_run(&mut tx, run_id).await?.is_none()
            {
                return Err(MetadataError::RelatedRunNotFound { field, run_id: run_id.to_owned() });
            }
        }
        sqlx::query(
            "INSERT INTO runs (run_id, project_id, name, status, started_at_us, created_at_us, notes, git_commit, \
             dataset_version, environment, parent_run_id, fork_run_id, fork_step) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.run_id)
        .bind(new.project_id.parse::<i64>().unwrap_or(-1))
        .bind(&new.name)
        .bind(RunStatus::Running.as_str())
        .bind(new.started_at_us.unwrap_or(now_us))
        .bind(now_us)
        .bind(&new.notes)
        .bind(&new.git_commit)
        .bind(&new.dataset_version)
        .bind(new.environment.as_ref().map(ToString::to_string))
        .bind(&new.parent_run_id)
        .bind(fork_run_id)
        .bind(new.forked_from.as_ref().map(|fork| fork.step))
        .execute(&mut *tx)
        .await?;
        set_params(&mut tx, &new.run_id, &BTreeMap::new(), &new.params).await?;
        let tags = new.tags.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        set_tags(&mut tx, &new.run_id, &tags).await?;
        audit(&mut tx, now_us, "create_run", &new.run_id, &json!({"project_id": new.project_id, "name": new.name}))
            .await?;
        let run = read_run(&mut tx, &new.run_id).await?;
        let run = run.ok_or(MetadataError::RunNotFound { run_id: new.run_id })?;
        self.commit(tx, run).await
    }

    /// Changes a run, or nothing of it. A status other than running ends the run now where no other time is given or known.
    pub async fn update_run(&self, run_id: &str, patch: RunPatch, now_us: i64) -> Result<Run, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let not_found = || MetadataError::RunNotFound { run_id: run_id.to_owned() };
        let old = read_run(&mut tx, run_id).await?.ok_or_else(not_found)?;
        let status = patch.status.unwrap_or(old.status);
        let ended_at_us = match (patch.ended_at_us, status) {
            (Some(given), _) => Some(given),
            (None, RunStatus::Running) => None,
            (None, _) => old.ended_at_us.or(Some(now_us)),
        };
        sqlx::query("UPDATE runs SET status = ?, ended_at_us = ?, name = ?, notes = ? WHERE run_id = ?")
            .bind(status.as_str())
            .bind(ended_at_us)
            .bind(patch.name.as_ref().or(old.name.as_ref()))
            .bind(patch.notes.as_ref().or(old.notes.as_ref()))
            .bind(run_id)
            .execute(&mut *tx)
            .await?;
        set_params(&mut tx, run_id, &old.params, &patch.params).await?;
        set_tags(&mut tx, run_id, &patch.tags).await?;
        let params: Vec<&String> = patch.params.keys().collect();
        let detail = json!({"status": status.as_str(), "params": params, "tags": patch.tags});
        audit(&mut tx, now_us, "update_run", run_id, &detail).await?;
        let run = read_run(&mut tx, run_id).await?.ok_or_else(not_found)?;
        self.commit(tx, run).await
    }

    /// The audit row of a metric's deletion; the points themselves are the engine's.
    pub async fn note_deleted_metric(&self, project: &str, metric: &str, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        audit(&mut tx, now_us, "delete_metric", project, &json!({"metric": metric})).await?;
        self.commit(tx, ()).await
    }

    pub(crate) async fn commit<T>(&self, tx: Transaction<'_, Sqlite>, done: T) -> Result<T, MetadataError> {
        let committed = tx.commit().await;
        self.committed(committed.is_ok());
        committed?;
        self.changed();
        Ok(done)
    }
}

async fn insert_project(
    connection: &mut SqliteConnection,
    name: &str,
    now_us: i64,
) -> Result<Option<Project>, MetadataError> {
    let row = sqlx::query(
        "INSERT INTO projects (name, created_at_us) VALUES (?, ?) ON CONFLICT (name) DO NOTHING \
         RETURNING project_id, name, created_at_us, retention_us",
    )
    .bind(name)
    .bind(now_us)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    audit(connection, now_us, "create_project", name, &json!({})).await?;
    project(&row).map(Some)
}

async fn set_params(
    connection: &mut SqliteConnection,
    run_id: &str,
    old: &BTreeMap<String, ParamValue>,
    new: &BTreeMap<String, ParamValue>,
) -> Result<(), MetadataError> {
    for (key, value) in new {
        match old.get(key) {
            Some(old) if old.is_same(value) => continue,
            Some(old) => {
                let (run_id, key) = (run_id.to_owned(), key.clone());
                return Err(MetadataError::ParamConflict { run_id, key, old: old.clone(), new: value.clone() });
            }
            None => {}
        }
        sqlx::query("INSERT INTO params (run_id, key, kind, value) VALUES (?, ?, ?, ?)")
            .bind(run_id)
            .bind(key)
            .bind(value.kind())
            .bind(value.text())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn set_tags(
    connection: &mut SqliteConnection,
    run_id: &str,
    tags: &BTreeMap<String, Option<String>>,
) -> Result<(), MetadataError> {
    for (key, value) in tags {
        let query = match value {
            Some(value) => sqlx::query(
                "INSERT INTO tags (run_id, key, value) VALUES (?, ?, ?) \
                 ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value",
            )
            .bind(run_id)
            .bind(key)
            .bind(value),
            None => sqlx::query("DELETE FROM tags WHERE run_id = ? AND key = ?").bind(run_id).bind(key),
        };
        query.execute(&mut *connection).await?;
    }
    Ok(())
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
