//! The outbox's overflow: a file of points, written at the end and read from the front. It holds what the memory bound
//! does not, and lives no longer than its outbox, unless its process is killed: then [`SpoolReader`] gives back what it held.
//!
//! The file begins with the magic number `SWSPOOL1` and the format's version (u32). Each point is the lengths of its run id and
//! metric (u32 each), its step (i64), timestamp (i64, microseconds UTC) and value (f64), and the two names; all little-endian.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Take, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{ClientError, Points, queue::Point};

const MAGIC: &[u8; 8] = b"SWSPOOL1";
/// The version written; the one read.
const FORMAT_VERSION: u32 = 1;
/// Lengths of the two names, then step, timestamp and value.
const POINT_BYTES: usize = 4 + 4 + 8 + 8 + 8;

/// Records are gathered up to so many bytes before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// A queue of points in a file. The disk may be full while the network is gone: what cannot be written is refused, and what was
/// taken before stays.
pub(crate) struct Spool {
    path: PathBuf,
    file: Option<SpoolFile>,
    /// Whole records that follow those in the file.
    buffer: Vec<u8>,
    buffer_points: u64,
}

struct SpoolFile {
    output: File,
    /// Limited to whole records: what it read ahead of a torn one would be served after that was cut off.
    input: SpoolReader<BufReader<Take<File>>>,
    /// Points that nobody has taken.
    points: u64,
    /// Where its records end.
    whole_bytes: u64,
    /// A part of a record may follow them.
    is_torn: bool,
}

impl Spool {
    /// An empty queue; the file is made when first needed.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, buffer: Vec::new(), buffer_points: 0 }
    }

    /// Points held.
    pub(crate) fn len(&self) -> u64 {
        self.buffer_points + self.file.as_ref().map_or(0, |file| file.points)
    }

    /// Appends points: all of them, or none if it fails.
    pub(crate) fn push(&mut self, points: &[Point]) -> Result<(), ClientError> {
        if points.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(SpoolFile::create(&self.path).map_err(|source| failed(&self.path, source))?);
        }
        let (bytes_before, points_before) = (self.buffer.len(), self.buffer_points);
        points.iter().for_each(|point| write_record(&mut self.buffer, point));
        self.buffer_points += points.len() as u64;
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        let written = self.write_out();
        if written.is_err() {
            self.buffer.truncate(bytes_before);
            self.buffer_points = points_before;
        }
        written.map_err(|source| failed(&self.path, source))
    }

    fn write_out(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.append(&self.buffer)?;
        file.points += self.buffer_points;
        self.buffer.clear();
        self.buffer_points = 0;
        Ok(())
    }

    /// Takes up to `limit` points from the front. The file goes once all are taken. If it cannot be read the points in it are lost:
    /// [`Spool::len`] is smaller by so many.
    pub(crate) fn take(&mut self, limit: usize) -> Result<Vec<Point>, ClientError> {
        let result = match &mut self.file {
            Some(file) if file.points > 0 => file.take(limit),
            // Never written, or not yet: nothing needs to be written for it to be read.
            _ => self.take_buffered(limit),
        };
        if result.is_err() || self.len() == 0 {
            self.remove_file();
        }
        result.map_err(|source| failed(&self.path, source))
    }

    fn take_buffered(&mut self, limit: usize) -> io::Result<Vec<Point>> {
        let mut rest = SpoolReader { input: self.buffer.as_slice() };
        let points = rest.take(limit, self.buffer_points);
        let left_bytes = if points.is_ok() { rest.input.len() } else { 0 };
        self.buffer.drain(..self.buffer.len() - left_bytes);
        self.buffer_points -= points.as_ref().map_or(self.buffer_points, |points| points.len() as u64);
        points
    }

    fn remove_file(&mut self) {
        if self.file.take().is_some() {
            // A leftover file in a temporary directory harms nobody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.remove_file();
    }
}

impl SpoolFile {
    fn create(path: &Path) -> io::Result<Self> {
        let output = OpenOptions::new().append(true).create_new(true).open(path)?;
        let begun = Self::begin(output, path);
        if begun.is_err() {
            // Or the next attempt would find it in its way.
            let _ = fs::remove_file(path);
        }
        begun
    }

    fn begin(mut output: File, path: &Path) -> io::Result<Self> {
        let header = [MAGIC.as_slice(), &FORMAT_VERSION.to_le_bytes()].concat();
        output.write_all(&header)?;
        let whole_bytes = header.len() as u64;
        let input = SpoolReader::new(BufReader::new(File::open(path)?.take(whole_bytes)))?;
        Ok(Self { output, input, points: 0, whole_bytes, is_torn: false })
    }

    /// Appends whole records: all, or none that anybody reads.
    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.output.set_len(self.whole_bytes)?;
        }
        self.is_torn = true;
        if let Err(error) = self.output.write_all(records) {
            self.is_torn = self.output.set_len(self.whole_bytes).is_err();
            return Err(error);
        }
        self.is_torn = false;
        self.whole_bytes += records.len() as u64;
        let readable = self.input.input.get_mut();
        readable.set_limit(readable.limit() + records.len() as u64);
        Ok(())
    }

    fn take(&mut self, limit: usize) -> io::Result<Vec<Point>> {
        let points = self.input.take(limit, self.points)?;
        self.points -= points.len() as u64;
        Ok(points)
    }
}

