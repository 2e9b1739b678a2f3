//! The blocking Rust SDK: runs, SQL, series, and an outbox that never blocks the training loop.

mod client;
mod encode;
mod error;
mod queue;
mod rest;
mod retry;
mod runs;
mod sender;
mod series;
mod spool;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod writer;

pub use client::{Client, IngestAck};
pub use encode::{ARROW_STREAM, Points};
pub use error::ClientError;
pub use rest::{Rest, encoded_path};
pub use runs::{ForkPoint, NewRunRequest, Run, RunUpdate};
pub use series::{Series, SeriesRequest, SeriesResponse};
pub use spool::SpoolReader;
pub use writer::{Writer, WriterOptions, WriterStats};
