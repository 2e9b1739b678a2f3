//! Clients: they send batches, and send again what was refused or not answered.

use std::{collections::VecDeque, time::Duration};

use stepwell_engine::{EngineError, Health, IngestAck, Lane};
use stepwell_env::channel::{Receiver, bounded};
use stepwell_types::ProducerSequence;

use crate::{
    batches::{self, Row},
    dice::Dice,
    life::Life,
    model::BatchNumber,
    plan::Kind,
    world::{End, World},
};

/// What a client remembers from life to life.
#[derive(Debug, Clone)]
pub(crate) struct ClientState {
    /// Batches that it does not know to be there, with their sequences, oldest first.
    pub(crate) unsettled: VecDeque<(BatchNumber, u64)>,
    pub(crate) next_sequence: u64,
}

/// How a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// One batch after the other, each numbered.
    Single,
    /// Several on their way, in a lane.
    Stream,
    /// Without numbers: what may be there is not sent again.
    Anonymous,
    /// As single, and at times again what was acknowledged.
    Repeating,
}

impl Manner {
    fn of(world: &World, number: usize) -> Self {
        let manners = [Self::Single, Self::Stream, Self::Anonymous, Self::Repeating];
        manners[(number + Dice::new(world.plan.seed, 5).below(4) as usize) % 4]
    }
}

/// How often a batch that is refused is sent again in one life.
const TRIES: u64 = 40;
/// Batches of a stream on their way at once.
const WINDOW: usize = 5;

/// Whether every client knows that all it sent is there, and all was sent.
pub(crate) fn is_all_settled(world: &World) -> bool {
    let is_settled = |number: usize| world.client(number).unsettled.is_empty();
    (0..world.plan.clients as usize).all(is_settled) && is_all_sent(world)
}

fn is_all_sent(world: &World) -> bool {
    world.model().batches.len() as u64 >= world.plan.batches
}

struct Client<'a> {
    life: &'a Life,
    number: usize,
    manner: Manner,
    dice: Dice,
    state: ClientState,
}

/// A batch on its way.
struct OnItsWay {
    batch: BatchNumber,
    sequence: u64,
    answer: Receiver<bool>,
}

/// The body of a client's thread.
pub(crate) fn run(life: &Life, number: usize) {
    let world = &life.world;
    let dice = Dice::new(world.plan.seed, 10_000 + life.number * 100 + number as u64);
    let state = world.client(number);
    let mut client = Client { life, number, manner: Manner::of(world, number), dice, state };
    let mut tries = 0;
    while !life.is_stopping() && (life.how == End::Last || tries < TRIES) {
        if client.has_nothing_to_do() {
            return;
        }
        let is_done = match client.manner {
            Manner::Stream => client.stream(),
            _ => client.single(),
        };
        tries = if is_done { 0 } else { tries + 1 };
        let most = Duration::from_millis(*client.dice.pick(&[0, 1, 20, 200]));
        life.world.simulation.sleep(client.dice.duration(most));
    }
}

