//! What runs read and made, for those who show runs.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::Row;

use super::model::{Dataset, DatasetInput, ModelOutput, RunLinks};
use crate::{error::MetadataError, read::read_run, store::Metadata, write::audit};

impl Metadata {
    /// Notes which models a run made; the step of one that is known is the last one said.
    pub async fn add_run_outputs(
        &self,
        run_id: &str,
        models: &[ModelOutput],
        now_us: i64,
    ) -> Result<(), MetadataError> {
        let mut tx = self.writer.begin().await?;
        if read_run(&mut tx, run_id).await?.is_none() {
            return Err(MetadataError::RunNotFound { run_id: run_id.to_owned() });
        }
        for model in models {
            sqlx::query(
                "INSERT INTO run_models (run_id, role, model_id, step) VALUES (?, 'output', ?, ?) \
                 ON CONFLICT (run_id, role, model_id) DO UPDATE SET step = excluded.step",
            )
            .bind(run_id)
            .bind(&model.model_id)
            .bind(model.step)
            .execute(&mut *tx)
            .await?;
        }
        let ids: Vec<&str> = models.iter().map(|model| model.model_id.as_str()).collect();
        audit(&mut tx, now_us, "log_outputs", run_id, &json!({"models": ids})).await?;
        self.commit_beside_runs(tx, ()).await
    }

    /// What runs read and made, by run id; runs without any are left out.
    pub async fn run_links(&self, run_ids: &[String]) -> Result<BTreeMap<String, RunLinks>, MetadataError> {
        let ids = json!(run_ids).to_string();
        let mut links: BTreeMap<String, RunLinks> = BTreeMap::new();
        let mut tx = self.readers.begin().await?;
        let inputs = sqlx::query(
            "SELECT i.input_id, i.run_id, d.* FROM run_datasets i JOIN datasets d USING (dataset_id) \
             WHERE i.run_id IN (SELECT value FROM json_each(?)) ORDER BY i.input_id",
        );
        let mut place: BTreeMap<i64, (String, usize)> = BTreeMap::new();
        for row in &inputs.bind(&ids).fetch_all(&mut *tx).await? {
            let run_id: String = row.try_get("run_id")?;
            let datasets = &mut links.entry(run_id.clone()).or_default().datasets;
            place.insert(row.try_get("input_id")?, (run_id, datasets.len()));
            let dataset = Dataset {
                name: row.try_get("name")?,
                digest: row.try_get("digest")?,
                source_type: row.try_get("source_type")?,
                source: row.try_get("source")?,
                schema: row.try_get("schema")?,
                profile: row.try_get("profile")?,
            };
            datasets.push(DatasetInput { dataset, tags: BTreeMap::new() });
        }
        let tags = sqlx::query(
            "SELECT t.* FROM run_dataset_tags t JOIN run_datasets i USING (input_id) \
             WHERE i.run_id IN (SELECT value FROM json_each(?))",
        );
        for row in &tags.bind(&ids).fetch_all(&mut *tx).await? {
            if let Some((run_id, i)) = place.get(&row.try_get("input_id")?)
                && let Some(input) = links.get_mut(run_id).and_then(|links| links.datasets.get_mut(*i))
            {
                input.tags.insert(row.try_get("key")?, row.try_get("value")?);
            }
        }
        let models =
            sqlx::query("SELECT * FROM run_models WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY rowid");
        for row in &models.bind(&ids).fetch_all(&mut *tx).await? {
            let links = links.entry(row.try_get("run_id")?).or_default();
            let model_id: String = row.try_get("model_id")?;
            match row.try_get::<&str, _>("role")? {
                "input" => links.model_inputs.push(model_id),
                _ => links.model_outputs.push(ModelOutput { model_id, step: row.try_get("step")? }),
            }
        }
        Ok(links)
    }
}
