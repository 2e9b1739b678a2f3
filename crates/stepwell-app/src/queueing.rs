//! The order between batches and those who wait for them.

use std::pin::pin;

use stepwell_env::{Turn, Turns};
use tokio::sync::{Mutex, Notify};

/// Who waits for the batches whose runs were found so far begins a new turn. A batch of an earlier turn is in the engine's queue by then, or
/// has its runs looked up anew. No batch waits for a turn, and a turn waits for no look-up.
#[derive(Default)]
pub(crate) struct Queueing {
    turns: Turns,
    /// Told when the last one of a turn that is over is in the queue.
    left: Notify,
    /// Held while a turn ends.
    turning: Mutex<()>,
}

/// A batch that is being queued. Not to be held across an await.
pub(crate) struct Inside<'a> {
    queueing: &'a Queueing,
    turn: Turn,
}

impl Queueing {
    /// Taken before the runs of a batch are looked up.
    pub(crate) fn turn(&self) -> Turn {
        self.turns.now()
    }

    /// Held while a batch is put into the queue; `None` where its runs may have gone since they were found.
    pub(crate) fn enter(&self, turn: Turn) -> Option<Inside<'_>> {
        let is_on = self.turns.come_in(turn);
        let inside = Inside { queueing: self, turn };
        is_on.then_some(inside)
    }

    /// Begins a turn, and waits until what was let in before is in the queue.
    pub(crate) async fn next_turn(&self) {
        let _alone = self.turning.lock().await;
        // Those of the turn before, if its end was not waited for.
        self.emptied(self.turn().before()).await;
        let over = self.turns.end();
        self.emptied(over).await;
    }

    async fn emptied(&self, turn: Turn) {
        loop {
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if self.turns.is_empty(turn) {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.queueing.turns.leave(self.turn) {
            self.queueing.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
        task::Poll,
    };

    use super::*;

    async fn is_pending(work: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
        poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn a_turn_waits_for_those_who_are_inside_and_for_nobody_who_comes_later() {
        let queueing = Queueing::default();
        let before = queueing.turn();
        let inside = queueing.enter(before).unwrap();
        let mut turning = pin!(queueing.next_turn());
        assert!(is_pending(&mut turning).await);
        assert!(queueing.enter(before).is_none(), "its runs may have gone");
        let later = queueing.enter(queueing.turn()).expect("nobody waits for a turn");
        assert!(is_pending(&mut turning).await);
        drop(inside);
        assert!(!is_pending(&mut turning).await);
        drop(later);
        queueing.next_turn().await;
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_waiting_to_the_next_one() {
        let queueing = Queueing::default();
        let inside = queueing.enter(queueing.turn()).unwrap();
        {
            let mut left = pin!(queueing.next_turn());
            assert!(is_pending(&mut left).await);
        }
        let mut next = pin!(queueing.next_turn());
        assert!(is_pending(&mut next).await);
        drop(inside);
        assert!(!is_pending(&mut next).await);
    }

    /// Threads come in while turns end: none is inside of a turn whose end was waited for.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_is_inside_of_a_turn_that_is_over() {
        let (queueing, over, is_done) =
            (Arc::new(Queueing::default()), Arc::new(std::sync::Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let entering: [_; 3] = std::array::from_fn(|_| {
            let (queueing, over, is_done) = (queueing.clone(), over.clone(), is_done.clone());
            tokio::task::spawn_blocking(move || {
                while !is_done.load(SeqCst) {
                    let turn = queueing.turn();
                    if let Some(_inside) = queueing.enter(turn) {
                        assert!(*over.lock().unwrap() < Some(turn));
                    }
                }
            })
        });
        for _ in 0..500 {
            let turn = queueing.turn();
            queueing.next_turn().await;
            *over.lock().unwrap() = Some(turn);
        }
        is_done.store(true, SeqCst);
        for ended in entering {
            ended.await.unwrap();
        }
    }
}
