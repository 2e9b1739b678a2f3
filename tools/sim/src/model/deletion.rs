//! Deletions, as far as they are known to have happened.

use std::sync::Arc;

use stepwell_engine::Deletion;
use stepwell_types::SeriesKey;

use super::Model;

/// A deletion under way; its position in [`Model::deleted`].
pub(crate) struct Deleting(usize);

/// Whether a deletion happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It has been asked for and not answered: a snapshot may show it.
    UnderWay,
    /// It failed, or its life ended: the next start may bring it back.
    MayComeBack {
        life: u64,
    },
    /// A start showed that this one, or another that has the same points in it, had happened.
    Perhaps,
    Sure,
    /// It did not happen, or it makes no difference.
    Never,
}

/// A deletion. Its LSN is known from what is seen: points below `from` are deleted, points from `to` on are not.
pub(super) struct Deleted {
    what: Deletion,
    pub(super) certainty: Certainty,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Points were missing for which it is one of several possible reasons.
    is_suspect: bool,
}

impl Deleted {
    pub(super) fn matches(&self, key: &SeriesKey, timestamp_us: i64) -> bool {
        let of = |wanted: &Option<Arc<str>>, name: &Arc<str>| wanted.as_ref().is_none_or(|wanted| wanted == name);
        self.certainty != Certainty::Never
            && self.what.project_id == key.project_id
            && of(&self.what.metric, &key.metric)
            && of(&self.what.run_id, &key.run_id)
            && self.what.before_us.is_none_or(|before_us| timestamp_us < before_us)
    }

    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self.certainty, Certainty::UnderWay | Certainty::MayComeBack { .. })
    }

    pub(super) fn end_life(&mut self, life: u64) {
        if self.certainty == Certainty::UnderWay {
            self.certainty = Certainty::MayComeBack { life };
        }
    }
}

impl Model {
    /// A deletion is about to be asked for; points below `visible_below` are there to be deleted.
    pub(crate) fn begin_deletion(&mut self, what: Deletion, visible_below: u64) -> Deleting {
        let certainty = Certainty::UnderWay;
        self.deleted.push(Deleted { what, certainty, from: visible_below, to: u64::MAX, is_suspect: false });
        Deleting(self.deleted.len() - 1)
    }

    /// It has been answered; points at `visible_below` and above came after it.
    pub(crate) fn end_deletion(
        &mut self,
        Deleting(number): &Deleting,
        has_happened: bool,
        visible_below: u64,
    ) -> Result<(), String> {
        let life = self.life;
        let deleted = &mut self.deleted[*number];
        if !has_happened && deleted.certainty == Certainty::Sure {
            return Err(format!("{:?} failed, and took effect", deleted.what));
        }
        deleted.to = deleted.to.min(visible_below);
        deleted.certainty = if has_happened { Certainty::Sure } else { Certainty::MayComeBack { life } };
        Ok(())
    }

    /// Whether a point of a batch that is there may be missing, and what is known now that it is.
    pub(super) fn explains_missing(&mut self, key: &SeriesKey, timestamp_us: i64, lsn: u64, settles: bool) -> bool {
        let life = self.life;
        let matching = |deleted: &&mut Deleted| deleted.matches(key, timestamp_us) && lsn < deleted.to;
        let (mut sure, mut unsure): (Vec<_>, Vec<_>) =
            self.deleted.iter_mut().filter(matching).partition(|deleted| deleted.certainty == Certainty::Sure);
        if sure.iter().any(|deleted| lsn < deleted.from) {
            return true;
        }
        unsure.retain(|deleted| match deleted.certainty {
            Certainty::UnderWay | Certainty::Perhaps => true,
            Certainty::MayComeBack { life: of } => settles && of < life,
            Certainty::Sure | Certainty::Never => false,
        });
        // One alone must be the reason; of several it is not known which.
        match (&mut sure[..], &mut unsure[..]) {
            ([], []) => false,
            ([only], []) => {
                only.from = only.from.max(lsn + 1);
                true
            }
            ([], [only]) => {
                only.certainty = Certainty::Sure;
                only.from = only.from.max(lsn + 1);
                true
            }
            _ => {
                unsure.iter_mut().for_each(|deleted| deleted.is_suspect = true);
                true
            }
        }
    }

    /// Takes note that a point is shown; an error if it must not be.
    pub(super) fn note_shown(
        &mut self,
        key: &SeriesKey,
        timestamp_us: i64,
        lsn: u64,
        settles: bool,
    ) -> Result<(), String> {
        let life = self.life;
        for deleted in self.deleted.iter_mut().filter(|deleted| deleted.matches(key, timestamp_us)) {
            match deleted.certainty {
                Certainty::Sure if lsn < deleted.from => {
                    return Err(format!("{:?} up to LSN {} left LSN {lsn}", deleted.what, deleted.from));
                }
                Certainty::Sure => deleted.to = deleted.to.min(lsn),
                Certainty::MayComeBack { life: of } if settles && of < life && lsn < deleted.from => {
                    deleted.certainty = Certainty::Never;
                }
                Certainty::Perhaps if lsn < deleted.from => deleted.certainty = Certainty::Never,
                Certainty::Perhaps => deleted.to = deleted.to.min(lsn),
                _ => {}
            }
        }
        Ok(())
    }

    /// All that could come back has, or never will.
    pub(super) fn settle_deletions(&mut self) {
        let life = self.life;
        for deleted in &mut self.deleted {
            if matches!(deleted.certainty, Certainty::MayComeBack { life: of } if of < life) {
                deleted.certainty = if deleted.is_suspect { Certainty::Perhaps } else { Certainty::Never };
            }
        }
    }
}
