//! The files of segments.

use std::{collections::BTreeSet, ops::Range, path::Path, sync::Arc};

use stepwell_env::Disk;
use stepwell_manifest::Manifest;
use stepwell_segment::{FileDamage, FooterCache, SEGMENT_DIRS, Segment, SegmentError};
use stepwell_types::{SegmentMeta, SeriesKey};

use super::{CheckReport, Concern, Damage, PointsConcerned};
use crate::manifest_doubts::{live_names, segment_files};

pub(super) fn check(disk: &Arc<dyn Disk>, data_dir: &Path, manifest: &Manifest, report: &mut CheckReport) {
    for meta in &manifest.segments {
        report.points += meta.rows;
        [Some(meta.file), meta.summaries, meta.rollups].into_iter().flatten().for_each(|file| report.read(file.bytes));
        let segment = Segment::open_damaged(disk, data_dir, meta, &FooterCache::new(0));
        let damages = match segment.damages() {
            Ok(damages) => damages,
            Err(error) => {
                report.damages.push(unreadable(&segment, data_dir, &error));
                continue;
            }
        };
        let points = damages.points.iter().map(|found| match found.rows.is_empty() {
            true => damage(found, Concern::Nothing("no point is in these bytes")),
            false => damage(found, Concern::Points(Box::new(concerned(&segment, std::slice::from_ref(&found.rows))))),
        });
        let derived = "it is computed from points, which answer instead";
        let derived = damages.derived.iter().map(|found| damage(found, Concern::Nothing(derived)));
        report.damages.extend(points.chain(derived));
    }
}

/// A file that may be whole, and that nobody can read.
fn unreadable(segment: &Segment, data_dir: &Path, error: &SegmentError) -> Damage {
    let path = match error {
        SegmentError::Unreadable { path, .. } => path.clone(),
        _ => data_dir.join(SEGMENT_DIRS[0]).join(&segment.meta().file_name),
    };
    let all = 0..segment.meta().rows;
    let concerns = Concern::Points(Box::new(unnamed(segment.meta(), std::slice::from_ref(&all))));
    Damage { path, offset: 0, bytes: 0, detail: error.to_string(), concerns }
}

fn damage(found: &FileDamage, concerns: Concern) -> Damage {
    let FileDamage { path, offset, bytes, detail, .. } = found.clone();
    Damage { path, offset, bytes, detail, concerns }
}

/// Files that no manifest names are of a crash before a commit, or wait to be removed.
pub(super) fn note_unnamed(disk: &dyn Disk, data_dir: &Path, manifest: &Manifest, report: &mut CheckReport) {
    let live = live_names(manifest);
    let is_unnamed =
        |path: &&std::path::PathBuf| path.file_name().is_some_and(|name| !live.contains(&*name.to_string_lossy()));
    let is_told = |path: &std::path::PathBuf| report.damages.iter().any(|damage| damage.path == *path);
    let files = segment_files(disk, data_dir).unwrap_or_default();
    for path in files.iter().filter(|path| is_unnamed(path) && !is_told(path)) {
        report.notes.push(format!("{} is of no commit; the next start removes it", path.display()));
    }
}

/// The points of a segment in these rows of its file.
pub(crate) fn concerned(segment: &Segment, rows: &[Range<u64>]) -> PointsConcerned {
    named(segment, rows).unwrap_or_else(|_| unnamed(segment.meta(), rows))
}

/// Series by series; rows of a series stand together, in the order of the list.
fn named(segment: &Segment, rows: &[Range<u64>]) -> Result<PointsConcerned, SegmentError> {
    // A damaged list of series is found out while it is read; then the points tell.
    let series = segment.series_list()?.collect::<Result<Vec<_>, _>>();
    let series = series.or_else(|_| segment.series_list()?.collect())?;
    let mut found = PointsConcerned { step: (i64::MAX, i64::MIN), series: Some(0), ..unnamed(segment.meta(), &[]) };
    found.project_ids.clear();
    let mut first = 0;
    for series in series {
        let end = first + series.extent.points;
        let points: u64 = rows.iter().map(|rows| overlap(rows, &(first..end))).sum();
        first = end;
        if points > 0 {
            let SeriesKey { project_id, metric, run_id } = series.key;
            found.points += points;
            found.series = found.series.map(|count| count + 1);
            found.project_ids.insert(project_id);
            found.metrics.insert(metric);
            found.run_ids.insert(run_id);
            found.step = (found.step.0.min(series.extent.first_step), found.step.1.max(series.extent.last_step));
        }
    }
    Ok(found)
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> u64 {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

/// By what the manifest knows.
fn unnamed(meta: &SegmentMeta, rows: &[Range<u64>]) -> PointsConcerned {
    let points = rows.iter().map(|rows| overlap(rows, &(0..meta.rows))).sum();
    let (first, last) = &meta.series;
    PointsConcerned {
        points,
        series: None,
        project_ids: [first.project_id.clone(), last.project_id.clone()].into(),
        metrics: BTreeSet::new(),
        run_ids: BTreeSet::new(),
        step: meta.step,
        lsn: meta.lsn,
    }
}

/// All directories of segments, for who makes them.
pub(crate) fn directories(data_dir: &Path) -> [std::path::PathBuf; 3] {
    SEGMENT_DIRS.map(|name| data_dir.join(name))
}
