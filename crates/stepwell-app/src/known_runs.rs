//! The projects of runs seen lately, so that a batch asks the metadata nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Runs that are remembered; past it all are forgotten and looked up again.
const RUNS_MAX: usize = 100_000;

/// Project of each run seen lately. A run never changes its project, but may be deleted, and another made under its id.
#[derive(Default)]
pub(crate) struct KnownRuns {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    projects: HashMap<Arc<str>, Arc<str>>,
    /// Times that runs were forgotten because they were deleted.
    deletions: u64,
}

/// When a question about a run began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since(u64);

impl KnownRuns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The project of a run, if it is known.
    pub(crate) fn get(&self, run_id: &str) -> Option<Arc<str>> {
        self.state().projects.get(run_id).cloned()
    }

    /// Taken before the metadata is asked or changed.
    pub(crate) fn since(&self) -> Since {
        Since(self.state().deletions)
    }

    /// Remembers what the metadata said, unless a deletion since then may have made it untrue.
    pub(crate) fn remember(&self, since: Since, run_id: Arc<str>, project_id: Arc<str>) {
        let mut state = self.state();
        if state.deletions != since.0 {
            return;
        }
        if state.projects.len() >= RUNS_MAX {
            state.projects.clear();
        }
        state.projects.insert(run_id, project_id);
    }

    /// After the deletion of a run was committed.
    pub(crate) fn forget_run(&self, run_id: &str) {
        let mut state = self.state();
        state.deletions += 1;
        state.projects.remove(run_id);
    }

    /// After the deletion of a project was committed.
    pub(crate) fn forget_project(&self, project_id: &str) {
        let mut state = self.state();
        state.deletions += 1;
        state.projects.retain(|_, of_run| &**of_run != project_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_older_than_a_deletion_is_not_remembered() {
        let known = KnownRuns::default();
        let before = known.since();
        known.remember(before, "a".into(), "1".into());
        assert_eq!(known.get("a").as_deref(), Some("1"));
        known.forget_run("a");
        known.remember(before, "a".into(), "1".into());
        assert_eq!(known.get("a"), None, "the run was deleted while it was being looked up");
        known.remember(known.since(), "a".into(), "2".into());
        assert_eq!(known.get("a").as_deref(), Some("2"));
    }

    /// All were forgotten: with each deletion every batch waited for the metadata.
    #[test]
    fn a_deletion_forgets_no_run_but_its_own() {
        let known = KnownRuns::default();
        for (run, project) in [("a", "1"), ("b", "1"), ("c", "2")] {
            known.remember(known.since(), run.into(), project.into());
        }
        known.forget_run("a");
        assert_eq!((known.get("a"), known.get("b").as_deref()), (None, Some("1")));
        known.forget_project("1");
        assert_eq!((known.get("b"), known.get("c").as_deref()), (None, Some("2")));
    }
}
