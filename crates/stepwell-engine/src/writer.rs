//! The one writer: queue → log → sync → memtable → acknowledge. It alone assigns LSNs and owns the log.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use stepwell_types::{Batch, Lsn, ProducerSequence};
use stepwell_wal::{EncodedFrame, Wal, WalError};

use crate::{
    cardinality::Cardinality,
    engine::IngestAck,
    error::EngineError,
    generation::Generation,
    lane::Lane,
    producers::Producers,
    shared::{Health, Shared},
};

/// Called once, with what became of the batch.
pub(crate) type Done = Box<dyn FnOnce(Result<IngestAck, EngineError>) + Send>;

/// Everything the writer can be told.
pub(crate) enum Command {
    Ingest(Box<Ingest>),
    /// Freezes the active generation; the answer says it is on its way to the flush thread.
    Rotate(Sender<Result<(), EngineError>>),
    Stop,
}

pub(crate) struct Ingest {
    pub(crate) batch: Batch,
    pub(crate) producer: Option<ProducerSequence>,
    pub(crate) lane: Option<Lane>,
    pub(crate) frame: EncodedFrame,
    /// A number per series of the batch.
    pub(crate) names: Vec<u64>,
    /// What it counts against the queue's budget.
    pub(crate) queued_bytes: usize,
    pub(crate) done: Done,
}

/// Bytes of frames written under one sync, at most; bounds the latency of the first of a group.
const GROUP_BYTES_MAX: usize = 32 << 20;
/// The same as a share of a generation, which a group may fill past its size: points take about three times their frames' bytes.
const GROUPS_PER_GENERATION: usize = 32;
/// Least time from the beginning of one group to that of the next, while batches come faster than groups can be written. A group costs
/// a sync and a wake-up for each who waits, whatever is in it: larger ones leave the cores to those who send.
const GROUP_EVERY: Duration = Duration::from_micros(300);
/// How often an idle writer looks after rotation by age and the release of log files.
const IDLE_TICK: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) flush: Sender<Arc<Generation>>,
    pub(crate) wal: Wal,
    pub(crate) next_lsn: Lsn,
    pub(crate) producers: Producers,
    pub(crate) released: Lsn,
    pub(crate) known: Cardinality,
    pub(crate) pace: Pace,
}

/// When the last group began, on the monotonic clock, and how many batches it had.
#[derive(Default)]
pub(crate) struct Pace {
    began: Duration,
    batches: usize,
}

/// A batch of the current group whose frame is in the log but not yet known to be durable.
struct Logged {
    batch: Batch,
    producer: Option<ProducerSequence>,
    lane: Option<Lane>,
    first_lsn: Lsn,
    done: Done,
}

/// A duplicate that waits for the group: its original may be part of it.
type Duplicate = (IngestAck, Option<Lane>, Done);

