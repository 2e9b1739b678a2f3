//! What a reader wants of the points: the predicates that prune.

use std::{collections::BTreeSet, sync::Arc};

use crate::SeriesKey;

/// A conjunction over the columns of a point. `None` and full ranges mean "all". Scans apply it exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointFilter {
    pub project_ids: Option<BTreeSet<Arc<str>>>,
    pub metrics: Option<BTreeSet<Arc<str>>>,
    pub run_ids: Option<BTreeSet<Arc<str>>>,
    /// Inclusive bounds.
    pub step: (i64, i64),
    /// Inclusive bounds, microseconds since the Unix epoch, UTC.
    pub timestamp_us: (i64, i64),
}

impl Default for PointFilter {
    fn default() -> Self {
        Self {
            project_ids: None,
            metrics: None,
            run_ids: None,
            step: (i64::MIN, i64::MAX),
            timestamp_us: (i64::MIN, i64::MAX),
        }
    }
}

impl PointFilter {
    /// Exactly one series, all of its points.
    pub fn series(key: &SeriesKey) -> Self {
        let one = |name: &Arc<str>| Some(BTreeSet::from([name.clone()]));
        Self {
            project_ids: one(&key.project_id),
            metrics: one(&key.metric),
            run_ids: one(&key.run_id),
            ..Self::default()
        }
    }

    /// Whether the names of a series pass.
    pub fn accepts_series(&self, key: &SeriesKey) -> bool {
        self.accepts_names([&key.project_id, &key.metric, &key.run_id])
    }

    /// The same of project id, metric and run id.
    pub fn accepts_names(&self, [project_id, metric, run_id]: [&str; 3]) -> bool {
        accepts(&self.project_ids, project_id) && accepts(&self.metrics, metric) && accepts(&self.run_ids, run_id)
    }

    /// Whether the numbers of a point pass.
    pub fn accepts_point(&self, step: i64, timestamp_us: i64) -> bool {
        self.step.0 <= step
            && step <= self.step.1
            && self.timestamp_us.0 <= timestamp_us
            && timestamp_us <= self.timestamp_us.1
    }

    /// Whether it restricts steps or timestamps at all.
    pub fn restricts_points(&self) -> bool {
        self.step != (i64::MIN, i64::MAX) || self.timestamp_us != (i64::MIN, i64::MAX)
    }
}

fn accepts(wanted: &Option<BTreeSet<Arc<str>>>, name: &str) -> bool {
    wanted.as_ref().is_none_or(|set| set.contains(name))
}
