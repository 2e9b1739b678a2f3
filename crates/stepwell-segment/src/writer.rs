//! Writing a segment: points, and with them summaries and rollups, of series in key order.

use std::{path::Path, sync::Arc};

use stepwell_env::Disk;
use stepwell_kernels::{RollupBuilder, SummaryState, rollup_levels};
use stepwell_types::{SegmentMeta, SeriesColumns, SeriesKey};

use crate::{
    error::SegmentError,
    file::remove_published,
    format::{Kind, SegmentOptions},
    rollups, summaries,
    table_writer::{Column, TableWriter},
};

/// What is known of a series before its points are written; it decides which rollups are worth their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesExtent {
    /// Number of points; an estimate will do.
    pub points: u64,
    pub first_step: i64,
    pub last_step: i64,
}

impl SeriesExtent {
    /// Of points that are all there is, sorted by step; `None` without a point.
    pub fn of(points: &SeriesColumns) -> Option<Self> {
        let (first_step, last_step) = (*points.step.first()?, *points.step.last()?);
        Some(Self { points: points.len() as u64, first_step, last_step })
    }
}

/// A segment being written. Dropped unfinished, it leaves nothing, or `*.tmp` files that the next start removes.
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    data_dir: std::path::PathBuf,
    file_name: String,
    options: SegmentOptions,
    points: TableWriter,
    summaries: TableWriter,
    /// There once a series is long enough.
    rollups: Option<TableWriter>,
    open: Option<OpenSeries>,
    first: Option<SeriesKey>,
    rows: u64,
    step: (i64, i64),
    timestamp_us: (i64, i64),
    lsn: (u64, u64),
}

/// The series being written.
struct OpenSeries {
    key: SeriesKey,
    summary: SummaryState,
    levels: Option<(u32, u32)>,
    rollups: Option<RollupBuilder>,
}

impl SegmentWriter {
    /// Starts the files `file_name` in the directories of a segment below `data_dir`, under temporary names.
    pub fn create(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        file_name: &str,
        options: &SegmentOptions,
    ) -> Result<Self, SegmentError> {
        let table = |kind| TableWriter::create(disk.clone(), data_dir, kind, file_name, options);
        Ok(Self {
            points: table(Kind::Points)?,
            summaries: table(Kind::Summaries)?,
            rollups: None,
            disk,
            data_dir: data_dir.to_owned(),
            file_name: file_name.to_owned(),
            options: options.clone(),
            open: None,
            first: None,
            rows: 0,
            step: (i64::MAX, i64::MIN),
            timestamp_us: (i64::MAX, i64::MIN),
            lsn: (u64::MAX, u64::MIN),
        })
    }

    /// Adds a whole series: its points sorted by (step, LSN).
    pub fn write(&mut self, key: &SeriesKey, points: &SeriesColumns) -> Result<(), SegmentError> {
        let Some(extent) = SeriesExtent::of(points) else { return Ok(()) };
        self.begin(key, extent)?;
        self.append(points)
    }

    /// Begins a series; keys rise from call to call.
    pub fn begin(&mut self, key: &SeriesKey, extent: SeriesExtent) -> Result<(), SegmentError> {
        if self.open.as_ref().is_some_and(|open| *key <= open.key) {
            return Err(SegmentError::OutOfOrder { key: Box::new(key.clone()) });
        }
        self.end_series()?;
        let levels = rollup_levels(extent.points, extent.first_step, extent.last_step);
        let rollups = levels.map(RollupBuilder::new);
        self.open = Some(OpenSeries { key: key.clone(), summary: SummaryState::default(), levels, rollups });
        Ok(())
    }

    /// Adds points of the series begun, sorted by (step, LSN), after those added before.
    pub fn append(&mut self, points: &SeriesColumns) -> Result<(), SegmentError> {
        let (Some(open), Some(last)) = (&mut self.open, points.len().checked_sub(1)) else { return Ok(()) };
        self.first.get_or_insert_with(|| open.key.clone());
        self.rows += points.len() as u64;
        // Sorted by step, so its ends are its bounds.
        self.step = (self.step.0.min(points.step[0]), self.step.1.max(points.step[last]));
        self.timestamp_us = widen(self.timestamp_us, &points.timestamp_us);
        self.lsn = widen(self.lsn, &points.lsn);
        open.summary.update(points);
        let mut from = 0;
        while from < points.len() {
            let to = points.len().min(from + self.points.room());
            self.points.append(&open.key, to - from, |columns| fill(columns, points, from..to))?;
            from = to;
        }
        if let Some(builder) = &mut open.rollups {
            if self.rollups.is_none() {
                let kind = Kind::Rollups;
                let disk = self.disk.clone();
                self.rollups = Some(TableWriter::create(disk, &self.data_dir, kind, &self.file_name, &self.options)?);
            }
            let (mut result, table, key) = (Ok(()), &mut self.rollups, &open.key);
            builder.push(points, |level, cells| result = rollups::append(table.as_mut(), key, level, cells));
            result?;
        }
        Ok(())
    }

    /// Points written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn end_series(&mut self) -> Result<(), SegmentError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.summary.count() > 0 {
            summaries::append(&mut self.summaries, &open.key, &open.summary, open.levels)?;
        }
        let Some(builder) = open.rollups.take() else { return Ok(()) };
        let (mut result, table, key) = (Ok(()), &mut self.rollups, &open.key);
        builder.finish(|level, cells| {
            let appended = rollups::append(table.as_mut(), key, level, cells);
            result = std::mem::replace(&mut result, Ok(())).and(appended);
        });
        result
    }

    /// Completes the files: when this returns, they are durable under their names; when it fails, none of them stays.
    pub fn finish(self) -> Result<SegmentMeta, SegmentError> {
        let (disk, data_dir, file_name) = (self.disk.clone(), self.data_dir.clone(), self.file_name.clone());
        self.complete().inspect_err(|_| remove_published(&*disk, &data_dir, &file_name))
    }

    fn complete(mut self) -> Result<SegmentMeta, SegmentError> {
        self.end_series()?;
        let (Some(first), Some(open)) = (self.first, self.open) else { return Err(SegmentError::Empty) };
        Ok(SegmentMeta {
            file_name: self.file_name,
            tier: 0,
            purged: 0,
            file: self.points.finish()?,
            summaries: Some(self.summaries.finish()?),
            rollups: self.rollups.map(TableWriter::finish).transpose()?,
            rows: self.rows,
            series: (first, open.key),
            step: self.step,
            timestamp_us: self.timestamp_us,
            lsn: self.lsn,
        })
    }
}

fn fill(columns: &mut [Column], points: &SeriesColumns, rows: std::ops::Range<usize>) {
    let [Column::Integers(step), Column::Integers(timestamp_us), Column::Values(value), Column::Integers(lsn)] =
        columns
    else {
        return;
    };
    step.extend_from_slice(&points.step[rows.clone()]);
    timestamp_us.extend_from_slice(&points.timestamp_us[rows.clone()]);
    value.extend_from_slice(&points.value[rows.clone()]);
    lsn.extend(points.lsn[rows].iter().map(|lsn| *lsn as i64));
}

fn widen<T: Copy + Ord>(bounds: (T, T), values: &[T]) -> (T, T) {
    values.iter().fold(bounds, |(low, high), value| (low.min(*value), high.max(*value)))
}
