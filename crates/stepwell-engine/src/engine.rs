//! The engine's front door.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use stepwell_env::{
    Env, JoinHandle, Mutex,
    channel::{Sender, TrySendError, bounded, unbounded},
    spawn,
};
use stepwell_manifest::ManifestStore;
use stepwell_types::{Batch, Lsn, ProducerSequence, Tombstone};
use stepwell_wal::{Wal, encode_frame};

use crate::{
    ack::IngestAck,
    cardinality::Cardinality,
    catalog::Catalog,
    command::{Command, Done, Ingest, Question},
    compaction::Compactor,
    config::EngineConfig,
    error::EngineError,
    exclusions::ProjectRun,
    flusher::Flusher,
    health::{Fault, Health},
    lane::{Lane, Refused},
    progress::Progress,
    recovery::{Access, Recovered, recover},
    shared::Shared,
    snapshot::Snapshot,
    stats::EngineStats,
    writer::Writer,
};

/// What to delete: points of a project accepted so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub project_id: Arc<str>,
    /// `None` is every metric, and every run.
    pub metric: Option<Arc<str>>,
    pub run_id: Option<Arc<str>>,
    /// Only points with an earlier timestamp; microseconds since the Unix epoch, UTC.
    pub before_us: Option<i64>,
}

/// Batches that may wait in the queue, besides the limit in bytes.
pub(crate) const QUEUE_BATCHES_MAX: usize = 65_536;
/// What a full queue tells its callers to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Tries of a read-only open beside a server that keeps flushing.
const READ_ONLY_TRIES: usize = 5;
/// How long a shutdown lets the flush thread go on; what is not flushed by then stays in the log.
const SHUTDOWN_FLUSH_PATIENCE: Duration = Duration::from_secs(4);

/// A running engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    /// `None` when opened for reading only.
    commands: Option<Sender<Command>>,
    threads: Arc<Mutex<Option<Threads>>>,
}

struct Threads {
    writer: JoinHandle<Wal>,
    flusher: JoinHandle<()>,
    compactor: JoinHandle<()>,
    catalog: Arc<Catalog>,
    /// Wakes the compaction thread.
    compact: Sender<()>,
    /// Dropped to make the flush thread abandon.
    patience: Sender<()>,
}

impl Engine {
    /// Recovers the data directory and starts the writer and the flush thread. Blocks for as long as the replay takes.
    /// The caller holds the directory's lock.
    pub fn open(env: Env, config: EngineConfig) -> Result<Self, EngineError> {
        Self::open_watched(env, config, &Progress::default())
    }

    /// The same, telling `progress` how far it is.
    pub fn open_watched(env: Env, config: EngineConfig, progress: &Progress) -> Result<Self, EngineError> {
        let recovered = recover(env, config, Access::ReadWrite, progress)?;
        let Recovered { shared, catalog, wal: Some(wal), producers, next_lsn, .. } = recovered else {
            return Err(EngineError::ReadOnly);
        };
        let (commands, writer_commands) = bounded(QUEUE_BATCHES_MAX);
        let (flush, generations) = unbounded();
        let (patience, abandon) = bounded(1);
        let (flushed, flushes) = bounded(1);
        let compact = flushed.clone();
        let flusher = Flusher { shared: shared.clone(), generations, catalog: catalog.clone(), flushed, abandon };
        let compactor = Compactor { shared: shared.clone(), catalog: catalog.clone(), flushed: flushes };
        let released = Lsn(0);
        let known = Cardinality::default();
        let writer = Writer {
            shared: shared.clone(),
            commands: writer_commands,
            flush,
            wal,
            next_lsn,
            producers,
            released,
            known,
            space_wanted: 0,
            looked_for_space: Duration::ZERO,
            tried_rotation: Duration::ZERO,
        };
        let started =
            |source| EngineError::Io { what: "start thread for", path: shared.config.data_dir.clone(), source };
        let flusher = spawn("stepwell-flush", move || flusher.run()).map_err(started)?;
        let compactor = spawn("stepwell-compact", move || compactor.run()).map_err(started)?;
        let writer = spawn("stepwell-writer", move || writer.run()).map_err(started)?;
        let threads = Arc::new(Mutex::new(Some(Threads { writer, flusher, compactor, catalog, compact, patience })));
        Ok(Self { shared, commands: Some(commands), threads })
    }

