//! A whole body of points, in any of the forms that ingest takes.

use stepwell_types::Batch;

use super::{Budget, DecodeError, InFlight, arrow, ndjson};

/// The forms that a body of points comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointsForm {
    /// `application/vnd.apache.arrow.stream`
    Arrow,
    /// `application/x-ndjson`
    Ndjson,
}

impl PointsForm {
    /// Decodes a body within a budget. `now_us` stands in for absent and null timestamps.
    pub(crate) fn decode(self, body: Vec<u8>, now_us: i64, budget: &mut Budget) -> Result<Batch, DecodeError> {
        match self {
            Self::Arrow => arrow::decode(body, now_us, budget),
            Self::Ndjson => ndjson::decode(&body, now_us),
        }
    }
}

/// Decodes a body as the server does that of a request, to at most `limit_bytes`; the error is a sentence for its sender. The
/// runs of the batch are not yet resolved to their projects. `now_us` stands in for absent and null timestamps, microseconds
/// since the Unix epoch.
pub fn decode_points(
    form: PointsForm,
    body: Vec<u8>,
    now_us: i64,
    limit_bytes: usize,
) -> Result<Batch, impl std::error::Error + use<>> {
    form.decode(body, now_us, &mut Budget::new(InFlight::new(limit_bytes), limit_bytes))
}
