//! The outbox's overflow: a file of points, written at the end and read from the front. It holds what the memory bound
//! does not, and lives no longer than its outbox, unless its process is killed: then [`SpoolReader`] gives back what it held.
//!
//! The file begins with the magic number `SWSPOOL1` and the format's version (u32). Each point is the lengths of its run id and
//! metric (u32 each), its step (i64), timestamp (i64, microseconds UTC) and value (f64), and the two names; all little-endian.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{ClientError, Points, queue::Point};

const MAGIC: &[u8; 8] = b"SWSPOOL1";
/// The version written; the one read.
const FORMAT_VERSION: u32 = 1;
/// Lengths of the two names, then step, timestamp and value.
const POINT_BYTES: usize = 4 + 4 + 8 + 8 + 8;

/// A queue of points in a file.
pub(crate) struct Spool {
    path: PathBuf,
    files: Option<(BufWriter<File>, SpoolReader<BufReader<File>>)>,
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
        let mut record = Vec::with_capacity(POINT_BYTES + name_bytes);
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
        let points = (0..count).map(|_| reader.expect_point()).collect::<io::Result<Vec<_>>>()?;
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

fn open(path: &Path) -> io::Result<(BufWriter<File>, SpoolReader<BufReader<File>>)> {
    let write = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut write = BufWriter::with_capacity(1 << 16, write);
    write.write_all(MAGIC)?;
    write.write_all(&FORMAT_VERSION.to_le_bytes())?;
    write.flush()?;
    Ok((write, SpoolReader::new(BufReader::new(File::open(path)?))?))
}

/// Reads the points of a spool file in the order in which they were written: those that a killed process left there.
pub struct SpoolReader<R> {
    input: R,
}

impl<R: Read> SpoolReader<R> {
    /// Checks what the file begins with.
    pub fn new(mut input: R) -> io::Result<Self> {
        if &read_array::<8>(&mut input)? != MAGIC {
            return Err(invalid("it is not a spool file of points"));
        }
        let version = u32::from_le_bytes(read_array(&mut input)?);
        if version != FORMAT_VERSION {
            return Err(invalid(format!("it has version {version}, this program reads {FORMAT_VERSION}")));
        }
        Ok(Self { input })
    }

    /// Adds the next point to `points`; `false` at the end. A point that was not written whole, as the last may be, is an error.
    pub fn read_into(&mut self, points: &mut Points) -> io::Result<bool> {
        let Some(point) = self.next_point()? else { return Ok(false) };
        points.push(&point.run_id, &point.metric, point.step, point.timestamp_us, point.value);
        Ok(true)
    }

    fn expect_point(&mut self) -> io::Result<Point> {
        self.next_point()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn next_point(&mut self) -> io::Result<Option<Point>> {
        let mut first = Vec::with_capacity(1);
        if (&mut self.input).take(1).read_to_end(&mut first)? == 0 {
            return Ok(None);
        }
        let rest = read_array::<3>(&mut self.input)?;
        let run_id_bytes = u32::from_le_bytes([first[0], rest[0], rest[1], rest[2]]);
        let metric_bytes = u32::from_le_bytes(read_array(&mut self.input)?);
        let step = i64::from_le_bytes(read_array(&mut self.input)?);
        let timestamp_us = i64::from_le_bytes(read_array(&mut self.input)?);
        let value = f64::from_bits(u64::from_le_bytes(read_array(&mut self.input)?));
        let (run_id, metric) = (self.read_name(run_id_bytes)?, self.read_name(metric_bytes)?);
        Ok(Some(Point { run_id, metric, step, timestamp_us, value }))
    }

    fn read_name(&mut self, bytes: u32) -> io::Result<Arc<str>> {
        let mut name = Vec::new();
        (&mut self.input).take(u64::from(bytes)).read_to_end(&mut name)?;
        if name.len() < bytes as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8(name).map_err(invalid)?.into())
    }
}

fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I12: version 1, byte by byte. If this fails, a killed process of the last release left what nobody can read.
    const GOLDEN: [&[u8]; 6] = [
        b"SWSPOOL1\x01\0\0\0",
        b"\x02\0\0\0\x04\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x40\x42\x0f\0\0\0\0\0",
        b"\x01\0\0\0\0\0\xf8\x7f",
        b"r1loss",
        b"\x02\0\0\0\x04\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80",
        b"r1loss",
    ];

    #[test]
    fn i12_the_golden_bytes_are_read_and_written() {
        assert_eq!(FORMAT_VERSION, 1, "a new version needs golden bytes of its own");
        let values = [f64::from_bits(0x7ff8_0000_0000_0001), -0.0];
        let point =
            |step, timestamp_us, value| Point { run_id: "r1".into(), metric: "loss".into(), step, timestamp_us, value };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut spool = Spool::new(path.clone());
        spool.push(&point(-1, 1_000_000, values[0])).unwrap();
        spool.push(&point(7, 0, values[1])).unwrap();
        spool.files.as_mut().unwrap().0.flush().unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(written, GOLDEN.concat());
        let read = spool.take(9).unwrap();
        assert_eq!(read.iter().map(|p| p.value.to_bits()).collect::<Vec<_>>(), values.map(f64::to_bits));
        assert_eq!((read[0].step, read[0].timestamp_us, read[1].step), (-1, 1_000_000, 7));
        assert!(!path.exists(), "what is read to the end goes");
    }

    /// What a killed process left: whole points come back, the torn one and hostile lengths are errors, and take no memory.
    #[test]
    fn a_cut_file_gives_its_whole_points() {
        let whole = GOLDEN.concat();
        for cut in 0..whole.len() {
            let mut points = Points::default();
            let read = SpoolReader::new(&whole[..cut]).and_then(|mut reader| {
                while reader.read_into(&mut points)? {}
                Ok(())
            });
            assert_eq!((read.is_ok(), points.len()), ([12, 50].contains(&cut), usize::from(cut >= 50)), "cut at {cut}");
        }
        let mut hostile = whole.clone();
        hostile[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut points = Points::default();
        assert!(SpoolReader::new(&hostile[..]).unwrap().read_into(&mut points).is_err());
        let mut later = whole;
        later[8] = 2;
        assert!(SpoolReader::new(&later[..]).is_err());
    }
}
