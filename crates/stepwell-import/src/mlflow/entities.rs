//! What there is to import, as every source gives it.

use std::{io::Read, ops::RangeInclusive, path::PathBuf};

use super::ImportError;

/// Name and value of params and tags, in their order.
pub(super) type Pairs = Vec<(String, String)>;

/// An experiment, which becomes a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Experiment {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) is_deleted: bool,
    pub(super) tags: Pairs,
}

/// A run with everything but its points and files.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) user: String,
    /// `RUNNING`, `SCHEDULED`, `FINISHED`, `FAILED` or `KILLED`.
    pub(super) status: String,
    pub(super) start_ms: Option<i64>,
    pub(super) end_ms: Option<i64>,
    pub(super) is_deleted: bool,
    pub(super) params: Pairs,
    pub(super) tags: Pairs,
    /// Names.
    pub(super) metrics: Vec<String>,
    /// Its datasets as MLflow's API writes them.
    pub(super) datasets: Vec<serde_json::Value>,
}

/// A point; value by its bits, so that points are compared as they are. Sorted by all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) step: i64,
    pub(super) timestamp_ms: i64,
    pub(super) bits: u64,
}

/// The milliseconds that microseconds hold.
const TIMES_MS: RangeInclusive<i64> = i64::MIN / 1_000..=i64::MAX / 1_000;

impl Point {
    /// Of a value: all NaNs are one, as MLflow's stores keep only that it was one.
    pub(super) fn new(step: i64, timestamp_ms: i64, value: f64) -> Self {
        let value = if value.is_nan() { f64::NAN } else { value };
        Self { step, timestamp_ms, bits: value.to_bits() }
    }

    /// With a time that Stepwell can keep: the nearest, as MLflow takes any number for one, such as nanoseconds.
    pub(super) fn fitted(self) -> Self {
        Self { timestamp_ms: self.timestamp_ms.clamp(*TIMES_MS.start(), *TIMES_MS.end()), ..self }
    }

    pub(super) fn timestamp_us(self) -> i64 {
        self.timestamp_ms.saturating_mul(1_000)
    }

    pub(super) fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }
}

/// A file of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Below the run's artifacts, `/` between.
    pub(super) path: String,
    pub(super) bytes: u64,
}

/// A registered model with its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegisteredModel {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) tags: Pairs,
    /// Alias and version.
    pub(super) aliases: Pairs,
    /// By number.
    pub(super) versions: Vec<ModelVersion>,
    /// The number that was given last, also of a version that is deleted. Stepwell alone says so; 0 of others.
    pub(super) last_version: u64,
}

/// One version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelVersion {
    pub(super) number: u64,
    pub(super) source: String,
    pub(super) run_id: String,
    pub(super) description: String,
    /// `None` where it has none.
    pub(super) stage: String,
    pub(super) tags: Pairs,
}

/// A model that MLflow 3 logged, with everything but its files and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoggedModel {
    pub(super) id: String,
    pub(super) experiment_id: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) source_run_id: String,
    /// One of [`MODEL_STATUSES`].
    pub(super) status: String,
    /// The URI of its files.
    pub(super) location: String,
    pub(super) params: Pairs,
    pub(super) tags: Pairs,
}

/// Statuses of logged models as MLflow's API has them, by their number in its stores.
pub(super) const MODEL_STATUSES: [&str; 4] =
    ["LOGGED_MODEL_STATUS_UNSPECIFIED", "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"];

/// The stage of a version that was deleted: MLflow's stores keep it so that its number is not given again.
pub(super) const DELETED_STAGE: &str = "Deleted_Internal";

/// Where things are imported from.
pub(super) trait Source {
    /// Deleted ones too.
    fn experiments(&self) -> Result<Vec<Experiment>, ImportError>;
    /// The runs of an experiment, deleted ones too.
    fn runs(&self, experiment: &Experiment) -> Result<Vec<Run>, ImportError>;
    /// The points of a metric, sorted, each once.
    fn history(&self, run: &Run, metric: &str) -> Result<Vec<Point>, ImportError>;
    /// The files of a run, by path.
    fn files(&self, run: &Run) -> Result<Vec<File>, ImportError>;
    /// The bytes of one.
    fn open(&self, run: &Run, file: &File) -> Result<Box<dyn Read>, ImportError>;
    /// The directory of a run's files, if there is none: it logged none, or they are no more where they were. A server does not say.
    fn absent(&self, _run: &Run) -> Result<Option<PathBuf>, ImportError> {
        Ok(None)
    }
    /// By name.
    fn models(&self) -> Result<Vec<RegisteredModel>, ImportError>;
    /// A logged model, if it is there.
    fn logged_model(&self, id: &str) -> Result<Option<LoggedModel>, ImportError>;
    /// The files of one, by path.
    fn model_files(&self, model: &LoggedModel) -> Result<Vec<File>, ImportError>;
    /// The bytes of one.
    fn open_of_model(&self, model: &LoggedModel, file: &File) -> Result<Box<dyn Read>, ImportError>;
    /// As [`Source::absent`] of a run.
    fn absent_of_model(&self, _model: &LoggedModel) -> Result<Option<PathBuf>, ImportError> {
        Ok(None)
    }
}
