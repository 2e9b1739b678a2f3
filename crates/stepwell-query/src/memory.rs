//! Memory of queries: each has a limit, and all who read together have one.

use std::{fmt, sync::Arc};

use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};
use stepwell_engine::ReadMemory;

/// What one query may have of the memory of all who read. Alone it may have all there is; its parts that can spill share that evenly.
#[derive(Debug)]
pub(crate) struct QueryPool {
    own: FairSpillPool,
    shared: ReadMemory,
}

impl QueryPool {
    pub(crate) fn for_one_more(shared: &ReadMemory) -> Arc<dyn MemoryPool> {
        Arc::new(Self { own: FairSpillPool::new(shared.limit_bytes()), shared: shared.clone() })
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(limit: {} bytes of all who read)", self.name(), self.shared.limit_bytes())
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
        self.shared.take(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.give_back(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.shared.try_take(additional).map_err(|used| {
            let limit = self.shared.limit_bytes();
            DataFusionError::ResourcesExhausted(format!(
                "{additional} bytes more for {} are not to be had: all who read hold {used} of {limit}",
                reservation.consumer().name()
            ))
        })?;
        self.own.try_grow(reservation, additional).inspect_err(|_| {
            self.shared.give_back(additional);
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.shared.limit_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_queries_together_hold_no_more_than_one_may() {
        let shared = ReadMemory::new(100);
        let (one, other) = (QueryPool::for_one_more(&shared), QueryPool::for_one_more(&shared));
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
        let shared = ReadMemory::new(100);
        let pool = QueryPool::for_one_more(&shared);
        let consumers: Vec<_> =
            (0..2).map(|_| MemoryConsumer::new("sort").with_can_spill(true).register(&pool)).collect();
        assert!(consumers[0].try_grow(51).is_err(), "half each");
        assert_eq!(shared.used(), 0);
        consumers[0].try_grow(50).unwrap();
        assert_eq!(shared.used(), 50);
    }
}
