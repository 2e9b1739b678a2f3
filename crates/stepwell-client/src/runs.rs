//! Runs as the API writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A run to create. What is `None` or empty is left to the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct NewRunRequest {
    /// Name of the project; made if absent.
    pub project: String,
    /// Made by the server (UUIDv7) if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Typed: bool, int, float, string, JSON.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Value>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkPoint>,
}

impl NewRunRequest {
    /// A run of `project`, with everything else left to the server.
    pub fn new(project: impl Into<String>) -> Self {
        Self { project: project.into(), ..Self::default() }
    }
}

/// Where a run branched off from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    pub run_id: String,
    /// The last step shared.
    pub step: i64,
}

/// A change to a run. What is `None` or empty stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RunUpdate {
    /// `scheduled`, `running`, `finished`, `failed` or `killed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Added; a param that is set already cannot be changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    /// Set, or deleted where `None`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// A run as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Run {
    pub run_id: String,
    pub project_id: String,
    pub name: Option<String>,
    /// `scheduled`, `running`, `finished`, `failed` or `killed`.
    pub status: String,
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}
