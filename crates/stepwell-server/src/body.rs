//! Receiving the body of a request within its limits.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use futures::StreamExt;

use crate::{
    decode::{Budget, DecodeCode, DecodeError, content_encoding::ContentEncoding},
    fields::Fields,
    problem::Problem,
    state::ServerState,
};

/// Work on bodies up to this size is done at once rather than on a blocking thread, bytes.
pub(crate) const INLINE_BYTES_MAX: usize = 512 << 10;
/// The same for compressed bodies, which may grow.
const INLINE_COMPRESSED_BYTES_MAX: usize = 16 << 10;
/// A body that arrives more slowly than this, bytes a second, is given up: a byte now and then is no progress, and what has come
/// so far holds memory of all.
const BYTES_PER_SECOND_MIN: u64 = 1_024;
/// How many times the limit is read and thrown away, so that a client that is still sending gets to see the refusal.
const DRAIN_LIMITS: usize = 4;

/// A body as it came, and what may still be done with it.
pub(crate) struct Received {
    bytes: Vec<u8>,
    encoding: ContentEncoding,
    budget: Budget,
}

/// Receives a whole body.
pub(crate) async fn receive(state: &ServerState, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    let encoding = ContentEncoding::parse(encoding)?;
    let mut budget = Budget::new(state.in_flight.clone(), state.config.decoded_limit_bytes);
    let mut receiver = Receiver::new(state, body);
    match receiver.collect(headers, &mut budget).await {
        Ok(bytes) => Ok(Received { bytes, encoding, budget }),
        Err(Refusal::AtOnce(problem)) => Err(problem),
        Err(Refusal::AfterDraining(problem)) => {
            receiver.drain().await;
            Err(problem)
        }
    }
}

impl Received {
    /// Undoes the compression and calls `work` with the bytes; on a thread that may block if there are many.
    pub(crate) async fn decode<T: Send + 'static>(
        self,
        work: impl FnOnce(Vec<u8>, &mut Budget) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.decode_held(work).await?.0)
    }

    /// The same for who goes on to hold what `work` made: it counts as long as the budget is kept.
    pub(crate) async fn decode_held<T: Send + 'static>(
        self,
        work: impl FnOnce(Vec<u8>, &mut Budget) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<(T, Budget), Problem> {
        let Self { bytes, encoding, mut budget } = self;
        let inline_max =
            if encoding == ContentEncoding::Identity { INLINE_BYTES_MAX } else { INLINE_COMPRESSED_BYTES_MAX };
        let inline = bytes.len() <= inline_max;
        let run = move || {
            let decoded = encoding.decode(bytes, &mut budget).and_then(|bytes| work(bytes, &mut budget))?;
            Ok::<_, DecodeError>((decoded, budget))
        };
        let decoded = if inline { run() } else { spawn(run).await? };
        Ok(decoded?)
    }

    /// Size as received, bytes.
    pub(crate) fn received_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Runs work that takes a while on a thread that may block.
pub(crate) async fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(run).await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "decoding the body failed: see the server's log")
    })
}

enum Refusal {
    /// The connection is broken, or the client waits for leave to send.
    AtOnce(Problem),
    AfterDraining(Problem),
}

/// A body that arrives, piece by piece, no slower than is allowed.
pub(crate) struct Receiver<'a> {
    state: &'a ServerState,
    body: axum::body::BodyDataStream,
    begin: tokio::time::Instant,
    received_bytes: usize,
}

impl<'a> Receiver<'a> {
    /// Nothing of it has been received.
    pub(crate) fn new(state: &'a ServerState, body: Body) -> Self {
        Self { state, body: body.into_data_stream(), begin: tokio::time::Instant::now(), received_bytes: 0 }
    }

