//! What the manifest knows of a segment.

use crate::{PointFilter, SeriesKey};

/// Size and checksum of one immutable file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMeta {
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub crc32c: u32,
    /// `None` in files written before there was one.
    pub tail: Option<TailMeta>,
}

/// The end of a file, from behind its last page on: the index of pages and the footer. It has the checksums of all pages, so that
/// a reader needs to check no more than this before it reads some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailMeta {
    pub bytes: u64,
    pub crc32c: u32,
}

/// Description of one immutable segment file; enough to skip it without opening it. All ranges are inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Name within the segment directory, e.g. `00000000000000000042.parquet`.
    pub file_name: String,
    /// How many merges its points have been through; 0 for what came from memory.
    pub tier: u32,
    /// It holds no point of the tombstones up to this id.
    pub purged: u64,
    pub file: FileMeta,
    /// `None` in segments written before there were summaries.
    pub summaries: Option<FileMeta>,
    /// `None` if no series is long enough.
    pub rollups: Option<FileMeta>,
    pub rows: u64,
    /// First and last series in sort order.
    pub series: (SeriesKey, SeriesKey),
    pub step: (i64, i64),
    /// Microseconds since the Unix epoch, UTC.
    pub timestamp_us: (i64, i64),
    pub lsn: (u64, u64),
}

impl SegmentMeta {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        let others = [self.summaries, self.rollups].into_iter().flatten();
        self.file.bytes + others.map(|file| file.bytes).sum::<u64>()
    }

    /// Whether a point that passes `filter` could be in it; false only if none can.
    pub fn might_match(&self, filter: &PointFilter) -> bool {
        let overlaps = |a: (i64, i64), b: (i64, i64)| a.0 <= b.1 && b.0 <= a.1;
        let (first, last) = &self.series;
        let project = filter
            .project_ids
            .as_ref()
            .is_none_or(|wanted| wanted.range(first.project_id.clone()..=last.project_id.clone()).next().is_some());
        // Metrics are ordered only within one project, runs only within one metric.
        let metric = filter.metrics.as_ref().is_none_or(|wanted| {
            first.project_id != last.project_id
                || wanted.range(first.metric.clone()..=last.metric.clone()).next().is_some()
        });
        let run = filter.run_ids.as_ref().is_none_or(|wanted| {
            (&first.project_id, &first.metric) != (&last.project_id, &last.metric)
                || wanted.range(first.run_id.clone()..=last.run_id.clone()).next().is_some()
        });
        project && metric && run && overlaps(self.step, filter.step) && overlaps(self.timestamp_us, filter.timestamp_us)
    }
}
