//! The rows. Times are microseconds since the Unix epoch, UTC.

use std::collections::BTreeMap;

/// How a logged model is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoggedModelStatus {
    Unspecified,
    /// Its files are being written.
    #[default]
    Pending,
    Ready,
    Failed,
}

impl LoggedModelStatus {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    /// Reads what [`LoggedModelStatus::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unspecified, Self::Pending, Self::Ready, Self::Failed].into_iter().find(|status| status.as_str() == text)
    }
}

/// A point that was said to measure a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelMetric {
    pub model_id: String,
    pub metric: String,
    pub timestamp_us: i64,
    pub step: i64,
    pub run_id: String,
    pub value: f64,
    pub dataset_name: Option<String>,
    pub dataset_digest: Option<String>,
}

/// A model that a run made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    pub model_id: String,
    pub project_id: String,
    pub name: String,
    /// What kind of model its maker says it is.
    pub kind: Option<String>,
    /// Where its files are.
    pub location: String,
    pub source_run_id: Option<String>,
    pub status: LoggedModelStatus,
    pub created_at_us: i64,
    pub updated_at_us: i64,
    pub is_deleted: bool,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub metrics: Vec<ModelMetric>,
}

/// A model to be made. Names have been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewLoggedModel {
    pub model_id: String,
    pub project_id: String,
    pub name: String,
    pub kind: Option<String>,
    pub location: String,
    pub source_run_id: Option<String>,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

/// Data that runs read; name and digest tell it apart within a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    pub name: String,
    pub digest: String,
    pub source_type: String,
    pub source: String,
    pub schema: Option<String>,
    pub profile: Option<String>,
}

/// A dataset as a run read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatasetInput {
    pub dataset: Dataset,
    pub tags: BTreeMap<String, String>,
}

/// That runs of a project read a dataset, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetUse {
    pub project_id: String,
    pub name: String,
    pub digest: String,
    /// The tag that says what for.
    pub context: Option<String>,
}

/// A model that a run made, and at which step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOutput {
    pub model_id: String,
    pub step: i64,
}

/// What a run read and made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLinks {
    pub datasets: Vec<DatasetInput>,
    /// Ids of models that it read.
    pub model_inputs: Vec<String>,
    pub model_outputs: Vec<ModelOutput>,
}
