//! The trash: what is deleted and can still be restored, and its end.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::{Row, SqliteConnection};

use crate::{
    artifacts::delete_below,
    error::MetadataError,
    lineage::purge_lineage_of_project,
    model::{Project, Run, TrashChange, TrashedProject, TrashedRun},
    projects::number,
    read::{read_project, read_run},
    store::Metadata,
    write::audit,
};

/// What ends a run, in this order; each without a look at all rows of a table, for there may be many runs to end.
pub(crate) const PURGE_OF_RUN: [&str; 9] = [
    "UPDATE runs SET parent_run_id = NULL WHERE parent_run_id = ?",
    "UPDATE runs SET fork_run_id = NULL, fork_step = NULL WHERE fork_run_id = ?",
    "DELETE FROM params WHERE run_id = ?",
    "DELETE FROM tags WHERE run_id = ?",
    "DELETE FROM run_dataset_tags WHERE input_id IN (SELECT input_id FROM run_datasets WHERE run_id = ?)",
    "DELETE FROM run_datasets WHERE run_id = ?",
    "DELETE FROM run_models WHERE run_id = ?",
    "DELETE FROM logged_model_metrics WHERE run_id = ?",
    "DELETE FROM runs WHERE run_id = ?",
];

/// What is read within each change of the trash.
pub(crate) const TRASHED_RUNS: &str = "SELECT run_id, project_id, p.name AS project, r.deleted_at_us AS deleted_at_us \
                                       FROM runs r JOIN projects p USING (project_id) \
                                       WHERE r.deleted_at_us IS NOT NULL ORDER BY r.deleted_at_us DESC, run_id";

