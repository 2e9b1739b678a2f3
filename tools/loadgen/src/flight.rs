//! The same load over Flight: a stream per connection, with several batches on their way at once.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use arrow_flight::{FlightData, PutResult};
use futures::{SinkExt, channel::mpsc::Sender};
use serde_json::Value;
use stepwell_env::{Clock, spawn};
use stepwell_tests::flight::{FlightPut, connect, messages, numbered};
use tokio::{
    runtime::{Builder, Handle},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tonic::Streaming;

use crate::{
    BatchEncoder, Load,
    load::{Outcome, join_all},
};

/// Threads that read acknowledgements and move bytes; batches are encoded on a thread of each connection.
const WORKERS: usize = 2;

/// Sends over all connections, each with up to `pipeline` batches that wait for their acknowledgements.
pub(crate) fn run(load: &Load, pipeline: u64, clock: &Arc<dyn Clock>) -> Result<Vec<Outcome>> {
    let connections = load.connections.max(1);
    ensure!(load.producers <= connections, "over Flight each connection is one producer: leave --producers out");
    let runtime =
        Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().context("start the runtime")?;
    join_all((0..connections).map(|number| {
        let (load, clock, handle) = (load.clone(), clock.clone(), runtime.handle().clone());
        spawn("load", move || handle.block_on(connection(&load, number, pipeline, clock, &handle)))
    }))
}

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

async fn connection(
    load: &Load,
    number: u64,
    pipeline: u64,
    clock: Arc<dyn Clock>,
    handle: &Handle,
) -> Result<Outcome> {
    let mut client = connect(&load.server).await?;
    let producer = format!("loadgen-{}-{number}", load.session);
    let (sender, results) = FlightPut::open(&mut client, Some(&producer)).await?.split();
    let (in_flight, sent) = mpsc::unbounded_channel();
    let reading = handle.spawn(acknowledgements(results, sent, clock.clone()));
    let writer = Writer {
        sender: sender.context("the stream is closed")?,
        in_flight,
        window: Arc::new(Semaphore::new(usize::try_from(pipeline.max(1))?)),
        encoder: BatchEncoder::new(load.dataset.clone(), load.batch),
        dictionaries: Vec::new(),
        clock,
    };
    // Where writing ends early, the reason is among the acknowledgements.
    let written = writer.run(load, number).await;
    let outcome = reading.await.context("the reader of acknowledgements panicked")??;
    written?;
    Ok(outcome)
}

struct Writer {
    sender: Sender<FlightData>,
    in_flight: mpsc::UnboundedSender<InFlight>,
    window: Arc<Semaphore>,
    encoder: BatchEncoder,
    /// The last that were sent: they last for the stream, and go again only when they change.
    dictionaries: Vec<FlightData>,
    clock: Arc<dyn Clock>,
}

impl Writer {
    async fn run(mut self, load: &Load, number: u64) -> Result<()> {
        let connections = load.connections.max(1);
        let runs = (number..load.dataset.shape().runs).step_by(usize::try_from(connections)?);
        let mut queue: VecDeque<(u64, u64)> = runs.map(|run| (run, 0)).collect();
        let interval = load.rate.map(|rate| load.batch as f64 * connections as f64 / rate);
        let offset = interval.unwrap_or(0.0) * number as f64 / connections as f64;
        for sequence in 1.. {
            let Some((run, batch)) = queue.pop_front() else { break };
            let due = interval.map(|interval| Duration::from_secs_f64(offset + interval * (sequence - 1) as f64));
            let now = self.clock.monotonic();
            if due.unwrap_or(now).max(now) >= load.duration {
                break;
            }
            tokio::time::sleep(due.unwrap_or(now).saturating_sub(now)).await;
            if !self.send(sequence, run, batch, due).await? {
                break;
            }
            if batch + 1 < self.encoder.batches(run) {
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
        let mut messages = messages(&self.encoder.encode(run, batch)?)?;
        let points = messages.pop().context("a batch has a message")?;
        let news = self.news(messages);
        let all: Vec<FlightData> = news.into_iter().chain([numbered(points, sequence)]).collect();
        let bytes = all.iter().map(|message| message.data_header.len() + message.data_body.len()).sum::<usize>();
        let begin = due.unwrap_or_else(|| self.clock.monotonic());
        let points = self.encoder.len(run, batch);
        let sent = InFlight { sequence, run, points, bytes: bytes as u64, begin, _place: place };
        // It is expected before it is sent, so that no acknowledgement comes unexpected.
        if self.in_flight.send(sent).is_err() {
            return Ok(false);
        }
        for message in all {
            if self.sender.send(message).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Schema and dictionaries that the stream has not seen.
    fn news(&mut self, messages: Vec<FlightData>) -> Vec<FlightData> {
        let known = std::mem::replace(&mut self.dictionaries, messages.clone());
        let is_new = |at: usize, message: &FlightData| {
            known.get(at).is_none_or(|old| {
                (at > 0) && (&old.data_header, &old.data_body) != (&message.data_header, &message.data_body)
            })
        };
        messages
            .into_iter()
            .enumerate()
            .filter(|(at, message)| is_new(*at, message))
            .map(|(_, message)| message)
            .collect()
    }
}

async fn acknowledgements(
    mut results: Streaming<PutResult>,
    mut sent: mpsc::UnboundedReceiver<InFlight>,
    clock: Arc<dyn Clock>,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while let Some(result) = results.message().await.context("a batch was refused")? {
        let batch = sent.recv().await.context("an acknowledgement of nothing")?;
        let ack: Value = serde_json::from_slice(&result.app_metadata).context("an acknowledgement that is not JSON")?;
        ensure!(ack["sequence"].as_u64() == Some(batch.sequence), "{ack} where sequence {} is due", batch.sequence);
        outcome.micros.push((clock.monotonic() - batch.begin).as_micros() as u64);
        outcome.points += batch.points;
        outcome.bytes += batch.bytes;
        *outcome.sent.entry(batch.run).or_default() += 1;
    }
    ensure!(sent.recv().await.is_none(), "the stream ended before all was acknowledged");
    Ok(outcome)
}
