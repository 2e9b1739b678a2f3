//! Checksums of what was read, to compare with what is read back.

use std::io::{self, Read};

use super::{
    ImportError,
    entities::{File, Point},
};

/// How much there is, and a checksum of it in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    crc: u32,
}

impl Sum {
    pub(super) fn of_points(points: &[Point]) -> Self {
        let crc = points.iter().fold(0, |crc, point| {
            let mut bytes = [0; 24];
            bytes[..8].copy_from_slice(&point.step.to_le_bytes());
            bytes[8..16].copy_from_slice(&point.timestamp_ms.to_le_bytes());
            bytes[16..].copy_from_slice(&point.bits.to_le_bytes());
            crc32c::crc32c_append(crc, &bytes)
        });
        Self { count: points.len() as u64, crc }
    }
}

/// Bytes that are summed as they pass.
pub(super) struct Summed<R> {
    inner: R,
    pub(super) sum: Sum,
}

impl<R: Read> Summed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, sum: Sum::default() }
    }

    /// Reads what is left.
    pub(super) fn drain(&mut self, file: &File) -> Result<(), ImportError> {
        io::copy(self, &mut io::sink()).map(|_| ()).map_err(|source| ImportError::read(file.path.as_ref(), source))
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.crc = crc32c::crc32c_append(self.sum.crc, &buffer[..read]);
        self.sum.count += read as u64;
        Ok(read)
    }
}
