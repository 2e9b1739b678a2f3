//! Whether the application can be relied on just now, and what is wrong where it cannot.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use stepwell_engine::{Fault, FaultKind, Work};
use stepwell_metadata::Metadata;

use crate::app::{App, Parts};

/// How often the metadata is looked at. What the engine finds is known at once.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a look may take before it counts as failed.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const METADATA_ADVICE: &str = "runs and projects cannot be read or changed, batches of runs used lately are taken; look at \
                               metadata.sqlite and its disk: it is tried again twice a second";

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A stable word for programs.
    pub code: &'static str,
    /// What failed, as the last failure said it.
    pub reason: String,
    /// What follows from it and what an operator does.
    pub advice: &'static str,
    /// For how long.
    pub lasts: Duration,
    /// How often it was tried.
    pub failures: u64,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether a batch would be taken now.
    pub takes_batches: bool,
    /// Whether queries are answered.
    pub answers_queries: bool,
    /// The worst first.
    pub troubles: Vec<Trouble>,
}

impl Readiness {
    /// Whether requests of all kinds would be served.
    pub fn is_ready(&self) -> bool {
        self.takes_batches && self.answers_queries
    }
}

/// What the last look at the metadata found.
#[derive(Default)]
pub(crate) struct Watch {
    metadata: Mutex<Option<Failing>>,
}

#[derive(Clone)]
struct Failing {
    reason: String,
    since: Duration,
    failures: u64,
}

impl Watch {
    /// Notes a look; says so where it differs from the one before.
    fn looked(&self, found: Result<(), String>, now: Duration) {
        let mut failing = self.lock();
        match (found, &mut *failing) {
            (Err(reason), None) => {
                tracing::error!(reason, advice = METADATA_ADVICE, "the metadata cannot be used");
                *failing = Some(Failing { reason, since: now, failures: 1 });
            }
            (Err(reason), Some(known)) => (known.reason, known.failures) = (reason, known.failures + 1),
            (Ok(()), Some(ended)) => {
                let (failures, seconds) = (ended.failures, now.saturating_sub(ended.since).as_secs());
                tracing::info!(failures, seconds, "the metadata can be used again");
                *failing = None;
            }
            (Ok(()), None) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// How things stand now: the engine as it is, the metadata as it was found half a second ago at most.
    pub fn readiness(&self) -> Readiness {
        let now = self.parts.env.clock.monotonic();
        let engine = &self.parts.engine;
        let metadata = self.parts.watch.lock().clone();
        let is_metadata_well = metadata.is_none();
        let mut troubles: Vec<Trouble> = engine.faults().iter().map(|fault| trouble(fault, now)).collect();
        troubles.extend(metadata.map(|failing| Trouble {
            code: "metadata_fails",
            reason: failing.reason,
            advice: METADATA_ADVICE,
            lasts: now.saturating_sub(failing.since),
            failures: failing.failures,
        }));
        troubles.sort_by_key(|trouble| rank(trouble.code));
        Readiness {
            takes_batches: engine.takes_batches() && is_metadata_well,
            answers_queries: is_metadata_well,
            troubles,
        }
    }
}

fn trouble(fault: &Fault, now: Duration) -> Trouble {
    let code = match (fault.work, fault.kind) {
        (Work::Log | Work::Rotation | Work::Flush, FaultKind::DiskFull) => "disk_full",
        (Work::Log, _) => "storage_failed",
        (Work::Rotation | Work::Flush, _) => "flush_fails",
        (Work::Compaction, _) => "compaction_fails",
        (Work::Release, _) => "release_fails",
    };
    Trouble {
        code,
        reason: fault.reason.clone(),
        advice: fault.advice(),
        lasts: now.saturating_sub(fault.since),
        failures: fault.failures,
    }
}

/// All codes of troubles, the worst first.
pub const TROUBLES: [&str; 6] =
    ["storage_failed", "disk_full", "metadata_fails", "flush_fails", "compaction_fails", "release_fails"];

fn rank(code: &str) -> usize {
    TROUBLES.iter().position(|known| *known == code).unwrap_or(TROUBLES.len())
}

/// Looks at the metadata again and again, until the application is gone.
pub(crate) async fn keep_watching(parts: Weak<Parts>) {
    let mut due = tokio::time::interval(LOOK_EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let Some(parts) = parts.upgrade() else { return };
        if parts.metadata.is_closed() {
            return;
        }
        let found = look(&parts.metadata).await;
        parts.watch.looked(found, parts.env.clock.monotonic());
    }
}

async fn look(metadata: &Metadata) -> Result<(), String> {
    match tokio::time::timeout(ANSWER_MAX, metadata.probe()).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", ANSWER_MAX.as_secs())),
    }
}
