//! The only DataFusion crate: tables over a snapshot, functions, limits; Arrow in, Arrow out.
//!
//! DataFusion is an engine, not a boundary: `guard` admits one query and nothing else, `catalog` offers only our tables, and
//! `engine` gives each query a bounded memory pool, a capped spill directory, a deadline, and threads of its own.
#![doc = include_str!("../../../schemas/sql_tables.md")]

mod catalog;
mod config;
mod dialect;
mod dynamic_filter;
pub mod encode;
mod ended;
mod engine;
mod error;
mod field_access;
mod filter_names;
mod functions;
mod guard;
mod memory;
mod metadata_tables;
mod nearest;
mod pieces;
mod plan_check;
mod points_exec;
mod points_read;
mod points_table;
mod pushdown;
mod read_once;
mod run_aggregate;
mod run_list;
mod series_functions;
mod shape;
mod sized_arrays;
mod sorted_limits;
mod stats;
mod summaries_table;
mod windows;

pub use config::QueryConfig;
pub use engine::{QueryEngine, QueryRequest, QueryStream};
pub use error::QueryError;
pub use stats::QueryStats;

#[cfg(test)]
mod tests;
