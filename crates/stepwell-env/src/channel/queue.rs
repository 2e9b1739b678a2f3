//! A channel between threads of a simulation.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use crate::simulation::{Resource, Woken, current, yield_now};

struct State<T> {
    waiting: VecDeque<T>,
    capacity: Option<usize>,
    senders: usize,
    receivers: usize,
}

struct Queue<T> {
    changed: Resource,
    state: Mutex<State<T>>,
}

pub(super) struct SimSender<T>(Arc<Queue<T>>);

pub(super) struct SimReceiver<T>(Arc<Queue<T>>);

/// A channel of the running thread's simulation, if there is one.
pub(super) fn queue<T>(capacity: Option<usize>) -> Option<(SimSender<T>, SimReceiver<T>)> {
    let state = State { waiting: VecDeque::new(), capacity, senders: 1, receivers: 1 };
    let queue = Arc::new(Queue { changed: Resource::of_current()?, state: Mutex::new(state) });
    Some((SimSender(queue.clone()), SimReceiver(queue)))
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.lock();
        if state.receivers == 0 {
            return Err(TrySendError::Disconnected(value));
        }
        if state.capacity.is_some_and(|capacity| state.waiting.len() >= capacity) {
            return Err(TrySendError::Full(value));
        }
        state.waiting.push_back(value);
        drop(state);
        self.changed.wake();
        Ok(())
    }

    fn pop(&self) -> Result<T, TryRecvError> {
        let mut state = self.lock();
        match state.waiting.pop_front() {
            Some(value) => {
                drop(state);
                self.changed.wake();
                Ok(value)
            }
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }
}

impl<T> SimSender<T> {
    pub(super) fn send(&self, mut value: T) -> Result<(), SendError<T>> {
        yield_now();
        loop {
            match self.0.push(value) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(value)) => return Err(SendError(value)),
                Err(TrySendError::Full(back)) => value = back,
            }
            if current().is_none() {
                return Err(SendError(value));
            }
            self.0.changed.wait("room in a channel", None);
        }
    }

    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        yield_now();
        self.0.push(value)
    }
}

impl<T> SimReceiver<T> {
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        yield_now();
        self.0.pop()
    }

    pub(super) fn recv(&self) -> Result<T, RecvError> {
        self.take(None).map_err(|_| RecvError)
    }

    pub(super) fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.take(Some(timeout))
    }

    fn take(&self, timeout: Option<Duration>) -> Result<T, RecvTimeoutError> {
        yield_now();
        let until = timeout.map(|timeout| self.0.changed.now().saturating_add(timeout));
        loop {
            match self.0.pop() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            let Some(me) = current() else { return Err(RecvTimeoutError::Disconnected) };
            if self.0.changed.wait_until(&me, "a message in a channel", until) == Woken::ByTime {
                return self.0.pop().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                });
            }
        }
    }
}

impl<T> Clone for SimSender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Clone for SimReceiver<T> {
    fn clone(&self) -> Self {
        self.0.lock().receivers += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for SimSender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.wake();
    }
}

impl<T> Drop for SimReceiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receivers -= 1;
        // What nobody can take any more goes now, as with the real channel.
        let lost = if state.receivers == 0 { std::mem::take(&mut state.waiting) } else { VecDeque::new() };
        drop(state);
        self.0.changed.wake();
        drop(lost);
    }
}
