//! Folders of this machine, as stores without a server keep them.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{ImportError, entities::File};

/// Directories in one, by name; none if it is not there.
pub(super) fn directories(parent: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut found: Vec<PathBuf> = entries(parent)?.into_iter().filter(|path| path.is_dir()).collect();
    found.sort();
    Ok(found)
}

fn entries(parent: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let failed = |source| ImportError::read(parent, source);
    match fs::read_dir(parent) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Whether there is a file below a directory.
pub(super) fn has_files(root: &Path) -> Result<bool, ImportError> {
    for path in entries(root)? {
        let meta = fs::symlink_metadata(&path).map_err(|source| ImportError::read(&path, source))?;
        if meta.is_file() || (meta.is_dir() && has_files(&path)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Files below a directory: their path with `/` between, and bytes. Links are not followed.
pub(super) fn names(root: &Path) -> Result<Vec<(String, u64)>, ImportError> {
    let (mut found, mut pending) = (Vec::new(), vec![(root.to_owned(), String::new())]);
    while let Some((directory, prefix)) = pending.pop() {
        for path in entries(&directory)? {
            let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
            let meta = fs::symlink_metadata(&path).map_err(|source| ImportError::read(&path, source))?;
            if meta.is_dir() {
                pending.push((path, name + "/"));
            } else if meta.is_file() {
                found.push((name, meta.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The same as files of a run or logged model.
pub(super) fn files(root: &Path) -> Result<Vec<File>, ImportError> {
    Ok(names(root)?.into_iter().map(|(path, bytes)| File { path, bytes }).collect())
}

/// The bytes of one of them.
pub(super) fn open(root: &Path, file: &File) -> Result<Box<dyn Read>, ImportError> {
    let path = root.join(&file.path);
    Ok(Box::new(fs::File::open(&path).map_err(|source| ImportError::read(&path, source))?))
}
