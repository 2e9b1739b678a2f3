//! Opening a segment.

use std::{ops::Range, path::Path, sync::Arc};

use arrow::array::RecordBatch;
use stepwell_env::Disk;
use stepwell_kernels::{BucketState, Edge};
use stepwell_types::{PointFilter, SegmentMeta, SeriesKey};

use crate::{
    error::SegmentError,
    filter::RowFilter,
    footers::FooterCache,
    format::{Kind, PROJECT, STEP},
    health::FileDamage,
    rollups::{self, FIRST_STEP, LAST_STEP, LEVEL},
    scan::{Names, SegmentScan},
    series_list::SeriesList,
    summaries::{self, SeriesSummary, StoredExtent},
    table::Table,
};

/// An open segment. Clones share it; its bytes outlive the files' removal.
#[derive(Clone)]
pub struct Segment {
    shared: Arc<Shared>,
}

/// What is damaged of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentDamages {
    pub points: Vec<FileDamage>,
    /// Of summaries and rollups, which can be computed anew from points.
    pub derived: Vec<FileDamage>,
}

struct Shared {
    meta: SegmentMeta,
    points: Table,
    summaries: Option<Table>,
    rollups: Option<Table>,
}

impl Segment {
    /// Maps the files below `data_dir` and checks their lengths; an error if one of them is not to be had. Their content is checked on
    /// first use, so that opening thousands is quick; what is then read of their ends is kept in `footers`.
    pub fn open(
        disk: &Arc<dyn Disk>,
        data_dir: &Path,
        meta: &SegmentMeta,
        footers: &FooterCache,
    ) -> Result<Self, SegmentError> {
        let segment = Self::open_damaged(disk, data_dir, meta, footers);
        segment.tables().try_for_each(Table::require)?;
        Ok(segment)
    }

