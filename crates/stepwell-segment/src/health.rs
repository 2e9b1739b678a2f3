//! What is known to be damaged of a file.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
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

/// Offset of a damage, and what is wrong.
pub(crate) type Place = (u64, String);

/// The health of one file; its readers share it.
#[derive(Debug)]
pub(crate) struct Health {
    path: PathBuf,
    kind: Kind,
    /// The first damage met.
    first: OnceLock<Place>,
    /// The last try to open it failed for a reason that may pass.
    is_unreadable: AtomicBool,
}

impl Health {
    pub(crate) fn good(path: &Path, kind: Kind) -> Self {
        Self { path: path.to_owned(), kind, first: OnceLock::new(), is_unreadable: AtomicBool::new(false) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.first.get().is_some()
    }

    /// Whether it cannot be read just now, and may be whole all the same.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_unreadable.load(Ordering::Relaxed)
    }

    /// The file is open, and stays so.
    pub(crate) fn note_readable(&self) {
        if self.is_unreadable.swap(false, Ordering::Relaxed) {
            tracing::info!(path = %self.path.display(), "a file of a segment that could not be opened is open now");
        }
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

    /// Keeps what an error tells of the file.
    pub(crate) fn note_error(&self, error: &SegmentError) {
        match error {
            SegmentError::Damaged { offset, detail, .. } => self.note(*offset, detail.clone()),
            SegmentError::Unreadable { source, .. } if !self.is_unreadable.swap(true, Ordering::Relaxed) => {
                tracing::error!(
                    path = %self.path.display(), error = %source,
                    "a file of a segment cannot be opened: what needs it fails, and each time tries again"
                );
            }
            _ => {}
        }
    }

    /// The first damage met.
    pub(crate) fn error(&self) -> Option<SegmentError> {
        let (offset, detail) = self.first.get()?.clone();
        Some(SegmentError::Damaged { path: self.path.clone(), offset, detail })
    }
}
