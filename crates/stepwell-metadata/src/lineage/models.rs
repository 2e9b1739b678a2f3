//! Logged models.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::model::{LoggedModel, LoggedModelStatus, ModelMetric, NewLoggedModel};
use crate::{error::MetadataError, store::Metadata, write::audit};

fn no_model(model_id: &str) -> MetadataError {
    MetadataError::LoggedModelNotFound { model_id: model_id.to_owned() }
}

impl Metadata {
    /// Makes a model whose files are still to come.
    pub async fn create_logged_model(&self, new: &NewLoggedModel, now_us: i64) -> Result<LoggedModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        sqlx::query(
            "INSERT INTO logged_models (model_id, project_id, name, kind, location, source_run_id, status, created_at_us, \
             updated_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
        )
        .bind(&new.model_id)
        .bind(new.project_id.parse::<i64>().unwrap_or(-1))
        .bind(&new.name)
        .bind(&new.kind)
        .bind(&new.location)
        .bind(&new.source_run_id)
        .bind(LoggedModelStatus::Pending.as_str())
        .bind(now_us)
        .execute(&mut *tx)
        .await?;
        set_params(&mut tx, &new.model_id, &new.params).await?;
        set_tags(&mut tx, &new.model_id, &new.tags).await?;
        let detail = json!({"project_id": new.project_id, "name": new.name, "source_run_id": new.source_run_id});
        audit(&mut tx, now_us, "create_logged_model", &new.model_id, &detail).await?;
        let made = read(&mut tx, &new.model_id).await?.ok_or_else(|| no_model(&new.model_id))?;
        self.commit_beside_runs(tx, made).await
    }

    /// Says how a model is doing.
    pub async fn set_logged_model_status(
        &self,
        model_id: &str,
        status: LoggedModelStatus,
        now_us: i64,
    ) -> Result<LoggedModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let changed = sqlx::query("UPDATE logged_models SET status = ?, updated_at_us = ? WHERE model_id = ?");
        let changed = changed.bind(status.as_str()).bind(now_us).bind(model_id).execute(&mut *tx).await?;
        if changed.rows_affected() == 0 {
            return Err(no_model(model_id));
        }
        audit(&mut tx, now_us, "update_logged_model", model_id, &json!({"status": status.as_str()})).await?;
        let model = read(&mut tx, model_id).await?.ok_or_else(|| no_model(model_id))?;
        self.commit_beside_runs(tx, model).await
    }

    /// Marks a model as deleted; its rows stay until its project is purged.
    pub async fn delete_logged_model(&self, model_id: &str, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let gone = sqlx::query("UPDATE logged_models SET deleted_at_us = ?1, updated_at_us = ?1 WHERE model_id = ?2");
        if gone.bind(now_us).bind(model_id).execute(&mut *tx).await?.rows_affected() == 0 {
            return Err(no_model(model_id));
        }
        audit(&mut tx, now_us, "delete_logged_model", model_id, &json!({})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// Adds params to a model; one that it has already refuses all of them.
    pub async fn add_logged_model_params(
        &self,
        model_id: &str,
        params: &BTreeMap<String, String>,
        now_us: i64,
    ) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let old = read(&mut tx, model_id).await?.ok_or_else(|| no_model(model_id))?;
        // One that is said again is no change.
        let new = params.iter().filter(|(key, value)| old.params.get(*key) != Some(*value));
        let new: BTreeMap<String, String> = new.map(|(key, value)| (key.clone(), value.clone())).collect();
        if let Some(key) = new.keys().find(|key| old.params.contains_key(*key)) {
            return Err(MetadataError::ModelParamExists { model_id: model_id.to_owned(), key: key.clone() });
        }
        set_params(&mut tx, model_id, &new).await?;
        let keys: Vec<&String> = new.keys().collect();
        audit(&mut tx, now_us, "update_logged_model", model_id, &json!({"params": keys})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// Sets tags of a model.
    pub async fn tag_logged_model(
        &self,
        model_id: &str,
        tags: &BTreeMap<String, String>,
        now_us: i64,
    ) -> Result<LoggedModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        if read(&mut tx, model_id).await?.is_none() {
            return Err(no_model(model_id));
        }
        set_tags(&mut tx, model_id, tags).await?;
        audit(&mut tx, now_us, "tag_logged_model", model_id, &json!({"tags": tags})).await?;
        let model = read(&mut tx, model_id).await?.ok_or_else(|| no_model(model_id))?;
        self.commit_beside_runs(tx, model).await
    }

    /// Removes a tag of a model; `false` if it has none of that key.
    pub async fn untag_logged_model(&self, model_id: &str, key: &str, now_us: i64) -> Result<bool, MetadataError> {
        let mut tx = self.writer.begin().await?;
        if read(&mut tx, model_id).await?.is_none() {
            return Err(no_model(model_id));
        }
        let gone = sqlx::query("DELETE FROM logged_model_tags WHERE model_id = ? AND key = ?");
        if gone.bind(model_id).bind(key).execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        audit(&mut tx, now_us, "tag_logged_model", model_id, &json!({"removed": key})).await?;
        self.commit_beside_runs(tx, true).await
    }

    /// Notes which points measure which models. One that is known changes nothing, so that a batch may come twice.
    pub async fn add_model_metrics(&self, metrics: &[ModelMetric]) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        for metric in metrics {
            let known = sqlx::query("SELECT 1 FROM logged_models WHERE model_id = ?").bind(&metric.model_id);
            if known.fetch_optional(&mut *tx).await?.is_none() {
                return Err(no_model(&metric.model_id));
            }
            sqlx::query(
                "INSERT INTO logged_model_metrics (model_id, metric, timestamp_us, step, run_id, value, dataset_name, \
                 dataset_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(&metric.model_id)
            .bind(&metric.metric)
            .bind(metric.timestamp_us)
            .bind(metric.step)
            .bind(&metric.run_id)
            .bind(metric.value)
            .bind(&metric.dataset_name)
            .bind(&metric.dataset_digest)
            .execute(&mut *tx)
            .await?;
        }
        self.commit_beside_runs(tx, ()).await
    }

    /// One model, also if it is deleted.
    pub async fn logged_model(&self, model_id: &str) -> Result<Option<LoggedModel>, MetadataError> {
        read(&mut *self.readers.begin().await?, model_id).await
    }

    /// The models of projects that are not deleted, the newest first.
    pub async fn logged_models(&self, project_ids: &[String]) -> Result<Vec<LoggedModel>, MetadataError> {
        let mut tx = self.readers.begin().await?;
        let rows = sqlx::query(
            "SELECT * FROM logged_models WHERE deleted_at_us IS NULL \
             AND project_id IN (SELECT CAST(value AS INTEGER) FROM json_each(?)) ORDER BY created_at_us DESC, model_id",
        );
        let rows = rows.bind(json!(project_ids).to_string()).fetch_all(&mut *tx).await?;
        whole(&mut tx, &rows).await
    }
}

async fn read(connection: &mut SqliteConnection, model_id: &str) -> Result<Option<LoggedModel>, MetadataError> {
    let rows = sqlx::query("SELECT * FROM logged_models WHERE model_id = ?").bind(model_id);
    let rows = rows.fetch_all(&mut *connection).await?;
    Ok(whole(connection, &rows).await?.pop())
}

/// Rows with their params, tags and metrics.
async fn whole(connection: &mut SqliteConnection, rows: &[SqliteRow]) -> Result<Vec<LoggedModel>, MetadataError> {
    let mut models = rows.iter().map(model).collect::<Result<Vec<_>, _>>()?;
    let place: BTreeMap<String, usize> =
        models.iter().enumerate().map(|(i, model)| (model.model_id.clone(), i)).collect();
    let ids = json!(place.keys().collect::<Vec<_>>()).to_string();
    let params =
        sqlx::query("SELECT * FROM logged_model_params WHERE model_id IN (SELECT value FROM json_each(?))").bind(&ids);
    for row in &params.fetch_all(&mut *connection).await? {
        if let Some(&i) = place.get(row.try_get::<&str, _>("model_id")?) {
            models[i].params.insert(row.try_get("key")?, row.try_get("value")?);
        }
    }
    let tags =
        sqlx::query("SELECT * FROM logged_model_tags WHERE model_id IN (SELECT value FROM json_each(?))").bind(&ids);
    for row in &tags.fetch_all(&mut *connection).await? {
        if let Some(&i) = place.get(row.try_get::<&str, _>("model_id")?) {
            models[i].tags.insert(row.try_get("key")?, row.try_get("value")?);
        }
    }
    let metrics = sqlx::query(
        "SELECT * FROM logged_model_metrics WHERE model_id IN (SELECT value FROM json_each(?)) \
         ORDER BY model_id, metric, timestamp_us, step, run_id",
    );
    for row in &metrics.bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(&i) = place.get(row.try_get::<&str, _>("model_id")?) {
            models[i].metrics.push(metric(row)?);
        }
    }
    Ok(models)
}

