//! The manifest on the disk.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, write_atomically};

use crate::{
    error::ManifestError,
    format::{DecodeError, FORMAT_VERSION, Manifest, decode, encode},
};

/// Name of the file within the data directory.
pub const FILE_NAME: &str = "MANIFEST";
/// Name of its copy.
pub const COPY_NAME: &str = "MANIFEST.copy";

/// The one that commits. Invariant: `version` is that of the file.
pub struct ManifestStore {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    copy: PathBuf,
    version: u64,
    is_new: bool,
    damage: Option<ManifestError>,
}

impl ManifestStore {
    /// Reads the manifest of a data directory, or its copy where the file is damaged or gone: the copy is of the same commit, or of
    /// the one before with nothing removed since, so that either is the whole truth. Without both it is empty. A copy of a later commit
    /// is refused. Writes nothing.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Manifest), ManifestError> {
        let (path, copy) = (dir.join(FILE_NAME), dir.join(COPY_NAME));
        let is_there = |path: &Path| disk.try_exists(path).map_err(io_error(path));
        let is_new = !is_there(&path)? && !is_there(&copy)?;
        let (manifest, damage) = if is_new {
            (Manifest::default(), None)
        } else {
            match Self::read(&*disk, &path) {
                Ok(manifest) => (refuse_later_copy(&*disk, &path, &copy, manifest)?, None),
                // What is wrong with the copy is of no help where the file itself says what is wrong with it.
                Err(error) if error.may_be_rot() => match Self::read(&*disk, &copy) {
                    Ok(manifest) => (manifest, Some(error)),
                    Err(_) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        };
        Ok((Self { disk, path, copy, version: manifest.version, is_new, damage }, manifest))
    }

    /// Whether there is neither the file nor a copy.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What is wrong with the file, where its copy was read instead. The next commit mends it.
    pub fn damage(&self) -> Option<&ManifestError> {
        self.damage.as_ref()
    }

    /// Reads one manifest file.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Manifest, ManifestError> {
        let path = path.to_owned();
        let file = disk.read(&path).map_err(io_error(&path))?;
        decode(&file).map_err(|error| match error {
            DecodeError::Damaged { offset, detail } => ManifestError::Damaged { path, offset, detail },
            DecodeError::UnknownVersion(actual) => {
                ManifestError::UnknownVersion { path, actual, newest: FORMAT_VERSION }
            }
        })
    }

    /// Makes what was read the only truth there is. A kill may have come between its rename and the sync of the directory, so that a
    /// loss of power brings the manifest before it back, or before it was copied; and whoever removes files by what this manifest says
    /// removes some that the one before it names.
    pub fn settle(&self) -> Result<(), ManifestError> {
        let file = self.disk.read(&self.path).map_err(io_error(&self.path))?;
        // The file first, as in a commit: a loss of power must not leave a copy that is later than the file.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(dir).map_err(io_error(dir))?;
        if self.disk.read(&self.copy).is_ok_and(|copy| copy == file) {
            return Ok(());
        }
        write_atomically(&*self.disk, &self.copy, &file).map_err(io_error(&self.copy))
    }

    /// Makes `next` the manifest. When this returns it is durable; when it fails, the old one still holds, or (after a
    /// failure of the last directory sync, or of the copy) either may after a crash, which is why nothing the old one names may be
    /// removed before a commit has succeeded.
    pub fn commit(&mut self, next: &Manifest) -> Result<(), ManifestError> {
        if next.version != self.version + 1 {
            return Err(ManifestError::OutOfOrder { expected: self.version + 1, actual: next.version });
        }
        let file = encode(next).map_err(|source| ManifestError::Encode { source })?;
        // The copy last: between the two, nothing that it names is gone, and one that is later than the file was not left by a crash.
        for path in [&self.path, &self.copy] {
            write_atomically(&*self.disk, path, &file).map_err(io_error(path))?;
        }
        self.version = next.version;
        (self.is_new, self.damage) = (false, None);
        Ok(())
    }
}

