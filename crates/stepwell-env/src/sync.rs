//! The primitives of what `turns` orders by hand: the standard library's, or, with the feature `loom`, those of a checker that
//! tries every interleaving and every value that an atomic may be seen with (`cargo xtask concurrency`).

#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(feature = "loom")]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
