//! What is known to be damaged of a file.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{error::SegmentError, format::Kind};

/// A damaged place in a file of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDamage {
    pub path: PathBuf,
    pub offset: u64,
    /// Bytes of the smallest checked piece that holds it; 0 where that is not known.
    pub bytes: u64,
    pub detail: String,
    /// Rows of the file, from 0, that cannot be read because of it.
    pub rows: Range<u64>,
}

/// The health of one file; its readers share it.
#[derive(Debug)]
pub(crate) struct Health {
    path: PathBuf,
    kind: Kind,
    /// Offset and what is wrong: the first damage met.
    first: OnceLock<(u64, String)>,
    /// The file could not even be opened: nothing of it can be read.
    is_lost: bool,
}

impl Health {
    pub(crate) fn good(path: &Path, kind: Kind) -> Self {
        Self { path: path.to_owned(), kind, first: OnceLock::new(), is_lost: false }
    }

    pub(crate) fn lost(path: &Path, kind: Kind, offset: u64, detail: String) -> Self {
        let health = Self { is_lost: true, ..Self::good(path, kind) };
        health.note(offset, detail);
        health
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.first.get().is_some()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Keeps the first damage, and says it once.
    pub(crate) fn note(&self, offset: u64, detail: String) {
        let mut is_first = false;
        self.first.get_or_init(|| {
            is_first = true;
            (offset, detail.clone())
        });
        if is_first {
            let path = self.path.display();
            match self.kind {
                Kind::Points => tracing::error!(
                    %path, offset, detail,
                    "a segment is damaged: queries that need the damaged part fail; `stepwell check` says what is concerned"
                ),
                Kind::Summaries | Kind::Rollups => tracing::error!(
                    %path, offset, detail,
                    "what was computed beside a segment is damaged: its points answer instead, slower; `stepwell repair` makes it anew"
                ),
            }
        }
    }

    /// Keeps the damage that an error tells of.
    pub(crate) fn note_error(&self, error: &SegmentError) {
        if let SegmentError::Damaged { offset, detail, .. } = error {
            self.note(*offset, detail.clone());
        }
    }

    /// The first damage met.
    pub(crate) fn error(&self) -> Option<SegmentError> {
        let (offset, detail) = self.first.get()?.clone();
        Some(SegmentError::Damaged { path: self.path.clone(), offset, detail })
    }
}
