//! A disk in memory that forgets what was not synced, tears it, fills up, and fails on demand.
//!
//! It keeps two states: what programs see (the page cache), and what a loss of power leaves (the platter). Bytes reach the
//! platter by a sync of their file, names by a sync of their directory. [`SimDisk::crash`] is the loss of power: of what had
//! not been synced, a seeded choice survives, cut at sector bounds.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{DirEntry, Disk, MappedFile, Random, SeededRandom, WriteFile};

/// Bytes that a disk writes as one.
const SECTOR_BYTES: usize = 512;

/// What to make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// Power goes at the n-th sync from now (0 is the next): it and everything after it fails.
    PowerLossAtSync(u64),
    /// The n-th sync from now fails once; what it should have written is never written (the pages are marked clean).
    SyncError(u64),
    /// The n-th append from now fails once, after half of its bytes.
    AppendError(u64),
    /// Files may hold this many bytes more in all; then appends fail as on a full disk, after the bytes that fit.
    Space(u64),
    /// This many files may still be made; then that fails as on a disk without inodes, while appends go on.
    Files(u64),
    /// There is space again, for bytes and files.
    NoLimit,
}

type FileId = u64;

#[derive(Default, Clone)]
struct File {
    /// What programs read.
    cached: Vec<u8>,
    /// What a loss of power leaves.
    durable: Vec<u8>,
    /// Where `cached` has bytes that the next sync writes. A failed sync empties it: its bytes are never written.
    dirty: Range<usize>,
}

impl File {
    fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len();
        self.cached.resize(self.cached.len().max(end), 0);
        self.cached[offset..end].copy_from_slice(data);
        let is_clean = self.dirty.is_empty();
        self.dirty = if is_clean { offset..end } else { self.dirty.start.min(offset)..self.dirty.end.max(end) };
    }

    fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.durable.resize(self.durable.len().max(dirty.end), 0);
        self.durable[dirty.clone()].copy_from_slice(&self.cached[dirty]);
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<FileId, File>,
    next_file: FileId,
    /// Names as programs see them, and as a loss of power leaves them.
    cached_names: BTreeMap<PathBuf, FileId>,
    durable_names: BTreeMap<PathBuf, FileId>,
    directories: Vec<PathBuf>,
    has_power: bool,
    syncs: u64,
    appends: u64,
    power_loss_at: Option<u64>,
    sync_error_at: Option<u64>,
    append_error_at: Option<u64>,
    space: Option<u64>,
    files_left: Option<u64>,
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