impl Metadata {
    /// Puts a run into the trash.
    pub async fn trash_run(&self, run_id: &str, now_us: i64) -> Result<TrashChange<()>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        if read_run(&mut tx, run_id).await?.is_none() {
            return Err(MetadataError::RunNotFound { run_id: run_id.to_owned() });
        }
        sqlx::query("UPDATE runs SET deleted_at_us = ? WHERE run_id = ?")
            .bind(now_us)
            .bind(run_id)
            .execute(&mut *tx)
            .await?;
        audit(&mut tx, now_us, "delete_run", run_id, &json!({})).await?;
        let changed = with_trash(&mut tx, ()).await?;
        self.commit_run(tx, run_id, changed).await
    }

    /// Takes a run out of the trash.
    pub async fn restore_run(&self, run_id: &str, now_us: i64) -> Result<TrashChange<Run>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let not_there = || MetadataError::NotInTrash { what: "run", name: run_id.to_owned() };
        let restored =
            sqlx::query("UPDATE runs SET deleted_at_us = NULL WHERE run_id = ? AND deleted_at_us IS NOT NULL")
                .bind(run_id)
                .execute(&mut *tx)
                .await?;
        if restored.rows_affected() == 0 {
            return Err(not_there());
        }
        audit(&mut tx, now_us, "restore_run", run_id, &json!({})).await?;
        // Its project may be in the trash itself.
        let run = read_run(&mut tx, run_id).await?.ok_or_else(not_there)?;
        let changed = with_trash(&mut tx, run).await?;
        self.commit_run(tx, run_id, changed).await
    }

    /// All runs in the trash, those deleted last first.
    pub async fn trashed_runs(&self) -> Result<Vec<TrashedRun>, MetadataError> {
        trashed_runs(&mut *self.readers.acquire().await?).await
    }

    /// Ends a run that is in the trash: its rows go, all artifacts below its directory with them, and other runs that name it as parent
    /// or source name none. Returns the hashes that the artifacts named, which may be nobody's now.
    pub async fn purge_run(
        &self,
        run_id: &str,
        artifacts: &str,
        now_us: i64,
    ) -> Result<TrashChange<BTreeSet<String>>, MetadataError> {
        let runs = "SELECT run_id FROM runs WHERE run_id = ? AND deleted_at_us IS NOT NULL";
        self.purge(runs, run_id, None, artifacts, now_us).await
    }

    /// Puts a project into the trash, with its runs.
    pub async fn trash_project(&self, project_id: &str, now_us: i64) -> Result<TrashChange<()>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let row = sqlx::query(
            "UPDATE projects SET deleted_at_us = ?, updated_at_us = ? WHERE project_id = ? AND deleted_at_us IS NULL \
             RETURNING name",
        )
        .bind(now_us)
        .bind(now_us)
        .bind(number(project_id))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Err(MetadataError::ProjectNotFound { name: project_id.to_owned() }) };
        audit(&mut tx, now_us, "delete_project", row.try_get("name")?, &json!({})).await?;
        let changed = with_trash(&mut tx, ()).await?;
        self.commit(tx, changed).await
    }

    /// Takes a project out of the trash; of its runs, those that were there by themselves too only `with_runs`.
    pub async fn restore_project(
        &self,
        project_id: &str,
        with_runs: bool,
        now_us: i64,
    ) -> Result<TrashChange<Project>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let row = sqlx::query(
            "UPDATE projects SET deleted_at_us = NULL, updated_at_us = ? \
             WHERE project_id = ? AND deleted_at_us IS NOT NULL RETURNING name",
        )
        .bind(now_us)
        .bind(number(project_id))
        .fetch_optional(&mut *tx)
        .await?;
        let not_there = || MetadataError::NotInTrash { what: "project", name: project_id.to_owned() };
        let row = row.ok_or_else(not_there)?;
        if with_runs {
            let restore = sqlx::query("UPDATE runs SET deleted_at_us = NULL WHERE project_id = ?");
            restore.bind(number(project_id)).execute(&mut *tx).await?;
        }
        audit(&mut tx, now_us, "restore_project", row.try_get("name")?, &json!({"with_runs": with_runs})).await?;
        let restored = read_project(&mut tx, project_id).await?.ok_or_else(not_there)?;
        let changed = with_trash(&mut tx, restored).await?;
        self.commit(tx, changed).await
    }

    /// All projects in the trash, those deleted last first.
    pub async fn trashed_projects(&self) -> Result<Vec<TrashedProject>, MetadataError> {
        let rows = sqlx::query(
            "SELECT project_id, name, deleted_at_us FROM projects WHERE deleted_at_us IS NOT NULL \
             ORDER BY deleted_at_us DESC, name",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(TrashedProject {
                    project_id: row.try_get::<i64, _>("project_id")?.to_string(),
                    name: row.try_get("name")?,
                    deleted_at_us: row.try_get("deleted_at_us")?,
                })
            })
            .collect()
    }

    /// Ends a project that is in the trash, all of its runs, and all artifacts below its directory. Returns the hashes that they named.
    pub async fn purge_project(
        &self,
        name: &str,
        artifacts: &str,
        now_us: i64,
    ) -> Result<TrashChange<BTreeSet<String>>, MetadataError> {
        let runs = "SELECT run_id FROM runs JOIN projects p USING (project_id) WHERE p.name = ?";
        self.purge(runs, name, Some(name), artifacts, now_us).await
    }

    /// How long a project keeps points, in microseconds; `None` is for ever.
    pub async fn set_retention(&self, name: &str, keep_us: Option<i64>, now_us: i64) -> Result<Project, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let row = sqlx::query(
            "UPDATE projects SET retention_us = ? WHERE name = ? AND deleted_at_us IS NULL RETURNING project_id",
        )
        .bind(keep_us)
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
        let not_found = || MetadataError::ProjectNotFound { name: name.to_owned() };
        let project_id: i64 = row.ok_or_else(not_found)?.try_get("project_id")?;
        audit(&mut tx, now_us, "set_retention", name, &json!({"keep_us": keep_us})).await?;
        let changed = read_project(&mut tx, &project_id.to_string()).await?.ok_or_else(not_found)?;
        self.commit_beside_runs(tx, changed).await
    }

    /// Removes the rows of the runs that `runs` selects for `name`, then of a project, and of their artifacts: what is left out here
    /// nobody finds again.
    async fn purge(
        &self,
        runs: &'static str,
        name: &str,
        of_project: Option<&str>,
        artifacts: &str,
        now_us: i64,
    ) -> Result<TrashChange<BTreeSet<String>>, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let found: Vec<String> = sqlx::query(runs)
            .bind(name)
            .fetch_all(&mut *tx)
            .await?
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        for run_id in &found {
            for statement in PURGE_OF_RUN {
                sqlx::query(statement).bind(run_id).execute(&mut *tx).await?;
            }
        }
        let what = if of_project.is_some() { "project" } else { "run" };
        purge_lineage_of_project(&mut tx, of_project).await?;
        let gone = match of_project {
            None => found.len() as u64,
            Some(project) => {
                for statement in [
                    "DELETE FROM project_tags WHERE project_id IN (SELECT project_id FROM projects WHERE name = ?)",
                    "DELETE FROM traces WHERE project_id IN (SELECT project_id FROM projects WHERE name = ?)",
                ] {
                    sqlx::query(statement).bind(project).execute(&mut *tx).await?;
                }
                let row = sqlx::query("DELETE FROM projects WHERE name = ? AND deleted_at_us IS NOT NULL");
                row.bind(project).execute(&mut *tx).await?.rows_affected()
            }
        };
        if gone == 0 {
            return Err(MetadataError::NotInTrash { what, name: name.to_owned() });
        }
        let hashes = delete_below(&mut tx, artifacts, now_us).await?;
        audit(&mut tx, now_us, &format!("purge_{what}"), name, &json!({"runs": found.len()})).await?;
        let changed = with_trash(&mut tx, hashes).await?;
        self.commit(tx, changed).await
    }
}

/// What was changed so far, with the trash as it is by that.
async fn with_trash<T>(connection: &mut SqliteConnection, done: T) -> Result<TrashChange<T>, MetadataError> {
    Ok(TrashChange { done, trashed: trashed_runs(connection).await? })
}

async fn trashed_runs(connection: &mut SqliteConnection) -> Result<Vec<TrashedRun>, MetadataError> {
    let rows = sqlx::query(TRASHED_RUNS).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(TrashedRun {
                run_id: row.try_get("run_id")?,
                project_id: row.try_get::<i64, _>("project_id")?.to_string(),
                project: row.try_get("project")?,
                deleted_at_us: row.try_get("deleted_at_us")?,
            })
        })
        .collect()
}
