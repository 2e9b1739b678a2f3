//! Which runs commits have changed, for who holds rows in memory.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Changes that are remembered. Who has not asked for longer reads everything anew, which costs as much by then.
const KEPT_MAX: usize = 4_096;

/// The last changes, in the order of their commits.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    /// The number of the next change; those kept are the ones before.
    next: u64,
    kept: VecDeque<Change>,
}

/// What a commit has changed of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// One of them, its params and tags included; also its making and its end.
    Run(Arc<str>),
    /// Any number of them.
    Runs,
}

/// What became of runs since a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// These have changed, and no others.
    Some(BTreeSet<Arc<str>>),
    /// Any of them may have.
    Unknown,
}

impl Changes {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a commit, after it and before anyone hears of it.
    pub(crate) fn note(&self, change: Change) {
        let mut log = self.log();
        log.next += 1;
        if log.kept.len() == KEPT_MAX {
            log.kept.pop_front();
        }
        log.kept.push_back(change);
    }

    /// The number of the next change, and what was changed from `seen` on. What is read after this call holds all of that; it may
    /// hold more, which will be told then.
    pub(crate) fn since(&self, seen: Option<u64>) -> (u64, Since) {
        let log = self.log();
        let count = seen.and_then(|seen| usize::try_from(log.next.checked_sub(seen)?).ok());
        let Some(skipped) = count.and_then(|count| log.kept.len().checked_sub(count)) else {
            return (log.next, Since::Unknown);
        };
        let runs = log.kept.iter().skip(skipped).map(|change| match change {
            Change::Run(run_id) => Some(run_id.clone()),
            Change::Runs => None,
        });
        (log.next, runs.collect::<Option<_>>().map_or(Since::Unknown, Since::Some))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_unknown_past_what_is_kept() {
        let changes = Changes::default();
        let some = |runs: &[&str]| Since::Some(runs.iter().map(|run| (*run).into()).collect());
        assert_eq!(changes.since(None), (0, Since::Unknown));
        assert_eq!(changes.since(Some(0)), (0, some(&[])));
        for run in ["a", "b", "a"] {
            changes.note(Change::Run(run.into()));
        }
        assert_eq!(changes.since(Some(0)), (3, some(&["a", "b"])));
        assert_eq!(changes.since(Some(2)), (3, some(&["a"])));
        changes.note(Change::Runs);
        assert_eq!(changes.since(Some(3)), (4, Since::Unknown));
        assert_eq!(changes.since(Some(4)), (4, some(&[])));
        (0..KEPT_MAX).for_each(|_| changes.note(Change::Run("c".into())));
        assert_eq!(changes.since(Some(4)).1, some(&["c"]));
        changes.note(Change::Run("c".into()));
        assert_eq!(changes.since(Some(4)).1, Since::Unknown);
    }
}
