//! A whole body of points, in any of the forms that ingest takes.

use stepwell_types::Batch;

use super::{Budget, DecodeError, arrow, ndjson};

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
            Self::Ndjson => ndjson::decode(&body, now_us, budget),
        }
    }
}
