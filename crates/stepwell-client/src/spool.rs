//! The outbox's overflow: a file of points, written at the end and read from the front. It holds what the memory bound
//! does not, and lives no longer than its outbox.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{ClientError, queue::Point};

/// Lengths of the two names, then step, timestamp and value, little-endian.
const HEADER_BYTES: usize = 4 + 4 + 8 + 8 + 8;

/// A queue of points in a file.
pub(crate) struct Spool {
    path: PathBuf,
    files: Option<(BufWriter<File>, BufReader<File>)>,
    points: u64,
}

impl Spool {
    /// An empty queue; the file is made when first needed.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, files: None, points: 0 }
    }

    /// Points held.
    pub(crate) fn len(&self) -> u64 {
        self.points
    }

    /// Appends a point.
    pub(crate) fn push(&mut self, point: &Point) -> Result<(), ClientError> {
        let (path, name_bytes) = (&self.path, point.run_id.len() + point.metric.len());
        let mut record = Vec::with_capacity(HEADER_BYTES + name_bytes);
        for name in [&point.run_id, &point.metric] {
            record.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
        record.extend_from_slice(&point.step.to_le_bytes());
        record.extend_from_slice(&point.timestamp_us.to_le_bytes());
        record.extend_from_slice(&point.value.to_le_bytes());
        record.extend_from_slice(point.run_id.as_bytes());
        record.extend_from_slice(point.metric.as_bytes());
        let files = match &mut self.files {
            Some(files) => files,
            empty => empty.insert(open(path).map_err(|source| failed(path, source))?),
        };
        files.0.write_all(&record).map_err(|source| failed(path, source))?;
        self.points += 1;
        Ok(())
    }

    /// Takes up to `limit` points from the front. The file goes once it is empty. If reading fails the rest is lost: the
    /// number of points that were is in [`Spool::len`] before the call.
    pub(crate) fn take(&mut self, limit: usize) -> Result<Vec<Point>, ClientError> {
        let result = self.try_take(limit).map_err(|source| failed(&self.path, source));
        if result.is_err() {
            self.points = 0;
        }
        if self.points == 0 {
            self.remove();
        }
        result
    }

    fn try_take(&mut self, limit: usize) -> io::Result<Vec<Point>> {
        let Some((writer, reader)) = &mut self.files else { return Ok(Vec::new()) };
        writer.flush()?;
        let count = limit.min(usize::try_from(self.points).unwrap_or(usize::MAX));
        let points = (0..count).map(|_| read_point(reader)).collect::<io::Result<Vec<_>>>()?;
        self.points -= count as u64;
        Ok(points)
    }

    fn remove(&mut self) {
        if let Some((writer, _)) = self.files.take() {
            // Without the buffered rest: nobody will read it.
            drop(writer.into_parts());
            // A leftover file in a temporary directory harms nobody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.remove();
    }
}

fn failed(path: &Path, source: io::Error) -> ClientError {
    ClientError::Spool { path: path.to_owned(), source }
}

fn open(path: &Path) -> io::Result<(BufWriter<File>, BufReader<File>)> {
    let write = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut read = File::open(path)?;
    read.rewind()?;
    Ok((BufWriter::with_capacity(1 << 16, write), BufReader::new(read)))
}

fn read_point(reader: &mut impl Read) -> io::Result<Point> {
    let run_id_bytes = u32::from_le_bytes(read_array(reader)?);
    let metric_bytes = u32::from_le_bytes(read_array(reader)?);
    let step = i64::from_le_bytes(read_array(reader)?);
    let timestamp_us = i64::from_le_bytes(read_array(reader)?);
    let value = f64::from_le_bytes(read_array(reader)?);
    let (run_id, metric) = (read_name(reader, run_id_bytes)?, read_name(reader, metric_bytes)?);
    Ok(Point { run_id, metric, step, timestamp_us, value })
}

fn read_array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_name(reader: &mut impl Read, bytes: u32) -> io::Result<Arc<str>> {
    let mut name = Vec::new();
    reader.take(u64::from(bytes)).read_to_end(&mut name)?;
    let name = String::from_utf8(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(name.into())
}
