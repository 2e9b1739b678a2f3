//! Reading rows.

use std::collections::BTreeMap;

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::MetadataError,
    model::{ForkPoint, ParamValue, Project, Run, RunOrigin, RunStatus},
    store::Metadata,
};

/// Of projects, each with its tags as one JSON object.
macro_rules! projects_where {
    ($condition:literal) => {
        concat!(
            "SELECT *, (SELECT json_group_object(t.key, t.value) FROM project_tags t \
             WHERE t.project_id = projects.project_id) AS tags FROM projects WHERE ",
            $condition
        )
    };
}

/// Of runs, each with the time its project was deleted.
macro_rules! runs_where {
    ($condition:literal) => {
        concat!(
            "SELECT *, (SELECT p.deleted_at_us FROM projects p WHERE p.project_id = runs.project_id) \
             AS project_deleted_at_us FROM runs WHERE ",
            $condition
        )
    };
}

/// Of a row of `runs`: neither it nor its project is in the trash.
macro_rules! live {
    () => {
        "deleted_at_us IS NULL AND project_id IN (SELECT project_id FROM projects WHERE deleted_at_us IS NULL)"
    };
}

impl Metadata {
    /// All projects, by name.
    pub async fn projects(&self) -> Result<Vec<Project>, MetadataError> {
        let rows = sqlx::query(projects_where!("deleted_at_us IS NULL ORDER BY name")).fetch_all(&self.readers).await?;
        rows.iter().map(project).collect()
    }

    /// All projects, those in the trash included, by id.
    pub async fn all_projects(&self) -> Result<Vec<Project>, MetadataError> {
        let rows = sqlx::query(projects_where!("true ORDER BY project_id")).fetch_all(&self.readers).await?;
        rows.iter().map(project).collect()
    }

    /// The project of that name.
    pub async fn project_by_name(&self, name: &str) -> Result<Option<Project>, MetadataError> {
        Ok(self.find_project(name).await?.filter(|project| project.deleted_at_us.is_none()))
    }

    /// The project of that name, also if it is in the trash.
    pub async fn find_project(&self, name: &str) -> Result<Option<Project>, MetadataError> {
        let row = sqlx::query(projects_where!("name = ?")).bind(name).fetch_optional(&self.readers).await?;
        row.as_ref().map(project).transpose()
    }

    /// The project of that id, also if it is in the trash.
    pub async fn project_by_id(&self, project_id: &str) -> Result<Option<Project>, MetadataError> {
        read_project(&mut *self.readers.acquire().await?, project_id).await
    }

    /// One run, with its params and tags.
    pub async fn run(&self, run_id: &str) -> Result<Option<Run>, MetadataError> {
        read_run(&mut *self.readers.acquire().await?, run_id).await
    }

    /// One run, also if it or its project is in the trash.
    pub async fn find_run(&self, run_id: &str) -> Result<Option<Run>, MetadataError> {
        find_run(&mut *self.readers.acquire().await?, run_id).await
    }

    /// The project of a run, without the rest of it.
    pub async fn project_id_of_run(&self, run_id: &str) -> Result<Option<String>, MetadataError> {
        let row = sqlx::query(concat!("SELECT project_id FROM runs WHERE run_id = ? AND ", live!()))
            .bind(run_id)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get::<i64, _>(0)).transpose()?.map(|id| id.to_string()))
    }

    /// Origins of those of the runs that are there, by run id: one question for many runs.
    pub async fn run_origins(&self, run_ids: &[String]) -> Result<BTreeMap<String, RunOrigin>, MetadataError> {
        let rows = sqlx::query(concat!(
            "SELECT run_id, project_id, fork_run_id, fork_step FROM runs \
             WHERE run_id IN (SELECT value FROM json_each(?)) AND ",
            live!()
        ))
        .bind(serde_json::json!(run_ids).to_string())
        .fetch_all(&self.readers)
        .await?;
        let origin = |row: &SqliteRow| {
            let project_id = row.try_get::<i64, _>("project_id")?.to_string();
            Ok((row.try_get("run_id")?, RunOrigin { project_id, forked_from: fork_point(row)? }))
        };
        rows.iter().map(origin).collect()
    }

    /// All runs of a project, in order of creation.
    pub async fn runs_of_project(&self, project_id: &str) -> Result<Vec<Run>, MetadataError> {
        let rows = runs_where!("project_id = ? AND deleted_at_us IS NULL ORDER BY created_at_us, run_id");
        self.read_runs(project_id, rows).await
    }

    /// All runs of a project, those in the trash included, in order of creation.
    pub async fn all_runs_of_project(&self, project_id: &str) -> Result<Vec<Run>, MetadataError> {
        self.read_runs(project_id, runs_where!("project_id = ? ORDER BY created_at_us, run_id")).await
    }

    /// Those of the runs that are in the project, also in the trash.
    pub(crate) async fn some_runs_of_project(
        &self,
        project_id: &str,
        run_ids: &[&str],
    ) -> Result<Vec<Run>, MetadataError> {
        let mut tx = self.readers.begin().await?;
        let mut runs = Vec::new();
        for run_id in run_ids {
            runs.extend(find_run(&mut tx, run_id).await?.filter(|run| run.project_id == project_id));
        }
        Ok(runs)
    }

    async fn read_runs(&self, project_id: &str, rows: &'static str) -> Result<Vec<Run>, MetadataError> {
        let Ok(project_id) = project_id.parse::<i64>() else { return Ok(Vec::new()) };
        // One transaction, so that params and tags are those of the runs read.
        let mut tx = self.readers.begin().await?;
        let rows = sqlx::query(rows).bind(project_id).fetch_all(&mut *tx).await?;
        let mut runs = rows.iter().map(run).collect::<Result<Vec<Run>, _>>()?;
        let place: BTreeMap<String, usize> = runs.iter().enumerate().map(|(i, run)| (run.run_id.clone(), i)).collect();
        let params = sqlx::query("SELECT p.* FROM params p JOIN runs r USING (run_id) WHERE r.project_id = ?")
            .bind(project_id)
            .fetch_all(&mut *tx)
            .await?;
        for row in &params {
            if let Some(&i) = place.get(row.try_get::<&str, _>("run_id")?) {
                let (key, value) = param(row)?;
                runs[i].params.insert(key, value);
            }
        }
        let tags = sqlx::query("SELECT t.* FROM tags t JOIN runs r USING (run_id) WHERE r.project_id = ?")
            .bind(project_id)
            .fetch_all(&mut *tx)
            .await?;
        for row in &tags {
            if let Some(&i) = place.get(row.try_get::<&str, _>("run_id")?) {
                runs[i].tags.insert(row.try_get("key")?, row.try_get("value")?);
            }
        }
        Ok(runs)
    }
}