fn write_record(records: &mut Vec<u8>, point: &Point) {
    records.reserve(POINT_BYTES + point.run_id.len() + point.metric.len());
    for name in [&point.run_id, &point.metric] {
        records.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    records.extend_from_slice(&point.step.to_le_bytes());
    records.extend_from_slice(&point.timestamp_us.to_le_bytes());
    records.extend_from_slice(&point.value.to_le_bytes());
    records.extend_from_slice(point.run_id.as_bytes());
    records.extend_from_slice(point.metric.as_bytes());
}

fn failed(path: &Path, source: io::Error) -> ClientError {
    ClientError::Spool { path: path.to_owned(), source }
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

    /// Up to `limit` of the `held` points that there are.
    fn take(&mut self, limit: usize, held: u64) -> io::Result<Vec<Point>> {
        let count = limit.min(usize::try_from(held).unwrap_or(usize::MAX));
        (0..count).map(|_| self.expect_point()).collect()
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
        spool.push(&[point(-1, 1_000_000, values[0])]).unwrap();
        spool.push(&[point(7, 0, values[1])]).unwrap();
        spool.write_out().unwrap();
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

    fn steps(points: &[Point]) -> Vec<i64> {
        points.iter().map(|point| point.step).collect()
    }

    /// The disk was full when the server came back, and the whole file was given up, gigabytes of readable points in it.
    #[test]
    fn i4_a_disk_that_takes_no_more_keeps_what_was_taken_and_refuses_whole_calls() {
        let point = |step| Point { run_id: "r".into(), metric: "m".into(), step, timestamp_us: 0, value: 0.5 };
        let many = |from: i64| (from..from + (BUFFER_BYTES / POINT_BYTES) as i64).map(point).collect::<Vec<_>>();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut spool = Spool::new(path.clone());
        spool.push(&(0..10).map(point).collect::<Vec<_>>()).unwrap();
        spool.write_out().unwrap();
        // Opened for reading, it refuses to be written.
        let output = &mut spool.file.as_mut().unwrap().output;
        let writable = std::mem::replace(output, File::open(&path).unwrap());
        spool.push(&[point(10)]).unwrap();
        for _ in 0..2 {
            assert!(matches!(spool.push(&many(11)), Err(ClientError::Spool { .. })));
            assert_eq!(spool.len(), 11, "none of a call that fails");
        }
        assert_eq!(steps(&spool.take(5).unwrap()), [0, 1, 2, 3, 4]);
        assert_eq!(steps(&spool.take(9).unwrap()), [5, 6, 7, 8, 9]);
        spool.push(&[point(11)]).unwrap();
        assert_eq!(steps(&spool.take(1).unwrap()), [10]);
        spool.file.as_mut().unwrap().output = writable;
        spool.push(&many(12)).unwrap();
        let last = 12 + many(12).len() as i64;
        assert_eq!(steps(&spool.take(usize::MAX).unwrap()), (11..last).collect::<Vec<_>>());
        assert!(!path.exists() && spool.len() == 0);
    }

    /// A write that was cut short leaves half a record; who reads on behind it would read nonsense.
    #[test]
    fn a_torn_write_is_cut_off_before_the_next() {
        let point = |step| Point { run_id: "r".into(), metric: "m".into(), step, timestamp_us: 0, value: 0.5 };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut spool = Spool::new(path.clone());
        spool.push(&[point(0)]).unwrap();
        spool.write_out().unwrap();
        let file = spool.file.as_mut().unwrap();
        file.output.write_all(b"half").unwrap();
        file.is_torn = true;
        spool.push(&[point(1)]).unwrap();
        spool.write_out().unwrap();
        let mut left = SpoolReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(steps(&left.take(2, 2).unwrap()), [0, 1]);
        assert_eq!(steps(&spool.take(2).unwrap()), [0, 1]);
    }

    /// Points of a call that was refused are not to come back because the reader was faster than who cuts them off.
    #[test]
    fn i4_what_follows_the_whole_records_is_not_read_ahead() {
        let point = |step| Point { run_id: "r".into(), metric: "m".into(), step, timestamp_us: 0, value: 0.5 };
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path().join("spool"));
        spool.push(&[point(0), point(1)]).unwrap();
        spool.write_out().unwrap();
        let mut torn = Vec::new();
        write_record(&mut torn, &point(-1));
        torn.extend(b"half");
        let file = spool.file.as_mut().unwrap();
        file.output.write_all(&torn).unwrap();
        file.is_torn = true;
        assert_eq!(steps(&spool.take(1).unwrap()), [0]);
        spool.push(&[point(2), point(3)]).unwrap();
        spool.write_out().unwrap();
        assert_eq!(steps(&spool.take(9).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn a_file_that_cannot_be_read_loses_its_own_points_only() {
        let point = |step| Point { run_id: "r".into(), metric: "m".into(), step, timestamp_us: 0, value: 0.5 };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut spool = Spool::new(path.clone());
        spool.push(&[point(0), point(1)]).unwrap();
        spool.write_out().unwrap();
        spool.push(&[point(2)]).unwrap();
        spool.file.as_ref().unwrap().output.set_len(20).unwrap();
        spool.take(9).unwrap_err();
        assert_eq!(spool.len(), 1);
        spool.push(&[point(3)]).unwrap();
        assert_eq!(steps(&spool.take(9).unwrap()), [2, 3]);
    }
}
