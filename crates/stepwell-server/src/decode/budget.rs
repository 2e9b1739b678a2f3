//! Memory budgets of request bodies: one per request, one for the whole server (I9).

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::{DecodeCode, DecodeError};

/// The bytes all requests together may hold of bodies received and decoded but not yet handed to the engine.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    used_bytes: Arc<AtomicUsize>,
    /// Times there was no room.
    refused: Arc<AtomicU64>,
    limit_bytes: usize,
}

impl InFlight {
    /// A pool of `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { used_bytes: Arc::default(), refused: Arc::default(), limit_bytes }
    }

    /// Bytes held now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Times there was no room for a body or message.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|&total| total <= self.limit_bytes)
        });
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }
}

/// What one request may still decode. Gives back to the pool what it took when dropped.
#[derive(Debug)]
pub(crate) struct Budget {
    pool: InFlight,
    taken_bytes: usize,
    decoded_bytes: usize,
    decoded_limit_bytes: usize,
}

impl Budget {
    /// A request that may decode to `decoded_limit_bytes`.
    pub(crate) fn new(pool: InFlight, decoded_limit_bytes: usize) -> Self {
        Self { pool, taken_bytes: 0, decoded_bytes: 0, decoded_limit_bytes }
    }

    /// Bytes that the request may still decode.
    pub(crate) fn decoded_left_bytes(&self) -> usize {
        self.decoded_limit_bytes - self.decoded_bytes
    }

    /// Decoded bytes taken so far.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// Bytes taken so far, received and decoded.
    pub(crate) fn taken_bytes(&self) -> usize {
        self.taken_bytes
    }

    /// Hands over all that was taken, and starts anew with the same limits.
    pub(crate) fn hand_over(&mut self) -> Self {
        let empty = Self::new(self.pool.clone(), self.decoded_limit_bytes);
        std::mem::replace(self, empty)
    }

    /// Takes over what another request or message has taken.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.taken_bytes += std::mem::take(&mut other.taken_bytes);
    }

    /// Does work that takes bytes; what it took is given back if it fails, so that it can be tried again.
    pub(crate) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let (taken_bytes, decoded_bytes) = (self.taken_bytes, self.decoded_bytes);
        let result = work(self);
        if result.is_err() {
            // Less than before if the work handed bytes over: those are another's to give back.
            let extra = self.taken_bytes.saturating_sub(taken_bytes);
            self.pool.used_bytes.fetch_sub(extra, Ordering::Relaxed);
            self.taken_bytes -= extra;
            self.decoded_bytes = self.decoded_bytes.min(decoded_bytes);
        }
        result
    }

    /// Takes bytes from the server's pool only: received bytes, which have a limit of their own.
    pub(crate) fn receive(&mut self, bytes: usize) -> Result<(), DecodeError> {
        if !self.pool.take(bytes) {
            return Err(DecodeError::new(
                DecodeCode::QueueFull,
                format!(
                    "requests being received hold the whole budget of {} bytes: try again after a pause",
                    self.pool.limit_bytes
                ),
            )
            .limit(self.pool.limit_bytes));
        }
        self.taken_bytes += bytes;
        Ok(())
    }

    /// Takes decoded bytes, before they are allocated.
    pub(crate) fn decode(&mut self, bytes: usize) -> Result<(), DecodeError> {
        if bytes > self.decoded_left_bytes() {
            return Err(decoded_too_large(self.decoded_limit_bytes));
        }
        self.receive(bytes)?;
        self.decoded_bytes += bytes;
        Ok(())
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.pool.used_bytes.fetch_sub(self.taken_bytes, Ordering::Relaxed);
    }
}

pub(super) fn decoded_too_large(limit_bytes: usize) -> DecodeError {
    DecodeError::new(
        DecodeCode::DecodedTooLarge,
        format!("the body claims or decodes to more than {limit_bytes} bytes: send it in parts"),
    )
    .limit(limit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_a_budget_bounds_the_request_and_the_server_and_is_given_back() {
        let pool = InFlight::new(100);
        let mut a = Budget::new(pool.clone(), 80);
        a.decode(50).unwrap();
        assert_eq!(a.decode(31).unwrap_err().code, DecodeCode::DecodedTooLarge);
        let mut b = Budget::new(pool.clone(), 80);
        assert_eq!(b.decode(51).unwrap_err().code, DecodeCode::QueueFull);
        assert_eq!(a.decode(usize::MAX).unwrap_err().code, DecodeCode::DecodedTooLarge);
        assert_eq!((pool.refused(), pool.limit_bytes()), (1, 100));
        b.decode(50).unwrap();
        drop((a, b));
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn i9_what_is_handed_over_or_fails_is_neither_lost_nor_counted_twice() {
        let pool = InFlight::new(100);
        let mut a = Budget::new(pool.clone(), 80);
        a.receive(30).unwrap();
        let mut kept = a.hand_over();
        assert_eq!((a.taken_bytes(), kept.taken_bytes(), pool.used_bytes()), (0, 30, 30));
        a.decode(20).unwrap();
        kept.absorb(a);
        assert_eq!((kept.taken_bytes(), pool.used_bytes()), (50, 50));
        let failed = kept.attempt(|budget| budget.decode(40).and_then(|()| budget.decode(20)));
        assert_eq!(failed.unwrap_err().code, DecodeCode::QueueFull);
        assert_eq!((kept.taken_bytes(), kept.decoded_bytes(), pool.used_bytes()), (50, 0, 50));
        drop(kept);
        assert_eq!(pool.used_bytes(), 0);
    }
}