pub(crate) async fn read_project(
    connection: &mut SqliteConnection,
    project_id: &str,
) -> Result<Option<Project>, MetadataError> {
    let Ok(project_id) = project_id.parse::<i64>() else { return Ok(None) };
    let row = sqlx::query(projects_where!("project_id = ?")).bind(project_id).fetch_optional(connection).await?;
    row.as_ref().map(project).transpose()
}

pub(crate) async fn read_run(connection: &mut SqliteConnection, run_id: &str) -> Result<Option<Run>, MetadataError> {
    Ok(find_run(connection, run_id).await?.filter(|run| run.deleted_at_us.is_none()))
}

pub(crate) async fn find_run(connection: &mut SqliteConnection, run_id: &str) -> Result<Option<Run>, MetadataError> {
    let row = sqlx::query(runs_where!("run_id = ?")).bind(run_id).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let mut run = run(&row)?;
    let params = sqlx::query("SELECT * FROM params WHERE run_id = ?").bind(run_id).fetch_all(&mut *connection).await?;
    run.params = params.iter().map(param).collect::<Result<_, _>>()?;
    let tags = sqlx::query("SELECT * FROM tags WHERE run_id = ?").bind(run_id).fetch_all(&mut *connection).await?;
    for row in &tags {
        run.tags.insert(row.try_get("key")?, row.try_get("value")?);
    }
    Ok(Some(run))
}

fn project(row: &SqliteRow) -> Result<Project, MetadataError> {
    let name: String = row.try_get("name")?;
    let tags: String = row.try_get("tags")?;
    let created_at_us: i64 = row.try_get("created_at_us")?;
    Ok(Project {
        project_id: row.try_get::<i64, _>("project_id")?.to_string(),
        created_at_us,
        updated_at_us: row.try_get::<Option<i64>, _>("updated_at_us")?.unwrap_or(created_at_us),
        deleted_at_us: row.try_get("deleted_at_us")?,
        retention_us: row.try_get("retention_us")?,
        artifact_location: row.try_get("artifact_location")?,
        tags: serde_json::from_str(&tags).map_err(|error| MetadataError::Damaged {
            what: "project's tags",
            subject: name.clone(),
            detail: error.to_string(),
        })?,
        name,
    })
}

fn run(row: &SqliteRow) -> Result<Run, MetadataError> {
    let run_id: String = row.try_get("run_id")?;
    let damaged = |what, detail: String| MetadataError::Damaged { what, subject: run_id.clone(), detail };
    let status: String = row.try_get("status")?;
    let status = RunStatus::parse(&status).ok_or_else(|| damaged("status", status.clone()))?;
    let is_scheduled = row.try_get::<Option<i64>, _>("scheduled")?.is_some();
    let environment: Option<String> = row.try_get("environment")?;
    let deleted_at_us: Option<i64> = row.try_get("deleted_at_us")?;
    Ok(Run {
        project_id: row.try_get::<i64, _>("project_id")?.to_string(),
        name: row.try_get("name")?,
        status: if is_scheduled && status == RunStatus::Running { RunStatus::Scheduled } else { status },
        started_at_us: row.try_get("started_at_us")?,
        ended_at_us: row.try_get("ended_at_us")?,
        created_at_us: row.try_get("created_at_us")?,
        deleted_at_us: deleted_at_us.or(row.try_get("project_deleted_at_us")?),
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        user_name: row.try_get("user_name")?,
        notes: row.try_get("notes")?,
        git_commit: row.try_get("git_commit")?,
        dataset_version: row.try_get("dataset_version")?,
        environment: environment
            .map(|text| serde_json::from_str(&text).map_err(|error| damaged("environment", error.to_string())))
            .transpose()?,
        parent_run_id: row.try_get("parent_run_id")?,
        forked_from: fork_point(row)?,
        run_id,
    })
}

fn fork_point(row: &SqliteRow) -> Result<Option<ForkPoint>, MetadataError> {
    let (run_id, step): (Option<String>, Option<i64>) = (row.try_get("fork_run_id")?, row.try_get("fork_step")?);
    Ok(run_id.zip(step).map(|(run_id, step)| ForkPoint { run_id, step }))
}

fn param(row: &SqliteRow) -> Result<(String, ParamValue), MetadataError> {
    let (key, kind, text): (String, String, String) =
        (row.try_get("key")?, row.try_get("kind")?, row.try_get("value")?);
    match ParamValue::parse(&kind, &text) {
        Some(value) => Ok((key, value)),
        None => Err(MetadataError::Damaged { what: "param", subject: key, detail: format!("{text:?} is no {kind}") }),
    }
}
