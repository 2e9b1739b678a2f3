//! Reading a stream: message by message decoded, and batch by batch queued in the engine.

use std::{sync::Arc, time::Duration};

use arrow_flight::{FlightData, FlightDescriptor, flight_descriptor::DescriptorType};
use stepwell_app::IngestStream;
use stepwell_types::Batch;
use tokio::sync::mpsc::UnboundedSender;
use tonic::{Code, Streaming};

use super::{
    HOLD_MAX, HOLD_PAUSE,
    acknowledge::{Event, Label, Waiting},
    meter::Meter,
    window::Window,
};
use crate::{
    body::{self, INLINE_BYTES_MAX},
    decode::{Budget, DecodeCode, DecodeError, Messages},
    fields::Fields,
    metrics::Door,
    problem::Problem,
    producer,
    state::ServerState,
};

/// The path of the one thing that can be put.
const PATH: &str = "ingest";
/// Largest `app_metadata`, bytes: it holds one number.
const APP_METADATA_BYTES_MAX: usize = 1 << 10;

/// How long a sender is listened to after it was told that the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// The half of a stream that takes.
pub(super) struct Reader {
    pub(super) state: Arc<ServerState>,
    pub(super) messages: Streaming<FlightData>,
    pub(super) meter: Meter,
    pub(super) producer: Option<Arc<str>>,
    pub(super) ingest: IngestStream,
    pub(super) events: UnboundedSender<Event>,
}

/// What became of a message.
struct Decoded {
    decoder: Messages,
    /// Absent if it held no points.
    batch: Option<Batch>,
    /// What the message took of the server's memory, until its points are counted in the engine's queue.
    held: Budget,
}

/// Why a stream is not read on, and which batch is to blame.
struct Refusal(Problem, Option<Label>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem, None)
    }
}

impl Reader {
    /// Reads until the sender ends the stream, a batch is refused, nobody listens any more, or the server stops. What was
    /// queued by then is acknowledged in any case.
    pub(super) async fn run(mut self) {
        let (state, events) = (self.state.clone(), self.events.clone());
        let mut stopping = state.stopping.subscribe();
        let result = tokio::select! {
            biased;
            () = events.closed() => return,
            _ = stopping.wait_for(|stopping| *stopping) => Err(Problem::shutting_down().into()),
            result = self.read() => result,
        };
        let Err(Refusal(problem, label)) = result else { return };
        state.metrics.refused(Door::Flight, &problem);
        // Whoever does not listen any more does not need to know.
        let _ = events.send(Event::Refused(problem, label));
        if *state.stopping.borrow() {
            self.drain().await;
        }
    }

    /// Reads on for a moment and forgets what it reads. The connection is closed as soon as its last stream is: were bytes of
    /// the sender still on their way then, the answer to them would be a reset, which destroys acknowledgements that the
    /// sender's system has received and the sender has not yet read.
    async fn drain(&mut self) {
        let to_the_end = async {
            while let Ok(Some(_)) = self.messages.message().await {
                drop(self.meter.hand_over());
            }
        };
        // Past the time, the sender has had its answer or is too far away.
        let _ = tokio::time::timeout(DRAIN_MAX, to_the_end).await;
    }

