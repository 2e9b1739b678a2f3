//! The manifest on the disk.

use std::{
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

/// The one that commits. Invariant: `version` is that of the file.
pub struct ManifestStore {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    version: u64,
}

impl ManifestStore {
    /// Reads the manifest of a data directory; an absent one is empty. Writes nothing.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Manifest), ManifestError> {
        let path = dir.join(FILE_NAME);
        let manifest = if disk.exists(&path) { Self::read(&*disk, &path)? } else { Manifest::default() };
        Ok((Self { disk, path, version: manifest.version }, manifest))
    }

    /// Reads one manifest file.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Manifest, ManifestError> {
        let path = path.to_owned();
        let file = disk.read(&path).map_err(|source| ManifestError::Io { path: path.clone(), source })?;
        decode(&file).map_err(|error| match error {
            DecodeError::Damaged { offset, detail } => ManifestError::Damaged { path, offset, detail },
            DecodeError::UnknownVersion(actual) => {
                ManifestError::UnknownVersion { path, actual, newest: FORMAT_VERSION }
            }
        })
    }

    /// Makes `next` the manifest. When this returns it is durable; when it fails, the old one still holds, or (after a
    /// failure of the last directory sync) either may after a crash, which is why nothing the old one names may be removed
    /// before a commit has succeeded.
    pub fn commit(&mut self, next: &Manifest) -> Result<(), ManifestError> {
        if next.version != self.version + 1 {
            return Err(ManifestError::OutOfOrder { expected: self.version + 1, actual: next.version });
        }
        let file = encode(next).map_err(|source| ManifestError::Encode { source })?;
        write_atomically(&*self.disk, &self.path, &file)
            .map_err(|source| ManifestError::Io { path: self.path.clone(), source })?;
        self.version = next.version;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stepwell_env::RealDisk;

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
}
