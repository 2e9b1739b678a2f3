//! Aggregates of whole series without a look at their points in segments.

use std::sync::Arc;

use stepwell_kernels::SummaryState;
use stepwell_segment::{Segment, SeriesSummary};
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey, Summary};

use crate::{
    error::EngineError,
    exclusions::Share,
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
            all.append(&mut self.of_segment(segment, &names)?);
        }
        let mut points = SeriesColumns::default();
        for view in self.views() {
            for handle in view.series(&names) {
                points.clear();
                view.read(&handle, &names, &mut points);
                self.exclusions().apply(handle.key(), &mut points);
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

    fn of_segment(&self, segment: &Segment, names: &PointFilter) -> Result<Part, EngineError> {
        let Some(summaries) = segment.summaries(names)? else {
            // Written by the first version.
            return self.of_points(segment, names.clone());
        };
        if self.exclusions().spare(segment.meta()) {
            return Ok(summaries.into_iter().map(|summary| (summary.key, summary.state)).collect());
        }
        let mut part = Part::new();
        for SeriesSummary { key, state, .. } in summaries {
            match self.exclusions().share_of(&key, segment.meta()) {
                Share::Nothing => part.push((key, state)),
                Share::All => {}
                Share::Some => part.append(&mut self.of_points(segment, PointFilter::series(&key))?),
            }
        }
        Ok(part)
    }

    fn of_points(&self, segment: &Segment, filter: PointFilter) -> Result<Part, EngineError> {
        let mut part = Part::new();
        let partition = ScanPartition::new(Source::Segment(segment.clone()), Arc::new(filter), self.exclusions());
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
}
