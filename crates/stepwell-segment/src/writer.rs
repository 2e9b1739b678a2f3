//! Writing a segment: series in key order, one row group in memory.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{
        ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt64Array,
        make_view,
    },
    buffer::{Buffer, ScalarBuffer},
};
use parquet::arrow::ArrowWriter;
use stepwell_env::{Disk, WriteFile};
use stepwell_types::{SegmentMeta, SeriesColumns, SeriesKey, points_schema};

use crate::{
    error::SegmentError,
    format::{SegmentOptions, writer_options},
};

/// Rows collected before they go to the column writers.
const BATCH_ROWS: usize = 65_536;

/// A file that counts and checksums what goes through it.
struct Sink {
    file: Box<dyn WriteFile>,
    bytes: u64,
    crc32c: u32,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.append(data)?;
        self.bytes += data.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A segment being written. Dropped unfinished, it leaves a `*.tmp` that the next start removes.
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_name: String,
    writer: ArrowWriter<Sink>,
    pending: SeriesColumns,
    /// Series of the pending rows, and how many rows each has.
    pending_series: Vec<(SeriesKey, usize)>,
    first: Option<SeriesKey>,
    last: Option<SeriesKey>,
    rows: u64,
    step: (i64, i64),
    timestamp_us: (i64, i64),
    lsn: (u64, u64),
}

impl SegmentWriter {
    /// Starts `dir/file_name`, under a temporary name.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        file_name: &str,
        options: &SegmentOptions,
    ) -> Result<Self, SegmentError> {
        let path = dir.join(temporary(file_name));
        let io = |what| {
            let path = path.clone();
            move |source| SegmentError::Io { what, path, source }
        };
        if disk.exists(&path) {
            disk.remove(&path).map_err(io("remove"))?;
        }
        let file = disk.create(&path).map_err(io("create"))?;
        let schema = points_schema();
        let writer = writer_options(options, &schema)
            .and_then(|options| ArrowWriter::try_new_with_options(Sink { file, bytes: 0, crc32c: 0 }, schema, options))
            .map_err(|source| SegmentError::Parquet { path, source })?;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            file_name: file_name.to_owned(),
            writer,
            pending: SeriesColumns::default(),
            pending_series: Vec::new(),
            first: None,
            last: None,
            rows: 0,
            step: (i64::MAX, i64::MIN),
            timestamp_us: (i64::MAX, i64::MIN),
            lsn: (u64::MAX, u64::MIN),
        })
    }

    /// Adds points of one series, sorted by (step, LSN). Keys rise from call to call; one key may come again with later
    /// points.
    pub fn write(&mut self, key: &SeriesKey, points: &SeriesColumns) -> Result<(), SegmentError> {
        if points.is_empty() {
            return Ok(());
        }
        if self.last.as_ref().is_some_and(|last| key < last) {
            return Err(SegmentError::OutOfOrder { key: Box::new(key.clone()) });
        }
        self.first.get_or_insert_with(|| key.clone());
        self.last = Some(key.clone());
        self.rows += points.len() as u64;
        for i in 0..points.len() {
            self.step = (self.step.0.min(points.step[i]), self.step.1.max(points.step[i]));
            let time_us = points.timestamp_us[i];
            self.timestamp_us = (self.timestamp_us.0.min(time_us), self.timestamp_us.1.max(time_us));
            self.lsn = (self.lsn.0.min(points.lsn[i]), self.lsn.1.max(points.lsn[i]));
        }
        self.pending_series.push((key.clone(), points.len()));
        self.pending.append(points);
        if self.pending.len() >= BATCH_ROWS { self.write_pending() } else { Ok(()) }
    }

    /// Points written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn write_pending(&mut self) -> Result<(), SegmentError> {
        let points = std::mem::take(&mut self.pending);
        let series = std::mem::take(&mut self.pending_series);
        let rows = points.len();
        let batch = names(&series, rows, |key| &key.project_id)
            .and_then(|project| {
                Ok([project, names(&series, rows, |key| &key.metric)?, names(&series, rows, |key| &key.run_id)?])
            })
            .and_then(|[project, metric, run]| {
                let numbers: [ArrayRef; 4] = [
                    Arc::new(Int64Array::from(points.step)),
                    Arc::new(TimestampMicrosecondArray::from(points.timestamp_us).with_timezone("UTC")),
                    Arc::new(Float64Array::from(points.value)),
                    Arc::new(UInt64Array::from(points.lsn)),
                ];
                let columns = [project, metric, run].into_iter().chain(numbers).collect();
                RecordBatch::try_new(points_schema(), columns)
            })
            .map_err(|source| SegmentError::Arrow { path: self.path(), source })?;
        self.writer.write(&batch).map_err(|source| SegmentError::Parquet { path: self.path(), source })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(&self.file_name)
    }

    /// Completes the file: when this returns, it is durable under its name.
    pub fn finish(mut self) -> Result<SegmentMeta, SegmentError> {
        self.write_pending()?;
        let (Some(first), Some(last)) = (self.first.take(), self.last.take()) else { return Err(SegmentError::Empty) };
        let path = self.path();
        let io = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| SegmentError::Io { what, path, source }
        };
        let mut sink =
            self.writer.into_inner().map_err(|source| SegmentError::Parquet { path: path.clone(), source })?;
        let from = self.dir.join(temporary(&self.file_name));
        sink.file.sync().map_err(io("sync", &from))?;
        self.disk.rename(&from, &path).map_err(io("rename", &from))?;
        self.disk.sync_dir(&self.dir).map_err(io("sync directory", &self.dir))?;
        Ok(SegmentMeta {
            file_name: self.file_name,
            bytes: sink.bytes,
            rows: self.rows,
            crc32c: sink.crc32c,
            series: (first, last),
            step: self.step,
            timestamp_us: self.timestamp_us,
            lsn: self.lsn,
        })
    }
}

fn temporary(file_name: &str) -> String {
    format!("{file_name}.tmp")
}

/// One view per row into one buffer that holds each name once.
fn names(
    series: &[(SeriesKey, usize)],
    rows: usize,
    name: impl Fn(&SeriesKey) -> &Arc<str>,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    let mut text = Vec::new();
    let mut views: Vec<u128> = Vec::with_capacity(rows);
    for (key, rows) in series {
        let bytes = name(key).as_bytes();
        // At most 65,536 names of a kilobyte, so offsets stay below 2^32.
        let view = make_view(bytes, 0, text.len() as u32);
        text.extend_from_slice(bytes);
        views.extend(std::iter::repeat_n(view, *rows));
    }
    let buffers = vec![Buffer::from(text)];
    Ok(Arc::new(StringViewArray::try_new(ScalarBuffer::from(views), buffers, None)?))
}
