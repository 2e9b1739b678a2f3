//! What readers see: the live parts, and the LSN below which their points may be shown (I2, I10).

use std::sync::PoisonError;

use stepwell_types::Lsn;

use crate::sync::{AtomicU64, Ordering, RwLock};

/// Parts that change hands under a lock, and a bound that rises without one.
///
/// The one writer inserts a batch into a part that is live, then raises the bound. A reader looks at the bound while it holds the
/// lock, so that every point below it is in exactly one of the parts that it takes. Were the bound read after the lock was left,
/// it could be that of points in a part that became live in between.
pub(crate) struct Visible<S> {
    live: RwLock<S>,
    below: AtomicU64,
}

impl<S> Visible<S> {
    /// `live` holds all points below `below`.
    pub(crate) fn new(live: S, below: Lsn) -> Self {
        Self { live: RwLock::new(live), below: AtomicU64::new(below.0) }
    }

    /// What is live, and the bound of what may be shown of it.
    pub(crate) fn snapshot(&self) -> (S, Lsn)
    where
        S: Clone,
    {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        (live.clone(), self.below())
    }

    /// A look at what is live, for what needs no bound. It must be short: the writer waits meanwhile.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&S) -> T) -> T {
        at(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Points may go from part to part here, but none that is below the bound may come or go.
    pub(crate) fn change(&self, change: impl FnOnce(&mut S)) {
        change(&mut self.live.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Shows what was inserted: all points below `lsn` are in live parts, and durable. For the one writer.
    pub(crate) fn show_below(&self, lsn: Lsn) {
        self.below.store(lsn.0, Ordering::Release);
    }

    /// The bound.
    pub(crate) fn below(&self) -> Lsn {
        Lsn(self.below.load(Ordering::Acquire))
    }
}

#[cfg(all(test, feature = "loom"))]
mod tests;
