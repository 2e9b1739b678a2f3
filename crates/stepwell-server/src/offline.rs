//! What requests mean, from their bytes alone: the very decoders of the calls, for whoever has bytes and no connection
//! (benchmarks, fuzzing, a look into a captured request). Each holds at most `limit_bytes` of what it decodes, as the server
//! does by its configuration.

use std::fmt;

use stepwell_app::{LogRow, SeriesRequest};
use stepwell_types::Batch;

use crate::{
    decode::{self, Budget, DecodeError, InFlight, Messages, PointsForm, content_encoding::ContentEncoding},
    fields::Fields,
    flight,
    problem::Problem,
    routes::series,
};

/// Why bytes are refused, as their sender hears it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(Problem);

impl Refusal {
    /// The stable name of the error.
    pub fn code(&self) -> &'static str {
        self.0.code()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code(), self.0.detail())
    }
}

impl std::error::Error for Refusal {}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self(error.into())
    }
}

fn budget(limit_bytes: usize) -> Budget {
    Budget::new(InFlight::new(limit_bytes), limit_bytes)
}

/// A body of points. Its runs are not yet resolved to their projects. `now_us` stands in for absent and null timestamps,
/// microseconds since the Unix epoch.
pub fn decode_points(form: PointsForm, body: Vec<u8>, now_us: i64, limit_bytes: usize) -> Result<Batch, Refusal> {
    Ok(form.decode(body, now_us, &mut budget(limit_bytes))?)
}

/// A body of `POST /api/v1/runs/{run_id}/log`.
pub fn decode_log(body: &[u8], limit_bytes: usize) -> Result<Vec<LogRow>, Refusal> {
    Ok(decode::log::decode(body, &mut budget(limit_bytes))?.into_iter().map(LogRow::from).collect())
}

/// A body, its `Content-Encoding` undone.
pub fn decompress(content_encoding: &str, body: Vec<u8>, limit_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let encoding = ContentEncoding::parse(Some(content_encoding.as_bytes()))?;
    Ok(encoding.decode(body, &mut budget(limit_bytes))?)
}

/// The parameters of `GET /api/v1/series`.
pub fn read_series_query(query: &str) -> Result<SeriesRequest, Refusal> {
    Ok(series::read_query(Some(query))?)
}

/// The body of `POST /api/v1/series`.
pub fn read_series_body(body: &[u8], limit_bytes: usize) -> Result<SeriesRequest, Refusal> {
    Fields::charge(body, &mut budget(limit_bytes))?;
    Ok(series::read_fields(&mut Fields::read(body, &series::FIELDS)?)?)
}

/// The messages of one Flight stream, one after the other.
pub struct FlightStream {
    messages: Messages,
    pool: InFlight,
    limit_bytes: usize,
}

impl FlightStream {
    /// A stream that has not begun.
    pub fn new(limit_bytes: usize) -> Self {
        Self { messages: Messages::default(), pool: InFlight::new(limit_bytes), limit_bytes }
    }

    /// One message by its three parts; the points that it brings, if any, and the sequence of its batch.
    pub fn decode(
        &mut self,
        data_header: &[u8],
        app_metadata: &[u8],
        data_body: &[u8],
        now_us: i64,
    ) -> Result<Option<(Batch, Option<u64>)>, Refusal> {
        let mut budget = Budget::new(self.pool.clone(), self.limit_bytes);
        let batch = self.messages.decode(data_header, data_body, now_us, &mut budget)?;
        let Some(batch) = batch else { return Ok(None) };
        Ok(Some((batch, flight::sequence(app_metadata)?)))
    }

    /// Bytes that it holds between messages, as the server counts them.
    pub fn held_bytes(&self) -> usize {
        self.pool.used_bytes()
    }
}
