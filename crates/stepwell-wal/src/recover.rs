//! Replay: what the files hold, in LSN order, and what is wrong with them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, beside, write_atomically};
use stepwell_types::{Batch, Lsn, ProducerSequence};

use crate::{
    error::{WalError, unreadable},
    format::{FORMAT_VERSION, FileHeader, FrameHeader, read_file_header},
    reader::{layout, record},
    writer::is_full,
};

/// A batch as the log gives it back. Its points have the LSNs from `first_lsn` on.
#[derive(Debug, Clone, PartialEq)]
pub struct WalRecord {
    pub first_lsn: Lsn,
    pub producer: Option<ProducerSequence>,
    pub batch: Batch,
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// The LSN of the next point to be accepted.
    pub next_lsn: Lsn,
    /// Records and points handed out.
    pub records: u64,
    pub points: u64,
    pub torn_tail: Option<TornTail>,
    pub damaged: Vec<Damage>,
}

/// What a crash left of an unfinished write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}

/// A place where acknowledged points stood and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    pub detail: String,
    /// The points are among those from here on, and before the second where something tells.
    pub lsn: (Lsn, Option<Lsn>),
}

pub(crate) const SUFFIX: &str = ".wal";

pub(crate) fn file_name(first_lsn: Lsn) -> String {
    format!("{:020}{SUFFIX}", first_lsn.0)
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
    let path = path.to_owned();
    move |source| WalError::Io { what, path, source }
}

/// Log files in LSN order: (first LSN by name, path).
pub fn files(disk: &dyn Disk, dir: &Path) -> Result<Vec<(Lsn, PathBuf)>, WalError> {
    let entries = disk.list(dir).map_err(io_error("list", dir))?;
    let number = |name: &str| name.strip_suffix(SUFFIX)?.parse().ok().map(Lsn);
    let mut files: Vec<_> =
        entries.iter().filter_map(|entry| Some((number(&entry.name)?, dir.join(&entry.name)))).collect();
    files.sort();
    Ok(files)
}

pub(crate) struct Replay<'a> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) floor: Lsn,
    /// Whether tails are cut and copies of damaged files kept.
    pub(crate) may_write: bool,
    /// Told how many bytes of all files have been passed.
    pub(crate) passed: &'a dyn Fn(u64),
    /// Bytes of the files before the one that is being replayed.
    pub(crate) bytes_before: u64,
    pub(crate) apply: &'a mut dyn FnMut(WalRecord),
    pub(crate) report: ReplayReport,
}

