//! Which segments to merge next.

use stepwell_segment::Segment;
use stepwell_types::{SegmentMeta, Tombstone};

/// When and how far segments are merged.
#[derive(Debug, Clone)]
pub struct CompactionOptions {
    /// Segments of one tier that are merged into one of the next. More writes each point less often (log to this base of the
    /// number of flushes) and leaves more segments for a query to look at. Below 2: never.
    pub fan_in: usize,
    /// A segment of so many bytes is not merged again.
    pub segment_bytes_max: u64,
    /// Segments of the lowest tier at which flushes wait for compaction.
    pub backlog_max: usize,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self { fan_in: 10, segment_bytes_max: 1 << 30, backlog_max: 100 }
    }
}

/// The oldest `fan_in` segments of the lowest tier that has so many, oldest first; else one that holds deleted points; empty
/// if there is nothing to do.
pub(crate) fn pick(live: &[SegmentMeta], tombstones: &[Tombstone], options: &CompactionOptions) -> Vec<SegmentMeta> {
    if options.fan_in < 2 {
        return Vec::new();
    }
    let mut mergeable: Vec<&SegmentMeta> =
        live.iter().filter(|meta| meta.bytes() < options.segment_bytes_max).collect();
    mergeable.sort_by_key(|meta| (meta.tier, meta.lsn));
    let due = mergeable.chunk_by(|a, b| a.tier == b.tier).find(|tier| tier.len() >= options.fan_in);
    if let Some(tier) = due {
        return tier[..options.fan_in].iter().map(|meta| (*meta).clone()).collect();
    }
    // With nothing to merge, one segment is written anew without what is deleted. What a retention policy deletes goes with
    // the whole segment, or with its next merge: writing it anew for each day that expires would be the larger cost.
    let is_due = |meta: &&SegmentMeta| {
        let concerns = |tombstone: &&Tombstone| tombstone.concerns(meta);
        let is_worth_it = |tombstone: &Tombstone| {
            tombstone.before_us.is_none() || (tombstone.covers_all_of(meta) && is_all_of(tombstone, meta))
        };
        tombstones.iter().filter(concerns).any(is_worth_it)
    };
    live.iter().find(is_due).cloned().into_iter().collect()
}

/// Whether every series of a segment matches.
fn is_all_of(tombstone: &Tombstone, meta: &SegmentMeta) -> bool {
    let (first, last) = &meta.series;
    first.project_id == last.project_id && tombstone.metric.is_none() && tombstone.run_id.is_none()
}

/// What to merge next of open segments. Those with damaged points are left as they are, and do not keep the others from being
/// merged; one with damaged summaries or rollups is written anew, with good ones, when there is nothing else to do.
pub(crate) fn due(segments: &[Segment], tombstones: &[Tombstone], options: &CompactionOptions) -> Vec<SegmentMeta> {
    let sound = || segments.iter().filter(|segment| !segment.is_damaged());
    let metas: Vec<SegmentMeta> = sound().map(|segment| segment.meta().clone()).collect();
    let picked = pick(&metas, tombstones, options);
    if !picked.is_empty() || options.fan_in < 2 {
        return picked;
    }
    sound().find(|segment| segment.has_damaged_derived()).map(|segment| segment.meta().clone()).into_iter().collect()
}

/// Segments that flushes have left and compaction has not taken yet.
pub(crate) fn backlog(live: &[Segment]) -> usize {
    live.iter().filter(|segment| segment.meta().tier == 0 && !segment.is_damaged()).count()
}

#[cfg(test)]
mod tests {
    use stepwell_types::{FileMeta, SeriesKey};

    use super::*;

    fn segment(number: u64, tier: u32, bytes: u64) -> SegmentMeta {
        let key = SeriesKey::new("1", "m", "r");
        SegmentMeta {
            file_name: format!("{number}.parquet"),
            tier,
            purged: 0,
            file: FileMeta { bytes, crc32c: 0, tail: None },
            summaries: None,
            rollups: None,
            rows: 1,
            series: (key.clone(), key),
            step: (0, 0),
            timestamp_us: (0, 0),
            lsn: (number, number),
        }
    }

    #[test]
    fn the_oldest_of_the_lowest_full_tier_are_merged_and_large_ones_left() {
        let options = CompactionOptions { fan_in: 3, segment_bytes_max: 100, ..CompactionOptions::default() };
        let mut live = vec![segment(9, 0, 1), segment(8, 0, 1)];
        assert!(pick(&live, &[], &options).is_empty());
        live.extend([segment(1, 1, 9), segment(2, 1, 9), segment(3, 1, 9), segment(4, 1, 100), segment(7, 0, 1)]);
        let lsn = |picked: Vec<SegmentMeta>| picked.iter().map(|meta| meta.lsn.0).collect::<Vec<_>>();
        assert_eq!(lsn(pick(&live, &[], &options)), [7, 8, 9]);
        live.retain(|meta| meta.tier == 1);
        assert_eq!(lsn(pick(&live, &[], &options)), [1, 2, 3], "the large one is left");
        assert!(pick(&live, &[], &CompactionOptions { fan_in: 0, ..options }).is_empty());
    }
}
