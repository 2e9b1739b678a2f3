//! Counters by which one who ends a turn learns when those who came in during it have left. No locks, nobody waits here.

use crate::sync::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, SeqCst},
    fence,
};

/// The number of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u64);

impl Turn {
    /// The one before, whose count is that of the next.
    pub fn before(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }
}

/// The turn that is on, and how many are inside.
///
/// Who comes in is counted, then looks at the turn; who ends the turn moves it on, then looks at the count. With a full fence between the
/// two steps of each, one of them sees the other (as in Dekker's algorithm).
#[derive(Default)]
pub struct Turns {
    now: AtomicU64,
    /// Of even turns and of odd ones.
    inside: [AtomicUsize; 2],
}

impl Turns {
    /// The turn that is on.
    pub fn now(&self) -> Turn {
        Turn(self.now.load(Acquire))
    }

    /// Counts one more of `turn`, and says whether it is still on. Who came in leaves, let in or not.
    pub fn come_in(&self, turn: Turn) -> bool {
        self.inside(turn).fetch_add(1, AcqRel);
        fence(SeqCst);
        self.now() == turn
    }

    /// Whether those who wait for the end of `turn` are to be told that nobody is inside.
    pub fn leave(&self, turn: Turn) -> bool {
        let was_last = self.inside(turn).fetch_sub(1, AcqRel) == 1;
        fence(SeqCst);
        was_last && self.now() != turn
    }

    /// Ends the turn that is on. Nobody is let in to it any more; who was may still be inside.
    pub fn end(&self) -> Turn {
        let over = Turn(self.now.fetch_add(1, AcqRel));
        fence(SeqCst);
        over
    }

    /// Whether nobody is inside who came by `turn`, or by one an even number of turns away.
    pub fn is_empty(&self, turn: Turn) -> bool {
        self.inside(turn).load(Acquire) == 0
    }

    fn inside(&self, turn: Turn) -> &AtomicUsize {
        &self.inside[usize::from(turn.0 % 2 == 1)]
    }
}

#[cfg(all(test, feature = "loom"))]
mod tests {
    //! Every interleaving: `cargo xtask concurrency`.

    use loom::{
        sync::{Arc, Notify, atomic::AtomicBool},
        thread,
    };

    use super::*;
    use crate::sync::Ordering::Relaxed;

    struct Model {
        turns: Turns,
        /// Who waits is registered before it looks.
        left: Notify,
        queued: [AtomicBool; 2],
    }

    impl Model {
        fn new() -> Arc<Self> {
            let queued = [AtomicBool::new(false), AtomicBool::new(false)];
            Arc::new(Self { turns: Turns::default(), left: Notify::new(), queued })
        }

        /// A batch whose runs were looked up in `turn`: whether it was let in.
        fn queue(&self, batch: usize, turn: Turn) -> bool {
            let is_in = self.turns.come_in(turn);
            if is_in {
                self.queued[batch].store(true, Relaxed);
            }
            if self.turns.leave(turn) {
                self.left.notify();
            }
            is_in
        }

        fn wait(&self, turn: Turn) {
            while !self.turns.is_empty(turn) {
                self.left.wait();
            }
        }

        /// Ends a turn, waits, and says what is in the queue then.
        fn next_turn(&self) -> (Turn, [bool; 2]) {
            self.wait(self.turns.now().before());
            let over = self.turns.end();
            self.wait(over);
            (over, [0, 1].map(|batch: usize| self.queued[batch].load(Relaxed)))
        }
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn loom_who_was_let_in_to_a_turn_is_in_the_queue_once_it_is_over() {
        check(|| {
            let model = Model::new();
            let batches = [0, 1].map(|batch| {
                let model = model.clone();
                thread::spawn(move || {
                    let turn = model.turns.now();
                    (turn, model.queue(batch, turn))
                })
            });
            let (over, queued) = model.next_turn();
            for (batch, is_queued) in batches.into_iter().zip(queued) {
                let (turn, was_let_in) = batch.join().unwrap();
                assert!(is_queued || !was_let_in || turn > over);
            }
            assert!([0, 1].into_iter().all(|turn| model.turns.is_empty(Turn(turn))));
        });
    }

    /// Two turns end while one batch comes by the first of them, or by any.
    #[test]
    fn loom_who_comes_by_a_turn_long_over_is_not_let_in_and_keeps_nobody_waiting() {
        check(|| {
            let model = Model::new();
            let looked_up = model.turns.now();
            let (late, other) = (model.clone(), model.clone());
            let late = thread::spawn(move || late.queue(0, looked_up));
            let other = thread::spawn(move || {
                let turn = other.turns.now();
                (turn, other.queue(1, turn))
            });
            let (first, queued) = model.next_turn();
            let (second, queued_later) = model.next_turn();
            assert!(first < second);
            assert_eq!(late.join().unwrap(), queued[0], "let in before the first turn was over, or never");
            let (turn, was_let_in) = other.join().unwrap();
            assert!(queued[1] || !was_let_in || turn > first);
            assert!(queued_later[1] || !was_let_in || turn > second);
        });
    }
}
