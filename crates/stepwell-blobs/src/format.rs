//! What a blob is called, and what is kept of it elsewhere to read it back; no I/O.

use std::fmt::{self, Write};

use crc32c::crc32c_combine;

/// Bytes that have a checksum together; the last chunk of a blob has what is left.
pub const CHUNK_BYTES: usize = 256 << 10;
const ID_BYTES: usize = 32;

/// The SHA-256 of a blob's bytes. Shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId([u8; ID_BYTES]);

impl BlobId {
    pub(crate) fn new(hash: [u8; ID_BYTES]) -> Self {
        Self(hash)
    }

    /// Reads what `Display` gives, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 2 * ID_BYTES || !text.bytes().all(is_digit) {
            return None;
        }
        let mut hash = [0; ID_BYTES];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(2 * ID_BYTES);
        for byte in self.0 {
            write!(text, "{byte:02x}")?;
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is kept of a blob beside whoever names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub id: BlobId,
    pub bytes: u64,
    /// CRC-32C of each chunk, in order. Invariant: as many as `bytes` has chunks.
    checksums: Vec<u32>,
}

impl Blob {
    pub(crate) fn new(id: BlobId, bytes: u64, checksums: Vec<u32>) -> Self {
        Self { id, bytes, checksums }
    }

    /// Of what was kept: `checksums` as [`Blob::checksums`] gave them. `None` if they are not as many as there are chunks.
    pub fn of_parts(id: BlobId, bytes: u64, checksums: &[u8]) -> Option<Self> {
        let is_whole = checksums.len() as u64 == bytes.div_ceil(CHUNK_BYTES as u64).checked_mul(4)?;
        let checksums =
            checksums.chunks_exact(4).filter_map(|crc| crc.first_chunk()).map(|crc| u32::from_le_bytes(*crc));
        is_whole.then(|| Self::new(id, bytes, checksums.collect()))
    }

    /// The CRC-32C of each chunk, 4 bytes little-endian each.
    pub fn checksums(&self) -> Vec<u8> {
        self.checksums.iter().flat_map(|crc| crc.to_le_bytes()).collect()
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.checksums.len() as u64
    }

    /// CRC-32C of all bytes.
    pub fn crc32c(&self) -> u32 {
        let mut left = self.bytes;
        self.checksums.iter().fold(0, |whole, crc| {
            let chunk_bytes = left.min(CHUNK_BYTES as u64);
            left -= chunk_bytes;
            crc32c_combine(whole, *crc, chunk_bytes as usize)
        })
    }

    /// Length and checksum of a chunk; `None` behind the last.
    pub(crate) fn chunk(&self, chunk: u64) -> Option<(usize, u32)> {
        let crc = self.checksums.get(usize::try_from(chunk).ok()?)?;
        let left = self.bytes.checked_sub(chunk.checked_mul(CHUNK_BYTES as u64)?)?;
        Some((left.min(CHUNK_BYTES as u64) as usize, *crc))
    }
}
