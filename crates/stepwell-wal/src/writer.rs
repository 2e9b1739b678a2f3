//! The one writer of the log.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, WriteFile, is_out_of_files};
use stepwell_types::Lsn;

use crate::{
    error::{WalError, unreadable},
    format::{FILE_HEADER_BYTES, file_header},
    payload::EncodedFrame,
    recover::{Replay, ReplayReport, WalRecord, file_name, files, io_error},
};

/// The log, open for appending. Appended frames are in memory until [`Wal::sync`], which writes and syncs them together.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    current: Current,
    /// Frames appended and not yet written.
    pending: Vec<u8>,
    pending_next: Lsn,
    /// All points below are durable.
    synced_below: Lsn,
    /// Why nothing more is taken (I8).
    poisoned: Option<String>,
}

struct Current {
    path: PathBuf,
    first_lsn: Lsn,
    file: Box<dyn WriteFile>,
    /// Bytes known to be durable.
    synced_bytes: u64,
    /// Zeros behind them, at most.
    zeros_ahead: u64,
}

/// Zeros written at a time behind the last frame, bytes. With them the sync of a small group need not make a new length
/// durable, which takes the file system longer than the bytes do.
const ZEROS_AHEAD: u64 = 1 << 20;
/// Groups up to this size go over zeros, bytes; for larger ones it would only be more to write.
const SMALL_GROUP_BYTES_MAX: usize = 64 << 10;

