//! Ingest: resolve the runs, hand the batch to the engine, wait until it is durable and visible.

use std::{collections::HashMap, sync::Arc};

use stepwell_engine::{EngineError, IngestAck};
use stepwell_types::{Batch, ProducerSequence, SeriesKey};
use tokio::sync::oneshot;

use crate::{app::App, code::ErrorCode, error::AppError};

/// How often the runs of a batch are looked up before the trash has to stay as it is meanwhile.
const LOOKS_MAX: usize = 4;

/// A batch in the engine's queue.
pub struct Queued(oneshot::Receiver<Result<IngestAck, EngineError>>);

/// What the engine calls when it is done with a batch.
pub(crate) type Done = Box<dyn FnOnce(Result<IngestAck, EngineError>) + Send>;

impl App {
    /// Takes a batch whole or refuses it whole. The keys' project ids are filled in here; an unknown run refuses the batch,
    /// naming the run and the first row it has.
    pub async fn ingest(&self, batch: Batch, mut producer: Option<ProducerSequence>) -> Result<IngestAck, AppError> {
        let points = batch.len();
        let (done, queued) = Queued::pair();
        let given = self.queue(batch, |batch| self.parts.engine.ingest(batch, producer.take(), done)).await;
        match given {
            Ok(taken) => taken?,
            Err(error) => return self.unless_applied(producer, points, error).await,
        }
        queued.acknowledged().await
    }

    /// Finds the runs of a batch and has `queue` put it into the engine's queue. What deletes runs and waits for `queueing` comes before the
    /// look-up or behind the batch. An `Err` is of the look-up, and `queue` was not called.
    pub(crate) async fn queue<T>(
        &self,
        mut batch: Batch,
        queue: impl FnOnce(Batch) -> T + Send,
    ) -> Result<T, AppError> {
        let queueing = &self.parts.queueing;
        for _ in 0..LOOKS_MAX {
            let turn = queueing.turn();
            batch = self.resolve(batch).await?;
            if let Some(_inside) = queueing.enter(turn) {
                return Ok(queue(batch));
            }
        }
        // One run after the other is being deleted. Those of this batch stay while the trash does.
        let _unchanged = self.parts.trash.lock().await;
        batch = self.resolve(batch).await?;
        loop {
            // Who asks whether it was applied waits for it, too.
            if let Some(_inside) = queueing.enter(queueing.turn()) {
                return Ok(queue(batch));
            }
        }
    }

    /// The answer to a batch whose runs were not found: where it is a retry of one that was applied, a run may have gone into the trash
    /// since. Refused, its points of other runs would be sent again under another number (I3).
    pub(crate) async fn unless_applied(
        &self,
        producer: Option<ProducerSequence>,
        points: usize,
        error: AppError,
    ) -> Result<IngestAck, AppError> {
        let Some(producer) = producer.filter(|_| error.code == ErrorCode::RunNotFound) else { return Err(error) };
        // Whose runs were found before is in the queue by then, and the question comes behind it.
        self.parts.queueing.next_turn().await;
        let (told, answer) = oneshot::channel();
        self.parts.engine.applied(producer, points, move |ack| drop(told.send(ack)))?;
        answer.await.map_err(|_| stopped())?.ok_or(error)
    }

    /// Fills in the project of each series.
    pub(crate) async fn resolve(&self, batch: Batch) -> Result<Batch, AppError> {
        self.check_writable()?;
        let projects = self.projects_of_series(&batch).await?;
        let mut project_ids = projects.into_iter();
        batch.try_map_series(|key| match project_ids.next() {
            Some(project_id) => Ok(SeriesKey { project_id, ..key }),
            None => Err(AppError::run_not_found(&key.run_id)),
        })
    }

    /// The project of each series. Series of one run mostly follow one another and share its name, so that the look-up is per
    /// run rather than per series.
    async fn projects_of_series(&self, batch: &Batch) -> Result<Vec<Arc<str>>, AppError> {
        let mut known: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        let mut projects: Vec<Arc<str>> = Vec::with_capacity(batch.series().len());
        let mut last: Option<&Arc<str>> = None;
        for (index, key) in batch.series().iter().enumerate() {
            let same_run = last.is_some_and(|last| Arc::ptr_eq(last, &key.run_id));
            last = Some(&key.run_id);
            let of_run = if same_run { projects.last().cloned() } else { known.get(&key.run_id).cloned() };
            if let Some(project_id) = of_run {
                projects.push(project_id);
                continue;
            }
            let Some(project_id) = self.project_id_of_run(&key.run_id).await? else {
                let row = batch.series_index().iter().position(|&series| series as usize == index);
                let refusal = AppError::run_not_found(&key.run_id);
                return Err(row.map_or_else(|| AppError::run_not_found(&key.run_id), |row| refusal.row(row + 1)));
            };
            known.insert(key.run_id.clone(), project_id.clone());
            projects.push(project_id);
        }
        Ok(projects)
    }
}

impl Queued {
    /// What the engine is given, and what waits for it.
    pub(crate) fn pair() -> (Done, Self) {
        let (send, receive) = oneshot::channel();
        // A caller that has gone does not hear what became of its batch; a retry with its sequence tells it.
        (Box::new(move |result| drop(send.send(result))), Self(receive))
    }

    /// Waits until the batch is durable and visible, or refused.
    pub async fn acknowledged(self) -> Result<IngestAck, AppError> {
        match self.0.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(stopped()),
        }
    }
}

fn stopped() -> AppError {
    AppError::new(ErrorCode::ShuttingDown, "the server stopped before the batch was durable")
}

#[cfg(test)]
mod tests;
