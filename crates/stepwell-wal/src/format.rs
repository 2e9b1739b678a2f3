//! Headers of files and frames; no I/O.

/// The version written; the newest read.
pub const FORMAT_VERSION: u32 = 1;
pub(crate) const FILE_MAGIC: &[u8; 8] = b"SWWALOG1";
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"SWFR";
pub(crate) const FILE_HEADER_BYTES: usize = 32;
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// Largest payload: a limit on what a damaged length can make a reader do.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;
const KIND_POINTS: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    pub(crate) first_lsn: u64,
    pub(crate) synced_below: u64,
    pub(crate) points: u32,
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| u32::from_le_bytes(*b))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
}

pub(crate) fn file_header(first_lsn: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(FILE_MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&first_lsn.to_le_bytes());
    let crc = header_crc(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Of all bytes but those of the checksum itself, 12..16 in both headers.
fn header_crc(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..])
}

/// The checksum of a frame header goes on over its place, so that the bytes of a frame are a frame nowhere else: not where
/// a disk misplaced them, nor within a payload that holds them as values.
fn frame_crc(header: &[u8; FRAME_HEADER_BYTES], offset: u64) -> u32 {
    crc32c::crc32c_append(header_crc(header), &offset.to_le_bytes())
}

/// What the start of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileHeader {
    Valid { first_lsn: u64 },
    UnknownVersion(u32),
    Bad,
}

pub(crate) fn read_file_header(file: &[u8]) -> FileHeader {
    let Some(header) = file.first_chunk::<FILE_HEADER_BYTES>() else { return FileHeader::Bad };
    if &header[..8] != FILE_MAGIC || u32_at(header, 12) != Some(header_crc(header)) {
        return FileHeader::Bad;
    }
    match (u32_at(header, 8), u64_at(header, 16)) {
        (Some(FORMAT_VERSION), Some(first_lsn)) => FileHeader::Valid { first_lsn },
        (Some(version), _) => FileHeader::UnknownVersion(version),
        _ => FileHeader::Bad,
    }
}

impl FrameHeader {
    /// The header as it stands at `offset` of a file.
    pub(crate) fn encode(&self, offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..4].copy_from_slice(FRAME_MAGIC);
        header[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        header[8..12].copy_from_slice(&self.payload_crc.to_le_bytes());
        header[16..24].copy_from_slice(&self.first_lsn.to_le_bytes());
        header[24..32].copy_from_slice(&self.synced_below.to_le_bytes());
        header[32..36].copy_from_slice(&self.points.to_le_bytes());
        header[36] = KIND_POINTS;
        let crc = frame_crc(&header, offset);
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// The header at the start of `bytes`, which stand at `offset` of a file, if there is a valid one.
    pub(crate) fn decode(bytes: &[u8], offset: u64) -> Option<Self> {
        let header = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        if &header[..4] != FRAME_MAGIC || u32_at(header, 12)? != frame_crc(header, offset) || header[36] != KIND_POINTS
        {
            return None;
        }
        Some(Self {
            payload_bytes: u32_at(header, 4)?,
            payload_crc: u32_at(header, 8)?,
            first_lsn: u64_at(header, 16)?,
            synced_below: u64_at(header, 24)?,
            points: u32_at(header, 32)?,
        })
    }
}
