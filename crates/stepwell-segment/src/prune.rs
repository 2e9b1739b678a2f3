//! Which rows can match, by the statistics of row groups and pages.

use std::{
    collections::BTreeSet,
    ops::{Bound, Range},
    sync::Arc,
};

use parquet::{
    arrow::arrow_reader::RowSelection,
    file::{metadata::ParquetMetaData, page_index::column_index::ColumnIndexMetaData},
};

use crate::filter::RowFilter;

/// Whether a page, by its number, can hold a match.
type PageTest<'a> = Box<dyn Fn(&ColumnIndexMetaData, usize) -> bool + 'a>;

/// Rows of one row group that can match.
pub(crate) struct GroupRows {
    pub(crate) row_group: usize,
    /// Within the row group; rising, disjoint, not empty.
    pub(crate) ranges: Vec<Range<usize>>,
    pub(crate) group_rows: usize,
}

impl GroupRows {
    pub(crate) fn rows(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }

    pub(crate) fn selection(&self) -> RowSelection {
        RowSelection::from_consecutive_ranges(self.ranges.iter().cloned(), self.group_rows)
    }
}

/// Row groups with at least one page range that can match. Pages are the unit: their bounds cover row groups too.
pub(crate) fn matching_rows(metadata: &ParquetMetaData, filter: &RowFilter) -> Vec<GroupRows> {
    let groups = 0..metadata.num_row_groups();
    let of_group = |row_group: usize| {
        let group_rows = usize::try_from(metadata.row_group(row_group).num_rows()).unwrap_or(0);
        let mut ranges = Some(0..group_rows).filter(|all| !all.is_empty()).into_iter().collect::<Vec<_>>();
        for column in filter.columns() {
            if let Some(of_column) = page_ranges(metadata, row_group, column, group_rows, filter) {
                ranges = intersect(&ranges, &of_column);
            }
        }
        GroupRows { row_group, ranges, group_rows }
    };
    groups.map(of_group).filter(|rows| !rows.ranges.is_empty()).collect()
}

/// Rows of the pages whose bounds of one column overlap the filter; `None` where the filter leaves the column free, or there
/// is no index.
fn page_ranges(
    metadata: &ParquetMetaData,
    row_group: usize,
    column: usize,
    group_rows: usize,
    filter: &RowFilter,
) -> Option<Vec<Range<usize>>> {
    let test: PageTest<'_> = match (filter.names_of(column), filter.range_of(column)) {
        (Some(names), _) => text_test(names),
        (None, Some(range)) => integer_test(range),
        (None, None) => return None,
    };
    let index = metadata.column_index()?.get(row_group)?.get(column)?;
    let pages = metadata.offset_index()?.get(row_group)?.get(column)?.page_locations();
    let starts = pages.iter().map(|page| usize::try_from(page.first_row_index).unwrap_or(0));
    let ends = starts.clone().skip(1).chain([group_rows]);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (page, range) in starts.zip(ends).map(|(start, end)| start..end).enumerate() {
        if range.is_empty() || !test(index, page) {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    Some(ranges)
}

/// The name that all rows have which can match, if the index of pages says so. Bounds of pages are whole names.
pub(crate) fn known_name<'a>(metadata: &'a ParquetMetaData, groups: &[GroupRows], column: usize) -> Option<&'a str> {
    let mut known: Option<&str> = None;
    for group in groups {
        let index = metadata.column_index()?.get(group.row_group)?.get(column)?;
        let ColumnIndexMetaData::BYTE_ARRAY(index) = index else { return None };
        let pages = metadata.offset_index()?.get(group.row_group)?.get(column)?.page_locations();
        let starts = pages.iter().map(|page| usize::try_from(page.first_row_index).unwrap_or(0));
        let ends = starts.clone().skip(1).chain([group.group_rows]);
        for (page, (start, end)) in starts.zip(ends).enumerate() {
            if !group.ranges.iter().any(|range| range.start < end && start < range.end) {
                continue;
            }
            let (low, high) = (index.min_value(page)?, index.max_value(page)?);
            let name = std::str::from_utf8(low).ok().filter(|_| low == high)?;
            if *known.get_or_insert(name) != name {
                return None;
            }
        }
    }
    known
}

fn text_test(wanted: &BTreeSet<Arc<str>>) -> PageTest<'_> {
    Box::new(move |index, page| {
        let ColumnIndexMetaData::BYTE_ARRAY(index) = index else { return true };
        // Text sorts by its bytes, in the set as in the file.
        let text = |bytes| std::str::from_utf8(bytes).ok();
        match (index.min_value(page).and_then(text), index.max_value(page).and_then(text)) {
            (Some(low), Some(high)) if low <= high => {
                wanted.range::<str, _>((Bound::Included(low), Bound::Included(high))).next().is_some()
            }
            _ => true,
        }
    })
}

fn integer_test(wanted: (i64, i64)) -> PageTest<'static> {
    Box::new(move |index, page| {
        let ColumnIndexMetaData::INT64(index) = index else { return true };
        match (index.min_value(page), index.max_value(page)) {
            (Some(low), Some(high)) => *low <= wanted.1 && wanted.0 <= *high,
            _ => true,
        }
    })
}

/// Intersection of two rising lists of disjoint ranges.
fn intersect(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let both = x.start.max(y.start)..x.end.min(y.end);
        if !both.is_empty() {
            out.push(both);
        }
        if x.end <= y.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_intersect() {
        assert_eq!(intersect(&[0..10, 20..30], &[5..25, 29..40]), [5..10, 20..25, 29..30]);
        let none = intersect(std::slice::from_ref(&(0..10)), &[]);
        assert!(none.is_empty());
    }
}