    /// Reads a data directory, its log included, and changes nothing in it. Beside a running server it shows the state at
    /// some moment during the call.
    pub fn open_read_only(env: Env, config: EngineConfig) -> Result<Self, EngineError> {
        let mut tries = 0;
        loop {
            let result = recover(env.clone(), config.clone(), Access::ReadOnly, &Progress::default());
            tries += 1;
            // A server that flushed meanwhile may have removed log files that the manifest read here still needs.
            let (_, now) = ManifestStore::open(env.disk.clone(), config.manifest_dir())?;
            match result {
                // A damaged directory fails alike each time; only a moving one is worth another try.
                Ok(recovered) if recovered.catalog.is_at(&now) => {
                    return Ok(Self { shared: recovered.shared, commands: None, threads: Arc::default() });
                }
                Err(error) if tries == READ_ONLY_TRIES => return Err(error),
                Ok(_) if tries == READ_ONLY_TRIES => {
                    let retry_after = RETRY_AFTER;
                    let reason = "the server flushed during every try to read".to_owned();
                    return Err(EngineError::FlushFails { reason, retry_after });
                }
                _ => {}
            }
        }
    }

    /// Queues a batch. `done` is called once, from the writer's thread, when the batch is durable and visible or has been
    /// refused; it must not block. An `Err` here means it was refused at once, and `done` is not called.
    pub fn ingest(
        &self,
        batch: Batch,
        producer: Option<ProducerSequence>,
        done: impl FnOnce(Result<IngestAck, EngineError>) + Send + 'static,
    ) -> Result<(), EngineError> {
        self.queue(None, batch, producer, Box::new(done)).map_err(|refused| {
            self.shared.counters.refusals.count(&refused.error);
            refused.error
        })
    }

    /// The same for a batch that may only be applied if those queued before it in its lane were. One that is refused at
    /// once comes back and does not break the lane; for want of room in the queue it is counted as held, not as refused: it can
    /// be queued again.
    pub fn ingest_in(
        &self,
        lane: &Lane,
        batch: Batch,
        producer: Option<ProducerSequence>,
        done: impl FnOnce(Result<IngestAck, EngineError>) + Send + 'static,
    ) -> Result<(), Box<Refused>> {
        self.queue(Some(lane.clone()), batch, producer, Box::new(done)).inspect_err(|refused| {
            let counters = &self.shared.counters;
            match refused.error {
                EngineError::QueueFull { .. } => {
                    counters.held.fetch_add(1, Ordering::Relaxed);
                }
                _ => counters.refusals.count(&refused.error),
            }
        })
    }

    fn queue(
        &self,
        lane: Option<Lane>,
        batch: Batch,
        producer: Option<ProducerSequence>,
        done: Done,
    ) -> Result<(), Box<Refused>> {
        let refused = |error, batch| Err(Box::new(Refused { error, batch }));
        let commands = match self.accepting() {
            Ok(commands) => commands,
            Err(error) => return refused(error, batch),
        };
        if batch.is_empty() {
            done(Ok(IngestAck::of(&batch, Lsn(0), false)));
            return Ok(());
        }
        let full = |queued_bytes| self.queue_full(queued_bytes);
        let bytes = batch.heap_bytes();
        let before = self.shared.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.shared.queued_batches.fetch_add(1, Ordering::Relaxed);
        // A batch larger than the whole budget still passes through an empty queue.
        let result = if before > 0 && before + bytes > self.shared.config.queue_bytes {
            Err((full(before), batch))
        } else {
            match encode_frame(&batch, producer.as_ref()) {
                Ok(frame) => {
                    let names = self.shared.names.series_of(&batch);
                    let ingest = Ingest { batch, producer, lane, frame, names, queued_bytes: bytes, done };
                    send(commands, ingest, full(before))
                }
                Err(error) => Err((error.into(), batch)),
            }
        };
        result.or_else(|(error, batch)| {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.shared.queued_batches.fetch_sub(1, Ordering::Relaxed);
            refused(error, batch)
        })
    }

