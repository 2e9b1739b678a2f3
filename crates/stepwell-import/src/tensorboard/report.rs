//! What an import did.

use std::{fmt, path::PathBuf};

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of event files read.
    pub bytes_done: u64,
    /// Bytes of all event files.
    pub bytes_total: u64,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// In the order of their paths.
    pub runs: Vec<ImportedRun>,
    /// What was not imported, in the order of reading.
    pub skipped: Vec<Skipped>,
}

impl ImportReport {
    /// Points found in the files.
    pub fn points(&self) -> u64 {
        self.runs.iter().map(|run| run.points).sum()
    }

    /// Points that the server did not have before.
    pub fn new_points(&self) -> u64 {
        self.runs.iter().map(|run| run.new_points).sum()
    }
}

/// One run of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportedRun {
    pub run_id: String,
    /// Path below the log directory with `/` between, `.` for the log directory itself. The run's name.
    pub path: String,
    /// Event files read.
    pub files: u64,
    /// Points found in them.
    pub points: u64,
    /// Points that the server did not have before.
    pub new_points: u64,
}

/// Bytes of a file that were not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub file: PathBuf,
    /// Where in the file they begin.
    pub offset: u64,
    pub bytes: u64,
    /// What is wrong with them, in words.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, reason } = self;
        write!(f, "{}: skipped {bytes} bytes at offset {offset}: {reason}", file.display())
    }
}
