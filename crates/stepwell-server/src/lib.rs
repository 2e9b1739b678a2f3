//! The network: HTTP, Flight (SQL), PostgreSQL wire; routes, limits, status codes.
//!
//! A request's way: `server` (listening, shutdown) → `connections` (limits, silence) → `router` (routes, what every answer has in common) → `routes` (one
//! module per call) → `body` and `decode` (bytes to a batch, within budgets) → the application layer. Whatever fails on the
//! way becomes a `problem`. `flight` is the same way for streams: many batches a call. `openapi` describes it all, `metrics` counts it,
//! `readiness` says how things stand.

mod accept;
mod artifacts;
mod body;
mod connections;
mod decode;
mod fields;
mod flight;
mod held_body;
mod json_float;
mod metrics;
mod offline;
mod openapi;
mod problem;
mod producer;
mod readiness;
mod router;
mod routes;
mod server;
mod state;
mod unread;

pub use decode::PointsForm;
pub use metrics::metrics_markdown;
pub use offline::{FlightStream, Refusal, decode_log, decode_points, decompress, read_series_body, read_series_query};
pub use openapi::openapi_json;
pub use server::{Server, ServerError};
pub use state::{AppSlot, ServerConfig};
