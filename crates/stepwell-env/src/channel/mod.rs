//! Channels between threads: crossbeam's, or in a simulation ones whose every operation lets the seed choose who runs.

mod queue;

use std::time::Duration;

pub use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use self::queue::{SimReceiver, SimSender, queue};

/// The sending half. Clones send into the same channel.
pub struct Sender<T>(SenderOf<T>);

/// The receiving half. Clones take from the same channel; a message goes to one of them.
pub struct Receiver<T>(ReceiverOf<T>);

enum SenderOf<T> {
    Real(crossbeam_channel::Sender<T>),
    Simulated(SimSender<T>),
}

enum ReceiverOf<T> {
    Real(crossbeam_channel::Receiver<T>),
    Simulated(SimReceiver<T>),
}

/// A channel in which at most `capacity` messages wait; one at least.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.max(1);
    channel(Some(capacity), || crossbeam_channel::bounded(capacity))
}

/// A channel in which any number of messages wait. For what is bounded otherwise.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(None, crossbeam_channel::unbounded)
}

fn channel<T>(
    capacity: Option<usize>,
    real: impl FnOnce() -> (crossbeam_channel::Sender<T>, crossbeam_channel::Receiver<T>),
) -> (Sender<T>, Receiver<T>) {
    match queue(capacity) {
        Some((send, receive)) => (Sender(SenderOf::Simulated(send)), Receiver(ReceiverOf::Simulated(receive))),
        None => {
            let (send, receive) = real();
            (Sender(SenderOf::Real(send)), Receiver(ReceiverOf::Real(receive)))
        }
    }
}

impl<T> Sender<T> {
    /// Waits for room; fails if every receiver has gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match &self.0 {
            SenderOf::Real(sender) => sender.send(message),
            SenderOf::Simulated(sender) => sender.send(message),
        }
    }

    /// Fails at once where there is no room, or no receiver.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match &self.0 {
            SenderOf::Real(sender) => sender.try_send(message),
            SenderOf::Simulated(sender) => sender.try_send(message),
        }
    }
}

impl<T> Receiver<T> {
    /// Waits for a message; fails if none waits and every sender has gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        match &self.0 {
            ReceiverOf::Real(receiver) => receiver.recv(),
            ReceiverOf::Simulated(receiver) => receiver.recv(),
        }
    }

    /// The same, for so long at most.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match &self.0 {
            ReceiverOf::Real(receiver) => receiver.recv_timeout(timeout),
            ReceiverOf::Simulated(receiver) => receiver.recv_timeout(timeout),
        }
    }

    /// A message that waits already.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match &self.0 {
            ReceiverOf::Real(receiver) => receiver.try_recv(),
            ReceiverOf::Simulated(receiver) => receiver.try_recv(),
        }
    }

    /// All messages, until every sender has gone.
    pub fn into_messages(self) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || self.recv().ok())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            SenderOf::Real(sender) => SenderOf::Real(sender.clone()),
            SenderOf::Simulated(sender) => SenderOf::Simulated(sender.clone()),
        })
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            ReceiverOf::Real(receiver) => ReceiverOf::Real(receiver.clone()),
            ReceiverOf::Simulated(receiver) => ReceiverOf::Simulated(receiver.clone()),
        })
    }
}