fn power_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State { has_power: true, ..State::default() })) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.has_power { Ok(state) } else { Err(power_off()) }
    }

    /// Syncs of files and directories so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Makes something fail.
    pub fn inject(&self, fault: SimFault) {
        let mut state = self.state();
        match fault {
            SimFault::PowerLossAtSync(n) => state.power_loss_at = Some(state.syncs + n),
            SimFault::SyncError(n) => state.sync_error_at = Some(state.syncs + n),
            SimFault::AppendError(n) => state.append_error_at = Some(state.appends + n),
            SimFault::Space(bytes) => state.space = Some(bytes),
            SimFault::Files(files) => state.files_left = Some(files),
            SimFault::NoLimit => (state.space, state.files_left) = (None, None),
        }
    }

    /// The disk as it is after the power went and came back: synced bytes and names, and of the rest what `seed` chooses.
    pub fn crash(&self, seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let old = self.state();
        let mut files = BTreeMap::new();
        for (id, file) in &old.files {
            files.insert(*id, File { cached: survivor(file, &random), ..File::default() });
        }
        for file in files.values_mut() {
            file.durable = file.cached.clone();
        }
        let mut names = old.durable_names.clone();
        for (path, id) in &old.cached_names {
            if old.durable_names.get(path) != Some(id) && random.next_u64().is_multiple_of(2) {
                names.insert(path.clone(), *id);
            }
        }
        for path in old.durable_names.keys().filter(|path| !old.cached_names.contains_key(*path)) {
            if random.next_u64().is_multiple_of(2) {
                names.remove(path);
            }
        }
        files.retain(|id, _| names.values().any(|named| named == id));
        let state = State {
            files,
            next_file: old.next_file,
            cached_names: names.clone(),
            durable_names: names,
            directories: old.directories.clone(),
            has_power: true,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Inverts one bit of a file, durably.
    pub fn flip_bit(&self, path: &Path, byte: usize, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let id = *state.cached_names.get(path).ok_or_else(|| not_found(path))?;
        if let Some(file) = state.files.get_mut(&id)
            && let (Some(cached), Some(durable)) = (file.cached.get_mut(byte), file.durable.get_mut(byte))
        {
            *cached ^= 1 << (bit % 8);
            *durable = *cached;
        }
        Ok(())
    }
}

/// What is left of a file: the durable bytes, and of those written since some whole sectors, up to some end.
fn survivor(file: &File, random: &SeededRandom) -> Vec<u8> {
    let mut left = file.durable.clone();
    let dirty = file.dirty.clone();
    if dirty.is_empty() {
        return left;
    }
    let end = match random.next_u64() % 3 {
        0 => dirty.start,
        1 => dirty.end,
        _ => (dirty.start + random.next_u64() as usize % (dirty.len() + 1)) / SECTOR_BYTES * SECTOR_BYTES,
    };
    let mut start = dirty.start;
    while start < end {
        let sector_end = (start / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let piece = start..sector_end.min(end);
        // The length can become durable before the bytes do, and later sectors before earlier ones.
        left.resize(left.len().max(piece.end), 0);
        if !random.next_u64().is_multiple_of(8) {
            left[piece.clone()].copy_from_slice(&file.cached[piece]);
        }
        start = sector_end;
    }
    left
}

impl State {
    /// Counts a sync and lets the injected faults strike. `Ok(false)` means that it must fail without writing.
    fn count_sync(&mut self) -> io::Result<bool> {
        let number = self.syncs;
        self.syncs += 1;
        if self.power_loss_at.is_some_and(|at| number >= at) {
            self.has_power = false;
            return Err(power_off());
        }
        if self.sync_error_at == Some(number) {
            self.sync_error_at = None;
            return Ok(false);
        }
        Ok(true)
    }

    /// Cuts a file and syncs it.
    fn truncate(&mut self, id: FileId, bytes: u64) -> io::Result<()> {
        if !self.count_sync()? {
            return Err(io::Error::other("simulated sync error"));
        }
        let Some(file) = self.files.get_mut(&id) else { return Ok(()) };
        let before = file.cached.len();
        let after = before.min(usize::try_from(bytes).unwrap_or(usize::MAX));
        file.cached.truncate(after);
        file.dirty = file.dirty.start.min(after)..file.dirty.end.min(after);
        file.sync();
        file.durable.truncate(after);
        if let Some(space) = &mut self.space {
            *space += (before - after) as u64;
        }
        Ok(())
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        self.cached_names.get(path).copied().ok_or_else(|| not_found(path))
    }
}

struct SimFile {
    disk: SimDisk,
    id: FileId,
    /// Bytes appended.
    end: usize,
}

impl SimFile {
    /// Writes at the end, as far as faults and space let it; an error says what stopped it.
    fn write(&self, state: &mut State, data: &[u8], mut fits: usize) -> io::Result<()> {
        let Some(file) = state.files.get_mut(&self.id) else { return Ok(()) };
        let mut result = Ok(());
        if let Some(space) = &mut state.space {
            let there = file.cached.len().saturating_sub(self.end);
            if there + (*space as usize) < fits {
                fits = there + *space as usize;
                result = Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
            }
            *space -= fits.saturating_sub(there) as u64;
        }
        file.write(self.end, &data[..fits]);
        result
    }
}

impl WriteFile for SimFile {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        let disk = self.disk.clone();
        let mut state = disk.powered()?;
        let number = state.appends;
        state.appends += 1;
        if state.append_error_at == Some(number) {
            state.append_error_at = None;
            self.write(&mut state, data, data.len() / 2)?;
            return Err(io::Error::other("simulated write error"));
        }
        self.write(&mut state, data, data.len())?;
        self.end += data.len();
        Ok(())
    }

    fn write_zeros_ahead(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.powered()?;
        self.write(&mut state, &vec![0; bytes as usize], bytes as usize)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.powered()?;
        state.truncate(self.id, bytes)?;
        self.end = bytes as usize;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.powered()?;
        let is_written = state.count_sync()?;
        let Some(file) = state.files.get_mut(&self.id) else { return Ok(()) };
        if !is_written {
            file.dirty = 0..0;
            return Err(io::Error::other("simulated sync error"));
        }
        file.sync();
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        if !state.directories.iter().any(|known| known == path) {
            state.directories.push(path.to_owned());
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.powered()?;
        if state.cached_names.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
        match &mut state.files_left {
            Some(0) => return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk has no inode left")),
            Some(left) => *left -= 1,
            None => {}
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, File::default());
        state.cached_names.insert(path.to_owned(), id);
        Ok(Box::new(SimFile { disk: self.clone(), id, end: 0 }))
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        self.read(path).map(MappedFile::from)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.powered()?;
        let id = state.id(path)?;
        Ok(state.files.get(&id).map(|file| file.cached.clone()).unwrap_or_default())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.powered()?;
        let in_directory = state.cached_names.iter().filter(|(file, _)| file.parent() == Some(path));
        let entry = |(file, id): (&PathBuf, &FileId)| DirEntry {
            name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: state.files.get(id).map_or(0, |file| file.cached.len() as u64),
            is_dir: false,
        };
        Ok(in_directory.map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        let id = state.id(from)?;
        state.cached_names.remove(from);
        state.cached_names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        state.id(path)?;
        state.cached_names.remove(path);
        Ok(())
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.powered()?;
        let id = state.id(path)?;
        state.truncate(id, bytes)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        if !state.count_sync()? {
            return Err(io::Error::other("simulated sync error"));
        }
        let is_inside = |file: &Path| file.parent() == Some(path);
        state.durable_names.retain(|file, _| !is_inside(file));
        let names: Vec<_> =
            state.cached_names.iter().filter(|(file, _)| is_inside(file)).map(|(f, id)| (f.clone(), *id)).collect();
        state.durable_names.extend(names);
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.state();
        state.cached_names.contains_key(path) || state.directories.iter().any(|known| known == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_sure_to_survive() {
        let (dir, path) = (Path::new("d"), Path::new("d/f"));
        let mut lost_a_name = false;
        let mut lost_bytes = false;
        for seed in 0..50 {
            let disk = SimDisk::new();
            let mut file = disk.create(path).unwrap();
            file.append(b"synced").unwrap();
            file.sync().unwrap();
            lost_a_name |= !disk.crash(seed).exists(path);
            disk.sync_dir(dir).unwrap();
            file.append(&[7; 2_000]).unwrap();
            let after = disk.crash(seed);
            let left = after.read(path).unwrap();
            assert!(left.starts_with(b"synced"));
            lost_bytes |= left.len() < 2_006;
            assert_eq!(after.read(path).unwrap(), disk.crash(seed).read(path).unwrap(), "one seed, one crash");
        }
        assert!(lost_a_name && lost_bytes);
    }

    #[test]
    fn a_failed_sync_marks_pages_clean() {
        let (dir, path) = (Path::new("d"), Path::new("d/f"));
        let disk = SimDisk::new();
        let mut file = disk.create(path).unwrap();
        disk.sync_dir(dir).unwrap();
        disk.inject(SimFault::SyncError(0));
        file.append(b"abc").unwrap();
        assert!(file.sync().is_err());
        file.append(b"def").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read(path).unwrap(), b"abcdef", "programs see what the disk has not");
        assert_eq!(disk.crash(1).read(path).unwrap(), b"\0\0\0def");
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_space_returns() {
        let disk = SimDisk::new();
        let mut file = disk.create(Path::new("f")).unwrap();
        disk.inject(SimFault::Space(2));
        assert_eq!(file.append(b"abc").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read(Path::new("f")).unwrap(), b"ab");
        disk.inject(SimFault::NoLimit);
        file.append(b"abc").unwrap();
    }
}