/// A copy of a later commit than the file's shows that an older file was put back over the newer one. What is wrong with the copy shows
/// nothing.
fn refuse_later_copy(disk: &dyn Disk, path: &Path, copy: &Path, manifest: Manifest) -> Result<Manifest, ManifestError> {
    let Ok(Manifest { version: copy_version, .. }) = ManifestStore::read(disk, copy) else { return Ok(manifest) };
    if copy_version <= manifest.version {
        return Ok(manifest);
    }
    // A server may have committed since the file was read; its file is of that commit before its copy is.
    let manifest = ManifestStore::read(disk, path)?;
    if copy_version <= manifest.version {
        return Ok(manifest);
    }
    let (path, copy) = (path.to_owned(), copy.to_owned());
    Err(ManifestError::OlderThanCopy { path, version: manifest.version, copy, copy_version })
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ManifestError {
    let path = path.to_owned();
    move |source| ManifestError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use stepwell_env::{DiskOperation, RealDisk, SimDisk, SimFault};
    use stepwell_types::ErrorKind;

    use super::*;

    #[test]
    fn commits_are_read_back_and_must_follow_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, manifest) = ManifestStore::open(Arc::new(RealDisk), dir.path()).unwrap();
        assert_eq!(manifest, Manifest::default());
        let next = Manifest { version: 1, next_segment: 9, ..Manifest::default() };
        store.commit(&next).unwrap();
        assert!(matches!(store.commit(&next), Err(ManifestError::OutOfOrder { expected: 2, actual: 1 })));
        assert_eq!(ManifestStore::open(Arc::new(RealDisk), dir.path()).unwrap().1, next);
    }

    #[test]
    fn i11_the_copy_stands_in_for_a_file_with_any_byte_flipped_cut_anywhere_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join(FILE_NAME), dir.path().join(COPY_NAME));
        let open = || ManifestStore::open(Arc::new(RealDisk), dir.path());
        let (mut store, _) = open().unwrap();
        let next = Manifest { version: 1, next_segment: 9, ..Manifest::default() };
        store.commit(&next).unwrap();
        assert!(open().unwrap().0.damage().is_none());
        let whole = std::fs::read(&path).unwrap();
        let flipped = (0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        for damaged in flipped.chain((0..whole.len()).map(|end| whole[..end].to_vec())) {
            std::fs::write(&path, &damaged).unwrap();
            let (mut store, manifest) = open().unwrap();
            assert_eq!((&manifest, store.damage().is_some()), (&next, true));
            // The same damage twice is too much.
            std::fs::write(&copy, &damaged).unwrap();
            assert!(open().is_err());
            std::fs::remove_file(&copy).unwrap();
            assert!(open().is_err());
            store.commit(&Manifest { version: 2, ..next.clone() }).unwrap();
            assert_eq!(open().unwrap().1.version, 2);
            std::fs::write(&copy, &whole).unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        let (store, manifest) = open().unwrap();
        assert_eq!((manifest, store.is_new(), store.damage().is_some()), (next, false, true));
    }

    /// The copy was left a commit behind by a crash between the two, and a start then removed what it names.
    #[test]
    fn i11_a_copy_that_is_behind_or_not_there_is_brought_up() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join(FILE_NAME), dir.path().join(COPY_NAME));
        let open = || ManifestStore::open(Arc::new(RealDisk), dir.path()).unwrap();
        let mut store = open().0;
        store.commit(&Manifest { version: 1, ..Manifest::default() }).unwrap();
        let behind = std::fs::read(&copy).unwrap();
        store.commit(&Manifest { version: 2, next_segment: 9, ..Manifest::default() }).unwrap();
        for state in [Some(&behind), None] {
            match state {
                Some(state) => std::fs::write(&copy, state).unwrap(),
                None => std::fs::remove_file(&copy).unwrap(),
            }
            open().0.settle().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&copy).unwrap());
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(open().1.next_segment, 9);
    }

    /// It was taken for the truth, and the copy, which was that, written over.
    #[test]
    fn i11_a_file_that_is_older_than_its_copy_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join(FILE_NAME), dir.path().join(COPY_NAME));
        let open = || ManifestStore::open(Arc::new(RealDisk), dir.path());
        let mut store = open().unwrap().0;
        store.commit(&Manifest { version: 1, ..Manifest::default() }).unwrap();
        let older = std::fs::read(&path).unwrap();
        store.commit(&Manifest { version: 2, next_segment: 9, ..Manifest::default() }).unwrap();
        let newer = std::fs::read(&copy).unwrap();
        std::fs::write(&path, &older).unwrap();
        let error = open().map(drop).unwrap_err();
        assert!(matches!(error, ManifestError::OlderThanCopy { version: 1, copy_version: 2, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::DataDamaged);
        // A damaged one proves nothing, and the one that is to be put in its place is taken.
        std::fs::write(&copy, &newer[..newer.len() - 1]).unwrap();
        assert_eq!(open().unwrap().1.version, 1);
        std::fs::write(&path, &newer).unwrap();
        assert_eq!(open().unwrap().1.next_segment, 9);
    }

    /// The process was killed between the two files of a commit, and power went at each sync of the next start: the copy never outruns
    /// the file, or it would look as if that had been put back.
    #[test]
    fn i7_no_loss_of_power_leaves_a_copy_that_is_later_than_the_file() {
        let dir = PathBuf::from("data");
        let mut losses = 0;
        for (n, seed) in (0..8).flat_map(|n| (0..16).map(move |seed| (n, seed))) {
            let disk = SimDisk::new();
            disk.create_dir_all(&dir).unwrap();
            let mut store = ManifestStore::open(Arc::new(disk.clone()), &dir).unwrap().0;
            store.commit(&Manifest { version: 1, ..Manifest::default() }).unwrap();
            // The file has its new content, and not durably.
            disk.inject(SimFault::Error(DiskOperation::SyncDir, 0));
            store.commit(&Manifest { version: 2, ..Manifest::default() }).unwrap_err();
            disk.inject(SimFault::PowerLossAtSync(n));
            let settled = ManifestStore::open(Arc::new(disk.clone()), &dir).unwrap().0.settle();
            losses += usize::from(settled.is_err());
            let (_, after) = ManifestStore::open(Arc::new(disk.crash(seed)), &dir).unwrap();
            assert!(after.version == 2 || settled.is_err(), "sync {n}, seed {seed}");
        }
        assert!(losses > 16, "{losses}");
    }

    #[test]
    fn a_manifest_of_a_newer_program_is_refused_even_beside_an_old_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = ManifestStore::open(Arc::new(RealDisk), dir.path()).unwrap();
        store.commit(&Manifest { version: 1, ..Manifest::default() }).unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut newer = std::fs::read(&path).unwrap();
        newer[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        for name in [FILE_NAME, COPY_NAME] {
            std::fs::write(dir.path().join(name), &newer).unwrap();
        }
        let error = ManifestStore::open(Arc::new(RealDisk), dir.path()).map(|(_, manifest)| manifest).unwrap_err();
        assert!(matches!(error, ManifestError::UnknownVersion { .. }), "{error}");
    }
}
