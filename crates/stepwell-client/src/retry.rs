//! Sending until the server has it: the same producer, sequence and bytes each time, so that nothing is applied twice (I3).

use std::time::Duration;

use stepwell_types::ProducerSequence;

use crate::{Client, ClientError, IngestAck};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Client {
    /// Sends an Arrow stream until it is acknowledged or refused for good. Before each new attempt `wait` is called with
    /// the error and how long to wait; it waits, or says `false` to give up with that error.
    pub fn ingest_until_acked(
        &self,
        stream: &[u8],
        producer: &ProducerSequence,
        mut wait: impl FnMut(&ClientError, Duration) -> bool,
    ) -> Result<IngestAck, ClientError> {
        let mut backoff = FIRST_WAIT;
        loop {
            let error = match self.ingest(stream, Some(producer)) {
                Ok(ack) => return Ok(ack),
                Err(error) => error,
            };
            let pause = error.retry_after().map_or(backoff, |asked| asked.max(backoff));
            if !error.is_transient() || !wait(&error, pause) {
                return Err(error);
            }
            backoff = (backoff * 2).min(LONGEST_WAIT);
        }
    }
}
