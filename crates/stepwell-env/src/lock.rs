//! One process per data directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Held while a process owns a data directory; the lock goes with the process, however it ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why the directory was not locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it; `holder` is what that process wrote of itself.
    Held {
        path: PathBuf,
        holder: String,
    },
    Io {
        path: PathBuf,
        source: io::Error,
    },
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held { path, holder } => {
                write!(f, "{} is held by {holder}; stop that process or use another data directory", path.display())
            }
            Self::Io { path, source } => write!(f, "cannot lock {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

impl DirLock {
    /// Locks `directory/LOCK` and writes the process id and `holder` (a line about who holds it) into it.
    pub fn acquire(directory: &Path, holder: &str) -> Result<Self, LockError> {
        let path = directory.join("LOCK");
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io)?;
                return Err(LockError::Held { path, holder: holder.trim().to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "process {} ({holder})", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_holder_hears_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path(), "test").unwrap();
        let error = DirLock::acquire(dir.path(), "other").unwrap_err().to_string();
        assert!(error.contains(&format!("process {} (test)", std::process::id())), "{error}");
        drop(first);
        assert!(DirLock::acquire(dir.path(), "other").is_ok());
    }
}
