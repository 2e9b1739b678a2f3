//! What is wrong just now: said once when it begins and once when it ends, and shown for as long as it lasts.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Whether the engine takes batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// The log failed (I8): reads go on, a restart recovers.
    Poisoned { reason: String },
    /// The disk is full: reads go on, batches are taken again when space returns.
    DiskFull { reason: String },
    /// Segments cannot be written for another reason; batches are taken while memory lasts.
    FlushFails { reason: String },
}

/// Work that may fail for a while. A success of the same work, and nothing else, ends its fault: a batch that fits into the log
/// says nothing about a segment that does not fit onto the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// Appending to the log.
    Log,
    /// Turning the log to a new file, without which nothing is flushed.
    Rotation,
    /// Writing a segment and committing it.
    Flush,
    /// Merging segments.
    Compaction,
    /// Removing log files whose points are in segments.
    Release,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// For want of space.
    DiskFull,
    /// Otherwise; tried again.
    Failing,
    /// For good: only a restart helps.
    Poisoned,
}

/// A fault that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub work: Work,
    pub kind: FaultKind,
    /// What the last failure said.
    pub reason: String,
    /// Monotonic time of the first failure.
    pub since: Duration,
    /// Failures so far.
    pub failures: u64,
}

impl Fault {
    /// What follows from it, and what an operator does.
    pub fn advice(&self) -> &'static str {
        match (self.work, self.kind) {
            (Work::Log, FaultKind::DiskFull) => {
                "batches are refused, reads go on; free space: batches are taken again without a restart"
            }
            (Work::Log, _) => {
                "no batch is taken, reads go on; look at the disk, then restart the server, which recovers all that was acknowledged"
            }
            (Work::Rotation | Work::Flush, FaultKind::DiskFull) => {
                "points wait in memory and in the log, and batches are refused when memory is full; free space (or inodes): it is \
                 tried again every second"
            }
            (Work::Rotation | Work::Flush, _) => {
                "points wait in memory and in the log, and batches are refused when memory is full; correct what the reason names: \
                 it is tried again every second"
            }
            (Work::Compaction, _) => {
                "nothing is lost, but segments become more and queries slower; correct what the reason names: it is tried again \
                 every 10 seconds"
            }
            (Work::Release, _) => {
                "nothing is lost, but old log files take space; correct what the reason names: it is tried again"
            }
        }
    }

    fn say_begin(&self) {
        let (reason, advice) = (self.reason.as_str(), self.advice());
        match (self.work, self.kind) {
            (Work::Log, FaultKind::DiskFull) => {
                tracing::error!(reason, advice, "the disk is full; batches are refused")
            }
            (Work::Log, _) => tracing::error!(reason, advice, "the log has failed"),
            (Work::Rotation, FaultKind::DiskFull) => {
                tracing::error!(
                    reason,
                    advice,
                    "the disk is full; batches are refused when memory is: no new log file can be started"
                );
            }
            (Work::Rotation, _) => tracing::error!(reason, advice, "no new log file can be started"),
            (Work::Flush, FaultKind::DiskFull) => {
                tracing::error!(
                    reason,
                    advice,
                    "the disk is full; batches are refused when memory is: segments cannot be written"
                );
            }
            (Work::Flush, _) => tracing::error!(reason, advice, "segments cannot be written"),
            (Work::Compaction, _) => tracing::error!(reason, advice, "segments cannot be merged"),
            (Work::Release, _) => {
                tracing::warn!(reason, advice, "log files that are no longer needed cannot be removed")
            }
        }
    }

    fn say_end(&self, now: Duration) {
        let (failures, seconds) = (self.failures, now.saturating_sub(self.since).as_secs());
        match self.work {
            Work::Log => tracing::info!(failures, seconds, "the log takes batches again"),
            Work::Rotation => tracing::info!(failures, seconds, "new log files can be started again"),
            Work::Flush => tracing::info!(failures, seconds, "segments can be written again"),
            Work::Compaction => tracing::info!(failures, seconds, "segments can be merged again"),
            Work::Release => tracing::info!(failures, seconds, "log files can be removed again"),
        }
    }
}

/// The faults that last, at most one for each kind of work.
#[derive(Default)]
pub(crate) struct Faults {
    lasting: Mutex<Vec<Fault>>,
}

impl Faults {
    /// Notes a failure. Returns whether anything is different from before it.
    pub(crate) fn failed(&self, work: Work, kind: FaultKind, reason: String, now: Duration) -> bool {
        let mut lasting = self.lock();
        if let Some(fault) = lasting.iter_mut().find(|fault| fault.work == work) {
            fault.failures += 1;
            // What poisons the log stays the reason, whatever is refused for it later.
            if fault.kind == kind || fault.kind == FaultKind::Poisoned {
                return false;
            }
            (fault.kind, fault.reason) = (kind, reason);
            fault.say_begin();
            return true;
        }
        let fault = Fault { work, kind, reason, since: now, failures: 1 };
        fault.say_begin();
        lasting.push(fault);
        true
    }

    /// Notes a success. Returns whether it ended a fault.
    pub(crate) fn worked(&self, work: Work, now: Duration) -> bool {
        let mut lasting = self.lock();
        let is_ended = |fault: &Fault| fault.work == work && fault.kind != FaultKind::Poisoned;
        let Some(at) = lasting.iter().position(is_ended) else { return false };
        lasting.remove(at).say_end(now);
        true
    }

    /// The fault of some work, if it has one.
    pub(crate) fn of(&self, work: Work) -> Option<Fault> {
        self.lock().iter().find(|fault| fault.work == work).cloned()
    }

    /// All that last.
    pub(crate) fn all(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// The worst of them, as far as it concerns batches.
    pub(crate) fn health(&self) -> Health {
        let lasting = self.lock();
        let of = |work: Work| lasting.iter().find(|fault| fault.work == work);
        let Some(fault) = of(Work::Log).or(of(Work::Rotation)).or(of(Work::Flush)) else { return Health::Ready };
        let reason = fault.reason.clone();
        match fault.kind {
            FaultKind::Poisoned => Health::Poisoned { reason },
            FaultKind::DiskFull => Health::DiskFull { reason },
            FaultKind::Failing => Health::FlushFails { reason },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_a_success_ends_its_own_fault_and_no_other_and_poison_stays() {
        let (faults, now) = (Faults::default(), Duration::from_secs(1));
        let full = |work| faults.failed(work, FaultKind::DiskFull, format!("{work:?}"), now);
        assert!(full(Work::Flush) && !full(Work::Flush) && full(Work::Log));
        assert_eq!(faults.health(), Health::DiskFull { reason: "Log".to_owned() });
        assert!(faults.worked(Work::Log, now) && !faults.worked(Work::Log, now));
        assert_eq!(faults.health(), Health::DiskFull { reason: "Flush".to_owned() });
        assert_eq!(faults.all()[0].failures, 2);
        assert!(faults.failed(Work::Log, FaultKind::Poisoned, "fsync".to_owned(), now));
        assert!(!full(Work::Log) && !faults.worked(Work::Log, now) && faults.worked(Work::Flush, now));
        assert_eq!(faults.health(), Health::Poisoned { reason: "fsync".to_owned() });
    }

    #[test]
    fn segments_that_cannot_be_merged_or_files_that_stay_do_not_concern_batches() {
        let faults = Faults::default();
        for work in [Work::Compaction, Work::Release] {
            faults.failed(work, FaultKind::Failing, "because".to_owned(), Duration::ZERO);
        }
        assert_eq!((faults.health(), faults.all().len()), (Health::Ready, 2));
    }
}