impl Replay<'_> {
    /// Replays all files; with `may_write`, removes those without a frame and makes the last durable.
    pub(crate) fn run(&mut self, dir: &Path) -> Result<(), WalError> {
        self.report.next_lsn = self.floor;
        if self.may_write {
            remove_temporaries(&*self.disk, dir)?;
        }
        let files = files(&*self.disk, dir)?;
        // All points of a file that is followed by one at or below the floor are in segments: it is only kept for backups.
        let kept = files.windows(2).take_while(|pair| pair[1].0 <= self.floor).count();
        for (i, (first_lsn, path)) in files.iter().enumerate().skip(kept) {
            let expected = self.report.next_lsn;
            if *first_lsn > expected {
                let detail = format!("the points from LSN {expected} up to this file are in no file");
                self.damage(path, 0, &detail, (expected, Some(*first_lsn)));
            }
            let next_file = files.get(i + 1).map(|(first_lsn, _)| *first_lsn);
            let frames = self.file(path, *first_lsn, next_file)?;
            if frames == 0 && self.may_write {
                self.disk.remove(path).map_err(io_error("remove", path))?;
            }
        }
        Ok(())
    }

    /// Replays one file, followed by one that begins at `next_file`, and returns the number of frames it holds.
    fn file(&mut self, path: &Path, named_lsn: Lsn, next_file: Option<Lsn>) -> Result<usize, WalError> {
        let is_last = next_file.is_none();
        let file = self.disk.read(path).map_err(unreadable(path))?;
        let header = read_file_header(&file);
        if let FileHeader::UnknownVersion(actual) = header {
            return Err(WalError::UnknownVersion { path: path.to_owned(), actual, newest: FORMAT_VERSION });
        }
        let layout = layout(&file, named_lsn.0);
        let damaged_before = self.report.damaged.len();
        if header == FileHeader::Bad && (!layout.frames.is_empty() || !is_last) {
            self.damage(
                path,
                0,
                "the file header is bad; its frames are read all the same",
                (named_lsn, Some(named_lsn)),
            );
        }
        // A file is followed by another only once all of it is durable, so only the last can be torn.
        let torn_at = layout.torn_at().filter(|_| is_last);
        let end = torn_at.or(layout.zeros_at).unwrap_or(file.len());
        if let Some(at) = layout.zeros_at.filter(|_| !is_last) {
            let detail = format!("{} bytes are zeros where frames should be", file.len() - at);
            self.damage(path, at, &detail, (layout.lsn_before(at, named_lsn), next_file));
        }
        for gap in layout.gaps.iter().filter(|gap| gap.offset < end) {
            let detail = format!("{} bytes are not a whole frame", gap.bytes);
            let lsn = (layout.lsn_before(gap.offset, named_lsn), layout.lsn_behind(gap.offset).or(next_file));
            self.damage(path, gap.offset, &detail, lsn);
        }
        self.report.next_lsn = self.report.next_lsn.max(named_lsn);
        let frames = &layout.frames[..layout.frames.partition_point(|(offset, _)| *offset < end)];
        let is_rewritten = self.may_write && is_last && !frames.is_empty();
        let disk = self.disk.clone();
        // Beside each other: the one waits for the disk, the other computes.
        let (rewritten, ()) = beside(
            "stepwell-rewrite",
            || if is_rewritten { make_durable(&*disk, path, &file[..end]) } else { Ok(()) },
            || self.hand_out(path, &file, frames),
        );
        // So a crash leaves a file that was just begun; a header that is damaged later looks the same, and there is nothing behind it.
        let is_begun = is_last && header == FileHeader::Bad && layout.frames.is_empty() && !file.is_empty();
        if let Some(offset) = torn_at.or(is_begun.then_some(0)) {
            let (offset, bytes) = (offset as u64, (file.len() - offset) as u64);
            self.report.torn_tail = Some(TornTail { path: path.to_owned(), offset, bytes });
        }
        if self.may_write && self.report.damaged.len() > damaged_before {
            self.keep_copy(path, &file)?;
        }
        rewritten?;
        self.bytes_before += file.len() as u64;
        (self.passed)(self.bytes_before);
        Ok(frames.len())
    }

    /// Decodes frames of a file and hands out their records.
    fn hand_out(&mut self, path: &Path, file: &[u8], frames: &[(usize, FrameHeader)]) {
        for (offset, header) in frames {
            let next_lsn = Lsn(header.first_lsn.saturating_add(u64::from(header.points)));
            if next_lsn <= self.floor {
                continue;
            }
            self.report.next_lsn = self.report.next_lsn.max(next_lsn);
            match record(file, *offset, header) {
                Some(record) => {
                    (self.passed)(self.bytes_before + *offset as u64);
                    self.report.records += 1;
                    self.report.points += u64::from(header.points);
                    (self.apply)(record);
                }
                None => {
                    let detail = "the checksum of the frame is good, its content is not a batch";
                    self.damage(path, *offset, detail, (Lsn(header.first_lsn), Some(next_lsn)));
                }
            }
        }
    }

    fn damage(&mut self, path: &Path, offset: usize, detail: &str, lsn: (Lsn, Option<Lsn>)) {
        let damage = Damage { path: path.to_owned(), offset: offset as u64, detail: detail.to_owned(), lsn };
        self.report.damaged.push(damage);
    }

    /// The file goes when its points are in segments; what might still be dug out of it by hand stays.
    fn keep_copy(&self, path: &Path, file: &[u8]) -> Result<(), WalError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".damaged");
        let copy = PathBuf::from(name);
        if self.disk.try_exists(&copy).map_err(io_error("look for", &copy))? {
            return Ok(());
        }
        write_atomically(&*self.disk, &copy, file).map_err(io_error("write", &copy))
    }
}

/// Removes what a crash, or a full disk, left of a file being rewritten.
fn remove_temporaries(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    for entry in disk.list(dir).map_err(io_error("list", dir))? {
        if entry.name.ends_with(".tmp") {
            let path = dir.join(entry.name);
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// What was replayed from the last file may be in the page cache only: the process was killed before its fsync, or the
/// fsync failed, after which the kernel calls the bytes clean and no later fsync writes them. They are about to be
/// served, and their repeats answered as duplicates, so they are written anew, without the torn tail (I1, I3); on a full
/// disk over themselves, which changes no byte but makes the kernel write them.
fn make_durable(disk: &dyn Disk, path: &Path, whole: &[u8]) -> Result<(), WalError> {
    match write_atomically(disk, path, whole) {
        Err(error) if is_full(&error) => {
            if let Some(dir) = path.parent() {
                remove_temporaries(disk, dir)?;
            }
            disk.overwrite(path, whole).map_err(io_error("write over", path))
        }
        result => result.map_err(io_error("rewrite", path)),
    }
}
