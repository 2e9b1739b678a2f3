//! Changing projects: one transaction per change, its audit row included.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::SqliteConnection;

use crate::{
    error::MetadataError,
    model::{NewProject, Project},
    read::read_project,
    store::Metadata,
    write::audit,
};

/// The project that dialects with a place for runs of no project put them into, and its name when it is made.
const FIRST_ID: i64 = 0;
const FIRST_NAME: &str = "Default";

impl Metadata {
    /// Makes a project; its name must be new.
    pub async fn create_project(&self, new: impl Into<NewProject>, now_us: i64) -> Result<Project, MetadataError> {
        let new = new.into();
        // The first project has its name wherever it is made.
        let id = (new.name == FIRST_NAME).then_some(FIRST_ID);
        let mut tx = self.writer.begin().await?;
        let made = match insert(&mut tx, &new, id, now_us).await? {
            None if id.is_some() => insert(&mut tx, &new, None, now_us).await?,
            made => made,
        };
        match made {
            Some(project) => self.commit_beside_runs(tx, project).await,
            None => Err(match self.project_by_name(&new.name).await? {
                Some(_) => MetadataError::ProjectExists { name: new.name },
                None => MetadataError::InTrash { what: "project", name: new.name },
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

    /// The project with id 0, made if absent; it may be in the trash.
    pub async fn ensure_first_project(&self, now_us: i64) -> Result<Project, MetadataError> {
        let id = FIRST_ID.to_string();
        if let Some(project) = self.project_by_id(&id).await? {
            return Ok(project);
        }
        let mut tx = self.writer.begin().await?;
        let mut made = read_project(&mut tx, &id).await?;
        // Its name may be that of another project by now.
        for name in [FIRST_NAME.to_owned(), format!("{FIRST_NAME} ({FIRST_ID})")] {
            if made.is_none() {
                made = insert(&mut tx, &NewProject::from(name.as_str()), Some(FIRST_ID), now_us).await?;
            }
        }
        match made {
            Some(project) => self.commit_beside_runs(tx, project).await,
            None => Err(MetadataError::ProjectExists { name: FIRST_NAME.to_owned() }),
        }
    }

    /// Gives a project another name, which must be free.
    pub async fn rename_project(&self, project_id: &str, name: &str, now_us: i64) -> Result<Project, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let old = live(&mut tx, project_id).await?;
        let taken = sqlx::query("SELECT 1 FROM projects WHERE name = ? AND name != ?").bind(name).bind(&old.name);
        if taken.fetch_optional(&mut *tx).await?.is_some() {
            return Err(MetadataError::ProjectExists { name: name.to_owned() });
        }
        sqlx::query("UPDATE projects SET name = ?, updated_at_us = ? WHERE project_id = ?")
            .bind(name)
            .bind(now_us)
            .bind(number(project_id))
            .execute(&mut *tx)
            .await?;
        audit(&mut tx, now_us, "rename_project", &old.name, &json!({"name": name})).await?;
        let project = live(&mut tx, project_id).await?;
        self.commit_beside_runs(tx, project).await
    }

    /// Sets tags of a project, or removes those that are `None`.
    pub async fn tag_project(
        &self,
        project_id: &str,
        tags: BTreeMap<String, Option<String>>,
        now_us: i64,
    ) -> Result<Project, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let old = live(&mut tx, project_id).await?;
        set_tags(&mut tx, number(project_id), &tags).await?;
        audit(&mut tx, now_us, "tag_project", &old.name, &json!({"tags": tags})).await?;
        let project = live(&mut tx, project_id).await?;
        self.commit_beside_runs(tx, project).await
    }
}

impl From<&str> for NewProject {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// An id as stored; one that is no number is nobody's.
pub(crate) fn number(project_id: &str) -> i64 {
    project_id.parse().unwrap_or(-1)
}

/// The project, which must not be in the trash.
async fn live(connection: &mut SqliteConnection, project_id: &str) -> Result<Project, MetadataError> {
    match read_project(connection, project_id).await? {
        None => Err(MetadataError::ProjectNotFound { name: project_id.to_owned() }),
        Some(project) if project.deleted_at_us.is_some() => {
            Err(MetadataError::InTrash { what: "project", name: project.name })
        }
        Some(project) => Ok(project),
    }
}

/// `None` if the id or the name is taken.
async fn insert(
    connection: &mut SqliteConnection,
    new: &NewProject,
    id: Option<i64>,
    now_us: i64,
) -> Result<Option<Project>, MetadataError> {
    let inserted = sqlx::query(
        "INSERT INTO projects (project_id, name, created_at_us, updated_at_us, artifact_location) \
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(&new.name)
    .bind(now_us)
    .bind(now_us)
    .bind(&new.artifact_location)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    let id = inserted.last_insert_rowid();
    let tags = new.tags.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    set_tags(connection, id, &tags).await?;
    audit(connection, now_us, "create_project", &new.name, &json!({})).await?;
    read_project(connection, &id.to_string()).await
}

async fn set_tags(
    connection: &mut SqliteConnection,
    project_id: i64,
    tags: &BTreeMap<String, Option<String>>,
) -> Result<(), MetadataError> {
    for (key, value) in tags {
        let query = match value {
            Some(value) => sqlx::query(
                "INSERT INTO project_tags (project_id, key, value) VALUES (?, ?, ?) \
                 ON CONFLICT (project_id, key) DO UPDATE SET value = excluded.value",
            )
            .bind(project_id)
            .bind(key)
            .bind(value),
            None => sqlx::query("DELETE FROM project_tags WHERE project_id = ? AND key = ?").bind(project_id).bind(key),
        };
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