impl Client<'_> {
    fn has_nothing_to_do(&self) -> bool {
        self.state.unsettled.is_empty() && is_all_sent(&self.life.world)
    }

    fn keep(&self) {
        self.life.world.put_client(self.number, self.state.clone());
    }

    /// A batch that was never sent, unless there are enough.
    fn new_batch(&mut self) -> Option<(BatchNumber, u64)> {
        let world = &self.life.world;
        if is_all_sent(world) {
            return None;
        }
        let mut model = world.model();
        let mut next_id = model.next_id;
        let rows = batches::rows(&self.dice, world.plan.batch_points_max(), &mut next_id);
        model.next_id = next_id;
        let batch = model.add(rows);
        drop(model);
        let sequence = self.state.next_sequence;
        // Gaps are allowed.
        self.state.next_sequence += 1 + self.dice.below(2);
        self.state.unsettled.push_back((batch, sequence));
        self.keep();
        Some((batch, sequence))
    }

    /// Queues a batch; `None` if it was refused at once.
    fn send(&self, (batch, sequence): (BatchNumber, u64), lane: Option<&Lane>) -> Option<OnItsWay> {
        let world = &self.life.world;
        let (rows, all) = {
            let mut model = world.model();
            model.sent(batch);
            (model.batches[batch].rows.clone(), model.all_series.clone())
        };
        let producer = (self.manner != Manner::Anonymous)
            .then(|| ProducerSequence { producer: format!("client-{}", self.number).into(), sequence });
        let (answered, answer) = bounded(1);
        let inside = world.clone();
        let done = move |result: Result<IngestAck, EngineError>| {
            let is_taken = result.is_ok();
            stepwell_env::note(|| match &result {
                Ok(ack) => format!("batch {batch} → {ack:?}"),
                Err(error) => format!("batch {batch} → {error}"),
            });
            let judged = inside.model().answered(batch, &result);
            inside.expect(judged);
            let _ = answered.send(is_taken);
        };
        let sent = batches::batch(&all, &self.altered(&rows));
        world.tally().calls += 1;
        let refused = match lane {
            Some(lane) => self.life.engine.ingest_in(lane, sent, producer, done).map_err(|refused| refused.error),
            None => self.life.engine.ingest(sent, producer, done),
        };
        match refused {
            Ok(()) => Some(OnItsWay { batch, sequence, answer }),
            Err(error) => {
                stepwell_env::note(|| format!("batch {batch} refused at once: {error}"));
                world.expect(self.check_health(&error));
                let judged = world.model().answered(batch, &Err(error));
                world.expect(judged);
                None
            }
        }
    }

    /// The rows, or, where that is the plan, now and then other ones.
    fn altered(&self, rows: &[Row]) -> Vec<Row> {
        let mut rows = rows.to_vec();
        if self.life.world.plan.has(Kind::Alter) && self.dice.once_in(8) {
            rows.iter_mut().for_each(|row| row.bits ^= 1);
        }
        rows
    }

    /// A log that has failed says so from then on.
    fn check_health(&self, error: &EngineError) -> Result<(), String> {
        match (error, self.life.engine.health()) {
            (EngineError::Poisoned { .. }, health) if !matches!(health, Health::Poisoned { .. }) => {
                Err(format!("I8: a batch was refused because the log has failed, and health is {health:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the answer; returns whether the batch is there.
    fn wait(&mut self, on_its_way: &OnItsWay) -> bool {
        let OnItsWay { batch, sequence, answer } = on_its_way;
        let doing = self.life.doing(&format!("client-{}", self.number), &format!("the answer to batch {batch}"));
        let is_taken = answer.recv();
        drop(doing);
        match is_taken {
            Ok(true) => self.settle(*batch, *sequence),
            Ok(false) if self.manner == Manner::Anonymous && self.life.world.model().batches[*batch].may_be => {
                // It may be there; without a number nobody can tell, and to send it again might double it.
                self.settle(*batch, *sequence);
            }
            Ok(false) => {}
            // The engine stopped without an answer.
            Err(_) if self.life.is_stopping() => {}
            Err(_) => self.life.world.expect(Err(format!("I4: batch {batch} was dropped without an answer"))),
        }
        is_taken == Ok(true)
    }

    fn settle(&mut self, batch: BatchNumber, sequence: u64) {
        self.state.unsettled.retain(|known| *known != (batch, sequence));
        self.keep();
    }

    /// One batch, the oldest that is not settled. Returns whether it is there.
    fn single(&mut self) -> bool {
        if self.manner == Manner::Anonymous {
            self.forget_uncertain();
        }
        let Some(next) = self.state.unsettled.front().copied().or_else(|| self.new_batch()) else { return true };
        let Some(on_its_way) = self.send(next, None) else { return false };
        let is_taken = self.wait(&on_its_way);
        if is_taken && self.manner == Manner::Repeating && self.dice.once_in(2) {
            // The answer got lost, as far as this client knows.
            if let Some(again) = self.send(next, None) {
                self.wait(&again);
            }
        }
        if is_taken && self.life.world.plan.has(Kind::Twice) && self.dice.once_in(8) {
            let as_new = (next.0, self.state.next_sequence);
            self.state.next_sequence += 1;
            if let Some(again) = self.send(as_new, None) {
                self.wait(&again);
            }
        }
        is_taken
    }

    /// What was sent without a number in an earlier life may be there.
    fn forget_uncertain(&mut self) {
        let model = self.life.world.model();
        let is_fresh = |batch: BatchNumber| {
            let batch = &model.batches[batch];
            !batch.may_be && batch.first_lsn.is_none()
        };
        let mut left = self.state.unsettled.clone();
        left.retain(|(batch, _)| is_fresh(*batch));
        drop(model);
        self.state.unsettled = left;
        self.keep();
    }

    /// A lane's worth of batches, several on their way. Returns whether all are there.
    fn stream(&mut self) -> bool {
        let lane = Lane::default();
        let mut waiting: VecDeque<OnItsWay> = VecDeque::new();
        let mut queue: VecDeque<(BatchNumber, u64)> = self.state.unsettled.clone();
        for _ in 0..1 + self.dice.below(12) {
            let Some(next) = queue.pop_front().or_else(|| self.new_batch()) else { break };
            match self.send(next, Some(&lane)) {
                Some(on_its_way) => waiting.push_back(on_its_way),
                // Sent on, the next would overtake it.
                None => break,
            }
            if waiting.len() >= WINDOW
                && let Some(first) = waiting.pop_front()
                && !self.wait(&first)
            {
                break;
            }
        }
        let mut is_all_taken = true;
        for on_its_way in waiting {
            is_all_taken &= self.wait(&on_its_way);
        }
        is_all_taken && self.state.unsettled.is_empty()
    }
}
