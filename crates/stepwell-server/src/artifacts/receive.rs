//! A body becomes an upload, in memory that does not depend on its size.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use stepwell_app::ArtifactUpload;

use super::STREAM_BYTES;
use crate::{body::Receiver, decode::Budget, problem::Problem, state::ServerState};

/// Receives a whole body. Broken off, too slow, or without room on the disk, it leaves nothing.
pub(crate) async fn receive_artifact(
    state: &ServerState,
    headers: &HeaderMap,
    body: Body,
) -> Result<ArtifactUpload, Problem> {
    let mut receiver = Receiver::new(state, body);
    match receive(state, headers, &mut receiver).await {
        Ok(upload) => Ok(upload),
        Err(problem) => {
            drain(headers, &mut receiver).await;
            Err(problem)
        }
    }
}

/// Lets a client that is still sending see a refusal that needs nothing of its body.
pub(crate) async fn turn_away(state: &ServerState, headers: &HeaderMap, body: Body) {
    drain(headers, &mut Receiver::new(state, body)).await;
}

async fn drain(headers: &HeaderMap, receiver: &mut Receiver<'_>) {
    // Of a client that waits for leave to send nothing comes.
    if !headers.contains_key(header::EXPECT) {
        receiver.drain().await;
    }
}

async fn receive(
    state: &ServerState,
    headers: &HeaderMap,
    receiver: &mut Receiver<'_>,
) -> Result<ArtifactUpload, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        let detail = "an artifact is stored as it comes: send it without Content-Encoding";
        return Err(
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail).field("Content-Encoding")
        );
    }
    let mut budget = Budget::new(state.in_flight.clone(), STREAM_BYTES);
    budget.receive(STREAM_BYTES)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut upload = state.app()?.begin_artifact(announced).await?;
    while let Some(chunk) = receiver.next_chunk().await? {
        upload.write(&chunk).await?;
    }
    Ok(upload)
}
