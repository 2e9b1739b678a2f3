//! Reading the registry.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::model::{ModelVersion, RegisteredModel, Stage};
use crate::{error::MetadataError, store::Metadata};

/// Versions with the name of their model; a condition follows.
macro_rules! versions_where {
    ($condition:literal) => {
        concat!(
            "SELECT v.*, m.name AS name FROM model_versions v JOIN registered_models m USING (registered_model_id) ",
            $condition,
            " ORDER BY m.name, v.version"
        )
    };
}

impl Metadata {
    /// The registered model of that name.
    pub async fn registered_model(&self, name: &str) -> Result<Option<RegisteredModel>, MetadataError> {
        // One transaction, so that tags and aliases are those of the model read; in the others too.
        read_model(&mut *self.readers.begin().await?, name).await
    }

    /// All registered models, by name.
    pub async fn registered_models(&self) -> Result<Vec<RegisteredModel>, MetadataError> {
        let mut tx = self.readers.begin().await?;
        let rows = sqlx::query("SELECT * FROM registered_models ORDER BY name").fetch_all(&mut *tx).await?;
        whole_models(&mut tx, &rows).await
    }

    /// One version.
    pub async fn model_version(&self, name: &str, version: i64) -> Result<Option<ModelVersion>, MetadataError> {
        read_version(&mut *self.readers.begin().await?, name, version).await
    }

    /// All versions, or those of one registered model, by name and number.
    pub async fn model_versions(&self, name: Option<&str>) -> Result<Vec<ModelVersion>, MetadataError> {
        let mut tx = self.readers.begin().await?;
        let rows = match name {
            Some(name) => sqlx::query(versions_where!("WHERE m.name = ?")).bind(name).fetch_all(&mut *tx).await?,
            None => sqlx::query(versions_where!("")).fetch_all(&mut *tx).await?,
        };
        whole_versions(&mut tx, &rows).await
    }

    /// Of each registered model the newest version in each stage, stages in the order of their oldest versions.
    pub async fn newest_versions(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Vec<ModelVersion>>, MetadataError> {
        let mut tx = self.readers.begin().await?;
        let rows = sqlx::query(
            "WITH newest AS (SELECT registered_model_id, max(version) AS version, min(version) AS oldest \
                 FROM model_versions JOIN registered_models USING (registered_model_id) \
                 WHERE name IN (SELECT value FROM json_each(?)) GROUP BY registered_model_id, stage) \
             SELECT v.*, m.name AS name FROM newest JOIN model_versions v USING (registered_model_id, version) \
             JOIN registered_models m USING (registered_model_id) ORDER BY m.name, newest.oldest",
        );
        let rows = rows.bind(json!(names).to_string()).fetch_all(&mut *tx).await?;
        let mut newest: BTreeMap<String, Vec<ModelVersion>> = BTreeMap::new();
        for version in whole_versions(&mut tx, &rows).await? {
            newest.entry(version.name.clone()).or_default().push(version);
        }
        Ok(newest)
    }
}

pub(super) async fn read_model(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<RegisteredModel>, MetadataError> {
    let rows = sqlx::query("SELECT * FROM registered_models WHERE name = ?").bind(name);
    let rows = rows.fetch_all(&mut *connection).await?;
    Ok(whole_models(connection, &rows).await?.pop())
}

pub(super) async fn read_version(
    connection: &mut SqliteConnection,
    name: &str,
    number: i64,
) -> Result<Option<ModelVersion>, MetadataError> {
    let rows = sqlx::query(versions_where!("WHERE m.name = ? AND v.version = ?")).bind(name).bind(number);
    let rows = rows.fetch_all(&mut *connection).await?;
    Ok(whole_versions(connection, &rows).await?.pop())
}

/// Rows of registered models with their tags and aliases.
async fn whole_models(
    connection: &mut SqliteConnection,
    rows: &[SqliteRow],
) -> Result<Vec<RegisteredModel>, MetadataError> {
    let mut models = rows.iter().map(model).collect::<Result<Vec<_>, _>>()?;
    let place = places(rows, "registered_model_id")?;
    let ids = json!(place.keys().collect::<Vec<_>>()).to_string();
    let tags = sqlx::query(
        "SELECT * FROM registered_model_tags WHERE registered_model_id IN (SELECT value FROM json_each(?))",
    );
    for row in &tags.bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(&i) = place.get(&row.try_get("registered_model_id")?) {
            models[i].tags.insert(row.try_get("key")?, row.try_get("value")?);
        }
    }
    let aliases =
        sqlx::query("SELECT * FROM model_aliases WHERE registered_model_id IN (SELECT value FROM json_each(?))");
    for row in &aliases.bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(&i) = place.get(&row.try_get("registered_model_id")?) {
            models[i].aliases.insert(row.try_get("alias")?, row.try_get("version")?);
        }
    }
    Ok(models)
}

/// Rows of versions with their tags and aliases.
async fn whole_versions(
    connection: &mut SqliteConnection,
    rows: &[SqliteRow],
) -> Result<Vec<ModelVersion>, MetadataError> {
    let mut versions = rows.iter().map(version).collect::<Result<Vec<_>, _>>()?;
    let place = places(rows, "model_version_id")?;
    let ids = json!(place.keys().collect::<Vec<_>>()).to_string();
    let tags =
        sqlx::query("SELECT * FROM model_version_tags WHERE model_version_id IN (SELECT value FROM json_each(?))");
    for row in &tags.bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(&i) = place.get(&row.try_get("model_version_id")?) {
            versions[i].tags.insert(row.try_get("key")?, row.try_get("value")?);
        }
    }
    let aliases = sqlx::query(
        "SELECT v.model_version_id, a.alias FROM model_versions v \
         JOIN model_aliases a USING (registered_model_id, version) \
         WHERE v.model_version_id IN (SELECT value FROM json_each(?)) ORDER BY a.alias",
    );
    for row in &aliases.bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(&i) = place.get(&row.try_get("model_version_id")?) {
            versions[i].aliases.push(row.try_get("alias")?);
        }
    }
    Ok(versions)
}

/// Which row has which id.
fn places(rows: &[SqliteRow], id: &str) -> Result<BTreeMap<i64, usize>, MetadataError> {
    Ok(rows.iter().enumerate().map(|(i, row)| Ok((row.try_get(id)?, i))).collect::<Result<_, sqlx::Error>>()?)
}

fn model(row: &SqliteRow) -> Result<RegisteredModel, MetadataError> {
    Ok(RegisteredModel {
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        created_at_us: row.try_get("created_at_us")?,
        updated_at_us: row.try_get("updated_at_us")?,
        last_version: row.try_get("last_version")?,
        tags: BTreeMap::new(),
        aliases: BTreeMap::new(),
    })
}

fn version(row: &SqliteRow) -> Result<ModelVersion, MetadataError> {
    let name: String = row.try_get("name")?;
    let stage: String = row.try_get("stage")?;
    let Some(stage) = Stage::parse(&stage) else {
        return Err(MetadataError::Damaged { what: "stage", subject: name, detail: stage });
    };
    Ok(ModelVersion {
        name,
        version: row.try_get("version")?,
        created_at_us: row.try_get("created_at_us")?,
        updated_at_us: row.try_get("updated_at_us")?,
        description: row.try_get("description")?,
        stage,
        source: row.try_get("source")?,
        location: row.try_get("location")?,
        run_id: row.try_get("run_id")?,
        run_link: row.try_get("run_link")?,
        model_id: row.try_get("model_id")?,
        tags: BTreeMap::new(),
        aliases: Vec::new(),
    })
}
