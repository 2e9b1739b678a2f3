//! Footers and page indexes of open files, parsed, within a budget: years of segments have more than memory.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, Weak},
};

use arrow::datatypes::SchemaRef;
use parquet::{arrow::arrow_reader::ArrowReaderMetadata, file::metadata::ParquetMetaData};

use crate::checksums::PageSums;

/// What was read of the end of a file.
#[derive(Clone)]
pub(crate) struct Footer {
    /// Of the format, as the file says it.
    pub(crate) version: Option<String>,
    pub(crate) parquet: ArrowReaderMetadata,
    /// `None` of files without checksums of pages.
    pub(crate) sums: Option<Arc<PageSums>>,
}

impl Footer {
    pub(crate) fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.parquet.metadata()
    }

    /// The columns of the file.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.parquet.schema()
    }
}

use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};

/// Keeps what was read of the ends of files for the next reader, up to a number of bytes. What nobody used since it was last
/// looked at goes first ("second chance", Corbató 1968). Clones share it.
#[derive(Clone)]
pub struct FooterCache {
    kept: Arc<Kept>,
}

struct Kept {
    bytes_max: usize,
    bytes: AtomicUsize,
    /// In the order in which they are looked at when there is no room.
    slots: Mutex<VecDeque<Weak<Slot>>>,
}

/// The place of one file's footer.
pub(crate) struct Slot {
    footer: Mutex<Option<(Footer, usize)>>,
    was_used: AtomicBool,
    kept: Arc<Kept>,
}

impl FooterCache {
    /// Keeps at most `bytes_max`; what readers still use meanwhile is beside that.
    pub fn new(bytes_max: usize) -> Self {
        Self { kept: Arc::new(Kept { bytes_max, bytes: AtomicUsize::new(0), slots: Mutex::default() }) }
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.kept.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn slot(&self) -> Arc<Slot> {
        Arc::new(Slot { footer: Mutex::default(), was_used: AtomicBool::new(false), kept: self.kept.clone() })
    }
}

impl Slot {
    pub(crate) fn get(&self) -> Option<Footer> {
        let footer = self.lock().as_ref().map(|(footer, _)| footer.clone())?;
        self.was_used.store(true, Ordering::Relaxed);
        Some(footer)
    }

    /// Keeps `footer`, and forgets others for it.
    pub(crate) fn put(self: &Arc<Self>, footer: Footer) {
        let sums = footer.sums.as_ref().map_or(0, |sums| sums.memory_size());
        let bytes = footer.metadata().memory_size() + sums;
        let mut slots = self.kept.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Two readers may have parsed it at once.
        if self.lock().replace((footer, bytes)).is_none() {
            self.kept.bytes.fetch_add(bytes, Ordering::Relaxed);
            push(&mut slots, Arc::downgrade(self));
        }
        while self.kept.bytes.load(Ordering::Relaxed) > self.kept.bytes_max {
            let Some(next) = slots.pop_front() else { break };
            // That of a file that is gone has gone with it.
            let Some(slot) = next.upgrade() else { continue };
            if slot.was_used.swap(false, Ordering::Relaxed) {
                slots.push_back(next);
            } else {
                slot.forget();
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_kept(&self) -> bool {
        self.lock().is_some()
    }

    fn forget(&self) {
        if let Some((_, bytes)) = self.lock().take() {
            self.kept.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Footer, usize)>> {
        self.footer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Appends a slot. While there is room for footers nobody looks at the list, and merges let go of files for years: those that are
/// gone are taken off whenever it would have to grow, and it grows where more than half of it are not.
fn push(slots: &mut VecDeque<Weak<Slot>>, slot: Weak<Slot>) {
    if slots.len() == slots.capacity() {
        slots.retain(|slot| slot.strong_count() > 0);
        if slots.len() > slots.capacity() / 2 {
            slots.reserve(slots.capacity());
        }
    }
    slots.push_back(slot);
}

#[cfg(test)]
mod tests;
