//! What is deleted.

use std::sync::Arc;

use crate::{Lsn, SegmentMeta, SeriesKey};

/// Points that are deleted: those accepted before it whose series and timestamp match. Points accepted later are not, even
/// of the same series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Rises with each; a segment says up to which it holds no point of them.
    pub id: u64,
    pub project_id: Arc<str>,
    /// `None` is every metric, and every run.
    pub metric: Option<Arc<str>>,
    pub run_id: Option<Arc<str>>,
    /// Only points with an earlier timestamp; microseconds since the Unix epoch, UTC.
    pub before_us: Option<i64>,
    /// Only points with a smaller LSN.
    pub lsn_below: Lsn,
}

impl Tombstone {
    /// Whether points of a series can be among them.
    pub fn matches(&self, key: &SeriesKey) -> bool {
        self.project_id == key.project_id
            && self.metric.as_ref().is_none_or(|metric| *metric == key.metric)
            && self.run_id.as_ref().is_none_or(|run_id| *run_id == key.run_id)
    }

    /// Whether a point of a matching series is among them.
    pub fn covers(&self, timestamp_us: i64, lsn: u64) -> bool {
        lsn < self.lsn_below.0 && self.before_us.is_none_or(|before| timestamp_us < before)
    }

    /// Whether a segment may hold such points.
    pub fn concerns(&self, meta: &SegmentMeta) -> bool {
        let (first, last) = &meta.series;
        meta.purged < self.id
            && self.covers(meta.timestamp_us.0, meta.lsn.0)
            && (&first.project_id..=&last.project_id).contains(&&self.project_id)
            && self.run_id.as_ref().is_none_or(|run_id| {
                (&first.project_id, &first.metric) != (&last.project_id, &last.metric)
                    || (&first.run_id..=&last.run_id).contains(&run_id)
            })
            && self.metric.as_ref().is_none_or(|metric| {
                first.project_id != last.project_id || (&first.metric..=&last.metric).contains(&metric)
            })
    }

    /// Whether all points of a segment's matching series are among them.
    pub fn covers_all_of(&self, meta: &SegmentMeta) -> bool {
        self.covers(meta.timestamp_us.1, meta.lsn.1)
    }

    /// Whether all points of `other` are points of this one too.
    pub fn includes(&self, other: &Self) -> bool {
        let of = |mine: &Option<Arc<str>>, others: &Option<Arc<str>>| mine.is_none() || mine == others;
        self.project_id == other.project_id
            && of(&self.metric, &other.metric)
            && of(&self.run_id, &other.run_id)
            && self.before_us.is_none_or(|mine| other.before_us.is_some_and(|others| others <= mine))
            && self.lsn_below >= other.lsn_below
    }
}
