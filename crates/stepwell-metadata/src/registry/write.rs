//! Changing registered models, their tags and aliases.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::{
    model::{ModelVersion, RegisteredModel},
    read::{read_model, read_version},
};
use crate::{
    error::MetadataError,
    store::Metadata,
    webhooks::{Announce, announce},
    write::audit,
};

pub(super) fn no_model(name: &str) -> MetadataError {
    MetadataError::RegisteredModelNotFound { name: name.to_owned() }
}

pub(super) fn no_version(name: &str, version: i64) -> MetadataError {
    MetadataError::ModelVersionNotFound { name: name.to_owned(), version }
}

impl Metadata {
    /// Makes a registered model; its name must be new.
    pub async fn create_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        tags: &BTreeMap<String, String>,
        told: Announce<'_, RegisteredModel>,
        now_us: i64,
    ) -> Result<RegisteredModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let row = sqlx::query(
            "INSERT INTO registered_models (name, description, created_at_us, updated_at_us) VALUES (?1, ?2, ?3, ?3) \
             ON CONFLICT (name) DO NOTHING RETURNING registered_model_id",
        );
        let row = row.bind(name).bind(description).bind(now_us).fetch_optional(&mut *tx).await?;
        let Some(row) = row else { return Err(exists(name)) };
        let id: i64 = row.try_get(0)?;
        for (key, value) in tags {
            set_tag(&mut tx, id, key, value).await?;
        }
        audit(&mut tx, now_us, "create_registered_model", name, &json!({"tags": tags})).await?;
        self.done(tx, name, told, now_us).await
    }

    /// Gives a registered model another name; its versions keep their numbers.
    pub async fn rename_registered_model(
        &self,
        name: &str,
        new_name: &str,
        now_us: i64,
    ) -> Result<RegisteredModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = model_id(&mut tx, name).await?;
        if name != new_name && read_model(&mut tx, new_name).await?.is_some() {
            return Err(exists(new_name));
        }
        sqlx::query("UPDATE registered_models SET name = ?, updated_at_us = ? WHERE registered_model_id = ?")
            .bind(new_name)
            .bind(now_us)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE model_versions SET updated_at_us = ? WHERE registered_model_id = ?")
            .bind(now_us)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        audit(&mut tx, now_us, "rename_registered_model", name, &json!({"new_name": new_name})).await?;
        self.done(tx, new_name, &|_| None, now_us).await
    }

    /// Describes a registered model anew.
    pub async fn describe_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        now_us: i64,
    ) -> Result<RegisteredModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = model_id(&mut tx, name).await?;
        sqlx::query("UPDATE registered_models SET description = ?, updated_at_us = ? WHERE registered_model_id = ?")
            .bind(description)
            .bind(now_us)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        audit(&mut tx, now_us, "update_registered_model", name, &json!({"description": description})).await?;
        self.done(tx, name, &|_| None, now_us).await
    }

    /// Ends a registered model, its versions included.
    pub async fn delete_registered_model(&self, name: &str, now_us: i64) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = model_id(&mut tx, name).await?;
        for statement in [
            "DELETE FROM model_aliases WHERE registered_model_id = ?",
            "DELETE FROM model_version_tags WHERE model_version_id IN \
             (SELECT model_version_id FROM model_versions WHERE registered_model_id = ?)",
            "DELETE FROM model_versions WHERE registered_model_id = ?",
            "DELETE FROM registered_model_tags WHERE registered_model_id = ?",
            "DELETE FROM registered_models WHERE registered_model_id = ?",
        ] {
            sqlx::query(statement).bind(id).execute(&mut *tx).await?;
        }
        audit(&mut tx, now_us, "delete_registered_model", name, &json!({})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// Sets a tag of a registered model, or removes it where `value` is `None`; to remove one that is not there changes nothing.
    pub async fn tag_registered_model(
        &self,
        name: &str,
        key: &str,
        value: Option<&str>,
        told: Announce<'_, RegisteredModel>,
        now_us: i64,
    ) -> Result<RegisteredModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = model_id(&mut tx, name).await?;
        match value {
            Some(value) => set_tag(&mut tx, id, key, value).await?,
            None => {
                let gone = sqlx::query("DELETE FROM registered_model_tags WHERE registered_model_id = ? AND key = ?");
                gone.bind(id).bind(key).execute(&mut *tx).await?;
            }
        }
        audit(&mut tx, now_us, "tag_registered_model", name, &json!({"key": key, "value": value})).await?;
        self.done(tx, name, told, now_us).await
    }

    /// Points an alias at a version, wherever it pointed before.
    pub async fn set_model_alias(
        &self,
        name: &str,
        alias: &str,
        version: i64,
        told: Announce<'_, RegisteredModel>,
        now_us: i64,
    ) -> Result<RegisteredModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        if read_version(&mut tx, name, version).await?.is_none() {
            return Err(no_version(name, version));
        }
        let id = model_id(&mut tx, name).await?;
        sqlx::query(
            "INSERT INTO model_aliases (registered_model_id, alias, version) VALUES (?, ?, ?) \
             ON CONFLICT (registered_model_id, alias) DO UPDATE SET version = excluded.version",
        )
        .bind(id)
        .bind(alias)
        .bind(version)
        .execute(&mut *tx)
        .await?;
        audit(&mut tx, now_us, "set_model_alias", name, &json!({"alias": alias, "version": version})).await?;
        self.done(tx, name, told, now_us).await
    }

    /// Removes an alias; one that is not there changes nothing.
    pub async fn delete_model_alias(
        &self,
        name: &str,
        alias: &str,
        told: Announce<'_, RegisteredModel>,
        now_us: i64,
    ) -> Result<RegisteredModel, MetadataError> {
        let mut tx = self.writer.begin().await?;
        let id = model_id(&mut tx, name).await?;
        let gone = sqlx::query("DELETE FROM model_aliases WHERE registered_model_id = ? AND alias = ?");
        gone.bind(id).bind(alias).execute(&mut *tx).await?;
        audit(&mut tx, now_us, "delete_model_alias", name, &json!({"alias": alias})).await?;
        self.done(tx, name, told, now_us).await
    }

    /// Reads the model as it is now, puts what is to be told into the outbox, and commits.
    async fn done(
        &self,
        mut tx: Transaction<'static, Sqlite>,
        name: &str,
        told: Announce<'_, RegisteredModel>,
        now_us: i64,
    ) -> Result<RegisteredModel, MetadataError> {
        let model = read_model(&mut tx, name).await?.ok_or_else(|| no_model(name))?;
        announce(&mut tx, told(&model), now_us).await?;
        self.commit_beside_runs(tx, model).await
    }

    /// The same of a version.
    pub(super) async fn version_done(
        &self,
        mut tx: Transaction<'static, Sqlite>,
        (name, number): (&str, i64),
        told: Announce<'_, (RegisteredModel, ModelVersion)>,
        now_us: i64,
    ) -> Result<ModelVersion, MetadataError> {
        let model = read_model(&mut tx, name).await?.ok_or_else(|| no_model(name))?;
        let version = read_version(&mut tx, name, number).await?.ok_or_else(|| no_version(name, number))?;
        let both = (model, version);
        announce(&mut tx, told(&both), now_us).await?;
        self.commit_beside_runs(tx, both.1).await
    }
}

fn exists(name: &str) -> MetadataError {
    MetadataError::RegisteredModelExists { name: name.to_owned() }
}

/// The row of a registered model.
pub(super) async fn model_id(connection: &mut SqliteConnection, name: &str) -> Result<i64, MetadataError> {
    let row = sqlx::query("SELECT registered_model_id FROM registered_models WHERE name = ?").bind(name);
    let row = row.fetch_optional(connection).await?.ok_or_else(|| no_model(name))?;
    Ok(row.try_get(0)?)
}

async fn set_tag(connection: &mut SqliteConnection, id: i64, key: &str, value: &str) -> Result<(), MetadataError> {
    sqlx::query(
        "INSERT INTO registered_model_tags (registered_model_id, key, value) VALUES (?, ?, ?) \
         ON CONFLICT (registered_model_id, key) DO UPDATE SET value = excluded.value",
    )
    .bind(id)
    .bind(key)
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}