impl Writer {
    /// Runs until told to stop, or until every sender is gone. All that was queued before is done first. Gives the log back:
    /// its files can be removed once the last flush is done.
    pub(crate) fn run(mut self) -> Wal {
        // Here, so that the server answers meanwhile; batches wait in the queue.
        self.known = Cardinality::load(&self.shared);
        loop {
            match self.commands.recv_timeout(IDLE_TICK) {
                Ok(Command::Ingest(first)) => {
                    if self.ingest_group(*first) {
                        break;
                    }
                }
                Ok(Command::Rotate(answer)) => drop(answer.send(self.rotate())),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tend();
        }
        // What is frozen now reaches a segment if the flush thread is in time; if not, the log has it.
        if let Err(error) = self.rotate() {
            tracing::warn!(%error, "the last points stay in the log");
        }
        self.wal
    }

    /// Rotation by size and age, release of log files.
    fn tend(&mut self) {
        let active = self.shared.storage().0.active;
        let age = self.shared.env.clock.monotonic().saturating_sub(active.created);
        let is_due = active.heap_bytes() >= self.shared.config.memtable_bytes || age >= self.shared.config.flush_age;
        // With the flush thread behind, an old but small generation simply goes on filling.
        let has_room = self.shared.frozen_len() < self.shared.config.frozen_max;
        if is_due
            && active.points() > 0
            && has_room
            && let Err(error) = self.rotate()
        {
            tracing::error!(%error, "cannot start a new log file");
        }
        let floor = Lsn(self.shared.wal_floor.load(Ordering::Acquire));
        if floor > self.released {
            match self.wal.release_keeping(floor, self.shared.config.wal_retain_bytes) {
                Ok(_) => self.released = floor,
                Err(error) => tracing::warn!(%error, "log files below the floor were not removed; trying again"),
            }
        }
    }

    /// Freezes the active generation, if it holds a point, and hands it to the flush thread.
    fn rotate(&mut self) -> Result<(), EngineError> {
        let active = self.shared.storage().0.active;
        if active.points() == 0 {
            return Ok(());
        }
        self.wal.rotate(self.next_lsn).map_err(|error| self.log_failed(error))?;
        let next = self.shared.new_generation(self.next_lsn);
        self.shared.change_storage(|storage| {
            storage.frozen.push(std::mem::replace(&mut storage.active, next));
        });
        self.producers.bound();
        // The flush thread outlives the writer unless it died; then points stay in memory and in the log.
        if self.flush.send(active).is_err() {
            self.shared.set_health(Health::FlushFails { reason: "the flush thread has ended".to_owned() });
        }
        Ok(())
    }

    /// Writes `first` and what else is waiting under one sync. Returns whether a stop was among it.
    fn ingest_group(&mut self, first: Ingest) -> bool {
        self.let_fill();
        let mut group = vec![first];
        let mut bytes = group[0].frame.bytes();
        let mut stop = false;
        let mut rotations = Vec::new();
        let bytes_max = GROUP_BYTES_MAX.min(self.shared.config.memtable_bytes / GROUPS_PER_GENERATION);
        while bytes < bytes_max {
            match self.commands.try_recv() {
                Ok(Command::Ingest(next)) => {
                    bytes += next.frame.bytes();
                    group.push(*next);
                }
                Ok(Command::Rotate(answer)) => rotations.push(answer),
                Ok(Command::Stop) => {
                    stop = true;
                    break;
                }
                Err(_) => break,
            }
        }
        self.pace.batches = group.len();
        let released_bytes: usize = group.iter().map(|ingest| ingest.queued_bytes).sum();
        match self.wait_for_memory() {
            Ok(()) => self.write_group(group),
            Err(refusal) => group.into_iter().for_each(|ingest| self.refuse(ingest.lane, ingest.done, refusal())),
        }
        self.shared.queued_bytes.fetch_sub(released_bytes, Ordering::AcqRel);
        for answer in rotations {
            drop(answer.send(self.rotate()));
        }
        stop
    }

    /// Lets a group fill, if the last one shows that batches come from several sides at once. One who sends a batch when the last is
    /// acknowledged waits for nothing.
    fn let_fill(&mut self) {
        let clock = &self.shared.env.clock;
        let now = clock.monotonic();
        let due = self.pace.began + GROUP_EVERY;
        if self.pace.batches > 1 && now < due {
            clock.sleep(due - now);
            self.pace.began = clock.monotonic();
        } else {
            self.pace.began = now;
        }
    }

    /// Holds the writer back while the active generation is full and the flush thread is behind (I9): the queue fills, and
    /// callers hear `QueueFull`. Where flushing fails, they hear why instead of waiting.
    fn wait_for_memory(&self) -> Result<(), impl Fn() -> EngineError + use<>> {
        let mut failing = None;
        self.shared.wait_until(|shared| {
            let is_full = shared.frozen_len() >= shared.config.frozen_max
                && shared.storage().0.active.heap_bytes() >= shared.config.memtable_bytes;
            failing = match shared.health() {
                Health::FlushFails { reason } | Health::DiskFull { reason } if is_full => Some(reason),
                _ => None,
            };
            !is_full || failing.is_some() || shared.stopping.load(Ordering::Acquire)
        });
        match failing {
            Some(reason) => Err(move || EngineError::FlushFails { reason: reason.clone(), retry_after: RETRY_AFTER }),
            None => Ok(()),
        }
    }

    fn refuse(&self, lane: Option<Lane>, done: Done, error: EngineError) {
        if let Some(lane) = lane {
            lane.mark_broken();
        }
        self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        done(Err(error));
    }

    fn write_group(&mut self, group: Vec<Ingest>) {
        let mut logged = Vec::with_capacity(group.len());
        let mut duplicates: Vec<Duplicate> = Vec::new();
        let mut seen: HashMap<Arc<str>, (u64, IngestAck)> = HashMap::new();
        let mut next_lsn = self.next_lsn;
        let mut failure: Option<WalError> = None;
        for ingest in group {
            if ingest.lane.as_ref().is_some_and(Lane::is_broken) {
                self.refuse(ingest.lane, ingest.done, EngineError::LaneBroken);
                continue;
            }
            if let Some(ack) = self.duplicate_of(&ingest, &seen) {
                duplicates.push((ack, ingest.lane, ingest.done));
                continue;
            }
            if let Err(error) = self.known.admit(&self.shared, &ingest.batch, &ingest.names) {
                self.refuse(ingest.lane, ingest.done, error);
                continue;
            }
            let first_lsn = next_lsn;
            if failure.is_none() {
                match self.wal.append(first_lsn, &ingest.frame) {
                    Ok(()) => {
                        next_lsn = Lsn(first_lsn.0 + ingest.batch.len() as u64);
                        self.shared.counters.wal_bytes.fetch_add(ingest.frame.bytes() as u64, Ordering::Relaxed);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(producer) = &ingest.producer {
                let ack = IngestAck::of(&ingest.batch, first_lsn, true);
                seen.insert(producer.producer.clone(), (producer.sequence, ack));
            }
            let Ingest { batch, producer, lane, done, .. } = ingest;
            logged.push(Logged { batch, producer, lane, first_lsn, done });
        }
        let result = match failure {
            Some(error) => Err(error),
            None if logged.is_empty() => Ok(()),
            None => self.sync(),
        };
        match result {
            Ok(()) => self.apply(logged, duplicates, next_lsn),
            // A failed append takes the whole group back: nothing of it is durable.
            Err(error) => self.refuse_group(logged, duplicates, error),
        }
        self.known.applied(&self.shared);
    }

    fn duplicate_of(&self, ingest: &Ingest, seen: &HashMap<Arc<str>, (u64, IngestAck)>) -> Option<IngestAck> {
        let wanted = ingest.producer.as_ref()?;
        let unknown = IngestAck { points: ingest.batch.len() as u64, first_lsn: None, last_lsn: None, duplicate: true };
        if let Some((sequence, ack)) = seen.get(&wanted.producer) {
            return match wanted.sequence.cmp(sequence) {
                std::cmp::Ordering::Less => Some(unknown),
                std::cmp::Ordering::Equal => Some(ack.clone()),
                std::cmp::Ordering::Greater => None,
            };
        }
        let applied = self.producers.applied(wanted)?;
        // After a restore to an earlier LSN it may be known that a batch was applied, and not which points it had.
        if applied.sequence > wanted.sequence || applied.last_lsn == 0 {
            return Some(unknown);
        }
        Some(IngestAck {
            points: applied.last_lsn - applied.first_lsn + 1,
            first_lsn: Some(Lsn(applied.first_lsn)),
            last_lsn: Some(Lsn(applied.last_lsn)),
            duplicate: true,
        })
    }

    fn sync(&mut self) -> Result<(), WalError> {
        let clock = &self.shared.env.clock;
        let start = clock.monotonic();
        let result = self.wal.sync();
        let us = (clock.monotonic() - start).as_micros() as u64;
        let counters = &self.shared.counters;
        counters.wal_syncs.fetch_add(1, Ordering::Relaxed);
        counters.wal_sync_us.fetch_add(us, Ordering::Relaxed);
        counters.wal_sync_us_max.fetch_max(us, Ordering::Relaxed);
        result
    }

    /// The group is durable: insert, make visible, acknowledge, in this order (I1, I2).
    fn apply(&mut self, logged: Vec<Logged>, duplicates: Vec<Duplicate>, next_lsn: Lsn) {
        let active = self.shared.storage().0.active;
        let now_us = self.shared.env.clock.now_us();
        let counters = &self.shared.counters;
        let mut acks = Vec::with_capacity(logged.len());
        for Logged { batch, producer, first_lsn, done, .. } in logged {
            active.insert(&batch, first_lsn);
            let ack = IngestAck::of(&batch, first_lsn, false);
            if let (Some(producer), Some(last_lsn)) = (&producer, ack.last_lsn) {
                self.producers.record(producer, first_lsn, last_lsn, now_us);
                let mut of_generation = active.producers.lock().unwrap_or_else(PoisonError::into_inner);
                of_generation.record(producer, first_lsn, last_lsn, now_us);
            }
            self.shared.visible_below.store(first_lsn.0 + batch.len() as u64, Ordering::Release);
            counters.batches.fetch_add(1, Ordering::Relaxed);
            counters.points.fetch_add(batch.len() as u64, Ordering::Relaxed);
            acks.push((ack, done));
        }
        self.next_lsn = next_lsn;
        if matches!(self.shared.health(), Health::DiskFull { .. }) {
            self.shared.set_health(Health::Ready);
        }
        counters.duplicates.fetch_add(duplicates.len() as u64, Ordering::Relaxed);
        acks.extend(duplicates.into_iter().map(|(ack, _, done)| (ack, done)));
        for (ack, done) in acks {
            done(Ok(ack));
        }
    }

    fn refuse_group(&mut self, logged: Vec<Logged>, duplicates: Vec<Duplicate>, error: WalError) {
        let first = self.log_failed(error);
        let again = self.refusal();
        let mut errors = std::iter::once(first).chain(std::iter::repeat_with(again));
        let refused = logged.into_iter().map(|logged| (logged.lane, logged.done));
        for (lane, done) in refused.chain(duplicates.into_iter().map(|(_, lane, done)| (lane, done))) {
            if let Some(error) = errors.next() {
                self.refuse(lane, done, error);
            }
        }
    }

    fn log_failed(&self, error: WalError) -> EngineError {
        let reason = error.to_string();
        if matches!(error, WalError::DiskFull { .. }) {
            self.shared.set_health(Health::DiskFull { reason: reason.clone() });
            return EngineError::DiskFull { reason, retry_after: RETRY_AFTER };
        }
        self.shared.set_health(Health::Poisoned { reason: reason.clone() });
        EngineError::Poisoned { reason }
    }

    fn refusal(&self) -> impl Fn() -> EngineError + use<> {
        let health = self.shared.health();
        move || match &health {
            Health::DiskFull { reason } => EngineError::DiskFull { reason: reason.clone(), retry_after: RETRY_AFTER },
            Health::Poisoned { reason } | Health::FlushFails { reason } => {
                EngineError::Poisoned { reason: reason.clone() }
            }
            Health::Ready => EngineError::Poisoned { reason: "the log refused the batch".to_owned() },
        }
    }
}
