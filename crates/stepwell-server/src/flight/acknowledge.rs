//! What goes back: an acknowledgement per batch, in the order of the batches.

use std::sync::Arc;

use arrow_flight::PutResult;
use futures::{Stream, stream};
use serde::Serialize;
use stepwell_app::Queued;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::Status;

use super::{status, window::Place};
use crate::{problem::Problem, routes::ingest::Acknowledged, state::ServerState};

/// Which batch of its stream.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Label {
    /// Its number in the stream, from 1.
    pub(super) batch: u64,
    /// As the sender gave it.
    pub(super) sequence: Option<u64>,
}

/// A batch in the engine's queue.
pub(super) struct Waiting {
    pub(super) queued: Queued,
    pub(super) label: Label,
    pub(super) received_bytes: usize,
    /// Given back with the acknowledgement.
    pub(super) place: Place,
}

/// What the reader says. The window bounds how much of it there is.
pub(super) enum Event {
    Queued(Box<Waiting>),
    /// The last: why nothing more is read.
    Refused(Problem, Option<Label>),
}

/// The text in `app_metadata`.
#[derive(Serialize)]
struct Acknowledgement {
    sequence: Option<u64>,
    #[serde(flatten)]
    acknowledged: Acknowledged,
}

/// The stream of acknowledgements; it ends with the reader's, or with the first refusal.
pub(super) fn stream(
    state: Arc<ServerState>,
    events: UnboundedReceiver<Event>,
) -> impl Stream<Item = Result<PutResult, Status>> + Send {
    stream::unfold(Some((state, events)), |open| async move {
        let (state, mut events) = open?;
        let refused = match events.recv().await? {
            Event::Refused(problem, label) => (problem, label),
            Event::Queued(waiting) => {
                let label = waiting.label;
                match acknowledge(&state, *waiting).await {
                    Ok(result) => return Some((Ok(result), Some((state, events)))),
                    Err(problem) => (problem, Some(label)),
                }
            }
        };
        let (problem, label) = refused;
        state.metrics.refused(problem.code());
        let status = label.map_or_else(|| status::of(&problem), |label| status::of_batch(&problem, label));
        Some((Err(status), None))
    })
}

async fn acknowledge(state: &ServerState, waiting: Waiting) -> Result<PutResult, Problem> {
    let Waiting { queued, label, received_bytes, place } = waiting;
    let ack = queued.acknowledged().await?;
    state.metrics.ingested(ack.points, received_bytes, ack.duplicate);
    let text = Acknowledgement { sequence: label.sequence, acknowledged: ack.into() };
    let app_metadata = serde_json::to_vec(&text).unwrap_or_default();
    drop(place);
    Ok(PutResult { app_metadata: app_metadata.into() })
}
