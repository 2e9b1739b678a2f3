//! Identifiers and the rules their text obeys.

use std::sync::Arc;

use crate::limits;

/// Log sequence number: one per point, rising in the order of acceptance across the whole server. Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What names a series. The derived order is the sort order of segments (before step and LSN).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// Decimal string, stable for the life of the project.
    pub project_id: Arc<str>,
    pub metric: Arc<str>,
    pub run_id: Arc<str>,
}

impl SeriesKey {
    /// Builds a key from its three names, which the caller has checked.
    pub fn new(project_id: impl Into<Arc<str>>, metric: impl Into<Arc<str>>, run_id: impl Into<Arc<str>>) -> Self {
        Self { project_id: project_id.into(), metric: metric.into(), run_id: run_id.into() }
    }
}

/// Which producer sent a batch, and the number it gave it; the pair is applied at most once (I3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProducerSequence {
    pub producer: Arc<str>,
    pub sequence: u64,
}

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{field} is empty; give it at least one character")]
    Empty { field: &'static str },
    #[error("{field} is {actual_bytes} bytes long; the limit is {limit_bytes} bytes of UTF-8")]
    TooLong { field: &'static str, actual_bytes: usize, limit_bytes: usize },
    #[error("{field} has the part {part:?}; none may be empty, `.`, `..` or longer than {limit_bytes} bytes")]
    Part { field: &'static str, part: String, limit_bytes: usize },
    #[error("{field} contains {character:?} at byte {offset_bytes}, which is not allowed there")]
    Character { field: &'static str, character: char, offset_bytes: usize },
}

impl NameError {
    /// The field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty { field }
            | Self::TooLong { field, .. }
            | Self::Part { field, .. }
            | Self::Character { field, .. } => field,
        }
    }

    /// The limit that was passed, in bytes, when that is the fault.
    pub fn limit_bytes(&self) -> Option<usize> {
        match self {
            Self::TooLong { limit_bytes, .. } => Some(*limit_bytes),
            _ => None,
        }
    }
}

/// Checks a run id: 1 to 768 bytes of UTF-8 without control characters.
pub fn check_run_id(text: &str) -> Result<(), NameError> {
    check("run_id", text, limits::RUN_ID_BYTES_MAX, |c| !c.is_control())
}

/// Checks a metric name: 1 to 1,024 bytes of UTF-8 without control characters.
pub fn check_metric(text: &str) -> Result<(), NameError> {
    check("metric", text, limits::METRIC_BYTES_MAX, |c| !c.is_control())
}

/// Checks a project name: 1 to 2,000 bytes of UTF-8 without control characters.
pub fn check_project_name(text: &str) -> Result<(), NameError> {
    check("project", text, limits::PROJECT_NAME_BYTES_MAX, |c| !c.is_control())
}

/// Checks a producer name: 1 to 128 visible ASCII characters.
pub fn check_producer(text: &str) -> Result<(), NameError> {
    check("producer", text, limits::PRODUCER_BYTES_MAX, |c| c.is_ascii_graphic())
}

/// Checks the logical path of an artifact: 1 to 4,096 bytes of UTF-8, parts of 1 to 1,024 bytes between single `/`, none of them `.`
/// or `..`, no control characters, no `\`.
pub fn check_artifact_path(text: &str) -> Result<(), NameError> {
    const FIELD: &str = "path";
    check(FIELD, text, limits::ARTIFACT_PATH_BYTES_MAX, |c| !c.is_control() && c != '\\')?;
    let limit_bytes = limits::ARTIFACT_PART_BYTES_MAX;
    let is_bad = |part: &&str| ["", ".", ".."].contains(part) || part.len() > limit_bytes;
    match text.split('/').find(is_bad) {
        Some(part) => Err(NameError::Part { field: FIELD, part: part.chars().take(100).collect(), limit_bytes }),
        None => Ok(()),
    }
}

fn check(field: &'static str, text: &str, limit_bytes: usize, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { field });
    }
    if text.len() > limit_bytes {
        return Err(NameError::TooLong { field, actual_bytes: text.len(), limit_bytes });
    }
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((offset_bytes, character)) => Err(NameError::Character { field, character, offset_bytes }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_free_of_control_characters() {
        assert!(check_run_id("ünïcode run/1").is_ok());
        assert_eq!(check_metric(""), Err(NameError::Empty { field: "metric" }));
        assert!(check_metric(&"m".repeat(1024)).is_ok());
        assert_eq!(check_metric(&"m".repeat(1025)).unwrap_err().limit_bytes(), Some(1024));
        assert!(matches!(check_run_id("a\nb"), Err(NameError::Character { offset_bytes: 1, .. })));
        assert!(check_producer("with space").is_err());
    }

    #[test]
    fn artifact_paths_have_parts_that_lead_nowhere_else() {
        for good in ["a", "1/r/artifacts/model/MLmodel", "a b/ü.txt", "...", "a/..b", "-"] {
            assert_eq!(check_artifact_path(good), Ok(()), "{good}");
        }
        let long = format!("a/{}", "b".repeat(1_025));
        for bad in
            ["", "/", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "a\\b", "a\0b", "a\nb", "a\u{85}b", &long]
        {
            assert!(check_artifact_path(bad).is_err(), "{bad:?}");
        }
        assert!(check_artifact_path("a/".repeat(2_048).trim_end_matches('/')).is_ok());
        assert!(check_artifact_path("a/b/".repeat(1_100).trim_end_matches('/')).is_err());
    }

    #[test]
    fn keys_sort_by_project_then_metric_then_run() {
        let a = SeriesKey::new("1", "loss", "z");
        let b = SeriesKey::new("1", "lr", "a");
        assert!(a < b);
    }
}
