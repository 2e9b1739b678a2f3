//! The log as far as it goes back without a gap.

use std::path::PathBuf;

use stepwell_env::MappedFile;
use stepwell_types::Lsn;
use stepwell_wal::{Frame, whole_frames};

use super::error::BackupError;

/// The bytes of one file of the log.
pub(crate) struct LogContent {
    /// Where they were read.
    pub(crate) path: PathBuf,
    /// Its name below `wal/`.
    pub(crate) name: String,
    /// The first LSN that it may hold, by its name.
    pub(crate) first_lsn: Lsn,
    pub(crate) content: MappedFile,
}

/// A file of a run, with its whole frames; it has one at least.
pub(crate) struct LogFile {
    pub(crate) source: LogContent,
    pub(crate) frames: Vec<Frame>,
}

impl LogFile {
    /// Offset behind its last whole frame.
    pub(crate) fn end(&self) -> usize {
        self.frames.last().map_or(0, |frame| frame.end)
    }
}

/// Files whose frames follow one another without a gap, up to the end of the log. Invariant: no point from the manifest's
/// floor on is missing.
pub(crate) struct LogRun {
    pub(crate) files: Vec<LogFile>,
    /// The first LSN in it; `next` if there is none.
    pub(crate) from: Lsn,
    /// Behind the last point of the log and the segments.
    pub(crate) next: Lsn,
}

impl LogRun {
    /// Lines files up that are in LSN order. Damage to points that are in segments too only shortens the run.
    pub(crate) fn line_up(contents: Vec<LogContent>, floor: Lsn) -> Result<Self, BackupError> {
        let mut files: Vec<LogFile> = Vec::new();
        let mut next: Option<Lsn> = None;
        let mut begun: Option<(Lsn, PathBuf)> = None;
        let followers: Vec<Lsn> = contents.iter().skip(1).map(|content| content.first_lsn).collect();
        for (i, source) in contents.into_iter().enumerate() {
            let is_last = i == followers.len();
            let is_in_segments = followers.get(i).is_some_and(|follower| *follower <= floor);
            let whole = whole_frames(&source.path, source.content.bytes(), is_last)?;
            let breaks = |frames: &[Frame]| {
                let pairs = frames.windows(2).find(|pair| pair[0].next_lsn != pair[1].first_lsn);
                pairs.map(|pair| {
                    (0, format!("the points from LSN {} to {} are in no frame", pair[0].next_lsn, pair[1].first_lsn))
                })
            };
            let damage = whole.damaged.first().map(|damage| (damage.offset, damage.detail.clone()));
            match damage.or_else(|| breaks(&whole.frames)) {
                Some((offset, detail)) if !is_in_segments => {
                    return Err(BackupError::Damaged { path: source.path, offset, detail });
                }
                Some((offset, detail)) => {
                    tracing::warn!(path = %source.path.display(), offset, detail, "damage in a log file that is only kept; the log before it is left out");
                    (files, next) = (Vec::new(), None);
                    continue;
                }
                None => {}
            }
            let (Some(first), Some(last)) = (whole.frames.first(), whole.frames.last()) else {
                begun = is_last.then_some((source.first_lsn, source.path));
                continue;
            };
            if next.is_some_and(|next| next != first.first_lsn) {
                missing(next.unwrap_or(floor), first.first_lsn, floor, &source.path)?;
                files.clear();
            }
            next = Some(last.next_lsn);
            files.push(LogFile { frames: whole.frames, source });
        }
        let end = next.unwrap_or(floor);
        if end < floor {
            files.clear();
        }
        let next = end.max(floor);
        // A file is begun with the next LSN: what is below it was acknowledged, whether this file has a frame yet or not.
        if let Some((first_lsn, path)) = begun.filter(|(first_lsn, _)| *first_lsn > next) {
            missing(next, first_lsn, floor, &path)?;
        }
        let first = files.first().and_then(|file| file.frames.first()).map(|frame| frame.first_lsn);
        if let (Some(first), Some(file)) = (first, files.first()) {
            missing(floor, first, floor, &file.source.path)?;
        }
        Ok(Self { from: first.unwrap_or(next), next, files })
    }

    /// All frames with the bytes that they are in.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (&Frame, &[u8])> {
        self.files.iter().flat_map(|file| file.frames.iter().map(|frame| (frame, &file.source.content.bytes()[..])))
    }
}

/// Fails if points that no segment has are in no file.
fn missing(expected: Lsn, found: Lsn, floor: Lsn, path: &std::path::Path) -> Result<(), BackupError> {
    if found <= floor {
        return Ok(());
    }
    let detail = format!("the points from LSN {expected} up to {found}, with which this file begins, are in no file");
    Err(BackupError::Damaged { path: path.to_owned(), offset: 0, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(first_lsn: u64) -> LogContent {
        let name = format!("{first_lsn:020}.wal");
        LogContent { path: name.clone().into(), name, first_lsn: Lsn(first_lsn), content: Vec::new().into() }
    }

    /// With a manifest of an earlier time, or none, the backup had nothing in it and succeeded.
    #[test]
    fn i11_a_log_that_begins_above_the_floor_is_damaged_though_it_has_no_frame_yet() {
        let error = LogRun::line_up(vec![begun(31)], Lsn(1)).map(drop).unwrap_err();
        assert!(
            matches!(error, BackupError::Damaged { .. }) && error.to_string().contains("LSN 1 up to 31"),
            "{error}"
        );
        for (first_lsn, floor) in [(31, 31), (1, 1), (7, 31)] {
            let run = LogRun::line_up(vec![begun(first_lsn)], Lsn(floor)).unwrap();
            assert_eq!((run.files.len(), run.from, run.next), (0, Lsn(floor), Lsn(floor)));
        }
    }
}
