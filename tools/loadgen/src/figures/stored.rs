//! What a data set takes on disk.

use std::fmt;

use anyhow::Result;

use super::{millions, stage::Running};

/// Bytes per point, by kind of file.
pub(super) struct Stored {
    points: f64,
    summaries: f64,
    rollups: f64,
    /// Points that were sent.
    rows: u64,
    /// Segments that hold them.
    pub(super) files: u64,
}

impl Stored {
    /// Of a server that holds `rows` points, all of them in segments.
    pub(super) fn of(running: &Running, rows: u64) -> Result<Self> {
        let of = |folder: &str| -> Result<f64> { Ok(running.bytes_below(folder)?.0 as f64 / rows as f64) };
        Ok(Self {
            points: of("segments")?,
            summaries: of("summaries")?,
            rollups: of("rollups")?,
            rows,
            files: running.bytes_below("segments")?.1,
        })
    }

    /// Bytes per point, all in all.
    pub(super) fn total(&self) -> f64 {
        self.points + self.summaries + self.rollups
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, summaries, rollups, rows, files } = self;
        let (rows, plural) = (millions(*rows as f64), if *files == 1 { "" } else { "s" });
        write!(
            f,
            "{rows} points in {files} segment{plural}: points {points:.2}, summaries {summaries:.3}, rollups {rollups:.2}"
        )
    }
}