    async fn collect(&mut self, headers: &HeaderMap, budget: &mut Budget) -> Result<Vec<u8>, Refusal> {
        let limit = self.state.config.body_limit_bytes;
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > limit) {
            let waits = headers.contains_key(header::EXPECT) || announced > Some(limit.saturating_mul(DRAIN_LIMITS));
            let refusal = if waits { Refusal::AtOnce } else { Refusal::AfterDraining };
            return Err(refusal(too_large(limit)));
        }
        // Announced bytes are taken from the budget as they arrive: announcing costs nothing.
        let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(INLINE_BYTES_MAX));
        while let Some(chunk) = self.next_chunk().await.map_err(Refusal::AtOnce)? {
            if bytes.len() + chunk.len() > limit {
                return Err(Refusal::AfterDraining(too_large(limit)));
            }
            budget.receive(chunk.len()).map_err(|error| Refusal::AfterDraining(error.into()))?;
            if bytes.len() + chunk.len() > bytes.capacity() {
                // Who has sent so much may be believed the rest: growing by doubling would copy it several times.
                bytes.reserve(announced.unwrap_or(0).saturating_sub(bytes.len()).max(chunk.len()));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// What comes next; `None` at the end.
    pub(crate) async fn next_chunk(&mut self) -> Result<Option<bytes::Bytes>, Problem> {
        let idle_max = self.state.config.body_idle_max;
        let earned = Duration::from_secs(self.received_bytes as u64 / BYTES_PER_SECOND_MIN);
        let deadline = (tokio::time::Instant::now() + idle_max).min(self.begin + idle_max + earned);
        match tokio::time::timeout_at(deadline, self.body.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(chunk))) => {
                self.received_bytes += chunk.len();
                Ok(Some(chunk))
            }
            Ok(Some(Err(_))) => Err(incomplete()),
            Err(_) => Err(timed_out(idle_max)),
        }
    }

    /// Reads on and forgets what it reads, for so long that a client that is near its end gets to see a refusal.
    pub(crate) async fn drain(&mut self) {
        let limit = self.state.config.body_limit_bytes;
        let most = limit.saturating_mul(DRAIN_LIMITS).max(self.received_bytes.saturating_add(limit));
        while self.received_bytes < most && matches!(self.next_chunk().await, Ok(Some(_))) {}
    }
}

/// The connection ended within a body or message.
pub(crate) fn incomplete() -> Problem {
    let detail = "the body ended before it was complete: send it again";
    Problem::new(StatusCode::BAD_REQUEST, "body_incomplete", detail)
}

/// A body or message that made no progress.
pub(crate) fn timed_out(idle_max: Duration) -> Problem {
    let detail = format!(
        "nothing of the body arrived for {} seconds, or less than {BYTES_PER_SECOND_MIN} bytes a second for longer: send it again, faster",
        idle_max.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
}

/// A body or message past its limit.
pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        DecodeCode::BodyTooLarge.as_str(),
        format!("the body is larger than {limit} bytes: send it in parts, or compressed"),
    )
    .limit(limit)
}

/// Refuses a body whose `Content-Type` is not one of `wanted`; returns which it is.
pub(crate) fn media_type(headers: &HeaderMap, wanted: &[&'static str]) -> Result<&'static str, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let found = wanted.iter().find(|media_type| media_type.eq_ignore_ascii_case(essence));
    found.copied().ok_or_else(|| Problem::unsupported_media_type(given, &wanted.join(" or ")))
}

/// Receives a JSON object all of whose members must be `known`.
pub(crate) async fn receive_json(
    state: &ServerState,
    headers: &HeaderMap,
    body: Body,
    known: &'static [&'static str],
) -> Result<Fields, Problem> {
    media_type(headers, &["application/json"])?;
    let received = receive(state, headers, body).await?;
    let read = move |bytes: Vec<u8>, budget: &mut Budget| {
        Fields::charge(&bytes, budget)?;
        Ok(Fields::read(&bytes, known))
    };
    let (fields, budget) = received.decode_held(read).await?;
    Ok(fields?.held_by(budget))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{AppSlot, ServerConfig};

    /// A query that waits for its turn had its params in no budget.
    #[tokio::test]
    async fn i9_what_json_was_read_into_counts_as_long_as_it_is_there() {
        let state = ServerState::new(AppSlot::new(), ServerConfig::default());
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        let mut fields = receive_json(&state, &headers, Body::from(r#"{"a":[{},{}]}"#), &["a"]).await.unwrap();
        let taken: serde_json::Value = fields.required("a").unwrap();
        assert!(taken.is_array() && state.in_flight.used_bytes() > 3 * 700);
        drop(fields);
        assert_eq!(state.in_flight.used_bytes(), 0);
        receive_json(&state, &headers, Body::from(r#"{"b":[{},{}]}"#), &["a"]).await.unwrap_err();
        assert_eq!(state.in_flight.used_bytes(), 0);
    }
}
