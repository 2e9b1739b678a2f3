//! Which series of a segment readers are shown whole, and of which only the points tell what is left.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use stepwell_segment::Segment;
use stepwell_types::{PointFilter, SeriesKey};

use crate::{
    error::EngineError,
    exclusions::{Exclusions, Share},
    scan::{ScanPartition, Source},
    snapshot::READ_BATCH_ROWS,
};

/// How much is left out of each of some series of a segment. A retention concerns all series of its project, and most of them have no
/// point so old: one scan of the points that are finds those that have, so that of the others what was written with the segment serves.
pub(crate) fn shares(
    segment: &Segment,
    keys: &[&SeriesKey],
    exclusions: &Exclusions,
) -> Result<Vec<Share>, EngineError> {
    let mut shares: Vec<Share> = keys.iter().map(|key| exclusions.share_of(key, segment.meta())).collect();
    let is_dated = |key: &SeriesKey| {
        let mut concerning = exclusions.of_series(key).filter(|tombstone| tombstone.concerns(segment.meta()));
        concerning.all(|tombstone| tombstone.before_us.is_some())
    };
    let dated: Vec<usize> =
        (0..keys.len()).filter(|series| shares[*series] == Share::Some && is_dated(keys[*series])).collect();
    let concerning = exclusions.deleted().iter().filter(|tombstone| tombstone.concerns(segment.meta()));
    let Some(end_us) = concerning.filter_map(|tombstone| tombstone.before_us).max().filter(|_| !dated.is_empty())
    else {
        return Ok(shares);
    };
    let of_dated = names(dated.iter().map(|series| keys[*series]));
    let filter = PointFilter { timestamp_us: (i64::MIN, end_us.saturating_sub(1)), ..of_dated };
    let source = Source::Segment(segment.clone());
    let mut cut: HashSet<SeriesKey> = HashSet::new();
    // With what is left out: it is what is looked for.
    ScanPartition::new(source, Arc::new(filter), &Arc::default()).for_each_series(READ_BATCH_ROWS, |key, points| {
        let mut rows = points.timestamp_us.iter().zip(&points.lsn);
        if rows.any(|(timestamp_us, lsn)| exclusions.of_series(key).any(|of| of.covers(*timestamp_us, *lsn))) {
            cut.insert(key.clone());
        }
        Ok(())
    })?;
    for series in dated.into_iter().filter(|series| !cut.contains(keys[*series])) {
        shares[series] = Share::Nothing;
    }
    Ok(shares)
}

/// The names of some series: a filter that passes them, and perhaps more.
pub(crate) fn names<'a>(keys: impl Iterator<Item = &'a SeriesKey>) -> PointFilter {
    let mut sets = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for key in keys {
        sets[0].insert(key.project_id.clone());
        sets[1].insert(key.metric.clone());
        sets[2].insert(key.run_id.clone());
    }
    let [project_ids, metrics, run_ids] = sets.map(Some);
    PointFilter { project_ids, metrics, run_ids, ..PointFilter::default() }
}
