//! Pages of a SQLite file with checksums, and frames of its log; no I/O.
//!
//! SQLite itself would serve a flipped byte. So each page reserves its last eight bytes, which SQLite then leaves alone: the CRC-32C of
//! the page's place in the file (its offset, eight bytes, not stored) and content, and a sum of its words, both little-endian. The
//! place makes a page valid nowhere else; the two together tell which bit was flipped if one was.

/// Bytes that each page reserves at its end.
pub(crate) const RESERVED_BYTES: usize = 8;
/// Where the header says how many bytes pages reserve.
pub(crate) const RESERVED_AT: usize = 20;
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of a page in all files of ours, SQLite's default.
pub(crate) const PAGE_BYTES: usize = 4_096;
const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The sums of pairs of words that SQLite uses in its log, after the sums of what came before.
fn sums(data: &[u8], mut before: (u32, u32), word: fn([u8; 4]) -> u32) -> (u32, u32) {
    for pair in data.as_chunks::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *pair;
        before.0 = before.0.wrapping_add(word([a, b, c, d])).wrapping_add(before.1);
        before.1 = before.1.wrapping_add(word([e, f, g, h])).wrapping_add(before.0);
    }
    before
}

/// CRC and sum of a page's content.
fn checksum(content: &[u8], offset: u64) -> u64 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), content);
    let sum = sums(content, (0, 0), u32::from_le_bytes).1;
    u64::from(crc) | u64::from(sum) << 32
}

/// Whether a page is as it was written.
pub(crate) fn is_good(page: &[u8], offset: u64) -> bool {
    let parts = page.split_last_chunk::<RESERVED_BYTES>();
    parts.is_some_and(|(content, stored)| checksum(content, offset) == u64::from_le_bytes(*stored))
}

/// Puts the checksum into a page.
pub(crate) fn stamp(page: &mut [u8], offset: u64) {
    if let Some((content, stored)) = page.split_last_chunk_mut::<RESERVED_BYTES>() {
        *stored = checksum(content, offset).to_le_bytes();
    }
}

/// Turns the one bit back that was flipped in a damaged page, if it was one.
pub(crate) fn mend_bit(page: &mut [u8], offset: u64) -> bool {
    let Some((content, stored)) = page.split_last_chunk_mut::<RESERVED_BYTES>() else { return false };
    let (expected, found) = (checksum(content, offset), u64::from_le_bytes(*stored));
    if (expected ^ found).count_ones() == 1 {
        *stored = expected.to_le_bytes();
        return true;
    }
    // No two bits of a page change its CRC alike, so that the change says which it was. The sum, which knows nothing of that, must agree.
    let Some((byte, bit)) = flipped_bit(content.len(), (expected ^ found) as u32) else { return false };
    content[byte] ^= 1 << bit;
    if checksum(content, offset) == found {
        return true;
    }
    content[byte] ^= 1 << bit;
    false
}

/// The bit of so many bytes that changes their CRC-32C by `change`.
fn flipped_bit(bytes: usize, change: u32) -> Option<(usize, u32)> {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let shifted = |mut state: u32| {
        (0..8).for_each(|_| state = (state >> 1) ^ (if state & 1 == 1 { POLYNOMIAL } else { 0 }));
        state
    };
    // What each bit of the last byte changes; a byte behind it shifts that on.
    let mut changes: [u32; 8] = std::array::from_fn(|bit| shifted(1 << bit));
    for byte in (0..bytes).rev() {
        if let Some(bit) = changes.iter().position(|of_bit| *of_bit == change) {
            return Some((byte, bit as u32));
        }
        changes = changes.map(shifted);
    }
    None
}

/// One frame of the log.
struct Frame {
    offset: usize,
    salts: [u8; 8],
    ends_transaction: bool,
    /// Its checksum fits it and the checksum of the frame before, right or wrong as that is.
    is_good: bool,
}

impl Frame {
    /// Whether it is the end of a transaction, though its content or its salts do not fit: what stands behind it is of a later one. The
    /// checksum covers no salts; and where it is wrong, they tell that the header is of this log and was not torn.
    fn surely_ended(&self, salts: [u8; 8]) -> bool {
        const SECTOR_BYTES: usize = 512;
        let is_in_one_sector = (self.offset + 4) / SECTOR_BYTES == (self.offset + 15) / SECTOR_BYTES;
        self.ends_transaction && (self.is_good || (self.salts == salts && is_in_one_sector))
    }
}

/// Where a log is damaged: a frame that does not fit, behind which a later transaction stands, which was begun when that of the frame
/// had been synced. SQLite would take it for the end of the log and forget in silence what follows. A frame of the last transaction
/// cannot be told from a torn write.
pub(crate) fn log_damage(log: &[u8]) -> Option<(u64, String)> {
    if log.len() <= LOG_HEADER_BYTES {
        return None;
    }
    let word: fn([u8; 4]) -> u32 = if log[3] & 1 == 1 { u32::from_be_bytes } else { u32::from_le_bytes };
    let stored = |at: usize| -> Option<(u32, u32)> {
        let sum = |at: usize| Some(u32::from_be_bytes(*log.get(at..)?.first_chunk()?));
        Some((sum(at)?, sum(at + 4)?))
    };
    let is_header_good = stored(24) == Some(sums(&log[..24], (0, 0), word));
    let page = PAGE_BYTES;
    let mut frames = Vec::new();
    let mut before = stored(24)?;
    for offset in (LOG_HEADER_BYTES..).step_by(FRAME_HEADER_BYTES + page) {
        let Some(frame) = log.get(offset..offset + FRAME_HEADER_BYTES + page) else { break };
        let (header, content) = frame.split_at(FRAME_HEADER_BYTES);
        let expected = sums(content, sums(&header[..8], before, word), word);
        before = stored(offset + 16)?;
        let salts = *header[8..].first_chunk()?;
        let ends_transaction = header[4..8] != [0; 4];
        frames.push(Frame { offset, salts, ends_transaction, is_good: before == expected });
    }
    let header_salts: [u8; 8] = *log[16..].first_chunk()?;
    let is_current = |frame: &Frame| frame.is_good && (!is_header_good || frame.salts == header_salts);
    let first_bad = if is_header_good { frames.iter().position(|frame| !is_current(frame))? } else { 0 };
    let behind = &frames[first_bad..];
    let commit = match is_header_good && behind[0].surely_ended(header_salts) {
        true => 0,
        false => behind.iter().skip(1).position(|frame| is_current(frame) && frame.ends_transaction)? + 1,
    };
    let salts = if commit == 0 { header_salts } else { behind[commit].salts };
    behind[commit + 1..].iter().find(|frame| is_current(frame) && frame.salts == salts)?;
    let (offset, what) = if is_header_good { (behind[0].offset, "a frame") } else { (0, "the header") };
    Some((
        offset as u64,
        format!("{what} of the log does not fit its checksum, and later transactions stand behind it"),
    ))
}
