//! Names of files: as programs see them, and as a loss of power leaves them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{Random, SeededRandom};

pub(super) type FileId = u64;

/// A change of a directory that is not durable yet. Each is so whole or not at all.
#[derive(Clone)]
enum Change {
    Create { path: PathBuf, id: FileId },
    Rename { from: PathBuf, to: PathBuf, id: FileId },
    Remove { path: PathBuf },
}

impl Change {
    fn is_in(&self, directory: &Path) -> bool {
        let (Self::Create { path, .. } | Self::Rename { to: path, .. } | Self::Remove { path }) = self;
        path.parent() == Some(directory)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            Self::Create { path, id } => drop(names.insert(path.clone(), *id)),
            Self::Rename { from, to, id } => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                }
                names.insert(to.clone(), *id);
            }
            Self::Remove { path } => drop(names.remove(path)),
        }
    }
}

#[derive(Default, Clone)]
pub(super) struct Names {
    cached: BTreeMap<PathBuf, FileId>,
    durable: BTreeMap<PathBuf, FileId>,
    /// What leads from `durable` to `cached`, in order.
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn id(&self, path: &Path) -> Option<FileId> {
        self.cached.get(path).copied()
    }

    pub(super) fn create(&mut self, path: &Path, id: FileId) {
        self.change(Change::Create { path: path.to_owned(), id });
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, id: FileId) {
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), id });
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(Change::Remove { path: path.to_owned() });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Makes the changes of a directory durable.
    pub(super) fn sync(&mut self, directory: &Path) {
        let (now, later): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(|change| change.is_in(directory));
        now.iter().for_each(|change| change.apply(&mut self.durable));
        self.pending = later;
    }

    /// Files of a directory, sorted.
    pub(super) fn list(&self, directory: &Path) -> impl Iterator<Item = (&PathBuf, FileId)> {
        self.cached.iter().filter(move |(path, _)| path.parent() == Some(directory)).map(|(path, id)| (path, *id))
    }

    /// All files, sorted.
    pub(super) fn all(&self) -> impl Iterator<Item = (&PathBuf, FileId)> {
        self.cached.iter().map(|(path, id)| (path, *id))
    }

    /// As a loss of power leaves them: of the changes not durable yet the first few, as a journal would, or any of them.
    pub(super) fn after_power_loss(&self, random: &SeededRandom) -> Self {
        let mut left = self.durable.clone();
        let first = random.next_u64() as usize % (self.pending.len() + 1);
        let is_journal = random.next_u64().is_multiple_of(2);
        for (number, change) in self.pending.iter().enumerate() {
            let survives = if is_journal { number < first } else { random.next_u64().is_multiple_of(2) };
            if survives {
                change.apply(&mut left);
            }
        }
        Self { cached: left.clone(), durable: left, pending: Vec::new() }
    }

    pub(super) fn has(&self, id: FileId) -> bool {
        self.cached.values().any(|named| *named == id)
    }
}
