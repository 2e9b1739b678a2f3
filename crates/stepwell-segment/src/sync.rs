//! The primitives of what `footers` orders by hand: the standard library's, or, with the feature `loom`, those of a checker that
//! tries every interleaving (`cargo xtask concurrency`).

#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

#[cfg(feature = "loom")]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
