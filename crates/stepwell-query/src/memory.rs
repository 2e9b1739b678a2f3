//! Memory of queries: each has a limit, and all together have one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};

/// What all queries that run hold, bytes.
#[derive(Debug, Clone)]
pub(crate) struct SharedMemory {
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
}

impl SharedMemory {
    /// Nothing held.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { used: Arc::default(), limit_bytes }
    }

    /// The pool of one more query. Alone it may have all there is; its parts that can spill share that evenly.
    pub(crate) fn pool(&self) -> Arc<dyn MemoryPool> {
        Arc::new(QueryPool { own: FairSpillPool::new(self.limit_bytes), shared: self.clone() })
    }

    /// Bytes held now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes, if there are so many left.
    fn try_take(&self, bytes: usize) -> Result<(), usize> {
        let taken = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).map(drop)
    }
}

/// What one query may have of it.
#[derive(Debug)]
struct QueryPool {
    own: FairSpillPool,
    shared: SharedMemory,
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(limit: {} bytes of all queries)", self.name(), self.shared.limit_bytes)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shared.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.shared.try_take(additional).map_err(|used| {
            let limit = self.shared.limit_bytes;
            DataFusionError::ResourcesExhausted(format!(
                "{additional} bytes more for {} are not to be had: all queries that run hold {used} of {limit}",
                reservation.consumer().name()
            ))
        })?;
        self.own.try_grow(reservation, additional).inspect_err(|_| {
            self.shared.used.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.shared.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_queries_together_hold_no_more_than_one_may() {
        let shared = SharedMemory::new(100);
        let (one, other) = (shared.pool(), shared.pool());
        let first = MemoryConsumer::new("first").register(&one);
        let second = MemoryConsumer::new("second").with_can_spill(true).register(&other);
        first.try_grow(70).unwrap();
        let refusal = second.try_grow(31).unwrap_err();
        assert!(matches!(refusal.find_root(), DataFusionError::ResourcesExhausted(_)), "{refusal}");
        second.try_grow(30).unwrap();
        assert_eq!((shared.used(), one.reserved(), other.reserved()), (100, 70, 30));
        drop(first);
        assert_eq!(shared.used(), 30, "a query that ended gives back what it held");
        second.try_grow(70).unwrap();
        assert!(second.try_grow(1).is_err());
        drop(second);
        assert_eq!(shared.used(), 0);
    }

    #[test]
    fn i9_what_its_own_pool_refuses_is_given_back() {
        let shared = SharedMemory::new(100);
        let pool = shared.pool();
        let consumers: Vec<_> =
            (0..2).map(|_| MemoryConsumer::new("sort").with_can_spill(true).register(&pool)).collect();
        assert!(consumers[0].try_grow(51).is_err(), "half each");
        assert_eq!(shared.used(), 0);
        consumers[0].try_grow(50).unwrap();
        assert_eq!(shared.used(), 50);
    }
}