    fn queue_full(&self, queued_bytes: usize) -> EngineError {
        EngineError::QueueFull { queued_bytes, limit_bytes: self.shared.config.queue_bytes, retry_after: RETRY_AFTER }
    }

    /// Asks whether a batch of so many points was applied, which all that was queued before may be. `told` is called once, from the
    /// writer's thread, with what it was acknowledged with, as a duplicate (I3); it must not block. An `Err` means that it is not called.
    pub fn applied(
        &self,
        producer: ProducerSequence,
        points: usize,
        told: impl FnOnce(Option<IngestAck>) + Send + 'static,
    ) -> Result<(), EngineError> {
        let question = Question::Applied(producer, points as u64, Box::new(told));
        self.accepting()?.try_send(Command::Ask(Box::new(question))).map_err(|error| match error {
            TrySendError::Full(_) => self.queue_full(self.shared.queued_bytes.load(Ordering::Acquire)),
            TrySendError::Disconnected(_) => EngineError::ShuttingDown,
        })
    }

    /// Has the writer answer a question.
    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Question) -> Result<T, EngineError> {
        let commands = self.commands.as_ref().ok_or(EngineError::ReadOnly)?;
        let (answer, answered) = bounded(1);
        commands.send(Command::Ask(Box::new(question(answer)))).map_err(|_| EngineError::ShuttingDown)?;
        answered.recv().map_err(|_| EngineError::ShuttingDown)
    }

    /// The way to the writer, if batches are taken at all.
    fn accepting(&self) -> Result<&Sender<Command>, EngineError> {
        let commands = self.commands.as_ref().ok_or(EngineError::ReadOnly)?;
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(EngineError::ShuttingDown);
        }
        match self.shared.health() {
            Health::Poisoned { reason } => Err(EngineError::Poisoned { reason }),
            _ => Ok(commands),
        }
    }

    /// What is visible now, for as long as the snapshot is held (I10).
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.shared)
    }

    /// Moves everything acknowledged so far into segments. Blocks until that is committed.
    pub fn flush(&self) -> Result<(), EngineError> {
        if self.commands.is_none() {
            return Err(EngineError::ReadOnly);
        }
        loop {
            self.wait_for_flushes(self.shared.frozen_max() - 1)?;
            if self.ask(Question::Rotate)?? {
                break;
            }
        }
        self.wait_for_flushes(0)
    }

    /// Blocks until at most `frozen_max` generations wait for the flush thread; fails where it does.
    fn wait_for_flushes(&self, frozen_max: usize) -> Result<(), EngineError> {
        let mut failing = None;
        self.shared.wait_until(|shared| {
            failing = match shared.health() {
                Health::Ready => None,
                Health::Poisoned { reason } | Health::DiskFull { reason } | Health::FlushFails { reason } => {
                    Some(reason)
                }
            };
            shared.frozen_len() <= frozen_max || failing.is_some() || shared.stopping.load(Ordering::Acquire)
        });
        match failing {
            _ if self.shared.frozen_len() <= frozen_max => Ok(()),
            Some(reason) => Err(EngineError::FlushFails { reason, retry_after: RETRY_AFTER }),
            None => Err(EngineError::ShuttingDown),
        }
    }

    /// Blocks until no merge of segments is due, or one has failed.
    pub fn wait_for_compaction(&self) {
        self.shared.wait_until(|shared| {
            shared.compaction_fails.load(Ordering::Acquire)
                || shared.stopping.load(Ordering::Acquire)
                || !shared.compaction_is_due()
        });
    }

    /// Deletes points for good, those that wait in the queue included. When this returns, that is durable, and no reader is shown them;
    /// segments lose them by and by. Points queued later are not deleted, even of the same series.
    pub fn delete(&self, deletion: Deletion) -> Result<(), EngineError> {
        // What is queued gets its LSNs first: below the bound of the tombstone.
        self.ask(Question::Done)?;
        let threads = self.threads.lock();
        let Some(threads) = threads.as_ref() else {
            return Err(if self.commands.is_some() { EngineError::ShuttingDown } else { EngineError::ReadOnly });
        };
        let Deletion { project_id, metric, run_id, before_us } = deletion;
        let lsn_below = self.shared.visible.below();
        let tombstone = Tombstone { id: 0, project_id, metric, run_id, before_us, lsn_below };
        threads.catalog.commit_deletion(tombstone, |tombstones| {
            self.shared.change_storage(|storage| {
                storage.exclusions = Arc::new(storage.exclusions.with_deleted(tombstones));
            });
        })?;
        let _ = threads.compact.try_send(());
        Ok(())
    }

    /// Shows readers nothing of these runs from now on, and what was hidden before and is not among them again.
    pub fn hide(&self, runs: Vec<ProjectRun>) {
        self.shared.change_storage(|storage| {
            storage.exclusions = Arc::new(storage.exclusions.with_hidden(runs));
        });
    }

    /// What is wrong with taking batches, if anything is.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// What fails just now.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.faults.all()
    }

    /// Whether a batch that comes now is taken, as far as can be told.
    pub fn takes_batches(&self) -> bool {
        self.commands.is_some() && self.shared.takes_batches()
    }

    /// Gauges and totals.
    pub fn stats(&self) -> EngineStats {
        self.shared.stats()
    }

    /// Refuses new batches, finishes those queued, flushes for a few seconds at most (the log keeps the rest), and ends the
    /// threads. A second call does nothing.
    pub fn shutdown(&self) -> Result<(), EngineError> {
        self.shared.stopping.store(true, Ordering::Release);
        let threads = self.threads.lock().take();
        let (Some(threads), Some(commands)) = (threads, &self.commands) else { return Ok(()) };
        // Fails only if the writer has ended, which is what is wanted.
        drop(commands.send(Command::Stop));
        let writer = threads.writer.join();
        let clock = self.shared.env.clock.clone();
        let deadline = clock.monotonic() + SHUTDOWN_FLUSH_PATIENCE;
        self.shared.wait_until(|shared| {
            // A flush that fails now would only be waited for in vain.
            let is_failing = shared.health() != Health::Ready;
            shared.frozen_len() == 0 || threads.flusher.is_finished() || is_failing || clock.monotonic() >= deadline
        });
        drop(threads.patience);
        let flusher = threads.flusher.join();
        drop(threads.compact);
        let compactor = threads.compactor.join();
        let (Ok(mut wal), Ok(()), Ok(())) = (writer, flusher, compactor) else {
            return Err(EngineError::Poisoned { reason: "a thread of the engine ended by a panic".to_owned() });
        };
        if let Err(error) = wal.close() {
            tracing::warn!(%error, "the log was not left tidy; nothing to do: the next start reads it all the same");
        }
        let floor = Lsn(self.shared.wal_floor.load(Ordering::Acquire));
        if let Err(error) = wal.release_keeping(floor, self.shared.config.wal_retain_bytes) {
            tracing::warn!(%error, "old log files were not removed; nothing to do: the next start removes them");
        }
        Ok(())
    }
}

/// Hands a batch to the writer; `full` is the answer when it cannot take one more.
fn send(commands: &Sender<Command>, ingest: Ingest, full: EngineError) -> Result<(), (EngineError, Batch)> {
    let (error, command) = match commands.try_send(Command::Ingest(Box::new(ingest))) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Full(command)) => (full, command),
        Err(TrySendError::Disconnected(command)) => (EngineError::ShuttingDown, command),
    };
    match command {
        Command::Ingest(ingest) => Err((error, ingest.batch)),
        // What comes back is what was sent.
        Command::Ask(_) | Command::Stop => Ok(()),
    }
}
