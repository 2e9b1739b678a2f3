//! What goes back: an acknowledgement per batch, in the order of the batches.

use std::sync::Arc;

use arrow_flight::PutResult;
use futures::{Stream, stream};
use serde::Serialize;
use stepwell_app::Queued;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::Status;

use super::{status, window::Place};
use crate::{metrics::Door, problem::Problem, routes::ingest::Acknowledged, state::ServerState};

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
    /// The last: why nothing more is read. Whoever says it has counted it, because nobody may be listening any more.
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
                    Err(problem) => {
                        state.metrics.refused(Door::Flight, &problem);
                        (problem, Some(label))
                    }
                }
            }
        };
        let (problem, label) = refused;
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

#[cfg(test)]
mod tests {
    use stepwell_app::IngestAck;
    use stepwell_types::Lsn;

    use super::*;

    /// I12: the bytes that senders parse, as in schemas/flight.md. Members may be added behind these, and none may go.
    #[test]
    fn i12_the_golden_acknowledgement() {
        let text = |sequence, ack: IngestAck| {
            serde_json::to_string(&Acknowledgement { sequence, acknowledged: ack.into() }).unwrap()
        };
        let ack =
            IngestAck { points: 10_000, first_lsn: Some(Lsn(120_001)), last_lsn: Some(Lsn(130_000)), duplicate: false };
        let golden = r#"{"sequence":17,"points":10000,"first_lsn":120001,"last_lsn":130000,"duplicate":false}"#;
        assert_eq!(text(Some(17), ack), golden);
        let specification = include_str!("../../../../schemas/flight.md").replace(' ', "");
        assert!(specification.contains(golden), "schemas/flight.md shows it");
        let forgotten = IngestAck { points: 3, first_lsn: None, last_lsn: None, duplicate: true };
        let golden =
            r#"{"sequence":18446744073709551615,"points":3,"first_lsn":null,"last_lsn":null,"duplicate":true}"#;
        assert_eq!(text(Some(u64::MAX), forgotten), golden);
        let empty = IngestAck { points: 0, first_lsn: None, last_lsn: None, duplicate: false };
        let golden = r#"{"sequence":null,"points":0,"first_lsn":null,"last_lsn":null,"duplicate":false}"#;
        assert_eq!(text(None, empty), golden);
    }
}
