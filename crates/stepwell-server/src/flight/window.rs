//! How far a stream may run ahead of its acknowledgements.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Batches of one stream that may wait for their acknowledgements.
const BATCHES_MAX: usize = 256;
/// Received bytes of one stream that may; a batch that is larger passes alone. Counted in KiB.
const KIB_MAX: u32 = 32 << 10;

/// The window of one stream. Past it the stream is not read, which holds the sender back.
pub(super) struct Window {
    batches: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

/// The part of the window that one batch takes, until it is dropped.
pub(super) struct Place {
    _batch: Option<OwnedSemaphorePermit>,
    _kib: Option<OwnedSemaphorePermit>,
}

impl Window {
    /// Wide open.
    pub(super) fn new() -> Self {
        Self { batches: Arc::new(Semaphore::new(BATCHES_MAX)), kib: Arc::new(Semaphore::new(KIB_MAX as usize)) }
    }

    /// Waits for room for a batch of `bytes`.
    pub(super) async fn enter(&self, bytes: usize) -> Place {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(KIB_MAX).min(KIB_MAX);
        // Neither semaphore is ever closed.
        let batch = self.batches.clone().acquire_owned().await.ok();
        Place { _batch: batch, _kib: self.kib.clone().acquire_many_owned(kib).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn i9_batches_and_bytes_bound_the_window_and_a_huge_batch_passes_alone() {
        let window = Window::new();
        let places: Vec<Place> = (0..BATCHES_MAX).filter_map(|_| window.enter(1).now_or_never()).collect();
        assert_eq!(places.len(), BATCHES_MAX);
        assert!(window.enter(1).now_or_never().is_none());
        drop(places);
        let huge = window.enter(usize::MAX).now_or_never().unwrap();
        assert!(window.enter(1).now_or_never().is_none());
        drop(huge);
        assert!(window.enter(1).now_or_never().is_some());
    }
}