fn model(row: &SqliteRow) -> Result<LoggedModel, MetadataError> {
    let model_id: String = row.try_get("model_id")?;
    let status: String = row.try_get("status")?;
    let Some(status) = LoggedModelStatus::parse(&status) else {
        return Err(MetadataError::Damaged { what: "status", subject: model_id, detail: status });
    };
    Ok(LoggedModel {
        model_id,
        project_id: row.try_get::<i64, _>("project_id")?.to_string(),
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        location: row.try_get("location")?,
        source_run_id: row.try_get("source_run_id")?,
        status,
        created_at_us: row.try_get("created_at_us")?,
        updated_at_us: row.try_get("updated_at_us")?,
        is_deleted: row.try_get::<Option<i64>, _>("deleted_at_us")?.is_some(),
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        metrics: Vec::new(),
    })
}

fn metric(row: &SqliteRow) -> Result<ModelMetric, MetadataError> {
    Ok(ModelMetric {
        model_id: row.try_get("model_id")?,
        metric: row.try_get("metric")?,
        timestamp_us: row.try_get("timestamp_us")?,
        step: row.try_get("step")?,
        run_id: row.try_get("run_id")?,
        value: row.try_get::<Option<f64>, _>("value")?.unwrap_or(f64::NAN),
        dataset_name: row.try_get("dataset_name")?,
        dataset_digest: row.try_get("dataset_digest")?,
    })
}

async fn set_params(
    connection: &mut SqliteConnection,
    model_id: &str,
    params: &BTreeMap<String, String>,
) -> Result<(), MetadataError> {
    for (key, value) in params {
        let row = sqlx::query("INSERT INTO logged_model_params (model_id, key, value) VALUES (?, ?, ?)");
        row.bind(model_id).bind(key).bind(value).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn set_tags(
    connection: &mut SqliteConnection,
    model_id: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), MetadataError> {
    for (key, value) in tags {
        sqlx::query(
            "INSERT INTO logged_model_tags (model_id, key, value) VALUES (?, ?, ?) \
             ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value",
        )
        .bind(model_id)
        .bind(key)
        .bind(value)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
