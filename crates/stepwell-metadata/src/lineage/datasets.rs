//! Datasets that runs read.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::model::{DatasetInput, DatasetUse};
use crate::{error::MetadataError, read::read_run, store::Metadata, write::audit};

impl Metadata {
    /// Notes what a run read: datasets, and models by id. What is known of it changes nothing.
    pub async fn add_run_inputs(
        &self,
        run_id: &str,
        datasets: &[DatasetInput],
        model_ids: &[String],
        now_us: i64,
    ) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let Some(run) = read_run(&mut tx, run_id).await? else {
            return Err(MetadataError::RunNotFound { run_id: run_id.to_owned() });
        };
        let project_id = run.project_id.parse::<i64>().unwrap_or(-1);
        for input in datasets {
            add_dataset(&mut tx, run_id, project_id, input).await?;
        }
        for model_id in model_ids {
            sqlx::query(
                "INSERT INTO run_models (run_id, role, model_id, step) VALUES (?, 'input', ?, 0) ON CONFLICT DO NOTHING",
            )
            .bind(run_id)
            .bind(model_id)
            .execute(&mut *tx)
            .await?;
        }
        let names: Vec<(&str, &str)> =
            datasets.iter().map(|input| (input.dataset.name.as_str(), input.dataset.digest.as_str())).collect();
        audit(&mut tx, now_us, "log_inputs", run_id, &json!({"datasets": names, "models": model_ids})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// Which datasets runs of projects read, and what for, as the tag `context` says; at most `limit`.
    pub async fn dataset_uses(
        &self,
        project_ids: &[String],
        context: &str,
        limit: u32,
    ) -> Result<Vec<DatasetUse>, MetadataError> {
        let rows = sqlx::query(
            "SELECT DISTINCT d.project_id, d.name, d.digest, t.value AS context FROM datasets d \
             JOIN run_datasets i USING (dataset_id) \
             LEFT JOIN run_dataset_tags t ON t.input_id = i.input_id AND t.key = ? \
             WHERE d.project_id IN (SELECT CAST(value AS INTEGER) FROM json_each(?)) LIMIT ?",
        );
        let rows = rows.bind(context).bind(json!(project_ids).to_string()).bind(limit).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                Ok(DatasetUse {
                    project_id: row.try_get::<i64, _>("project_id")?.to_string(),
                    name: row.try_get("name")?,
                    digest: row.try_get("digest")?,
                    context: row.try_get("context")?,
                })
            })
            .collect()
    }
}

impl Metadata {
    /// Which datasets each run of a project read, and what for, as the tag `context` says: by run id.
    pub async fn dataset_uses_of_runs(
        &self,
        project_id: &str,
        context: &str,
    ) -> Result<BTreeMap<String, Vec<DatasetUse>>, MetadataError> {
        let rows = sqlx::query(
            "SELECT i.run_id, d.name, d.digest, t.value AS context FROM datasets d JOIN run_datasets i USING (dataset_id) \
             LEFT JOIN run_dataset_tags t ON t.input_id = i.input_id AND t.key = ? WHERE d.project_id = ?",
        );
        let rows = rows.bind(context).bind(project_id.parse::<i64>().unwrap_or(-1)).fetch_all(&self.readers).await?;
        let mut uses: BTreeMap<String, Vec<DatasetUse>> = BTreeMap::new();
        for row in &rows {
            uses.entry(row.try_get("run_id")?).or_default().push(DatasetUse {
                project_id: project_id.to_owned(),
                name: row.try_get("name")?,
                digest: row.try_get("digest")?,
                context: row.try_get("context")?,
            });
        }
        Ok(uses)
    }
}

async fn add_dataset(
    connection: &mut SqliteConnection,
    run_id: &str,
    project_id: i64,
    input: &DatasetInput,
) -> Result<(), MetadataError> {
    let dataset = &input.dataset;
    sqlx::query(
        "INSERT INTO datasets (project_id, name, digest, source_type, source, schema, profile) \
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(project_id)
    .bind(&dataset.name)
    .bind(&dataset.digest)
    .bind(&dataset.source_type)
    .bind(&dataset.source)
    .bind(&dataset.schema)
    .bind(&dataset.profile)
    .execute(&mut *connection)
    .await?;
    let added = sqlx::query(
        "INSERT INTO run_datasets (run_id, dataset_id) \
         SELECT ?, dataset_id FROM datasets WHERE project_id = ? AND name = ? AND digest = ? \
         ON CONFLICT DO NOTHING RETURNING input_id",
    );
    let added = added.bind(run_id).bind(project_id).bind(&dataset.name).bind(&dataset.digest);
    // Tags are those of the first time.
    let Some(row) = added.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let input_id: i64 = row.try_get(0)?;
    for (key, value) in &input.tags {
        let tag = sqlx::query("INSERT INTO run_dataset_tags (input_id, key, value) VALUES (?, ?, ?)");
        tag.bind(input_id).bind(key).bind(value).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Removes the datasets and logged models of a project, whose runs are gone already.
pub(crate) async fn purge_lineage_of_project(
    connection: &mut SqliteConnection,
    project: Option<&str>,
) -> Result<(), MetadataError> {
    const MODELS: &str = "SELECT model_id FROM logged_models JOIN projects p USING (project_id) WHERE p.name = ?";
    let Some(project) = project else { return Ok(()) };
    let models = sqlx::query(MODELS).bind(project).fetch_all(&mut *connection).await?;
    for row in &models {
        for statement in [
            "DELETE FROM logged_model_metrics WHERE model_id = ?",
            "DELETE FROM logged_model_params WHERE model_id = ?",
            "DELETE FROM logged_model_tags WHERE model_id = ?",
            "DELETE FROM logged_models WHERE model_id = ?",
        ] {
            sqlx::query(statement).bind(row.try_get::<&str, _>(0)?).execute(&mut *connection).await?;
        }
    }
    sqlx::query("DELETE FROM datasets WHERE project_id IN (SELECT project_id FROM projects WHERE name = ?)")
        .bind(project)
        .execute(connection)
        .await?;
    Ok(())
}
