//! The same load over Flight: a stream per connection, with several batches on their way at once.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use arrow_flight::{FlightData, PutResult, SchemaAsIpc};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use futures::{SinkExt, channel::mpsc::Sender};
use serde::Deserialize;
use stepwell_env::Clock;
use stepwell_tests::flight::{FlightPut, connect, descriptor, numbered};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Streaming;

use crate::{
    BatchEncoder, Load,
    batches::RunNames,
    load::{Outcome, Pace},
};

/// A batch that was sent.
struct InFlight {
    sequence: u64,
    run: u64,
    points: u64,
    bytes: u64,
    /// When it was due, or encoded.
    begin: Duration,
    _place: OwnedSemaphorePermit,
}

/// A stream on a connection of its own that has sent nothing so far.
pub(crate) struct Connection {
    sender: Sender<FlightData>,
    results: Streaming<PutResult>,
    window: Arc<Semaphore>,
    messages: Messages,
    runs: Vec<u64>,
}

impl Connection {
    /// For up to `pipeline` batches that wait for their acknowledgements.
    pub(crate) async fn new(load: &Load, number: u64, pipeline: u64) -> Result<Self> {
        let connections = load.connections.max(1);
        ensure!(load.producers <= connections, "over Flight each connection is one producer: leave --producers out");
        let mut client = connect(&load.server).await?;
        let producer = format!("loadgen-{}-{number}", load.session);
        let (sender, results) = FlightPut::open(&mut client, Some(&producer)).await?.split();
        let runs: Vec<u64> = (number..load.dataset.shape().runs).step_by(usize::try_from(connections)?).collect();
        Ok(Self {
            sender: sender.context("the stream is closed")?,
            results,
            window: Arc::new(Semaphore::new(usize::try_from(pipeline.max(1))?)),
            messages: Messages::new(load, runs.clone()),
            runs,
        })
    }

    /// Sends, and waits for all acknowledgements.
    pub(crate) async fn run(self: Box<Self>, pace: Pace, clock: Arc<dyn Clock>) -> Result<Outcome> {
        let Self { sender, results, window, messages, runs } = *self;
        let (in_flight, sent) = mpsc::unbounded_channel();
        let reading = tokio::spawn(acknowledgements(results, sent, clock.clone()));
        // Where writing ends early, the reason is among the acknowledgements.
        let written = Writer { sender, in_flight, window, messages, clock }.run(runs, pace).await;
        let outcome = reading.await.context("the reader of acknowledgements panicked")??;
        written?;
        Ok(outcome)
    }
}

/// Batches as messages of one stream, whose dictionaries are sent once: the runs and metrics of all of its batches.
struct Messages {
    batches: BatchEncoder,
    runs: RunNames,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
    has_begun: bool,
}

impl Messages {
    fn new(load: &Load, runs: Vec<u64>) -> Self {
        Self {
            batches: BatchEncoder::new(load.dataset.clone(), load.batch),
            runs: RunNames::new(&load.dataset, runs),
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            options: IpcWriteOptions::default(),
            context: IpcWriteContext::default(),
            has_begun: false,
        }
    }

    /// The messages of a batch that the stream has not seen, its points the last.
    fn of_batch(&mut self, run: u64, batch: u64) -> Result<Vec<FlightData>> {
        let mut messages = Vec::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            let schema = self.batches.schema();
            // Numbers the dictionaries.
            self.generator.schema_to_bytes_with_dictionary_tracker(schema, &mut self.dictionaries, &self.options);
            let schema: FlightData = SchemaAsIpc::new(schema, &self.options).into();
            messages.push(schema.with_descriptor(descriptor()));
        }
        let points = self.batches.record_batch(&self.runs, run, batch)?;
        let (dictionaries, points) =
            self.generator.encode(&points, &mut self.dictionaries, &self.options, &mut self.context)?;
        messages.extend(dictionaries.into_iter().map(FlightData::from));
        messages.push(points.into());
        Ok(messages)
    }
}

struct Writer {
    sender: Sender<FlightData>,
    in_flight: mpsc::UnboundedSender<InFlight>,
    window: Arc<Semaphore>,
    messages: Messages,
    clock: Arc<dyn Clock>,
}

impl Writer {
    async fn run(mut self, runs: Vec<u64>, mut pace: Pace) -> Result<()> {
        let mut queue: VecDeque<(u64, u64)> = runs.into_iter().map(|run| (run, 0)).collect();
        for sequence in 1.. {
            let Some((run, batch)) = queue.pop_front() else { break };
            let Some(due) = pace.next().await else { break };
            if !self.send(sequence, run, batch, pace.is_paced().then_some(due.at)).await? {
                break;
            }
            if batch + 1 < self.messages.batches.batches(run) {
                queue.push_back((run, batch + 1));
            }
        }
        Ok(())
    }

    /// Sends a batch as soon as the pipeline has room; `false` if the server has ended the stream.
    async fn send(&mut self, sequence: u64, run: u64, batch: u64, due: Option<Duration>) -> Result<bool> {
        let place = tokio::select! {
            place = self.window.clone().acquire_owned() => place.context("the window is closed")?,
            () = self.in_flight.closed() => return Ok(false),
        };
        let mut messages = self.messages.of_batch(run, batch)?;
        let points = messages.pop().context("a batch has a message")?;
        messages.push(numbered(points, sequence));
        let bytes = messages.iter().map(|message| message.data_header.len() + message.data_body.len()).sum::<usize>();
        let begin = due.unwrap_or_else(|| self.clock.monotonic());
        let points = self.messages.batches.len(run, batch);
        let sent = InFlight { sequence, run, points, bytes: bytes as u64, begin, _place: place };
        // It is expected before it is sent, so that no acknowledgement comes unexpected.
        if self.in_flight.send(sent).is_err() {
            return Ok(false);
        }
        for message in messages {
            if self.sender.feed(message).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What is read of an acknowledgement.
#[derive(Deserialize)]
struct Acknowledged {
    sequence: Option<u64>,
}

async fn acknowledgements(
    mut results: Streaming<PutResult>,
    mut sent: mpsc::UnboundedReceiver<InFlight>,
    clock: Arc<dyn Clock>,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while let Some(result) = results.message().await.context("a batch was refused")? {
        let batch = sent.recv().await.context("an acknowledgement of nothing")?;
        let ack: Acknowledged =
            serde_json::from_slice(&result.app_metadata).context("an acknowledgement that is not JSON")?;
        ensure!(ack.sequence == Some(batch.sequence), "{:?} where sequence {} is due", ack.sequence, batch.sequence);
        outcome.micros.push((clock.monotonic() - batch.begin).as_micros() as u64);
        outcome.points += batch.points;
        outcome.bytes += batch.bytes;
        *outcome.sent.entry(batch.run).or_default() += 1;
    }
    ensure!(sent.recv().await.is_none(), "the stream ended before all was acknowledged");
    Ok(outcome)
}
