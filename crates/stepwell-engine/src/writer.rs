//! The one writer: queue → log → sync → memtable → acknowledge. It alone assigns LSNs and owns the log.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use stepwell_env::channel::{Receiver, RecvTimeoutError, Sender};
use stepwell_types::{Batch, Lsn, ProducerSequence};
use stepwell_wal::{Wal, WalError};

use crate::{
    ack::IngestAck,
    cardinality::Cardinality,
    command::{Command, Done, Ingest, Question},
    error::EngineError,
    generation::Generation,
    health::{FaultKind, Health, Work},
    lane::Lane,
    producers::Producers,
    shared::Shared,
};

/// Bytes of frames written under one sync, at most; bounds the latency of the first of a group.
const GROUP_BYTES_MAX: usize = 32 << 20;
/// The same as a share of a generation, which a group may fill past its size: points take about three times their frames' bytes.
const GROUPS_PER_GENERATION: usize = 32;
/// How often an idle writer looks after rotation by age and the release of log files.
const IDLE_TICK: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked whether a full disk has space again, and a rotation that failed is tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Space that is looked for at least, bytes.
const SPACE_MIN: usize = 1 << 20;

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) flush: Sender<Arc<Generation>>,
    pub(crate) wal: Wal,
    pub(crate) next_lsn: Lsn,
    pub(crate) producers: Producers,
    pub(crate) released: Lsn,
    pub(crate) known: Cardinality,
    /// Bytes that a full disk did not take.
    pub(crate) space_wanted: usize,
    /// When that was last tried, monotonic.
    pub(crate) looked_for_space: Duration,
    /// When a rotation that had failed was.
    pub(crate) tried_rotation: Duration,
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
                Ok(Command::Ask(question)) => self.answer(*question),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tend();
        }
        // What is frozen now reaches a segment if the flush thread is in time; if not, the log has it.
        if let Err(error) = self.rotate() {
            tracing::warn!(%error, "the last points stay in the log; nothing to do: the next start replays them");
        }
        self.wal
    }

    /// Rotation by size and age, release of log files, an end of a full disk.
    fn tend(&mut self) {
        let active = self.shared.storage().0.active;
        let age = self.shared.env.clock.monotonic().saturating_sub(active.created);
        let is_due = active.heap_bytes() >= self.shared.config.memtable_bytes || age >= self.shared.config.flush_age;
        // With the flush thread behind, an old but small generation simply goes on filling.
        let has_room = self.shared.has_room_for_frozen();
        let is_retry = self.shared.faults.of(Work::Rotation).is_some();
        if (is_due || is_retry)
            && active.points() > 0
            && has_room
            && (!is_retry || self.is_time(|writer| &mut writer.tried_rotation))
        {
            // What is wrong is noted already, and it is tried again.
            let _ = self.rotate();
        }
        let floor = Lsn(self.shared.wal_floor.load(Ordering::Acquire));
        if floor > self.released {
            match self.wal.release_keeping(floor, self.shared.config.wal_retain_bytes) {
                Ok(_) => {
                    self.released = floor;
                    self.shared.worked(Work::Release);
                }
                Err(error) => self.shared.failed(Work::Release, FaultKind::Failing, error.to_string()),
            }
        }
        self.look_for_space();
    }

    /// Whether it is time to try again what was last tried at `last`; then that is now.
    fn is_time(&mut self, last: impl FnOnce(&mut Self) -> &mut Duration) -> bool {
        let now = self.shared.env.clock.monotonic();
        let last = last(self);
        let is_time = now.saturating_sub(*last) >= LOOK_EVERY;
        if is_time {
            *last = now;
        }
        is_time
    }

    /// Ends the log's complaint of a full disk when as much as was refused can be written again. Batches are the better trial, but a
    /// balancer that hears "not ready" sends none; and what is not written, as a duplicate, is no trial.
    fn look_for_space(&mut self) {
        let is_full = self.shared.faults.of(Work::Log).is_some_and(|fault| fault.kind == FaultKind::DiskFull);
        if is_full && self.is_time(|writer| &mut writer.looked_for_space) && self.has_space().is_ok() {
            self.shared.worked(Work::Log);
        }
    }

    fn has_space(&self) -> std::io::Result<()> {
        static PIECE: [u8; 64 << 10] = [0; 64 << 10];
        let disk = &self.shared.env.disk;
        // The next start would remove it, were it left behind.
        let path = self.shared.config.wal_dir().join("space.tmp");
        if disk.exists(&path) {
            disk.remove(&path)?;
        }
        let mut file = disk.create(&path)?;
        let pieces = self.space_wanted.max(SPACE_MIN).div_ceil(PIECE.len());
        let written = (0..pieces).try_for_each(|_| file.append(&PIECE)).and_then(|()| file.sync());
        drop(file);
        written.and(disk.remove(&path))
    }

    /// Freezes the active generation where one more may wait: each is memory, which flushes that fail do not give back (I9).
    fn rotate_within_bounds(&mut self) -> Result<bool, EngineError> {
        let has_room = self.shared.has_room_for_frozen();
        if has_room { self.rotate().map(|()| true) } else { Ok(false) }
    }

    /// Freezes the active generation, if it holds a point, and hands it to the flush thread.
    fn rotate(&mut self) -> Result<(), EngineError> {
        let active = self.shared.storage().0.active;
        if active.points() == 0 {
            return Ok(());
        }
        self.wal.rotate(self.next_lsn).map_err(|error| self.log_failed(Work::Rotation, &error)())?;
        self.shared.worked(Work::Rotation);
        let next = self.shared.new_generation(self.next_lsn);
        self.shared.change_storage(|storage| {
            storage.frozen.push(std::mem::replace(&mut storage.active, next));
        });
        // The flush thread outlives the writer unless it died; then points stay in memory and in the log.
        if self.flush.send(active).is_err() {
            let reason = "the flush thread has ended: restart the server".to_owned();
            self.shared.failed(Work::Flush, FaultKind::Failing, reason);
        }
        Ok(())
    }

    /// Writes `first` and what else is waiting under one sync. Returns whether a stop was among it.
    fn ingest_group(&mut self, first: Ingest) -> bool {
        let mut group = vec![first];
        let mut bytes = group[0].frame.bytes();
        let mut stop = false;
        let mut questions = Vec::new();
        let bytes_max = GROUP_BYTES_MAX.min(self.shared.config.memtable_bytes / GROUPS_PER_GENERATION);
        while bytes < bytes_max {
            match self.commands.try_recv() {
                Ok(Command::Ingest(next)) => {
                    bytes += next.frame.bytes();
                    group.push(*next);
                }
                Ok(Command::Ask(question)) => questions.push(*question),
                Ok(Command::Stop) => {
                    stop = true;
                    break;
                }
                Err(_) => break,
            }
        }
        let released_bytes: usize = group.iter().map(|ingest| ingest.queued_bytes).sum();
        let released_batches = group.len();
        match self.wait_for_memory() {
            Ok(()) => self.write_group(group),
            Err(refusal) => group.into_iter().for_each(|ingest| self.refuse(ingest.lane, ingest.done, refusal())),
        }
        self.shared.queued_bytes.fetch_sub(released_bytes, Ordering::AcqRel);
        self.shared.queued_batches.fetch_sub(released_batches, Ordering::Relaxed);
        questions.into_iter().for_each(|question| self.answer(question));
        stop
    }

    /// Who asked may be gone.
    fn answer(&mut self, question: Question) {
        match question {
            Question::Rotate(answer) => drop(answer.send(self.rotate_within_bounds())),
            Question::Done(answer) => drop(answer.send(())),
            Question::Applied(wanted, points, told) => {
                let ack = self.applied(&wanted, points);
                self.shared.counters.duplicates.fetch_add(u64::from(ack.is_some()), Ordering::Relaxed);
                told(ack);
            }
        }
    }

    /// Holds the writer back while the active generation is full and cannot be frozen, because the flush thread is behind or no
    /// new log file can be begun (I9): the queue fills, and callers hear `QueueFull`. Where that fails, they hear why instead of
    /// waiting; where the log has failed, there is nothing to wait for, and it says so itself.
    fn wait_for_memory(&mut self) -> Result<(), impl Fn() -> EngineError + use<>> {
        let has_room = self.shared.has_room_for_frozen();
        if has_room && self.shared.faults.of(Work::Rotation).is_some() && self.shared.memory_is_full() {
            // What is wrong is noted already.
            let _ = self.rotate();
        }
        let mut failing = None;
        self.shared.wait_until(|shared| {
            let is_full = shared.memory_is_full();
            failing = if is_full { shared.flush_fault() } else { None };
            let is_poisoned = matches!(shared.health(), Health::Poisoned { .. });
            !is_full || failing.is_some() || is_poisoned || shared.stopping.load(Ordering::Acquire)
        });
        match failing {
            Some(fault) => Err(refusal(fault.kind, fault.reason)),
            None => Ok(()),
        }
    }

    fn refuse(&self, lane: Option<Lane>, done: Done, error: EngineError) {
        if let Some(lane) = lane {
            lane.mark_broken();
        }
        self.shared.counters.refusals.count(&error);
        done(Err(error));
    }

    fn write_group(&mut self, group: Vec<Ingest>) {
        let mut logged = Vec::with_capacity(group.len());
        let mut duplicates: Vec<Duplicate> = Vec::new();
        let mut seen: HashMap<Arc<str>, (u64, IngestAck)> = HashMap::new();
        let mut next_lsn = self.next_lsn;
        let mut failure: Option<WalError> = None;
        let mut bytes = 0;
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
            bytes += ingest.frame.bytes();
            if failure.is_none() {
                match self.wal.append(first_lsn, &ingest.frame) {
                    Ok(()) => next_lsn = Lsn(first_lsn.0 + ingest.batch.len() as u64),
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
            Ok(()) => {
                self.shared.counters.wal_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                self.apply(logged, duplicates, next_lsn);
                self.known.applied(&self.shared);
            }
            // A failed append takes the whole group back: nothing of it is durable.
            Err(error) => {
                self.space_wanted = bytes;
                self.refuse_group(logged, duplicates, error);
                self.known.refused(&self.shared);
            }
        }
    }

    fn duplicate_of(&self, ingest: &Ingest, seen: &HashMap<Arc<str>, (u64, IngestAck)>) -> Option<IngestAck> {
        let wanted = ingest.producer.as_ref()?;
        let points = ingest.batch.len() as u64;
        if let Some((sequence, ack)) = seen.get(&wanted.producer) {
            return match wanted.sequence.cmp(sequence) {
                std::cmp::Ordering::Less => Some(IngestAck::of_older(points)),
                std::cmp::Ordering::Equal => Some(ack.clone()),
                std::cmp::Ordering::Greater => None,
            };
        }
        self.applied(wanted, points)
    }

    /// What a batch of so many points was acknowledged with, if it was applied.
    fn applied(&self, wanted: &ProducerSequence, points: u64) -> Option<IngestAck> {
        let applied = self.producers.applied(wanted)?;
        // After a restore to an earlier LSN it may be known that a batch was applied, and not which points it had.
        if applied.sequence > wanted.sequence || applied.last_lsn == 0 {
            return Some(IngestAck::of_older(points));
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
        let took = clock.monotonic().saturating_sub(start);
        let counters = &self.shared.counters;
        counters.wal_sync.observe(took);
        counters.wal_sync_us_max.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
        counters.wal_sync_failures.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
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
            self.shared.visible.show_below(Lsn(first_lsn.0 + batch.len() as u64));
            counters.batches.fetch_add(1, Ordering::Relaxed);
            counters.points.fetch_add(batch.len() as u64, Ordering::Relaxed);
            acks.push((ack, done));
        }
        self.next_lsn = next_lsn;
        // A group of duplicates and refusals has written nothing, and says nothing of the log.
        if !acks.is_empty() {
            self.shared.worked(Work::Log);
        }
        counters.duplicates.fetch_add(duplicates.len() as u64, Ordering::Relaxed);
        acks.extend(duplicates.into_iter().map(|(ack, _, done)| (ack, done)));
        for (ack, done) in acks {
            done(Ok(ack));
        }
    }

    fn refuse_group(&mut self, logged: Vec<Logged>, duplicates: Vec<Duplicate>, error: WalError) {
        let refusal = self.log_failed(Work::Log, &error);
        let refused = logged.into_iter().map(|logged| (logged.lane, logged.done));
        for (lane, done) in refused.chain(duplicates.into_iter().map(|(_, lane, done)| (lane, done))) {
            self.refuse(lane, done, refusal());
        }
    }

    /// Notes that the log fails, and gives what its batches hear. For want of space or descriptors it is `work` alone that fails;
    /// anything else poisons the log.
    fn log_failed(&self, work: Work, error: &WalError) -> impl Fn() -> EngineError + use<> {
        let (work, kind) = match error {
            WalError::DiskFull { .. } => (work, FaultKind::DiskFull),
            WalError::OutOfFiles { .. } => (work, FaultKind::Failing),
            _ => (Work::Log, FaultKind::Poisoned),
        };
        let reason = error.to_string();
        self.shared.failed(work, kind, reason.clone());
        refusal(kind, reason)
    }
}

/// What batches hear that cannot be taken for such a fault.
fn refusal(kind: FaultKind, reason: String) -> impl Fn() -> EngineError + use<> {
    move || {
        let (reason, retry_after) = (reason.clone(), RETRY_AFTER);
        match kind {
            FaultKind::DiskFull => EngineError::DiskFull { reason, retry_after },
            FaultKind::Failing => EngineError::FlushFails { reason, retry_after },
            FaultKind::Poisoned => EngineError::Poisoned { reason },
        }
    }
}
