//! Walking the frames of one file.

use std::path::{Path, PathBuf};

use stepwell_env::Disk;
use stepwell_types::Lsn;

use crate::{
    error::{WalError, unreadable},
    format::{
        FILE_HEADER_BYTES, FORMAT_VERSION, FRAME_HEADER_BYTES, FRAME_MAGIC, FileHeader, FrameHeader, PAYLOAD_BYTES_MAX,
        read_file_header,
    },
    payload::decode_payload,
    recover::WalRecord,
};

/// A place that is not a whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    /// A later frame says that what stood here was durable, so that it was acknowledged.
    pub(crate) was_synced: bool,
}

/// What a file holds, found without decoding payloads.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) frames: Vec<(usize, FrameHeader)>,
    pub(crate) gaps: Vec<Gap>,
    /// Where the zeros begin with which the file ends: room for frames, in the last file.
    pub(crate) zeros_at: Option<usize>,
}

impl Layout {
    /// The LSN that the frames before a place end at.
    pub(crate) fn lsn_before(&self, offset: usize, first_lsn: Lsn) -> Lsn {
        let before = self.frames.iter().rev().find(|(at, _)| *at < offset);
        before.map_or(first_lsn, |(_, header)| Lsn(header.first_lsn.saturating_add(u64::from(header.points))))
    }

    /// The first LSN of the frame that is the first behind a place.
    pub(crate) fn lsn_behind(&self, offset: usize) -> Option<Lsn> {
        self.frames.iter().find(|(at, _)| *at > offset).map(|(_, header)| Lsn(header.first_lsn))
    }

    /// Offset of the torn tail: the first gap that nothing behind it proves to be damage.
    pub(crate) fn torn_at(&self) -> Option<usize> {
        self.gaps.iter().find(|gap| !gap.was_synced).map(|gap| gap.offset)
    }
}

/// The frame header at `offset`, if its checksum is good.
fn header_at(file: &[u8], offset: usize) -> Option<FrameHeader> {
    let header = FrameHeader::decode(file.get(offset..)?, offset as u64)?;
    (header.payload_bytes as usize <= PAYLOAD_BYTES_MAX).then_some(header)
}

/// Whether the payload that belongs to the header at `offset` is whole and its checksum good.
fn has_payload(file: &[u8], offset: usize, header: &FrameHeader) -> bool {
    let payload = file.get(offset + FRAME_HEADER_BYTES..end_of(offset, header));
    payload.is_some_and(|payload| crc32c::crc32c(payload) == header.payload_crc)
}

fn end_of(offset: usize, header: &FrameHeader) -> usize {
    offset + FRAME_HEADER_BYTES + header.payload_bytes as usize
}

/// Finds all whole frames, and the gaps between and behind them. Where a payload is bad but its header good, the walk goes on
/// behind that frame; where the header is bad, at the next place that holds a good one.
pub(crate) fn layout(file: &[u8], first_lsn: u64) -> Layout {
    let mut layout = Layout::default();
    let mut offset = FILE_HEADER_BYTES.min(file.len());
    let mut next_lsn = first_lsn;
    // (offset, bytes, LSN that would have stood there)
    let mut gaps: Vec<(usize, usize, u64)> = Vec::new();
    while offset < file.len() {
        let header = header_at(file, offset);
        if let Some(header) = header.filter(|header| has_payload(file, offset, header)) {
            next_lsn = header.first_lsn.saturating_add(u64::from(header.points));
            layout.frames.push((offset, header));
            offset = end_of(offset, &header);
            continue;
        }
        if file[offset..].iter().all(|&byte| byte == 0) {
            layout.zeros_at = Some(offset);
            break;
        }
        let resume = match header {
            Some(header) => end_of(offset, &header).min(file.len()),
            None => (offset + 1..file.len())
                .find(|&at| file[at..].starts_with(FRAME_MAGIC) && header_at(file, at).is_some())
                .unwrap_or(file.len()),
        };
        gaps.push((offset, resume - offset, next_lsn));
        offset = resume;
    }
    let synced =
        |offset: usize, lsn: u64| layout.frames.iter().any(|(at, header)| *at > offset && header.synced_below > lsn);
    layout.gaps =
        gaps.into_iter().map(|(offset, bytes, lsn)| Gap { offset, bytes, was_synced: synced(offset, lsn) }).collect();
    layout
}

/// The record of a frame that [`layout`] found; `None` if its checksum is good and its content is not.
pub(crate) fn record(file: &[u8], offset: usize, header: &FrameHeader) -> Option<WalRecord> {
    decode_payload(header, file.get(offset + FRAME_HEADER_BYTES..end_of(offset, header))?)
}

/// What stands in one log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalFileInfo {
    pub path: PathBuf,
    pub bytes: u64,
    /// `None` where the file header is bad.
    pub first_lsn: Option<u64>,
    pub frames: u64,
    pub points: u64,
    /// First and last LSN of its points.
    pub lsn: Option<(u64, u64)>,
    /// Offset and bytes of places that are not whole frames.
    pub gaps: Vec<(u64, u64)>,
    /// Bytes at the end that are zeros, to be written over.
    pub zeros: u64,
}

/// Looks at one file without changing it.
pub fn inspect(disk: &dyn Disk, path: &Path) -> Result<WalFileInfo, WalError> {
    let path = path.to_owned();
    let file = disk.read(&path).map_err(unreadable(&path))?;
    let first_lsn = match read_file_header(&file) {
        FileHeader::Valid { first_lsn } => Some(first_lsn),
        FileHeader::UnknownVersion(actual) => {
            return Err(WalError::UnknownVersion { path, actual, newest: FORMAT_VERSION });
        }
        FileHeader::Bad => None,
    };
    let layout = layout(&file, first_lsn.unwrap_or(0));
    let with_points = || layout.frames.iter().map(|(_, header)| header).filter(|header| header.points > 0);
    let first = with_points().map(|header| header.first_lsn).min();
    let last = with_points().map(|header| header.first_lsn.saturating_add(u64::from(header.points) - 1)).max();
    Ok(WalFileInfo {
        path,
        zeros: layout.zeros_at.map_or(0, |at| file.len() - at) as u64,
        bytes: file.len() as u64,
        first_lsn,
        frames: layout.frames.len() as u64,
        points: with_points().map(|header| u64::from(header.points)).sum(),
        lsn: first.zip(last),
        gaps: layout.gaps.iter().map(|gap| (gap.offset as u64, gap.bytes as u64)).collect(),
    })
}
