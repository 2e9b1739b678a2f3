//! What can be done to a directory.

use std::path::{Path, PathBuf};

use anyhow::Result;
use stepwell_env::{Disk, SimDisk};
use stepwell_manifest::{COPY_NAME, FILE_NAME};

use crate::directory::Directory;

/// Zeros in a row from which on only some are damaged: they are room in the log, and all alike.
const ZEROS_ALIKE: usize = 4_096;

/// One thing done to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    Flip { path: PathBuf, byte: usize, bit: u8 },
    Cut { path: PathBuf, bytes: usize },
    Remove { path: PathBuf },
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Manifest,
    ManifestCopy,
    Log,
    Segment,
    /// Summaries and rollups.
    Derived,
}

impl Damage {
    pub(crate) fn kind(&self) -> FileKind {
        let name = |path: Option<&Path>| path.and_then(Path::file_name).unwrap_or_default().to_owned();
        let (dir, name) = (name(self.path().parent()), name(Some(self.path())));
        match (dir.to_str(), name.to_str()) {
            (_, Some(FILE_NAME)) => FileKind::Manifest,
            (_, Some(COPY_NAME)) => FileKind::ManifestCopy,
            (Some("wal"), _) => FileKind::Log,
            (Some("segments"), _) => FileKind::Segment,
            _ => FileKind::Derived,
        }
    }

    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Flip { path, .. } | Self::Cut { path, .. } | Self::Remove { path } => path,
        }
    }

    /// The disk of the directory with this damage.
    pub(crate) fn to_disk(&self, directory: &Directory) -> Result<SimDisk> {
        let disk = directory.disk.crash(0);
        match self {
            Self::Flip { path, byte, bit } => disk.flip_bit(path, *byte, *bit)?,
            Self::Cut { path, bytes } => disk.truncate(path, *bytes as u64)?,
            Self::Remove { path } => disk.remove(path)?,
        }
        Ok(disk)
    }
}

/// A bit of every byte of every file, the file cut before every byte, and the file gone. Of a long row of zeros some.
pub fn cases(directory: &Directory) -> Result<Vec<Damage>> {
    let mut cases = Vec::new();
    for (path, bytes) in directory.files()? {
        let content = directory.read(&path)?;
        let zeros_from = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let is_alike = |byte: usize| byte >= zeros_from + ZEROS_ALIKE && !byte.is_multiple_of(ZEROS_ALIKE);
        for byte in (0..bytes).filter(|byte| !is_alike(*byte)) {
            // Another bit from byte to byte, all eight of them by and by.
            let bit = (byte * 5 % 8) as u8;
            cases.push(Damage::Flip { path: path.clone(), byte, bit });
            cases.push(Damage::Cut { path: path.clone(), bytes: byte });
        }
        cases.push(Damage::Remove { path });
    }
    Ok(cases)
}
