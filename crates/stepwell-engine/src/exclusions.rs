//! Which points no reader is shown: those deleted, and those of runs in the trash.

use std::{collections::HashMap, sync::Arc};

use stepwell_types::{Lsn, SegmentMeta, SeriesColumns, SeriesKey, Tombstone};

/// A run of a project, by their ids.
pub type ProjectRun = (Arc<str>, Arc<str>);

/// Tombstones, those of named runs by run. Never changed; replaced as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exclusions {
    deleted: Vec<Tombstone>,
    hidden: Vec<ProjectRun>,
    of_run: HashMap<Arc<str>, Vec<Tombstone>>,
    of_all_runs: Vec<Tombstone>,
    last_id: u64,
}

/// What is left out; how it is indexed is not looked at.
impl std::hash::Hash for Exclusions {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.deleted.iter().for_each(|tombstone| tombstone.id.hash(state));
        self.hidden.hash(state);
    }
}

impl Exclusions {
    /// Of what is deleted for good, and of runs that are only hidden.
    pub(crate) fn new(deleted: Vec<Tombstone>, hidden: Vec<ProjectRun>) -> Self {
        let last_id = deleted.iter().map(|tombstone| tombstone.id).max().unwrap_or(0);
        let mut exclusions = Self { deleted: deleted.clone(), hidden: hidden.clone(), last_id, ..Self::default() };
        let hide = |(project_id, run_id): ProjectRun| Tombstone {
            // No segment ever claims to hold no hidden point.
            id: u64::MAX,
            project_id,
            metric: None,
            run_id: Some(run_id),
            before_us: None,
            lsn_below: Lsn(u64::MAX),
        };
        for tombstone in deleted.into_iter().chain(hidden.into_iter().map(hide)) {
            match &tombstone.run_id {
                Some(run_id) => exclusions.of_run.entry(run_id.clone()).or_default().push(tombstone),
                None => exclusions.of_all_runs.push(tombstone),
            }
        }
        exclusions
    }

    pub(crate) fn with_deleted(&self, deleted: Vec<Tombstone>) -> Self {
        self.followed_by(Self::new(deleted, self.hidden.clone()))
    }

    pub(crate) fn with_hidden(&self, hidden: Vec<ProjectRun>) -> Self {
        self.followed_by(Self::new(self.deleted.clone(), hidden))
    }

    /// What is deleted for good: all that a flush or a merge may leave out.
    pub(crate) fn deleted_only(&self) -> Self {
        self.with_hidden(Vec::new())
    }

    fn followed_by(&self, next: Self) -> Self {
        Self { last_id: next.last_id.max(self.last_id), ..next }
    }

    /// The tombstones deleted for good.
    pub(crate) fn deleted(&self) -> &[Tombstone] {
        &self.deleted
    }

    /// Id of the last tombstone that there was, whether it is still needed or gone: it never goes back.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id
    }

    fn all(&self) -> impl Iterator<Item = &Tombstone> {
        self.of_run.values().flatten().chain(&self.of_all_runs)
    }

    /// Whether there is nothing to leave out of a segment.
    pub(crate) fn spare(&self, meta: &SegmentMeta) -> bool {
        !self.all().any(|tombstone| tombstone.concerns(meta))
    }

    /// Whether there is nothing to leave out at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.of_run.is_empty() && self.of_all_runs.is_empty()
    }

    /// Tombstones that match a series.
    pub(crate) fn of_series<'a>(&'a self, key: &'a SeriesKey) -> impl Iterator<Item = &'a Tombstone> {
        let of_run = self.of_run.get(&key.run_id).into_iter().flatten();
        of_run.chain(&self.of_all_runs).filter(|tombstone| tombstone.matches(key))
    }

    /// How much of a series of a segment is left out.
    pub(crate) fn share_of(&self, key: &SeriesKey, meta: &SegmentMeta) -> Share {
        let mut share = Share::Nothing;
        for tombstone in self.of_series(key).filter(|tombstone| tombstone.concerns(meta)) {
            if tombstone.covers_all_of(meta) {
                return Share::All;
            }
            share = Share::Some;
        }
        share
    }

    /// Leaves the excluded points of a series out.
    pub(crate) fn apply(&self, key: &SeriesKey, points: &mut SeriesColumns) {
        let tombstones: Vec<&Tombstone> = self.of_series(key).collect();
        if !tombstones.is_empty() {
            points.keep(|timestamp_us, lsn| !tombstones.iter().any(|tombstone| tombstone.covers(timestamp_us, lsn)));
        }
    }
}

/// How much of something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Nothing,
    /// Only the points tell.
    Some,
    All,
}
