//! How things stand, as `/ready` tells it and `/metrics` counts it.

use axum::http::StatusCode;
use serde::Serialize;
use stepwell_app::{Readiness, ReplayProgress, Trouble};
use utoipa::ToSchema;

use crate::{problem::Problem, state::ServerState};

/// What would be served, and what is wrong where something would not.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Standing {
    /// `ready`; `degraded`: all is served, but `faults` names what fails; `starting`, `stopping`; or the code of the worst fault.
    status: &'static str,
    /// Whether a batch would be taken now.
    takes_batches: bool,
    /// Whether queries are answered.
    answers_queries: bool,
    /// What fails just now, the worst first.
    faults: Vec<FaultDetails>,
    /// How far the replay of the log is, while the server starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<ReplayDetails>,
}

/// Something that fails.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct FaultDetails {
    /// A stable name, for programs: storage_failed, disk_full, metadata_fails, flush_fails, compaction_fails, release_fails.
    code: &'static str,
    /// What the last failure said.
    reason: String,
    /// What follows from it, and what to do.
    advice: &'static str,
    /// For how long, seconds.
    lasts_seconds: f64,
    /// How often it was tried.
    failures: u64,
}

/// How far the replay is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct ReplayDetails {
    /// Bytes of the log's files; 0 until they were looked at.
    bytes_total: u64,
    /// Bytes passed.
    bytes_done: u64,
    /// Points replayed.
    points: u64,
}

impl From<ReplayProgress> for ReplayDetails {
    fn from(progress: ReplayProgress) -> Self {
        let ReplayProgress { bytes_total, bytes_done, points } = progress;
        Self { bytes_total, bytes_done, points }
    }
}

impl From<Trouble> for FaultDetails {
    fn from(trouble: Trouble) -> Self {
        let Trouble { code, reason, advice, lasts, failures } = trouble;
        Self { code, reason, advice, lasts_seconds: lasts.as_millis() as f64 / 1e3, failures }
    }
}

impl ServerState {
    /// How things stand now.
    pub(crate) fn standing(&self) -> Standing {
        let nothing = |status, replay| Standing {
            status,
            takes_batches: false,
            answers_queries: false,
            faults: Vec::new(),
            replay,
        };
        if *self.stopping.borrow() {
            return nothing("stopping", None);
        }
        match self.app.get() {
            None => nothing("starting", Some(self.app.progress().read().into())),
            Some(app) => Standing::of(app.readiness()),
        }
    }
}

impl Standing {
    /// Of an application that is open.
    pub(crate) fn of(readiness: Readiness) -> Self {
        let worst = readiness.troubles.first().map(|trouble| trouble.code);
        let status = match (readiness.is_ready(), worst) {
            (true, None) => "ready",
            (true, Some(_)) => "degraded",
            (false, Some(code)) => code,
            (false, None) => "stopping",
        };
        let Readiness { takes_batches, answers_queries, troubles } = readiness;
        let faults = troubles.into_iter().map(FaultDetails::from).collect();
        Self { status, takes_batches, answers_queries, faults, replay: None }
    }

    /// `ready`, `degraded`, `starting`, `stopping`, or the code of the worst fault.
    pub(crate) fn status(&self) -> &'static str {
        self.status
    }

    /// Why requests of some kind would be refused, if they would.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let unavailable = |code, detail: String| Some(Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail));
        match (self.status, self.replay, self.faults.first()) {
            ("ready" | "degraded", ..) => None,
            ("starting", Some(replay), _) => {
                let ReplayDetails { bytes_total, bytes_done, points } = replay;
                let far = format!("{bytes_done} of {bytes_total} bytes, {points} points so far");
                Some(Problem::not_ready_yet(&far))
            }
            (code, _, Some(fault)) => unavailable(code, format!("{}: {}", fault.reason, fault.advice)),
            _ => Some(Problem::shutting_down()),
        }
    }
}
