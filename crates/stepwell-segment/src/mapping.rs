//! The bytes of one file, from the first use on that can have them.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use stepwell_env::{Disk, MappedFile};

use crate::{error::SegmentError, health::Health};

/// A file that is mapped, or that every use asks for anew: what kept it from being opened may have passed.
pub(crate) struct Mapping {
    disk: Arc<dyn Disk>,
    /// As the manifest says.
    bytes: u64,
    file: OnceLock<MappedFile>,
    health: Arc<Health>,
}

impl Mapping {
    /// Opens it if that can be; what is wrong otherwise is known to its health, and told to each use.
    pub(crate) fn new(disk: &Arc<dyn Disk>, bytes: u64, health: &Arc<Health>) -> Self {
        let mapping = Self { disk: disk.clone(), bytes, file: OnceLock::new(), health: health.clone() };
        drop(mapping.get());
        mapping
    }

    /// The content. A file that is gone or of a wrong length stays damaged; any other failure to open it is tried again.
    pub(crate) fn get(&self) -> Result<&MappedFile, SegmentError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        if let Some(error) = self.health.error() {
            return Err(error);
        }
        let file =
            map(&*self.disk, self.health.path(), self.bytes).inspect_err(|error| self.health.note_error(error))?;
        self.health.note_readable();
        Ok(self.file.get_or_init(|| file))
    }

    /// Lets go of the pages read so far.
    pub(crate) fn release(&self) {
        if let Some(file) = self.file.get() {
            file.release();
        }
    }
}

fn map(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<MappedFile, SegmentError> {
    let damaged = |offset, detail| SegmentError::Damaged { path: path.to_owned(), offset, detail };
    let file = disk.map(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => damaged(0, "the file is missing".to_owned()),
        _ => SegmentError::Unreadable { path: path.to_owned(), source },
    })?;
    let actual = file.bytes().len() as u64;
    if actual != bytes {
        let detail = format!("it has {actual} bytes, the manifest says {bytes}");
        return Err(damaged(actual.min(bytes), detail));
    }
    Ok(file)
}
