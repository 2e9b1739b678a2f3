//! Changing versions of registered models.

use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::{
    model::{ModelVersion, NewModelVersion, RegisteredModel, Stage},
    write::{model_id, no_version},
};
use crate::{error::MetadataError, store::Metadata, webhooks::Announce, write::audit};

impl Metadata {
    /// Publishes a version under the next number.
    pub async fn create_model_version(
        &self,
        new: &NewModelVersion,
        told: Announce<'_, (RegisteredModel, ModelVersion)>,
        now_us: i64,
    ) -> Result<ModelVersion, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = model_id(&mut tx, &new.name).await?;
        let next = sqlx::query(
            "UPDATE registered_models SET last_version = last_version + 1, updated_at_us = ? \
             WHERE registered_model_id = ? RETURNING last_version",
        );
        let number: i64 = next.bind(now_us).bind(id).fetch_one(&mut *tx).await?.try_get(0)?;
        let row = sqlx::query(
            "INSERT INTO model_versions (registered_model_id, version, created_at_us, updated_at_us, description, stage, \
             source, location, run_id, run_link, model_id) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             RETURNING model_version_id",
        )
        .bind(id)
        .bind(number)
        .bind(now_us)
        .bind(&new.description)
        .bind(Stage::None.as_str())
        .bind(&new.source)
        .bind(&new.location)
        .bind(&new.run_id)
        .bind(&new.run_link)
        .bind(&new.model_id)
        .fetch_one(&mut *tx)
        .await?;
        let version_id: i64 = row.try_get(0)?;
        for (key, value) in &new.tags {
            set_tag(&mut tx, version_id, key, value).await?;
        }
        let detail = json!({"version": number, "source": new.source, "run_id": new.run_id, "model_id": new.model_id});
        audit(&mut tx, now_us, "create_model_version", &new.name, &detail).await?;
        self.version_done(tx, (&new.name, number), told, now_us).await
    }

    /// Describes a version anew.
    pub async fn describe_model_version(
        &self,
        name: &str,
        version: i64,
        description: Option<&str>,
        now_us: i64,
    ) -> Result<ModelVersion, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = version_id(&mut tx, name, version).await?;
        sqlx::query("UPDATE model_versions SET description = ?, updated_at_us = ? WHERE model_version_id = ?")
            .bind(description)
            .bind(now_us)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let detail = json!({"version": version, "description": description});
        audit(&mut tx, now_us, "update_model_version", name, &detail).await?;
        self.version_done(tx, (name, version), &|_| None, now_us).await
    }

    /// Moves a version to a stage; with `archive_others` the other versions in it are archived.
    pub async fn move_model_version(
        &self,
        name: &str,
        version: i64,
        stage: Stage,
        archive_others: bool,
        now_us: i64,
    ) -> Result<ModelVersion, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = version_id(&mut tx, name, version).await?;
        let model_id = model_id(&mut tx, name).await?;
        if archive_others {
            sqlx::query(
                "UPDATE model_versions SET stage = ?, updated_at_us = ? \
                 WHERE registered_model_id = ? AND stage = ? AND model_version_id <> ?",
            )
            .bind(Stage::Archived.as_str())
            .bind(now_us)
            .bind(model_id)
            .bind(stage.as_str())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query("UPDATE model_versions SET stage = ?, updated_at_us = ? WHERE model_version_id = ?")
            .bind(stage.as_str())
            .bind(now_us)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        touch(&mut tx, model_id, now_us).await?;
        let detail = json!({"version": version, "stage": stage.as_str(), "archive_others": archive_others});
        audit(&mut tx, now_us, "move_model_version", name, &detail).await?;
        self.version_done(tx, (name, version), &|_| None, now_us).await
    }

    /// Ends a version, and the aliases that name it.
    pub async fn delete_model_version(&self, name: &str, version: i64, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = version_id(&mut tx, name, version).await?;
        let model_id = model_id(&mut tx, name).await?;
        let aliases = sqlx::query("DELETE FROM model_aliases WHERE registered_model_id = ? AND version = ?");
        aliases.bind(model_id).bind(version).execute(&mut *tx).await?;
        for statement in [
            "DELETE FROM model_version_tags WHERE model_version_id = ?",
            "DELETE FROM model_versions WHERE model_version_id = ?",
        ] {
            sqlx::query(statement).bind(id).execute(&mut *tx).await?;
        }
        touch(&mut tx, model_id, now_us).await?;
        audit(&mut tx, now_us, "delete_model_version", name, &json!({"version": version})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// Sets a tag of a version, or removes it where `value` is `None`; to remove one that is not there changes nothing.
    pub async fn tag_model_version(
        &self,
        name: &str,
        version: i64,
        (key, value): (&str, Option<&str>),
        told: Announce<'_, (RegisteredModel, ModelVersion)>,
        now_us: i64,
    ) -> Result<ModelVersion, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = version_id(&mut tx, name, version).await?;
        match value {
            Some(value) => set_tag(&mut tx, id, key, value).await?,
            None => {
                let gone = sqlx::query("DELETE FROM model_version_tags WHERE model_version_id = ? AND key = ?");
                gone.bind(id).bind(key).execute(&mut *tx).await?;
            }
        }
        let detail = json!({"version": version, "key": key, "value": value});
        audit(&mut tx, now_us, "tag_model_version", name, &detail).await?;
        self.version_done(tx, (name, version), told, now_us).await
    }
}

async fn version_id(connection: &mut SqliteConnection, name: &str, version: i64) -> Result<i64, MetadataError> {
    let row = sqlx::query(
        "SELECT model_version_id FROM model_versions JOIN registered_models USING (registered_model_id) \
         WHERE name = ? AND version = ?",
    );
    let row = row.bind(name).bind(version).fetch_optional(connection).await?;
    Ok(row.ok_or_else(|| no_version(name, version))?.try_get(0)?)
}

/// Notes that something of a registered model changed.
async fn touch(connection: &mut SqliteConnection, id: i64, now_us: i64) -> Result<(), MetadataError> {
    let touched = sqlx::query("UPDATE registered_models SET updated_at_us = ? WHERE registered_model_id = ?");
    touched.bind(now_us).bind(id).execute(connection).await?;
    Ok(())
}

async fn set_tag(connection: &mut SqliteConnection, id: i64, key: &str, value: &str) -> Result<(), MetadataError> {
    sqlx::query(
        "INSERT INTO model_version_tags (model_version_id, key, value) VALUES (?, ?, ?) \
         ON CONFLICT (model_version_id, key) DO UPDATE SET value = excluded.value",
    )
    .bind(id)
    .bind(key)
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}
