//! What an operator may set about queries.

use std::{path::PathBuf, time::Duration};

/// Budgets of queries.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// Memory of all queries that run, and of others who read, bytes; where it is taken a query spills, or fails alone.
    pub memory_bytes: usize,
    /// Longest time a query may take.
    pub deadline: Duration,
    /// Queries that run at once; others wait.
    pub concurrency: usize,
    /// Where queries spill to.
    pub spill_dir: PathBuf,
    /// Most bytes of spill files of one query.
    pub spill_bytes: u64,
    /// Threads that queries share.
    pub threads: usize,
}

impl QueryConfig {
    /// The defaults, spilling to `spill_dir`.
    pub fn new(spill_dir: impl Into<PathBuf>) -> Self {
        Self {
            memory_bytes: 1 << 30,
            deadline: Duration::from_secs(60),
            concurrency: 8,
            spill_dir: spill_dir.into(),
            spill_bytes: 16 << 30,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}
