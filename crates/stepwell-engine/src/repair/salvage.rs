//! What a damaged segment has undamaged, as a new segment.

use std::ops::Range;

use stepwell_env::Env;
use stepwell_segment::{Names, Segment, SegmentError, SegmentScan, SegmentWriter};
use stepwell_types::{SegmentMeta, SeriesColumns, SeriesKey};

use super::SegmentRepair;
use crate::{
    EngineConfig, EngineError, check::segments::concerned, compaction::Rows, scan::split_by_series,
    snapshot::READ_BATCH_ROWS,
};

/// Writes the undamaged rows of `segment` as `name`, and returns what the manifest is to know of it; without a name nothing is
/// written.
pub(super) fn salvage(
    env: &Env,
    config: &EngineConfig,
    segment: &Segment,
    name: Option<String>,
) -> Result<(SegmentRepair, Option<SegmentMeta>), EngineError> {
    let meta = segment.meta();
    // Whole summaries say which rows are of which series, as they do for a merge: damage to names then costs nothing.
    let has_list = segment.has_whole_summaries();
    let (scan, kept) = match segment.scan_undamaged((!has_list).then_some(Names::Views), READ_BATCH_ROWS) {
        Ok((scan, kept)) => (Some(scan), kept),
        // Where not even the footer can be trusted, nothing can.
        Err(SegmentError::Damaged { .. }) => (None, Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let points_kept: u64 = kept.iter().map(|rows| rows.end - rows.start).sum();
    let new = match (scan, &name) {
        (Some(scan), Some(name)) if points_kept > 0 => {
            let mut writer = SegmentWriter::create(env.disk.clone(), &config.data_dir, name, &config.segment)?;
            if has_list {
                write_listed(segment, Rows::new(scan), &kept, &mut writer)?;
            } else {
                write_named(scan, &mut writer)?;
            }
            // What merges and deletions have done to it stays done.
            Some(SegmentMeta { tier: meta.tier, purged: meta.purged, ..writer.finish()? })
        }
        _ => None,
    };
    let repaired = SegmentRepair {
        file_name: meta.file_name.clone(),
        replaced_by: new.as_ref().map(|new| new.file_name.clone()),
        points_kept,
        lost: (points_kept < meta.rows).then(|| concerned(segment, &others(&kept, meta.rows))),
    };
    Ok((repaired, new))
}

/// Rows without names, to which the list of series gives them.
fn write_listed(
    segment: &Segment,
    mut rows: Rows,
    kept: &[Range<u64>],
    writer: &mut SegmentWriter,
) -> Result<(), EngineError> {
    let mut first = 0;
    for series in segment.series_list()? {
        let series = series?;
        let end = first + series.extent.points;
        let overlap = |rows: &Range<u64>| rows.end.min(end).saturating_sub(rows.start.max(first));
        let mut left: u64 = kept.iter().map(overlap).sum();
        let mut points = SeriesColumns::default();
        while left > 0 {
            left -= rows.read(left, &mut points)? as u64;
        }
        writer.write(&series.key, &points)?;
        first = end;
    }
    Ok(())
}

fn write_named(scan: SegmentScan, writer: &mut SegmentWriter) -> Result<(), EngineError> {
    let mut open: Option<(SeriesKey, SeriesColumns)> = None;
    let mut result = Ok(());
    for batch in scan {
        split_by_series(&batch?, &mut |key, points| match &mut open {
            Some((last, rows)) if last == key => rows.append(points),
            _ => {
                if let Some((last, rows)) = open.replace((key.clone(), points.clone())) {
                    let written = writer.write(&last, &rows);
                    result = std::mem::replace(&mut result, Ok(())).and(written);
                }
            }
        });
    }
    result?;
    if let Some((last, rows)) = open {
        writer.write(&last, &rows)?;
    }
    Ok(())
}

/// The rows below `rows` that are not among the rising ranges `kept`.
fn others(kept: &[Range<u64>], rows: u64) -> Vec<Range<u64>> {
    let ends = std::iter::once(0).chain(kept.iter().map(|rows| rows.end));
    let starts = kept.iter().map(|rows| rows.start).chain([rows]);
    ends.zip(starts).map(|(from, to)| from..to).filter(|rows| !rows.is_empty()).collect()
}
