//! What an import did.

use std::path::PathBuf;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub runs_done: u64,
    pub runs_total: u64,
}

/// How many there are of something, and how many of them Stepwell did not have before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub all: u64,
    pub new: u64,
}

impl Count {
    pub(super) fn add(&mut self, all: usize, new: usize) {
        self.all += all as u64;
        self.new += new as u64;
    }
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    pub experiments: Count,
    pub runs: Count,
    pub params: Count,
    pub tags: Count,
    pub points: Count,
    /// Those whose time microseconds do not hold: they have the nearest that they do.
    pub times_fitted: u64,
    pub files: Count,
    /// Of all files, those that were there included.
    pub file_bytes: u64,
    /// Runs and logged models of a source without a server that have no directory of files: as is so of one that logged none, and of
    /// one whose files were moved.
    pub without_directory: u64,
    /// Where the first of them should have it.
    pub first_without_directory: Option<PathBuf>,
    pub models: Count,
    pub versions: Count,
    /// Those that versions name.
    pub logged_models: Count,
    /// What is not in Stepwell as it is in the source, in words; none if the import is whole.
    pub mismatches: Vec<String>,
}

impl ImportReport {
    /// Notes whose directory of files is not there.
    pub(super) fn lacks(&mut self, directory: Option<PathBuf>) {
        if let Some(directory) = directory {
            self.without_directory += 1;
            self.first_without_directory.get_or_insert(directory);
        }
    }
}
