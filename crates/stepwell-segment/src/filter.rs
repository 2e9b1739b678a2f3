//! Which rows of a table are wanted.

use std::{collections::BTreeSet, sync::Arc};

use stepwell_types::PointFilter;

use crate::format::{STEP, TIMESTAMP};

/// A conjunction over the columns of a table: sets of names, and inclusive ranges of integer columns by position.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowFilter {
    /// Project, metric, run; `None` is all.
    pub(crate) names: [Option<BTreeSet<Arc<str>>>; 3],
    pub(crate) ranges: Vec<(usize, (i64, i64))>,
}

impl RowFilter {
    /// Of points: all that the filter says.
    pub(crate) fn points(filter: &PointFilter) -> Self {
        let everything = (i64::MIN, i64::MAX);
        let ranges = [(STEP, filter.step), (TIMESTAMP, filter.timestamp_us)];
        let ranges = ranges.into_iter().filter(|(_, range)| *range != everything).collect();
        Self { ranges, ..Self::series(filter) }
    }

    /// Of series: the names alone.
    pub(crate) fn series(filter: &PointFilter) -> Self {
        let names = [filter.project_ids.clone(), filter.metrics.clone(), filter.run_ids.clone()];
        Self { names, ranges: Vec::new() }
    }

    /// The names wanted of a name column.
    pub(crate) fn names_of(&self, column: usize) -> Option<&BTreeSet<Arc<str>>> {
        self.names.get(column)?.as_ref()
    }

    /// The range wanted of an integer column.
    pub(crate) fn range_of(&self, column: usize) -> Option<(i64, i64)> {
        self.ranges.iter().find(|(of, _)| *of == column).map(|(_, range)| *range)
    }

    /// Whether it says anything of a column.
    pub(crate) fn restricts(&self, column: usize) -> bool {
        self.names_of(column).is_some() || self.range_of(column).is_some()
    }

    /// Columns it says something of.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> {
        let names = (0..3).filter(|column| self.names[*column].is_some());
        names.chain(self.ranges.iter().map(|(column, _)| *column))
    }
}
