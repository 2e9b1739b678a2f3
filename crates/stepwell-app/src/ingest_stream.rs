//! Ingest without waiting: batches queued one behind the other, acknowledged in their order.

use std::time::Duration;

use stepwell_engine::{EngineError, Lane, Refused};
use stepwell_types::{Batch, ProducerSequence};

use crate::{app::App, error::AppError, ingest::Queued};

/// First pause before a batch is offered again to a full queue; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The batches of one sender, in order: once one is refused, none that was queued behind it is applied.
pub struct IngestStream {
    app: App,
    lane: Lane,
    patience: Duration,
}

impl App {
    /// A stream of batches. A full queue makes [`IngestStream::queue`] wait; past `patience` it refuses.
    pub fn ingest_stream(&self, patience: Duration) -> IngestStream {
        IngestStream { app: self.clone(), lane: Lane::default(), patience }
    }
}

impl IngestStream {
    /// Queues a batch behind those before it. The caller stops at the first refusal, whether it comes from here or from
    /// [`Queued::acknowledged`].
    pub async fn queue(&self, mut batch: Batch, producer: Option<ProducerSequence>) -> Result<Queued, AppError> {
        let points = batch.len();
        let (begin, mut pause) = (tokio::time::Instant::now(), PAUSE_MIN);
        loop {
            let queue = |batch| {
                let (done, queued) = Queued::pair();
                self.app.parts.engine.ingest_in(&self.lane, batch, producer.clone(), done).map(|()| queued)
            };
            // Each time anew: its runs may be gone by now.
            let given = self.app.queue(batch, queue).await;
            let Refused { error, batch: returned } = match given {
                Ok(Ok(queued)) => return Ok(queued),
                Ok(Err(refused)) => *refused,
                Err(error) => {
                    let ack = self.app.unless_applied(producer, points, error).await?;
                    let (done, queued) = Queued::pair();
                    done(Ok(ack));
                    return Ok(queued);
                }
            };
            match &error {
                EngineError::QueueFull { retry_after, .. } if begin.elapsed() < self.patience => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(*retry_after);
                }
                _ => return Err(error.into()),
            }
            batch = returned;
        }
    }
}
