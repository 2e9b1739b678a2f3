//! From the bytes of a request to a [`Batch`](stepwell_types::Batch). Nothing here trusts the bytes: every length is checked
//! against a budget before anything is allocated for it, and no input panics or aborts.

mod arrow;
mod budget;
mod cell;
pub(crate) mod content_encoding;
mod error;
pub(crate) mod log;
mod ndjson;
mod points;
mod series_table;

pub(crate) use arrow::Messages;
pub(crate) use budget::{Budget, InFlight};
pub(crate) use error::{DecodeCode, DecodeError};
pub use points::PointsForm;
