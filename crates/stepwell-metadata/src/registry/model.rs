//! The rows of the registry. Times are microseconds since the Unix epoch, UTC.

use std::collections::BTreeMap;

/// A name under which versions of a model are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredModel {
    pub name: String,
    pub description: Option<String>,
    pub created_at_us: i64,
    pub updated_at_us: i64,
    /// The number that was given last, also of a version that is deleted; 0 if none was.
    pub last_version: i64,
    pub tags: BTreeMap<String, String>,
    /// The version that each alias names.
    pub aliases: BTreeMap<String, i64>,
}

/// How far a version has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    #[default]
    None,
    Staging,
    Production,
    Archived,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Archived => "archived",
        }
    }

    /// Reads what [`Stage::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

/// One published version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// The registered model's name.
    pub name: String,
    /// From 1; never given twice under one registered model.
    pub version: i64,
    pub created_at_us: i64,
    pub updated_at_us: i64,
    pub description: Option<String>,
    pub stage: Stage,
    /// The files as its maker named them.
    pub source: String,
    /// Where the files are.
    pub location: String,
    pub run_id: Option<String>,
    pub run_link: Option<String>,
    /// The logged model that it publishes.
    pub model_id: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// Names that point at it.
    pub aliases: Vec<String>,
}

/// A version to be published. Names have been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewModelVersion {
    pub name: String,
    pub description: Option<String>,
    pub source: String,
    pub location: String,
    pub run_id: Option<String>,
    pub run_link: Option<String>,
    pub model_id: Option<String>,
    pub tags: BTreeMap<String, String>,
}
