//! What runs read and made: datasets, and models from before they are published.

use std::collections::BTreeMap;

use stepwell_metadata::{
    DatasetInput, DatasetUse, LoggedModel, LoggedModelStatus, ModelMetric, ModelOutput, NewLoggedModel, RunLinks,
};
use uuid::Builder;

use crate::{app::App, error::AppError};

impl App {
    /// Notes what a run read: datasets, and models by id. What is known of it changes nothing.
    pub async fn add_run_inputs(
        &self,
        run_id: &str,
        datasets: &[DatasetInput],
        model_ids: &[String],
    ) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.add_run_inputs(run_id, datasets, model_ids, self.now_us()).await?)
    }

    /// Notes which models a run made.
    pub async fn add_run_outputs(&self, run_id: &str, models: &[ModelOutput]) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.add_run_outputs(run_id, models, self.now_us()).await?)
    }

    /// What runs read and made, by run id; runs without any are left out.
    pub async fn run_links(&self, run_ids: &[String]) -> Result<BTreeMap<String, RunLinks>, AppError> {
        Ok(self.parts.metadata.run_links(run_ids).await?)
    }

    /// Which datasets runs of projects read, and what for, as the tag `context` says; at most `limit`.
    pub async fn dataset_uses(
        &self,
        project_ids: &[String],
        context: &str,
        limit: u32,
    ) -> Result<Vec<DatasetUse>, AppError> {
        Ok(self.parts.metadata.dataset_uses(project_ids, context, limit).await?)
    }

    /// Which datasets each run of a project read, and what for, as the tag `context` says: by run id.
    pub async fn dataset_uses_of_runs(
        &self,
        project_id: &str,
        context: &str,
    ) -> Result<BTreeMap<String, Vec<DatasetUse>>, AppError> {
        Ok(self.parts.metadata.dataset_uses_of_runs(project_id, context).await?)
    }

    /// Notes which points measure which models; the points themselves are logged as any others. A batch may come twice.
    pub async fn add_model_metrics(&self, metrics: &[ModelMetric]) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.add_model_metrics(metrics).await?)
    }

    /// An id that no logged model has.
    pub fn new_model_id(&self) -> String {
        format!("m-{}", self.random_uuid().simple())
    }

    /// Makes a logged model whose files are still to come.
    pub async fn create_logged_model(&self, new: &NewLoggedModel) -> Result<LoggedModel, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.create_logged_model(new, self.now_us()).await?)
    }

    /// One logged model, also if it is deleted.
    pub async fn logged_model(&self, model_id: &str) -> Result<Option<LoggedModel>, AppError> {
        Ok(self.parts.metadata.logged_model(model_id).await?)
    }

    /// The logged models of projects that are not deleted, the newest first.
    pub async fn logged_models(&self, project_ids: &[String]) -> Result<Vec<LoggedModel>, AppError> {
        Ok(self.parts.metadata.logged_models(project_ids).await?)
    }

    /// Says how a logged model is doing.
    pub async fn set_logged_model_status(
        &self,
        model_id: &str,
        status: LoggedModelStatus,
    ) -> Result<LoggedModel, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.set_logged_model_status(model_id, status, self.now_us()).await?)
    }

    /// Marks a logged model as deleted.
    pub async fn delete_logged_model(&self, model_id: &str) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.delete_logged_model(model_id, self.now_us()).await?)
    }

    /// Adds params to a logged model.
    pub async fn add_logged_model_params(
        &self,
        model_id: &str,
        params: &BTreeMap<String, String>,
    ) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.add_logged_model_params(model_id, params, self.now_us()).await?)
    }

    /// Sets tags of a logged model.
    pub async fn tag_logged_model(
        &self,
        model_id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<LoggedModel, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.tag_logged_model(model_id, tags, self.now_us()).await?)
    }

    /// Removes a tag of a logged model; `false` if it has none of that key.
    pub async fn untag_logged_model(&self, model_id: &str, key: &str) -> Result<bool, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.untag_logged_model(model_id, key, self.now_us()).await?)
    }

    pub(crate) fn random_uuid(&self) -> uuid::Uuid {
        let words = [self.parts.env.random.next_u64(), self.parts.env.random.next_u64()];
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&words[0].to_le_bytes());
        bytes[8..].copy_from_slice(&words[1].to_le_bytes());
        Builder::from_random_bytes(bytes).into_uuid()
    }
}
