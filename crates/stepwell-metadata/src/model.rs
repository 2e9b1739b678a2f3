//! The rows, as the rest of the program sees them.

use std::{collections::BTreeMap, fmt};

/// The container of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Decimal string, never reused.
    pub project_id: String,
    pub name: String,
    pub created_at_us: i64,
    /// When it was last made, named, deleted or restored.
    pub updated_at_us: i64,
    /// In the trash since then; `None` is live.
    pub deleted_at_us: Option<i64>,
    /// Points with an older timestamp than so many microseconds are deleted; `None` keeps all.
    pub retention_us: Option<i64>,
    /// Where artifacts of its runs are, if not in the server's own store.
    pub artifact_location: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// A project to be made. Names have been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewProject {
    pub name: String,
    pub artifact_location: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// A run in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashedRun {
    pub run_id: String,
    pub project_id: String,
    /// Name of the project.
    pub project: String,
    pub deleted_at_us: i64,
}

/// What a change of the trash made, and all runs that are in the trash by it: read with the change, for once it is committed nobody who is
/// to hide them can do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashChange<T> {
    pub done: T,
    pub trashed: Vec<TrashedRun>,
}

/// A project in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashedProject {
    pub project_id: String,
    pub name: String,
    pub deleted_at_us: i64,
}

/// How a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunStatus {
    /// Made, but not begun.
    Scheduled,
    #[default]
    Running,
    Finished,
    Failed,
    Killed,
}

impl RunStatus {
    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }

    /// Reads what [`RunStatus::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Scheduled, Self::Running, Self::Finished, Self::Failed, Self::Killed];
        all.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a run that stands so has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Scheduled | Self::Running)
    }
}

/// A typed input of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Json(serde_json::Value),
}

impl ParamValue {
    /// `bool`, `int`, `float`, `string` or `json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::String(_) => "string",
            Self::Json(_) => "json",
        }
    }

    /// As text that [`ParamValue::parse`] reads back exactly.
    pub fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
            Self::String(value) => value.clone(),
            Self::Json(value) => value.to_string(),
        }
    }

    /// Reads kind and text.
    pub fn parse(kind: &str, text: &str) -> Option<Self> {
        Some(match kind {
            "bool" => Self::Bool(text.parse().ok()?),
            "int" => Self::Int(text.parse().ok()?),
            "float" => Self::Float(text.parse().ok()?),
            "string" => Self::String(text.to_owned()),
            "json" => Self::Json(serde_json::from_str(text).ok()?),
            _ => return None,
        })
    }

    /// As a number, where it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether setting `other` over it changes nothing: 1 and 1.0 are the same value.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Self::Int(int), Self::Float(float)) | (Self::Float(float), Self::Int(int)) => {
                *int as f64 == *float && *float as i64 == *int
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Where a run branched off another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkPoint {
    pub run_id: String,
    /// The last step of the other run that this one shows.
    pub step: i64,
}

/// Where a run belongs and what it came from, without the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOrigin {
    pub project_id: String,
    pub forked_from: Option<ForkPoint>,
}

/// One execution that reports. Times are microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub run_id: String,
    pub project_id: String,
    pub name: Option<String>,
    pub status: RunStatus,
    pub started_at_us: i64,
    pub ended_at_us: Option<i64>,
    pub created_at_us: i64,
    /// In the trash since then, by itself or with its project; `None` is live.
    pub deleted_at_us: Option<i64>,
    pub params: BTreeMap<String, ParamValue>,
    pub tags: BTreeMap<String, String>,
    /// Who started it.
    pub user_name: Option<String>,
    pub notes: Option<String>,
    pub git_commit: Option<String>,
    pub dataset_version: Option<String>,
    pub environment: Option<serde_json::Value>,
    pub parent_run_id: Option<String>,
    pub forked_from: Option<ForkPoint>,
}

/// A run to be made. Names have been checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewRun {
    pub run_id: String,
    pub project_id: String,
    pub name: Option<String>,
    pub started_at_us: Option<i64>,
    pub params: BTreeMap<String, ParamValue>,
    pub tags: BTreeMap<String, String>,
    pub user_name: Option<String>,
    pub notes: Option<String>,
    pub git_commit: Option<String>,
    pub dataset_version: Option<String>,
    pub environment: Option<serde_json::Value>,
    pub parent_run_id: Option<String>,
    pub forked_from: Option<ForkPoint>,
}

/// Changes of a run; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunPatch {
    pub status: Option<RunStatus>,
    pub ended_at_us: Option<i64>,
    /// The end stays as it is where none is given, whatever becomes of the status.
    pub keeps_end: bool,
    pub name: Option<String>,
    /// Added to those there are.
    pub params: BTreeMap<String, ParamValue>,
    /// A param that is set may be given again in the same words only; 1.0 is not 1 then.
    pub params_are_exact: bool,
    /// Set, or removed where `None`.
    pub tags: BTreeMap<String, Option<String>>,
    pub user_name: Option<String>,
    pub notes: Option<String>,
    pub git_commit: Option<String>,
    pub parent_run_id: Option<String>,
}
