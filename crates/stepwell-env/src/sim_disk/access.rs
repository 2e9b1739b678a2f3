//! The simulated disk as programs use it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{DiskOperation, File, FileId, SimDisk, State, Strike, failed, full, not_found};
use crate::{DirEntry, Disk, MappedFile, Random, WriteFile, simulation};

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    id: FileId,
    /// Bytes appended.
    end: usize,
}

impl State {
    /// Writes, as far as space lets it; an error says what stopped it.
    fn write(&mut self, id: FileId, offset: usize, data: &[u8]) -> io::Result<()> {
        let Some(file) = self.files.get_mut(&id) else { return Ok(()) };
        let mut fits = data.len();
        let mut result = Ok(());
        if let Some(space) = &mut self.space {
            let there = file.cached.len().saturating_sub(offset);
            if there + (*space as usize) < fits {
                fits = there + *space as usize;
                self.found_full += 1;
                result = Err(full());
            }
            *space -= fits.saturating_sub(there) as u64;
        }
        file.write(offset, &data[..fits]);
        result
    }

    fn sync(&mut self, id: FileId, strike: Option<Strike>) {
        let Self { files, random, faults, .. } = self;
        let Some(file) = files.get_mut(&id) else { return };
        match strike {
            Some(Strike { has_effect: false, .. }) => file.forget(),
            Some(Strike { has_effect: true, .. }) => file.sync_partly(random),
            None if faults.trouble.lies => {}
            None => file.sync(),
        }
    }

    /// Cuts a file and syncs it.
    fn truncate(&mut self, id: FileId, bytes: u64, strike: Option<Strike>) {
        let Some(file) = self.files.get_mut(&id) else { return };
        let before = file.cached.len();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match strike {
            Some(Strike { has_effect: false, .. }) => return,
            Some(Strike { has_effect: true, .. }) => file.cut(bytes),
            None if self.faults.trouble.lies => file.cut(bytes),
            None => file.truncate(bytes),
        }
        let after = file.cached.len();
        self.give_back(before - after);
    }

    fn give_back(&mut self, bytes: usize) {
        if let Some(space) = &mut self.space {
            *space += bytes as u64;
        }
    }

    /// Takes a name away, and the bytes with the last of them.
    fn unlinked(&mut self, id: Option<FileId>) {
        let Some(id) = id.filter(|id| !self.names.has(*id)) else { return };
        let bytes = self.files.get(&id).map_or(0, |file| file.cached.len());
        self.give_back(bytes);
    }
}

/// What an operation that was to fail answers.
fn outcome(strike: Option<Strike>, operation: DiskOperation, path: &Path) -> io::Result<()> {
    match strike {
        None => Ok(()),
        Some(Strike { reason, .. }) => Err(failed(operation, path, reason)),
    }
}

impl SimFile {
    /// Appends; in a simulation at times in two steps, between which the process may be killed.
    fn append_in_steps(&mut self, data: &[u8]) -> io::Result<()> {
        let (mut state, strike) = self.disk.begin(DiskOperation::Append, &self.path)?;
        if strike.is_some() {
            state.write(self.id, self.end, &data[..data.len() / 2])?;
            return outcome(strike, DiskOperation::Append, &self.path);
        }
        let mut done = 0;
        if data.len() > 1 && state.random.next_u64().is_multiple_of(4) {
            done = 1 + state.random.next_u64() as usize % (data.len() - 1);
            state.write(self.id, self.end, &data[..done])?;
            drop(state);
            simulation::yield_now();
            state = self.disk.state();
        }
        state.write(self.id, self.end + done, &data[done..])?;
        Ok(())
    }
}

impl WriteFile for SimFile {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.append_in_steps(data)?;
        self.end += data.len();
        Ok(())
    }

    fn write_zeros_ahead(&mut self, bytes: u64) -> io::Result<()> {
        let (mut state, strike) = self.disk.begin(DiskOperation::Append, &self.path)?;
        let written = if strike.is_some() { bytes / 2 } else { bytes };
        state.write(self.id, self.end, &vec![0; written as usize])?;
        outcome(strike, DiskOperation::Append, &self.path)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let (mut state, strike) = self.disk.begin(DiskOperation::Truncate, &self.path)?;
        state.truncate(self.id, bytes, strike);
        outcome(strike, DiskOperation::Truncate, &self.path)?;
        self.end = bytes as usize;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut state, strike) = self.disk.begin(DiskOperation::Sync, &self.path)?;
        state.sync(self.id, strike);
        outcome(strike, DiskOperation::Sync, &self.path)
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let (mut state, strike) = self.begin(DiskOperation::Create, path)?;
        if Strike::lets(strike) && !state.directories.iter().any(|known| known == path) {
            state.directories.push(path.to_owned());
        }
        outcome(strike, DiskOperation::Create, path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let (mut state, strike) = self.begin(DiskOperation::Create, path)?;
        if state.names.id(path).is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
        match &mut state.files_left {
            Some(0) => {
                state.found_full += 1;
                return Err(full());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let id = state.next_file;
        if Strike::lets(strike) {
            state.next_file += 1;
            state.files.insert(id, File::default());
            state.names.create(path, id);
        }
        outcome(strike, DiskOperation::Create, path)?;
        Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), id, end: 0 }))
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        self.content(DiskOperation::Map, path).map(MappedFile::from)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.content(DiskOperation::Read, path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let (state, strike) = self.begin(DiskOperation::List, path)?;
        outcome(strike, DiskOperation::List, path)?;
        let entry = |(file, id): (&PathBuf, FileId)| DirEntry {
            name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: state.files.get(&id).map_or(0, |file| file.cached.len() as u64),
            is_dir: false,
        };
        Ok(state.names.list(path).map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, strike) = self.begin(DiskOperation::Rename, from)?;
        let id = state.id(from)?;
        if Strike::lets(strike) {
            let replaced = state.names.id(to);
            state.names.rename(from, to, id);
            state.unlinked(replaced);
        }
        outcome(strike, DiskOperation::Rename, from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, strike) = self.begin(DiskOperation::Remove, path)?;
        let id = state.id(path)?;
        if Strike::lets(strike) {
            state.names.remove(path);
            state.unlinked(Some(id));
        }
        outcome(strike, DiskOperation::Remove, path)
    }

    fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let (mut state, strike) = self.begin(DiskOperation::Append, path)?;
        let id = state.id(path)?;
        let written = if strike.is_some() { data.len() / 2 } else { data.len() };
        state.write(id, 0, &data[..written])?;
        outcome(strike, DiskOperation::Append, path)?;
        drop(state);
        self.truncate(path, data.len() as u64)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let (mut state, strike) = self.begin(DiskOperation::Truncate, path)?;
        let id = state.id(path)?;
        state.truncate(id, bytes, strike);
        outcome(strike, DiskOperation::Truncate, path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let (mut state, strike) = self.begin(DiskOperation::SyncDir, path)?;
        if Strike::lets(strike) && !state.faults.trouble.lies {
            state.names.sync(path);
        }
        outcome(strike, DiskOperation::SyncDir, path)
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.state();
        state.names.id(path).is_some() || state.directories.iter().any(|known| known == path)
    }
}

impl SimDisk {
    fn content(&self, operation: DiskOperation, path: &Path) -> io::Result<Vec<u8>> {
        let (state, strike) = self.begin(operation, path)?;
        outcome(strike, operation, path)?;
        let file = state.names.id(path).and_then(|id| state.files.get(&id));
        file.map(|file| file.cached.clone()).ok_or_else(|| not_found(path))
    }
}
