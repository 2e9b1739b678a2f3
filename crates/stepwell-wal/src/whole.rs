//! The whole frames of one file, for who copies the log elsewhere.

use std::path::Path;

use stepwell_types::{Lsn, ProducerSequence};

use crate::{
    error::WalError,
    format::{FORMAT_VERSION, FRAME_HEADER_BYTES, FileHeader, FrameHeader, read_file_header},
    payload::decode_producer,
    reader::layout,
    recover::{Damage, SUFFIX},
};

/// A whole frame: one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    offset: usize,
    /// Offset of the first byte behind it.
    pub end: usize,
    /// Of its first point.
    pub first_lsn: Lsn,
    /// Behind its last point.
    pub next_lsn: Lsn,
}

impl Frame {
    fn new(offset: usize, header: &FrameHeader) -> Self {
        Self {
            offset,
            end: offset + FRAME_HEADER_BYTES + header.payload_bytes as usize,
            first_lsn: Lsn(header.first_lsn),
            next_lsn: Lsn(header.first_lsn.saturating_add(u64::from(header.points))),
        }
    }

    /// Who sent the batch, of the file in which the frame was found.
    pub fn producer(&self, file: &[u8]) -> Option<ProducerSequence> {
        decode_producer(file.get(self.offset + FRAME_HEADER_BYTES..self.end)?)
    }
}

/// What a file holds up to where its whole frames end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WholeFrames {
    /// In LSN order.
    pub frames: Vec<Frame>,
    /// Places where acknowledged points stood and cannot be read.
    pub damaged: Vec<Damage>,
}

impl WholeFrames {
    /// Offset behind the last frame; 0 without one, for the header alone is not worth a copy.
    pub fn end(&self) -> usize {
        self.frames.last().map_or(0, |frame| frame.end)
    }
}

/// Finds the whole frames of the bytes of a file, the way replay does. Of the last file a torn tail is left out, for it may be
/// a write that is under way; in one that another follows it is damage.
pub fn whole_frames(path: &Path, file: &[u8], is_last: bool) -> Result<WholeFrames, WalError> {
    let first_lsn = match read_file_header(file) {
        FileHeader::Valid { first_lsn } => Some(first_lsn),
        FileHeader::UnknownVersion(actual) => {
            return Err(WalError::UnknownVersion { path: path.to_owned(), actual, newest: FORMAT_VERSION });
        }
        FileHeader::Bad => None,
    };
    let layout = layout(file, first_lsn.unwrap_or(0));
    let mut damaged = Vec::new();
    let mut damage = |offset: usize, detail: &str| {
        let lsn = (layout.lsn_before(offset, Lsn(first_lsn.unwrap_or(0))), layout.lsn_behind(offset));
        damaged.push(Damage { path: path.to_owned(), offset: offset as u64, detail: detail.to_owned(), lsn });
    };
    if first_lsn.is_none() && (!layout.frames.is_empty() || !is_last) {
        damage(0, "the file header is bad");
    }
    let torn_at = layout.torn_at().filter(|_| is_last);
    let end = torn_at.or(layout.zeros_at.filter(|_| is_last)).unwrap_or(file.len());
    if let Some(at) = layout.zeros_at.filter(|_| !is_last) {
        damage(at, "zeros stand where frames should be");
    }
    for gap in layout.gaps.iter().filter(|gap| gap.offset < end) {
        damage(gap.offset, &format!("{} bytes are not a whole frame", gap.bytes));
    }
    let whole = layout.frames.iter().filter(|(offset, _)| *offset < end);
    Ok(WholeFrames { frames: whole.map(|(offset, header)| Frame::new(*offset, header)).collect(), damaged })
}

/// The first LSN that a file of this name may hold; `None` if it is no name of a log file.
pub fn first_lsn_of(file_name: &str) -> Option<Lsn> {
    file_name.strip_suffix(SUFFIX)?.parse().ok().map(Lsn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EncodedFrame, encode_frame, format::file_header};
    use stepwell_types::{Batch, SeriesKey};

    fn frame(producer: Option<ProducerSequence>) -> EncodedFrame {
        let batch = Batch::new(vec![SeriesKey::new("1", "m", "r")], vec![0, 0], vec![1, 2], vec![0, 0], vec![0.5, 1.5]);
        encode_frame(&batch.unwrap(), producer.as_ref()).unwrap()
    }

    /// A file of two frames, and where each ends.
    fn file() -> (Vec<u8>, [usize; 2]) {
        let mut file = file_header(10).to_vec();
        let producer = ProducerSequence { producer: "p".into(), sequence: 7 };
        let at = file.len() as u64;
        frame(Some(producer)).write(Lsn(10), Lsn(10), at, &mut file);
        let first = file.len();
        frame(None).write(Lsn(12), Lsn(12), first as u64, &mut file);
        let ends = [first, file.len()];
        (file, ends)
    }

    #[test]
    fn frames_say_what_they_hold_and_who_sent_it() {
        let (file, ends) = file();
        let whole = whole_frames(Path::new("f"), &file, false).unwrap();
        let lsns: Vec<_> = whole.frames.iter().map(|frame| (frame.first_lsn.0, frame.next_lsn.0, frame.end)).collect();
        assert_eq!(lsns, [(10, 12, ends[0]), (12, 14, ends[1])]);
        let producer = whole.frames[0].producer(&file).unwrap();
        assert_eq!((&*producer.producer, producer.sequence, whole.frames[1].producer(&file)), ("p", 7, None));
        assert_eq!((whole.end(), whole.damaged), (ends[1], Vec::new()));
    }

    #[test]
    fn a_tail_under_way_is_left_out_of_the_last_file_and_is_damage_in_another() {
        let (file, ends) = file();
        for cut in ends[0]..ends[1] {
            let mut torn = file[..cut].to_vec();
            torn.resize(cut + 100, 0);
            let last = whole_frames(Path::new("f"), &torn, true).unwrap();
            assert_eq!((last.end(), last.damaged.len()), (ends[0], 0), "cut at {cut}");
            assert!(!whole_frames(Path::new("f"), &torn, false).unwrap().damaged.is_empty(), "cut at {cut}");
        }
        let mut durable = file.clone();
        // Behind it stands a frame that says it was durable.
        durable[40] ^= 1;
        assert_eq!(whole_frames(Path::new("f"), &durable, true).unwrap().damaged[0].offset, 32);
        assert_eq!(whole_frames(Path::new("f"), &file[..20], true).unwrap(), WholeFrames::default());
    }
}
