//! Aggregates of whole series without a look at their points in segments.

use stepwell_kernels::SummaryState;
use stepwell_segment::Segment;
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey, Summary};

use crate::{
    error::EngineError,
    scan::{ScanPartition, Source},
    snapshot::{READ_BATCH_ROWS, Snapshot},
};

/// Summaries of one part of a snapshot, in key order, each series once.
type Part = Vec<(SeriesKey, SummaryState)>;

impl Snapshot {
    /// Summaries of all series whose names pass, over all of their points, sorted by key. Segments answer from what was
    /// written with them; memory is read.
    pub fn summaries(&self, filter: &PointFilter) -> Result<Vec<(SeriesKey, Summary)>, EngineError> {
        let names = PointFilter {
            project_ids: filter.project_ids.clone(),
            metrics: filter.metrics.clone(),
            run_ids: filter.run_ids.clone(),
            ..PointFilter::default()
        };
        let mut all = Part::new();
        for segment in self.segments().iter().filter(|segment| segment.meta().might_match(&names)) {
            all.append(&mut of_segment(segment, &names)?);
        }
        let mut points = SeriesColumns::default();
        for view in self.views() {
            for handle in view.series(&names) {
                points.clear();
                view.read(&handle, &names, &mut points);
                let mut state = SummaryState::default();
                state.update(&points);
                all.push((handle.key().clone(), state));
            }
        }
        // Stable, and quick on a row of sorted parts.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1.merge(&later.1);
            }
            same
        });
        Ok(all.into_iter().filter_map(|(key, state)| Some((key, state.finish()?))).collect())
    }
}

fn of_segment(segment: &Segment, names: &PointFilter) -> Result<Part, EngineError> {
    if let Some(summaries) = segment.summaries(names)? {
        return Ok(summaries.into_iter().map(|summary| (summary.key, summary.state)).collect());
    }
    // Written by the first version.
    let mut part = Part::new();
    let source = Source::Segment(segment.clone());
    let partition = ScanPartition { source, filter: std::sync::Arc::new(names.clone()) };
    partition.for_each_series(READ_BATCH_ROWS, |key, points| {
        if part.last().is_none_or(|(last, _)| last != key) {
            part.push((key.clone(), SummaryState::default()));
        }
        if let Some((_, state)) = part.last_mut() {
            state.update(points);
        }
    })?;
    Ok(part)
}