    async fn read(&mut self) -> Result<(), Refusal> {
        let (window, mut decoder) = (Window::new(), Messages::default());
        let mut label = Label { batch: 1, sequence: None };
        let mut is_first = true;
        loop {
            label.sequence = None;
            let next = self.next_message().await.map_err(|problem| Refusal(problem, Some(label)))?;
            let Some(data) = next else { return Ok(()) };
            if std::mem::take(&mut is_first) {
                check_descriptor(data.flight_descriptor.as_ref())?;
            }
            let received = self.meter.hand_over();
            let received_bytes = data.data_header.len() + data.data_body.len();
            let place = window.enter(received_bytes).await;
            let app_metadata = data.app_metadata.clone();
            let decoded = self.decode(decoder, data, received).await;
            // Also one that cannot be decoded is told by its sequence, if that can be read.
            label.sequence = sequence(&app_metadata).unwrap_or_default();
            let refused = |problem| Refusal(problem, Some(label));
            let Decoded { decoder: returned, batch, held } = decoded.map_err(refused)?;
            decoder = returned;
            let Some(batch) = batch else { continue };
            let sequence = sequence(&app_metadata).map_err(refused)?;
            let producer = producer::of_batch(self.producer.as_ref(), sequence).map_err(refused)?;
            let queued = self.ingest.queue(batch, producer).await.map_err(|error| refused(error.into()))?;
            drop(held);
            let waiting = Waiting { queued, label, received_bytes, place };
            let _ = self.events.send(Event::Queued(Box::new(waiting)));
            label.batch += 1;
        }
    }

    async fn next_message(&mut self) -> Result<Option<FlightData>, Problem> {
        let limit = self.state.config.body_limit_bytes;
        self.messages.message().await.map_err(|status| match (self.meter.refusal(), status.code()) {
            (Some(problem), _) => problem,
            // What the library says of a message that announces more than the limit.
            (None, Code::OutOfRange) => body::too_large(limit),
            (None, _) => body::incomplete(),
        })
    }

    /// Decodes one message, on a thread that may block if it is large; held back while there is no memory for it.
    async fn decode(&self, mut decoder: Messages, data: FlightData, mut received: Budget) -> Result<Decoded, Problem> {
        if data.data_header.is_empty() {
            return Err(Problem::invalid("data_header", "the message holds neither a schema nor a batch"));
        }
        let now_us = self.state.config.clock.now_us();
        let begin = tokio::time::Instant::now();
        let data = Arc::new(data);
        loop {
            let message = data.clone();
            let attempt = move || {
                let result = decoder.decode(&message.data_header, &message.data_body, now_us, &mut received);
                (decoder, received, result)
            };
            let is_small = data.data_body.len() <= INLINE_BYTES_MAX;
            let result: Result<Option<Batch>, DecodeError>;
            (decoder, received, result) = if is_small { attempt() } else { body::spawn(attempt).await? };
            match result {
                Ok(batch) => return Ok(Decoded { decoder, batch, held: received }),
                Err(error) if error.code == DecodeCode::QueueFull && begin.elapsed() < HOLD_MAX => {
                    tokio::time::sleep(HOLD_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn check_descriptor(descriptor: Option<&FlightDescriptor>) -> Result<(), Problem> {
    let is_path = |given: &&FlightDescriptor| given.r#type == DescriptorType::Path as i32 && given.path == [PATH];
    match descriptor.filter(is_path) {
        Some(_) => Ok(()),
        None => Err(Problem::invalid(
            "flight_descriptor",
            format!("the first message must have a descriptor with the path [\"{PATH}\"]"),
        )),
    }
}

/// The sequence in a batch's `app_metadata`; empty means none.
pub(crate) fn sequence(app_metadata: &[u8]) -> Result<Option<u64>, Problem> {
    if app_metadata.is_empty() {
        return Ok(None);
    }
    if app_metadata.len() > APP_METADATA_BYTES_MAX {
        let detail = format!("app_metadata has {} bytes: it holds {{\"sequence\": NUMBER}}", app_metadata.len());
        return Err(Problem::invalid("app_metadata", detail).limit(APP_METADATA_BYTES_MAX));
    }
    let value = serde_json::from_slice(app_metadata).map_err(|error| {
        let detail = format!("app_metadata is not JSON such as {{\"sequence\": 1}}: {error}");
        Problem::new(axum::http::StatusCode::BAD_REQUEST, "malformed_json", detail).field("app_metadata")
    })?;
    Fields::of("app_metadata", value, &["sequence"])?.optional("sequence")
}