    /// The same for a segment that may be damaged: it always opens. What cannot be read of it is an error for whoever asks for it,
    /// so that no answer leaves it out in silence (I11). A file that could not be opened for a reason that may pass is tried again by
    /// each use.
    pub fn open_damaged(disk: &Arc<dyn Disk>, data_dir: &Path, meta: &SegmentMeta, footers: &FooterCache) -> Self {
        let table = |kind, file| Table::new(disk, data_dir, kind, &meta.file_name, file, footers);
        let shared = Shared {
            meta: meta.clone(),
            points: table(Kind::Points, meta.file),
            summaries: meta.summaries.map(|file| table(Kind::Summaries, file)),
            rollups: meta.rollups.map(|file| table(Kind::Rollups, file)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What the manifest knows of it.
    pub fn meta(&self) -> &SegmentMeta {
        &self.shared.meta
    }

    /// Whether points were found damaged since it was opened, or cannot be read just now. Some of them may still be readable.
    pub fn is_damaged(&self) -> bool {
        is_amiss(&self.shared.points)
    }

    /// Whether its rollups are of no use; its points are.
    pub fn has_damaged_rollups(&self) -> bool {
        self.shared.rollups.as_ref().is_some_and(is_amiss)
    }

    /// Whether a file that points could make anew is damaged.
    pub fn has_damaged_derived(&self) -> bool {
        self.tables().skip(1).any(Table::is_damaged)
    }

    /// Files found damaged since it was opened, and those that cannot be read just now.
    pub fn damaged_files(&self) -> u64 {
        self.tables().filter(|table| is_amiss(table)).count() as u64
    }

    /// Tries again to open what could not be opened: for who does not use it until that is done.
    pub fn try_again(&self) {
        self.tables().for_each(Table::try_again);
    }

    /// Reads every byte of its files; the first damage is the error.
    pub fn verify(&self) -> Result<(), SegmentError> {
        let SegmentDamages { points, derived } = self.damages()?;
        match points.into_iter().chain(derived).next() {
            None => Ok(()),
            Some(FileDamage { path, offset, detail, .. }) => Err(SegmentError::Damaged { path, offset, detail }),
        }
    }

    /// Reads every byte of its files and says what is damaged. An error where a file may be whole and cannot be read just now.
    pub fn damages(&self) -> Result<SegmentDamages, SegmentError> {
        let points = self.shared.points.damages()?;
        let derived = self.tables().skip(1).map(Table::damages).collect::<Result<Vec<_>, _>>()?.concat();
        Ok(SegmentDamages { points, derived })
    }

    /// Reads the rows of which no byte is damaged, in file order, and says which rows of the file, from 0, they are. With `Some` way of
    /// names all columns of `points_schema`; without those after the names, whose damage then costs no row.
    pub fn scan_undamaged(
        &self,
        names: Option<Names>,
        batch_rows: usize,
    ) -> Result<(SegmentScan, Vec<Range<u64>>), SegmentError> {
        let table = &self.shared.points;
        let (first_column, names) = names.map_or((STEP, Names::Numbers), |names| (PROJECT, names));
        let (groups, kept) = table.undamaged_rows(first_column)?;
        let footer = table.footer()?;
        let columns: Vec<usize> = table.all_columns().split_off(first_column);
        let scan =
            SegmentScan::of_groups(table, (&footer, &groups), RowFilter::default(), &columns, names, batch_rows)?;
        Ok((scan, kept))
    }

    /// Whether it has summaries of which every byte is whole.
    pub fn has_whole_summaries(&self) -> bool {
        self.shared.summaries.as_ref().is_some_and(|table| table.damages().is_ok_and(|found| found.is_empty()))
    }

    /// Lets go of the pages read so far, for who reads through the whole segment.
    pub fn release(&self) {
        self.tables().for_each(Table::release);
    }

    #[cfg(test)]
    pub(crate) fn has_footer(&self) -> bool {
        self.shared.points.has_footer()
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        [Some(&self.shared.points), self.shared.summaries.as_ref(), self.shared.rollups.as_ref()].into_iter().flatten()
    }

    /// Rows that are left after pruning by statistics: an upper bound of what a scan yields.
    pub fn scan_rows_estimate(&self, filter: &PointFilter) -> u64 {
        self.shared.points.rows_max(&RowFilter::points(filter)).unwrap_or(self.meta().rows)
    }

    /// Reads the rows that pass `filter`, in file order. `projection` picks columns of `points_schema` by index, in the
    /// order wanted, `names` how those of names come out; batches have at most `batch_rows` rows.
    pub fn scan(
        &self,
        filter: &PointFilter,
        projection: &[usize],
        names: Names,
        batch_rows: usize,
    ) -> Result<SegmentScan, SegmentError> {
        SegmentScan::new(&self.shared.points, self.untold(filter), projection, names, batch_rows)
    }

    /// What of a filter the bounds of this segment do not already say of all of its rows.
    fn untold(&self, filter: &PointFilter) -> RowFilter {
        let meta = self.meta();
        let mut rows = RowFilter::points(filter);
        let (first, last) = &meta.series;
        let bounds =
            [(&first.project_id, &last.project_id), (&first.metric, &last.metric), (&first.run_id, &last.run_id)];
        // The names of one column are bounds only as long as there is one name before it.
        for (wanted, (first, _)) in rows.names.iter_mut().zip(bounds).take_while(|(_, (first, last))| first == last) {
            wanted.take_if(|wanted| wanted.contains(first));
        }
        let bounds_of = |column| if column == STEP { meta.step } else { meta.timestamp_us };
        rows.ranges.retain(|(column, range)| {
            let (low, high) = bounds_of(*column);
            low < range.0 || range.1 < high
        });
        rows
    }

    /// All series in key order.
    pub fn series_list(&self) -> Result<SeriesList, SegmentError> {
        let of_points = || SeriesList::of_points(&self.shared.points);
        match self.usable_summaries() {
            Some(summaries) => SeriesList::of_summaries(summaries).or_else(|error| self.instead(error, of_points)),
            None => of_points(),
        }
    }

    /// Summaries, as long as no damage of theirs is known: they say nothing that points do not.
    fn usable_summaries(&self) -> Option<&Table> {
        self.shared.summaries.as_ref().filter(|table| !table.is_damaged())
    }

    /// What points say, where it was the state of summaries that made reading them fail.
    fn instead<T>(
        &self,
        error: SegmentError,
        of_points: impl FnOnce() -> Result<T, SegmentError>,
    ) -> Result<T, SegmentError> {
        if self.shared.summaries.as_ref().is_some_and(is_amiss) { of_points() } else { Err(error) }
    }

    /// Summaries of the series whose names pass, in key order, over all of their points here; `None` where the segment has
    /// no summaries, or those of the first version, which do not tell the latest point, or damaged ones.
    pub fn summaries(&self, filter: &PointFilter) -> Result<Option<Vec<SeriesSummary>>, SegmentError> {
        self.read_summaries(filter, Table::all_columns, summaries::decode)
    }

    /// Of the same only the latest points, in a part of the time.
    pub fn latest(&self, filter: &PointFilter) -> Result<Option<Vec<(SeriesKey, Edge)>>, SegmentError> {
        self.read_summaries(filter, |_| summaries::LATEST_COLUMNS.into(), summaries::decode_latest)
    }

    fn read_summaries<T>(
        &self,
        filter: &PointFilter,
        columns: impl Fn(&Table) -> Vec<usize>,
        decode: impl Fn(&RecordBatch, Range<usize>, &mut Vec<T>),
    ) -> Result<Option<Vec<T>>, SegmentError> {
        let Some(table) = self.usable_summaries() else { return Ok(None) };
        let mut out = Vec::new();
        let mut read = || {
            if table.is_of_first_version()? {
                return Ok(false);
            }
            table.read(RowFilter::series(filter), &columns(table), |batch, rows| decode(batch, rows, &mut out))?;
            Ok(true)
        };
        match read() {
            Ok(has_all) => Ok(has_all.then_some(out)),
            Err(error) => self.instead(error, || Ok(None)),
        }
    }

    /// Of each series whose names pass the steps that it has here and its rollups, in key order; `None` where the segment has
    /// no summaries, or only damaged ones.
    pub fn extents(&self, filter: &PointFilter) -> Result<Option<Vec<StoredExtent>>, SegmentError> {
        let Some(table) = self.usable_summaries() else { return Ok(None) };
        let mut out = Vec::new();
        let read = table.read(RowFilter::series(filter), &summaries::EXTENT_COLUMNS, |batch, rows| {
            summaries::decode_extents(batch, rows, &mut out);
        });
        if let Err(error) = read {
            return self.instead(error, || Ok(None));
        }
        if self.has_damaged_rollups() {
            out.iter_mut().for_each(|extent| extent.rollup_levels = None);
        }
        Ok(Some(out))
    }

    /// Buckets of one rollup level of the series whose names pass, in key order, that lie wholly or partly within the
    /// inclusive `steps`. They are over the last point of each step (I6), as far as this segment knows.
    pub fn rollups(
        &self,
        filter: &PointFilter,
        level: u32,
        steps: (i64, i64),
    ) -> Result<Vec<(SeriesKey, Vec<BucketState>)>, SegmentError> {
        let Some(table) = &self.shared.rollups else { return Ok(Vec::new()) };
        let level = i64::from(level);
        let ranges = vec![(LEVEL, (level, level)), (FIRST_STEP, (i64::MIN, steps.1)), (LAST_STEP, (steps.0, i64::MAX))];
        let mut out = Vec::new();
        let filter = RowFilter { ranges, ..RowFilter::series(filter) };
        table.read(filter, &table.all_columns(), |batch, rows| rollups::decode(batch, rows, &mut out))?;
        Ok(out)
    }
}

/// Whether a file is damaged, as far as is known, or cannot be read just now.
fn is_amiss(table: &Table) -> bool {
    table.is_damaged() || table.is_unreadable()
}
