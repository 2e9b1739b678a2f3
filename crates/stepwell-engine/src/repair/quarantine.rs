//! `quarantine/` of a data directory: damaged files as they were found. Nobody reads them but people.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use stepwell_env::{Disk, write_atomically};

use crate::EngineError;

/// Name of the directory below the data directory.
pub const QUARANTINE: &str = "quarantine";

pub(super) struct Quarantine {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
}

impl Quarantine {
    pub(super) fn new(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        Self { disk, data_dir: data_dir.to_owned() }
    }

    /// Copies a file, durably; `None` if it is gone. A copy of the same bytes is not made twice.
    pub(super) fn copy(&self, path: &Path) -> Result<Option<PathBuf>, EngineError> {
        if !self.disk.try_exists(path).map_err(failed("look for", path))? {
            return Ok(None);
        }
        let file = self.disk.map(path).map_err(failed("read", path))?;
        let wanted = self.place_of(path)?;
        for number in 0.. {
            let copy = numbered(&wanted, number);
            if !self.disk.try_exists(&copy).map_err(failed("look for", &copy))? {
                write_atomically(&*self.disk, &copy, file.bytes()).map_err(failed("write", &copy))?;
                return Ok(Some(copy));
            }
            if self.disk.map(&copy).map_err(failed("read", &copy))?.bytes() == file.bytes() {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }

    /// Takes over the copies of damaged files that starts have kept beside the log.
    pub(super) fn take_kept_logs(&self, wal_dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
        let mut taken = Vec::new();
        for entry in self.disk.list(wal_dir).map_err(failed("list", wal_dir))? {
            if entry.name.ends_with(".damaged") {
                let path = wal_dir.join(&entry.name);
                taken.extend(self.copy(&path)?);
                self.disk.remove(&path).map_err(failed("remove", &path))?;
            }
        }
        self.disk.sync_dir(wal_dir).map_err(failed("sync directory", wal_dir))?;
        Ok(taken)
    }

    /// Where a file of the data directory is kept; its directory is there afterwards.
    fn place_of(&self, path: &Path) -> Result<PathBuf, EngineError> {
        let place = self.data_dir.join(QUARANTINE).join(path.strip_prefix(&self.data_dir).unwrap_or(path));
        let dir = place.parent().unwrap_or(&self.data_dir);
        self.disk.create_dir_all(dir).map_err(failed("create directory", dir))?;
        Ok(place)
    }
}

/// The first copy has the file's own name.
fn numbered(path: &Path, number: u32) -> PathBuf {
    match number {
        0 => path.to_owned(),
        number => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            name.into()
        }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Io { what, path, source }
}
