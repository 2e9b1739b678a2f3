//! What becomes of queries, counted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use datafusion::physical_plan::ExecutionPlan;

use crate::error::QueryError;

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All rows were handed out.
    Done,
    /// Not run: its text, names, params or size.
    Refused,
    /// Needed more memory, or more room to spill, than it may have.
    OverMemory,
    /// Took longer than it may.
    OverDeadline,
    /// Failed while it ran.
    Failed,
    /// Its caller went away.
    Cancelled,
}

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Done, "done"),
    (Outcome::Refused, "refused"),
    (Outcome::OverMemory, "over_memory"),
    (Outcome::OverDeadline, "over_deadline"),
    (Outcome::Failed, "failed"),
    (Outcome::Cancelled, "cancelled"),
];

impl Outcome {
    /// Of an error before (`is_planning`) or after the query began to run.
    pub(crate) fn of(error: &QueryError, is_planning: bool) -> Self {
        match error {
            QueryError::MemoryExceeded { .. } | QueryError::MemoryHeld { .. } => Self::OverMemory,
            QueryError::Deadline { .. } => Self::OverDeadline,
            QueryError::Cancelled => Self::Cancelled,
            QueryError::Engine(_) | QueryError::Metadata(_) | QueryError::Runtime { .. } => Self::Failed,
            _ if is_planning => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Running totals since start.
#[derive(Default)]
pub(crate) struct Counters {
    waiting: AtomicU64,
    running: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES.len()],
    spilled_queries: AtomicU64,
    spilled_bytes: AtomicU64,
}

/// A reading of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Queries that wait for their turn.
    pub waiting: u64,
    pub running: u64,
    pub running_limit: u64,
    /// Memory that all who read hold, and may hold, bytes.
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    /// Queries that ended, by how; every way is there.
    pub ended: Vec<(&'static str, u64)>,
    /// Queries that wrote to disk for want of memory, and how much.
    pub spilled_queries: u64,
    pub spilled_bytes: u64,
}

impl Counters {
    pub(crate) fn read(&self) -> QueryStats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        QueryStats {
            waiting: get(&self.waiting),
            running: get(&self.running),
            ended: OUTCOMES.iter().zip(&self.outcomes).map(|((_, name), count)| (*name, get(count))).collect(),
            spilled_queries: get(&self.spilled_queries),
            spilled_bytes: get(&self.spilled_bytes),
            ..QueryStats::default()
        }
    }
}

/// One query, counted for as long as it is kept. Dropped without a word it was cancelled.
pub(crate) struct Counted {
    counters: Arc<Counters>,
    is_running: bool,
    outcome: Outcome,
    is_late: Late,
    plan: Option<Arc<dyn ExecutionPlan>>,
}

/// Whether a query was cancelled because its time was over: its reader sees that where its own task does not. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Late(Arc<AtomicBool>);

impl Late {
    /// The time is over; the query is cancelled next.
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Counted {
    /// A query that waits.
    pub(crate) fn new(counters: &Arc<Counters>, is_late: Late) -> Self {
        counters.waiting.fetch_add(1, Ordering::Relaxed);
        Self { counters: counters.clone(), is_running: false, outcome: Outcome::Cancelled, is_late, plan: None }
    }

    /// Its turn has come.
    pub(crate) fn runs(&mut self) {
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
        self.counters.running.fetch_add(1, Ordering::Relaxed);
        self.is_running = true;
    }

    /// What it runs, to be asked what it spilled.
    pub(crate) fn planned(&mut self, plan: Arc<dyn ExecutionPlan>) {
        self.plan = Some(plan);
    }

    /// How it ended.
    pub(crate) fn ends(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counters = &self.counters;
        let before = if self.is_running { &counters.running } else { &counters.waiting };
        before.fetch_sub(1, Ordering::Relaxed);
        let is_late = self.outcome == Outcome::Cancelled && self.is_late.0.load(Ordering::Acquire);
        let outcome = if is_late { Outcome::OverDeadline } else { self.outcome };
        let at = OUTCOMES.iter().position(|(known, _)| *known == outcome);
        if let Some(count) = at.and_then(|at| counters.outcomes.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let bytes = self.plan.as_ref().map_or(0, spilled_bytes);
        if bytes > 0 {
            counters.spilled_queries.fetch_add(1, Ordering::Relaxed);
            counters.spilled_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

fn spilled_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0) as u64;
    own + plan.children().into_iter().map(spilled_bytes).sum::<u64>()
}
