//! TFRecord files: length (u64), its masked CRC32C, data, its masked CRC32C; all little-endian.

use std::io::{self, Read, Seek, SeekFrom};

const HEADER_BYTES: u64 = 12;
const FOOTER_BYTES: u64 = 4;
/// Longest record that is read into memory, bytes; readers of protocol buffers stop there too. Longer ones are passed over.
const RECORD_BYTES_MAX: u64 = 64 << 20;
/// Bytes that the search for a valid record may read of candidates, for each byte of the file: without a bound, a file of headers
/// that each claim the rest of it would be read once for each of them.
const SEARCH_READS_MAX: u64 = 8;
/// How much is read at a time in the search for the next valid record.
const SEARCH_BYTES: u64 = 1 << 20;

/// What comes next in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A record and the offset of its end.
    Record { data: Vec<u8>, offset: u64, end: u64 },
    /// Bytes that are no valid record.
    Damage { offset: u64, bytes: u64, reason: &'static str },
}

/// Reads records one after another, past damaged ones.
pub(super) struct RecordReader<R> {
    input: R,
    /// Length of the file when it was opened; what is appended later is left to the next import.
    len: u64,
    offset: u64,
}

impl<R: Read + Seek> RecordReader<R> {
    /// Reads the first `len` bytes of `input`, which stands at its start.
    pub(super) fn new(input: R, len: u64) -> Self {
        Self { input, len, offset: 0 }
    }

    /// Where the next record begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record or damage; `None` at the end. A torn tail is damage up to the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        let (offset, left) = (self.offset, self.len.saturating_sub(self.offset));
        if left == 0 {
            return Ok(None);
        }
        if left < HEADER_BYTES {
            return Ok(Some(self.torn(left)));
        }
        let mut header = [0; HEADER_BYTES as usize];
        self.input.read_exact(&mut header)?;
        let Some(length) = length_of(&header) else { return self.resync().map(Some) };
        let Some(whole) = whole_bytes(length).filter(|&whole| whole <= left) else {
            return Ok(Some(self.torn(left)));
        };
        self.offset = offset + whole;
        if length > RECORD_BYTES_MAX {
            self.input.seek(SeekFrom::Start(self.offset))?;
            return Ok(Some(Item::Damage { offset, bytes: whole, reason: "the record is larger than 64 MiB" }));
        }
        let data = self.read_data(length)?;
        Ok(Some(match data {
            Some(data) => Item::Record { data, offset, end: self.offset },
            None => Item::Damage { offset, bytes: whole, reason: "the checksum of the record's data is wrong" },
        }))
    }

    fn torn(&mut self, left: u64) -> Item {
        let offset = self.offset;
        self.offset = self.len;
        Item::Damage { offset, bytes: left, reason: "the last record is incomplete" }
    }

    /// Reads data that fits into the file; `None` if its checksum is wrong.
    fn read_data(&mut self, length: u64) -> io::Result<Option<Vec<u8>>> {
        let mut data = Vec::new();
        (&mut self.input).take(length).read_to_end(&mut data)?;
        let mut crc = [0; FOOTER_BYTES as usize];
        self.input.read_exact(&mut crc)?;
        Ok((u32::from_le_bytes(crc) == masked_crc(&data)).then_some(data))
    }

    /// The length at `offset` is damaged: goes on at the next offset where a whole valid record lies.
    fn resync(&mut self) -> io::Result<Item> {
        let start = self.offset;
        let found = self.search(start + 1)?;
        self.offset = found.unwrap_or(self.len);
        self.input.seek(SeekFrom::Start(self.offset))?;
        let reason = match found {
            Some(_) => "the checksum of a record's length is wrong; reading goes on at the next valid record",
            None => "the checksum of a record's length is wrong, and no valid record follows",
        };
        Ok(Item::Damage { offset: start, bytes: self.offset - start, reason })
    }

    fn search(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut base = from;
        let mut reads_left = self.len.saturating_mul(SEARCH_READS_MAX);
        while self.len.saturating_sub(base) >= HEADER_BYTES {
            let mut window = Vec::new();
            self.input.seek(SeekFrom::Start(base))?;
            (&mut self.input).take(SEARCH_BYTES.min(self.len - base)).read_to_end(&mut window)?;
            for (position, header) in window.windows(HEADER_BYTES as usize).enumerate() {
                let candidate = base + position as u64;
                let Some(length) = length_of(header).filter(|&length| length <= RECORD_BYTES_MAX) else { continue };
                if self.is_whole(candidate, length)? {
                    return Ok(Some(candidate));
                }
                let Some(left) = reads_left.checked_sub(length) else { return Ok(None) };
                reads_left = left;
            }
            // The next window begins with the headers that this one cut off.
            let advanced = (window.len() as u64).saturating_sub(HEADER_BYTES - 1);
            if advanced == 0 {
                return Ok(None);
            }
            base += advanced;
        }
        Ok(None)
    }

    fn is_whole(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        if whole_bytes(length).is_none_or(|whole| whole > self.len - offset) {
            return Ok(false);
        }
        self.input.seek(SeekFrom::Start(offset + HEADER_BYTES))?;
        Ok(self.read_data(length)?.is_some())
    }
}

fn whole_bytes(length: u64) -> Option<u64> {
    length.checked_add(HEADER_BYTES + FOOTER_BYTES)
}

/// The length in a header, if its checksum is right.
fn length_of(header: &[u8]) -> Option<u64> {
    let (length, crc) = header.split_first_chunk::<8>()?;
    let crc = u32::from_le_bytes(*crc.first_chunk()?);
    (crc == masked_crc(length)).then_some(u64::from_le_bytes(*length))
}

/// CRC32C, rotated and shifted so that the checksum of data that holds checksums stays sound.
pub(super) fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}
