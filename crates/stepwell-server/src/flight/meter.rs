//! Counting a stream's bytes as they arrive: a message is whole in memory before anybody sees it, and many streams may be in
//! the middle of one (I9).

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{HOLD_MAX, HOLD_PAUSE};
use crate::{body, decode::Budget, problem::Problem, state::ServerState};

/// What one stream has received of the message that is on its way.
#[derive(Clone)]
pub(super) struct Meter(Arc<Mutex<Count>>);

struct Count {
    received: Budget,
    /// Why the body ended before its end; what is between us and the reader would only pass a text on.
    refusal: Option<Problem>,
}

impl Meter {
    /// Nothing received.
    pub(super) fn new(state: &ServerState) -> Self {
        let received = Budget::new(state.in_flight.clone(), state.config.decoded_limit_bytes);
        Self(Arc::new(Mutex::new(Count { received, refusal: None })))
    }

    /// Hands over what was received so far, to whom has the message now. A few bytes of the next one may be among it.
    pub(super) fn hand_over(&self) -> Budget {
        self.lock().received.hand_over()
    }

    /// Why the body ended before its end, if it was for a reason of ours.
    pub(super) fn refusal(&self) -> Option<Problem> {
        self.lock().refusal.take()
    }

    /// The body, its bytes counted. While the server has no room for more it is not read, which holds the sender back.
    pub(super) fn count(self, body: Body, state: &ServerState) -> Body {
        let idle_max = state.config.body_idle_max;
        let counted = stream::unfold(Some((self, body.into_data_stream())), move |state| async move {
            let (meter, mut body) = state?;
            match meter.next(&mut body, idle_max).await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some((meter, body)))),
                Ok(None) => None,
                Err(problem) => {
                    meter.lock().refusal = Some(problem);
                    Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None))
                }
            }
        });
        Body::from_stream(counted)
    }

    async fn next(&self, body: &mut BodyDataStream, idle_max: Duration) -> Result<Option<Bytes>, Problem> {
        // Between messages a stream may rest as long as it likes.
        let is_within_message = self.lock().received.taken_bytes() > 0;
        let next = if is_within_message {
            tokio::time::timeout(idle_max, body.next()).await.map_err(|_| body::timed_out(idle_max))?
        } else {
            body.next().await
        };
        let Some(bytes) = next else { return Ok(None) };
        let bytes = bytes.map_err(|_| body::incomplete())?;
        let begin = tokio::time::Instant::now();
        loop {
            match self.receive(bytes.len()) {
                Ok(()) => return Ok(Some(bytes)),
                Err(_) if begin.elapsed() < HOLD_MAX => tokio::time::sleep(HOLD_PAUSE).await,
                Err(problem) => return Err(problem),
            }
        }
    }

    fn receive(&self, bytes: usize) -> Result<(), Problem> {
        Ok(self.lock().received.receive(bytes)?)
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
