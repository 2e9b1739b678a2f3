//! The registry: registered models and their versions.
//!
//! Who changes something says what is to be told of it; that is in the outbox once the change is durable (`webhooks`).

use std::collections::BTreeMap;

use stepwell_metadata::{Announce, ModelVersion, NewModelVersion, RegisteredModel, Stage};

use crate::{app::App, error::AppError};

impl App {
    /// The registered model of that name.
    pub async fn registered_model(&self, name: &str) -> Result<Option<RegisteredModel>, AppError> {
        Ok(self.parts.metadata.registered_model(name).await?)
    }

    /// All registered models, by name.
    pub async fn registered_models(&self) -> Result<Vec<RegisteredModel>, AppError> {
        Ok(self.parts.metadata.registered_models().await?)
    }

    /// One version.
    pub async fn model_version(&self, name: &str, version: i64) -> Result<Option<ModelVersion>, AppError> {
        Ok(self.parts.metadata.model_version(name, version).await?)
    }

    /// All versions, or those of one registered model, by name and number.
    pub async fn model_versions(&self, name: Option<&str>) -> Result<Vec<ModelVersion>, AppError> {
        Ok(self.parts.metadata.model_versions(name).await?)
    }

    /// Of each registered model the newest version in each stage.
    pub async fn newest_versions(&self, names: &[String]) -> Result<BTreeMap<String, Vec<ModelVersion>>, AppError> {
        Ok(self.parts.metadata.newest_versions(names).await?)
    }

    /// Makes a registered model; its name must be new.
    pub async fn create_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        tags: &BTreeMap<String, String>,
        told: Announce<'_, RegisteredModel>,
    ) -> Result<RegisteredModel, AppError> {
        self.check_writable()?;
        let metadata = &self.parts.metadata;
        let model = metadata.create_registered_model(name, description, tags, told, self.now_us()).await?;
        self.outbox_filled();
        Ok(model)
    }

    /// Gives a registered model another name; its versions keep their numbers.
    pub async fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<RegisteredModel, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.rename_registered_model(name, new_name, self.now_us()).await?)
    }

    /// Describes a registered model anew.
    pub async fn describe_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
    ) -> Result<RegisteredModel, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.describe_registered_model(name, description, self.now_us()).await?)
    }

    /// Ends a registered model, its versions included.
    pub async fn delete_registered_model(&self, name: &str) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.delete_registered_model(name, self.now_us()).await?)
    }

    /// Sets a tag of a registered model, or removes it where `value` is `None`.
    pub async fn tag_registered_model(
        &self,
        name: &str,
        key: &str,
        value: Option<&str>,
        told: Announce<'_, RegisteredModel>,
    ) -> Result<RegisteredModel, AppError> {
        self.check_writable()?;
        let model = self.parts.metadata.tag_registered_model(name, key, value, told, self.now_us()).await?;
        self.outbox_filled();
        Ok(model)
    }

    /// Points an alias at a version, or removes it where `version` is `None`.
    pub async fn set_model_alias(
        &self,
        name: &str,
        alias: &str,
        version: Option<i64>,
        told: Announce<'_, RegisteredModel>,
    ) -> Result<RegisteredModel, AppError> {
        self.check_writable()?;
        let (metadata, now_us) = (&self.parts.metadata, self.now_us());
        let model = match version {
            Some(version) => metadata.set_model_alias(name, alias, version, told, now_us).await?,
            None => metadata.delete_model_alias(name, alias, told, now_us).await?,
        };
        self.outbox_filled();
        Ok(model)
    }

    /// Publishes a version under the next number.
    pub async fn create_model_version(
        &self,
        new: &NewModelVersion,
        told: Announce<'_, (RegisteredModel, ModelVersion)>,
    ) -> Result<ModelVersion, AppError> {
        self.check_writable()?;
        let version = self.parts.metadata.create_model_version(new, told, self.now_us()).await?;
        self.outbox_filled();
        Ok(version)
    }

    /// Describes a version anew.
    pub async fn describe_model_version(
        &self,
        name: &str,
        version: i64,
        description: Option<&str>,
    ) -> Result<ModelVersion, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.describe_model_version(name, version, description, self.now_us()).await?)
    }

    /// Moves a version to a stage; with `archive_others` the other versions in it are archived.
    pub async fn move_model_version(
        &self,
        name: &str,
        version: i64,
        stage: Stage,
        archive_others: bool,
    ) -> Result<ModelVersion, AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.move_model_version(name, version, stage, archive_others, self.now_us()).await?)
    }

    /// Ends a version, and the aliases that name it.
    pub async fn delete_model_version(&self, name: &str, version: i64) -> Result<(), AppError> {
        self.check_writable()?;
        Ok(self.parts.metadata.delete_model_version(name, version, self.now_us()).await?)
    }

    /// Sets a tag of a version, or removes it where its value is `None`.
    pub async fn tag_model_version(
        &self,
        name: &str,
        version: i64,
        tag: (&str, Option<&str>),
        told: Announce<'_, (RegisteredModel, ModelVersion)>,
    ) -> Result<ModelVersion, AppError> {
        self.check_writable()?;
        let version = self.parts.metadata.tag_model_version(name, version, tag, told, self.now_us()).await?;
        self.outbox_filled();
        Ok(version)
    }
}
