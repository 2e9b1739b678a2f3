//! Worlds from seeds: the engine under simulated threads, time and disk, against a naive model.
//!
//! A world (`world`) is made of lives: one process each, with an engine and clients, which is shut down, killed, or ended by a loss
//! of power (`life`). Clients send batches (`batches`) and send them again when they do not know what became of them
//! (`client`); an operator deletes, hides, flushes, and makes the disk fail (`operator`); a reader compares snapshots and holds some
//! (`reader`, `reading`). What the engine answers goes into the `model`, which knows every point and says what a snapshot must show; what is
//! made of points (series, summaries, charts) is compared with the same made naively (`naive`). One seed gives one `plan` and
//! one trace. A plan that fails is made smaller (`shrink`).

mod batches;
mod client;
mod dice;
mod life;
mod model;
mod naive;
mod operator;
mod plan;
mod reader;
mod reading;
mod rot;
mod shrink;
mod tally;
mod world;

pub use plan::{Kind, Plan};
pub use shrink::shrink;
pub use tally::Tally;
pub use world::{WorldReport, run_world};

#[cfg(test)]
mod tests;
