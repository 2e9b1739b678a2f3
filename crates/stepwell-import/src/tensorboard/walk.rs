//! Finding the event files of a log directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::ImportError;

/// A directory with event files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RunFiles {
    /// Path below the log directory with `/` between, `.` for the log directory itself.
    pub(super) path: String,
    /// In name order, each with its length.
    pub(super) files: Vec<(PathBuf, u64)>,
}

/// The runs below `logdir` in the order of their paths. Linked directories are not entered: they may form a circle.
pub(super) fn find_runs(logdir: &Path) -> Result<Vec<RunFiles>, ImportError> {
    let mut runs = Vec::new();
    let mut directories = vec![(logdir.to_owned(), String::from("."))];
    while let Some((directory, path)) = directories.pop() {
        let read = |source: io::Error| ImportError::Read { path: directory.clone(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(&directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().map_err(read)?.is_dir() {
                let below = if path == "." { name } else { format!("{path}/{name}") };
                directories.push((entry.path(), below));
            } else if name.contains("tfevents") {
                let file = entry.path();
                let metadata =
                    fs::metadata(&file).map_err(|source| ImportError::Read { path: file.clone(), source })?;
                if metadata.is_file() {
                    files.push((file, metadata.len()));
                }
            }
        }
        files.sort();
        if !files.is_empty() {
            runs.push(RunFiles { path, files });
        }
    }
    runs.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(runs)
}
