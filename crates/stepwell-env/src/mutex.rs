//! The lock for what may be held while another thread gets its turn: across the disk, a channel, the end of a thread.

use std::sync::{
    PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::simulation::{Resource, current, yield_now};

/// A lock that a simulation sees. One never held across a disk access or a wait may be the standard library's: then nobody ever
/// finds it taken in a simulation, where one thread runs at a time. A panic of its holder does not poison it.
pub struct Mutex<T> {
    inner: std::sync::Mutex<T>,
    turn: Option<Turn>,
}

struct Turn {
    changed: Resource,
    is_taken: AtomicBool,
}

/// Held until dropped.
pub struct MutexGuard<'a, T> {
    // Dropped in this order: nobody may be let in before the lock is free.
    inner: std::sync::MutexGuard<'a, T>,
    _taken: Option<Taken<'a>>,
}

struct Taken<'a>(&'a Turn);

impl<T> Mutex<T> {
    /// An open lock.
    pub fn new(value: T) -> Self {
        let turn = Resource::of_current().map(|changed| Turn { changed, is_taken: AtomicBool::new(false) });
        Self { inner: std::sync::Mutex::new(value), turn }
    }

    /// Waits until nobody else holds it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let taken = self.turn.as_ref().and_then(Turn::take);
        MutexGuard { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), _taken: taken }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl Turn {
    fn take(&self) -> Option<Taken<'_>> {
        current()?;
        yield_now();
        while self.is_taken.swap(true, Ordering::Relaxed) {
            self.changed.wait("a lock", None);
        }
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Relaxed);
        self.0.changed.wake();
    }
}

impl<T> std::ops::Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