impl Wal {
    /// Replays every record with a point at or above `floor`, in LSN order, cuts a torn tail, and starts a new file.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        floor: Lsn,
        apply: &mut dyn FnMut(WalRecord),
    ) -> Result<(Self, ReplayReport), WalError> {
        Self::open_watched(disk, dir, floor, &|_| (), apply)
    }

    /// The same, telling `passed` now and then how many bytes of all files have been replayed.
    pub fn open_watched(
        disk: Arc<dyn Disk>,
        dir: &Path,
        floor: Lsn,
        passed: &dyn Fn(u64),
        apply: &mut dyn FnMut(WalRecord),
    ) -> Result<(Self, ReplayReport), WalError> {
        let report = ReplayReport::default();
        let mut replay = Replay { disk: disk.clone(), floor, may_write: true, passed, bytes_before: 0, apply, report };
        replay.run(dir)?;
        let report = replay.report;
        let next = report.next_lsn;
        let current = Current::create(&*disk, dir, next)?;
        let dir = dir.to_owned();
        let pending = Vec::new();
        Ok((Self { disk, dir, current, pending, pending_next: next, synced_below: next, poisoned: None }, report))
    }

    /// Replays as [`Wal::open`] does, and changes nothing.
    pub fn replay_read_only(
        disk: Arc<dyn Disk>,
        dir: &Path,
        floor: Lsn,
        apply: &mut dyn FnMut(WalRecord),
    ) -> Result<ReplayReport, WalError> {
        let report = ReplayReport::default();
        let mut replay = Replay { disk, floor, may_write: false, passed: &|_| (), bytes_before: 0, apply, report };
        replay.run(dir)?;
        Ok(replay.report)
    }

    /// Takes a frame whose first point has `first_lsn`. It is durable once [`Wal::sync`] has returned.
    pub fn append(&mut self, first_lsn: Lsn, frame: &EncodedFrame) -> Result<(), WalError> {
        self.check()?;
        let offset = self.current.synced_bytes + self.pending.len() as u64;
        frame.write(first_lsn, self.synced_below, offset, &mut self.pending);
        self.pending_next = Lsn(first_lsn.0 + frame.points() as u64);
        Ok(())
    }

    /// Writes what was appended and returns when it is durable. On [`WalError::DiskFull`] nothing of it is in the log, and
    /// the next append may succeed; any other failure poisons the log: what the disk holds then is only known by a replay
    /// (after a failed fsync the page cache may claim what the disk does not have).
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        if let Err(source) = self.current.append(&pending) {
            return Err(self.append_failed(source));
        }
        if let Err(source) = self.current.file.sync() {
            return Err(self.poison("sync", source));
        }
        self.current.synced_bytes += pending.len() as u64;
        self.synced_below = self.pending_next;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    /// Later frames go to a new file, the first point of which is `next_lsn`. Everything appended has been synced. On
    /// [`WalError::DiskFull`] and [`WalError::OutOfFiles`] they go on to the present one, and a later try may succeed.
    pub fn rotate(&mut self, next_lsn: Lsn) -> Result<(), WalError> {
        self.sync()?;
        if next_lsn == self.current.first_lsn {
            return Ok(());
        }
        // Zeros are in the last file only: in one that another follows they would be damage.
        self.cut_zeros()?;
        match Current::create(&*self.disk, &self.dir, next_lsn) {
            Ok(next) => {
                self.current = next;
                Ok(())
            }
            // The present file goes on; so no file that claims its later LSNs may stay, or a release would take the present
            // one for wholly below the floor.
            Err(error @ (WalError::DiskFull { .. } | WalError::OutOfFiles { .. })) => {
                self.remove_remains(next_lsn).and(Err(error))
            }
            Err(error) => {
                self.poisoned = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Leaves the last file tidy, after the last append and sync. Without it nothing is lost.
    pub fn close(&mut self) -> Result<(), WalError> {
        self.check()?;
        self.cut_zeros()
    }

    fn cut_zeros(&mut self) -> Result<(), WalError> {
        if self.current.zeros_ahead == 0 {
            return Ok(());
        }
        self.current.cut().map_err(|source| self.poison("truncate", source))
    }

    /// Removes, durably, what a rotation stopped by want of space or descriptors left behind.
    fn remove_remains(&mut self, first_lsn: Lsn) -> Result<(), WalError> {
        let path = self.dir.join(file_name(first_lsn));
        let remove = || match self.disk.try_exists(&path)? {
            true => self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.dir)),
            false => Ok(()),
        };
        remove().map_err(|source| {
            let error = WalError::Io { what: "remove", path, source };
            self.poisoned = Some(error.to_string());
            error
        })
    }

    /// Removes files all of whose points are below `floor`. Returns how many.
    pub fn release(&mut self, floor: Lsn) -> Result<usize, WalError> {
        self.release_keeping(floor, 0)
    }

    /// The same, but leaves the newest of them that have `keep_bytes` together. Replay does not read what is kept so.
    pub fn release_keeping(&mut self, floor: Lsn, keep_bytes: u64) -> Result<usize, WalError> {
        let bytes_of: HashMap<PathBuf, u64> = if keep_bytes == 0 {
            HashMap::new()
        } else {
            let entries = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
            entries.into_iter().map(|entry| (self.dir.join(entry.name), entry.bytes)).collect()
        };
        let files = files(&*self.disk, &self.dir)?;
        let below = files.windows(2).filter(|pair| pair[1].0 <= floor && pair[0].1 != self.current.path);
        let below: Vec<&PathBuf> = below.map(|pair| &pair[0].1).collect();
        // From the newest on: as many as have room.
        let mut bytes = 0;
        let has_room = |path: &&&PathBuf| {
            bytes += bytes_of.get(**path).copied().unwrap_or(u64::MAX).min(u64::MAX - bytes);
            bytes <= keep_bytes
        };
        let removed = below.len() - below.iter().rev().take_while(has_room).count();
        for path in &below[..removed] {
            self.disk.remove(path).map_err(io_error("remove", path))?;
        }
        if removed > 0 {
            self.disk.sync_dir(&self.dir).map_err(io_error("sync directory", &self.dir))?;
        }
        Ok(removed)
    }

    fn check(&self) -> Result<(), WalError> {
        match &self.poisoned {
            Some(reason) => Err(WalError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn append_failed(&mut self, source: io::Error) -> WalError {
        let is_full = is_full(&source);
        // Part of the group may be in the file: cut it off, durably, before anything else goes there.
        if let Err(error) = self.current.cut() {
            return self.poison("truncate", error);
        }
        if !is_full {
            return self.poison("append to", source);
        }
        self.pending_next = self.synced_below;
        WalError::DiskFull { path: self.current.path.clone(), source }
    }

    fn poison(&mut self, what: &'static str, source: io::Error) -> WalError {
        let error = WalError::Io { what, path: self.current.path.clone(), source };
        self.poisoned = Some(error.to_string());
        error
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Current {
    fn append(&mut self, group: &[u8]) -> io::Result<()> {
        self.file.append(group)?;
        let bytes = group.len() as u64;
        if bytes > self.zeros_ahead && group.len() <= SMALL_GROUP_BYTES_MAX {
            // Durable with this group, for those behind it. Where there is no room for all of them, the next groups do without, and
            // a rotation still cuts off what was written.
            drop(self.file.write_zeros_ahead(ZEROS_AHEAD));
            self.zeros_ahead = ZEROS_AHEAD;
        } else {
            self.zeros_ahead = self.zeros_ahead.saturating_sub(bytes);
        }
        Ok(())
    }

    /// Takes off what is behind the durable bytes.
    fn cut(&mut self) -> io::Result<()> {
        self.file.truncate(self.synced_bytes)?;
        self.zeros_ahead = 0;
        Ok(())
    }

    /// Makes the file and its directory entry durable.
    fn create(disk: &dyn Disk, dir: &Path, first_lsn: Lsn) -> Result<Self, WalError> {
        let path = dir.join(file_name(first_lsn));
        if disk.try_exists(&path).map_err(io_error("look for", &path))? {
            remove_remains_of_creation(disk, &path)?;
        }
        let failed = |what| {
            let path = path.clone();
            move |source| {
                if is_full(&source) {
                    WalError::DiskFull { path, source }
                } else if is_out_of_files(&source) {
                    WalError::OutOfFiles { path, source }
                } else {
                    WalError::Io { what, path, source }
                }
            }
        };
        let mut file = disk.create(&path).map_err(failed("create"))?;
        file.append(&file_header(first_lsn.0)).map_err(failed("write the header of"))?;
        file.sync().map_err(failed("sync"))?;
        disk.sync_dir(dir).map_err(failed("sync the directory of"))?;
        Ok(Self { path, first_lsn, file, synced_bytes: FILE_HEADER_BYTES as u64, zeros_ahead: 0 })
    }
}

/// Removes what a creation that a full disk stopped has left: at most a header and zeros. A file with more was not replayed, though the
/// next LSN is its first, so that it was not seen then: it may hold acknowledged points (I1).
fn remove_remains_of_creation(disk: &dyn Disk, path: &Path) -> Result<(), WalError> {
    let file = disk.read(path).map_err(unreadable(path))?;
    if file.iter().skip(FILE_HEADER_BYTES).any(|&byte| byte != 0) {
        return Err(WalError::Unlisted { path: path.to_owned() });
    }
    disk.remove(path).map_err(io_error("remove", path))
}
