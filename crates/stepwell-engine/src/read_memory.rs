//! Memory of those who read: points, buckets and summaries that they hold, all of them together within one limit (I9).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::error::EngineError;

/// Readers that end take about so long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all readers hold, bytes. Clones share it.
#[derive(Debug, Clone)]
pub struct ReadMemory {
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
}

impl ReadMemory {
    /// Nothing held.
    pub fn new(limit_bytes: usize) -> Self {
        Self { used: Arc::default(), limit_bytes }
    }

    /// Most that may be held.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes, if there are so many left; if not, says how many are held.
    pub fn try_take(&self, bytes: usize) -> Result<(), usize> {
        let taken = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).map(drop)
    }

    /// Takes bytes though there may be none left.
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what was taken.
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// One more reader.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::new(Reader { memory: self.clone(), held: AtomicUsize::new(0), of_request: Arc::default() })
    }
}

/// One reader: what it holds counts until it is dropped, or gives it back before. Its threads share it.
#[derive(Debug)]
pub struct Reader {
    memory: ReadMemory,
    held: AtomicUsize,
    /// What all readers for the same request hold.
    of_request: Arc<AtomicUsize>,
}

impl Reader {
    /// One whose memory is bounded elsewhere, or not at all.
    pub(crate) fn unlimited() -> Arc<Self> {
        ReadMemory::new(usize::MAX).reader()
    }

    /// Counts `bytes` more. An error where the limit leaves no room for what it wants alone, or not as long as others hold theirs.
    pub fn hold(&self, bytes: usize) -> Result<(), EngineError> {
        let limit_bytes = self.memory.limit_bytes;
        self.memory.try_take(bytes).map_err(|used| {
            let wanted = self.of_request.load(Ordering::Relaxed).saturating_add(bytes);
            match wanted > limit_bytes {
                true => EngineError::ReadTooLarge { limit_bytes },
                false => EngineError::ReadersBusy { used_bytes: used, limit_bytes, retry_after: RETRY_AFTER },
            }
        })?;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.of_request.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// One more for the same request, for what is given back before the answer is.
    pub fn beside(&self) -> Arc<Self> {
        let of_request = self.of_request.clone();
        Arc::new(Self { memory: self.memory.clone(), held: AtomicUsize::new(0), of_request })
    }

    fn let_go(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.of_request.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.give_back(bytes);
    }

    /// For what is held for a while only.
    pub fn passing(&self) -> Passing<'_> {
        Passing { reader: self, bytes: 0 }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.let_go(self.held.load(Ordering::Relaxed));
    }
}

/// What a reader holds until this is dropped.
#[derive(Debug)]
pub struct Passing<'a> {
    reader: &'a Reader,
    bytes: usize,
}

impl Passing<'_> {
    /// As [`Reader::hold`].
    pub fn hold(&mut self, bytes: usize) -> Result<(), EngineError> {
        self.reader.hold(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.bytes -= excess;
        self.reader.let_go(excess);
    }

    /// Leaves what it holds to the reader, until that is dropped.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.reader.let_go(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_readers_hold_no_more_than_the_limit_and_hear_whose_memory_is_in_the_way() {
        let memory = ReadMemory::new(100);
        let (one, other) = (memory.reader(), memory.reader());
        one.hold(60).unwrap();
        assert!(matches!(other.hold(41), Err(EngineError::ReadersBusy { used_bytes: 60, limit_bytes: 100, .. })));
        assert!(matches!(other.hold(101), Err(EngineError::ReadTooLarge { limit_bytes: 100 })));
        assert!(matches!(one.hold(41), Err(EngineError::ReadTooLarge { .. })), "it holds 60 itself");
        {
            let mut passing = other.passing();
            passing.hold(30).unwrap();
            passing.hold(10).unwrap();
            assert_eq!(memory.used(), 100);
            passing.shrink_to(50);
            passing.shrink_to(20);
            assert_eq!(memory.used(), 80);
        }
        assert!(matches!(one.beside().hold(41), Err(EngineError::ReadTooLarge { .. })), "of the same request");
        one.beside().hold(40).unwrap();
        other.hold(usize::MAX).unwrap_err();
        let mut kept = other.passing();
        kept.hold(40).unwrap();
        kept.keep();
        drop(one);
        assert_eq!(memory.used(), 40, "what was refused is not held");
        drop(other);
        assert_eq!(memory.used(), 0);
    }
}
