//! What one damage came to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Result;
use stepwell_engine::{CheckReport, Engine, check};

use crate::{
    answers::{Answers, DAMAGE, Other, Rows},
    damage::{Damage, FileKind},
    directory::{Directory, config, env},
    mend::mend,
};

/// How the directory answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All answers are right: the bytes matter to none, or something else stands in for them.
    Right,
    /// Those that need the damaged bytes fail and name file and offset; the others are right.
    Refused,
    /// The start said which points of the log are gone; the others are there.
    Reported,
    /// The last synced group of the log is gone, or its last file from where it was cut: nothing can tell that from a torn write.
    CutAsTail,
    /// An answer is wrong, or an error says the wrong thing, or a check or a repair failed.
    Wrong,
    Panicked,
}

/// The outcome, and what is wrong if something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub detail: String,
    /// Whether `check` calls it damage.
    pub is_found: bool,
    /// Points that the repair gave up.
    pub points_lost: u64,
}

const OUTCOMES: [Outcome; 6] =
    [Outcome::Right, Outcome::Refused, Outcome::Reported, Outcome::CutAsTail, Outcome::Wrong, Outcome::Panicked];

impl Verdict {
    /// In one line, for another process.
    pub fn to_line(&self) -> String {
        let detail = self.detail.replace(['\n', '\t'], " ");
        format!("{:?}\t{}\t{}\t{detail}", self.outcome, self.is_found, self.points_lost)
    }

    /// What [`Verdict::to_line`] wrote.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, '\t');
        let outcome = parts.next()?;
        let outcome = OUTCOMES.into_iter().find(|known| format!("{known:?}") == outcome)?;
        let (is_found, points_lost) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { outcome, detail: parts.next()?.to_owned(), is_found, points_lost })
    }
}

/// Damages the directory, asks everything, checks, repairs, and asks everything again.
pub fn judge(directory: &Directory, damage: &Damage) -> Verdict {
    let verdict = |outcome, detail| Verdict { outcome, detail, is_found: false, points_lost: 0 };
    match catch_unwind(AssertUnwindSafe(|| examine(directory, damage))) {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => verdict(Outcome::Wrong, format!("{error:#}")),
        Err(_) => verdict(Outcome::Panicked, String::new()),
    }
}

fn examine(directory: &Directory, damage: &Damage) -> Result<Verdict> {
    let disk = damage.to_disk(directory)?;
    let (outcome, detail) = match Engine::open_read_only(env(&disk), config()) {
        Err(error) => (Outcome::Wrong, format!("it does not open: {error}")),
        Ok(engine) => of_answers(directory, damage, &Answers::of(&engine)),
    };
    let found = check(&env(&disk), &config())?;
    let mut verdict = Verdict { outcome, detail, is_found: !found.is_healthy(), points_lost: 0 };
    if outcome < Outcome::Wrong {
        let mended = misses(directory, damage, outcome, &found)
            .map_or_else(|| mend(directory, &disk, outcome), |what| Ok(Err(what)));
        match mended? {
            Ok(points_lost) => verdict.points_lost = points_lost,
            Err(detail) => return Ok(Verdict { outcome: Outcome::Wrong, detail, ..verdict }),
        }
    }
    Ok(verdict)
}

/// What a check should have said and did not.
fn misses(directory: &Directory, damage: &Damage, outcome: Outcome, found: &CheckReport) -> Option<String> {
    let names_it = found.damages.iter().any(|place| match damage {
        Damage::Flip { path, byte, .. } => {
            let byte = *byte as u64;
            place.path == *path && place.offset <= byte && (place.bytes == 0 || byte < place.offset + place.bytes)
        }
        // The log before a file that is gone says so of the next.
        Damage::Cut { path, .. } | Damage::Remove { path } => place.path.parent() == path.parent(),
    });
    if names_it {
        return None;
    }
    let is_said = found.damages.is_empty() && found.notes != directory.notes;
    match (damage.kind(), damage) {
        // Nothing is lost with the copy, and a directory of an earlier version has none.
        (FileKind::ManifestCopy, Damage::Remove { .. }) if is_said => None,
        // What may be a torn write is told as one. Of a log that is cut nothing says how long it was.
        (FileKind::Log, Damage::Flip { .. }) if is_said && outcome != Outcome::Reported => None,
        (FileKind::Log, Damage::Cut { .. } | Damage::Remove { .. }) if outcome != Outcome::Reported => None,
        _ => Some(format!("`check` does not name it: {:?}", found.damages)),
    }
}

/// An error must say that it is damage, in which file, and where.
fn of_error(damage: &Damage, error: &str) -> Option<String> {
    let name = damage.path().file_name().unwrap_or_default().to_string_lossy();
    let offset = error.split("at byte ").nth(1).and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
    let is_before = |offset: usize| !matches!(damage, Damage::Flip { byte, .. } if offset > *byte);
    let says_where = error.starts_with(DAMAGE) && error.contains(&*name) && offset.is_some_and(is_before);
    (!says_where).then(|| format!("an error that does not say what is damaged and where: {error}"))
}

fn of_answers(directory: &Directory, damage: &Damage, answers: &Answers) -> (Outcome, String) {
    let whole = &directory.answers;
    let wrong = |detail: String| (Outcome::Wrong, detail);
    if let Some(detail) = answers.errors().find_map(|error| of_error(damage, error)) {
        return wrong(detail);
    }
    if let Some(other) = answers.others.iter().find(|other| other.answer.is_err() && !needs(directory, damage, other)) {
        return wrong(format!("{} needs nothing of it, and fails", other.what));
    }
    let is_log = damage.kind() == FileKind::Log;
    match (&answers.scan, &whole.scan) {
        (Ok(rows), Ok(expected)) if is_log && rows != expected => {
            return of_log(directory, damage, (rows, expected), answers);
        }
        (Ok(rows), Ok(expected)) if rows != expected => {
            return wrong(format!("{} of {} points, in silence", rows.len(), expected.len()));
        }
        (Err(_), _) if damage.kind() != FileKind::Segment => return wrong("a scan needs nothing of it".to_owned()),
        _ => {}
    }
    if let Some(what) = answers.first_other(whole, |_| true) {
        return wrong(format!("{what} is another"));
    }
    match answers.is_right() {
        true => (Outcome::Right, String::new()),
        false if answers.damaged == 0 => wrong("the damage is not counted".to_owned()),
        false => (Outcome::Refused, String::new()),
    }
}

/// Whether an answer may fail for it. Something stands in for all files but those of points, and of these only a segment that may hold
/// the series is needed.
fn needs(directory: &Directory, damage: &Damage, other: &Other) -> bool {
    let name = damage.path().file_name().unwrap_or_default().to_string_lossy();
    let segment = directory.segments.iter().find(|meta| meta.file_name == *name);
    match (damage.kind(), segment, &other.key) {
        (FileKind::Segment, Some(meta), Some(key)) if other.is_of_run => {
            key.project_id >= meta.series.0.project_id && key.project_id <= meta.series.1.project_id
        }
        (FileKind::Segment, Some(meta), Some(key)) => *key >= meta.series.0 && *key <= meta.series.1,
        _ => false,
    }
}

fn of_log(
    directory: &Directory,
    damage: &Damage,
    (rows, expected): (&Rows, &Rows),
    answers: &Answers,
) -> (Outcome, String) {
    let lost: Rows = expected.difference(rows).cloned().collect();
    if !rows.is_subset(expected) {
        return (Outcome::Wrong, "the log gives points that nobody wrote".to_owned());
    }
    let is_untouched =
        |other: &Other| other.key.as_ref().is_some_and(|key| lost.iter().all(|row| row.key.run_id != key.run_id));
    if let Some(what) = answers.first_other(&directory.answers, is_untouched) {
        return (Outcome::Wrong, format!("{what} is another, though no point of it is lost"));
    }
    match answers.damaged {
        0 if lost == directory.last_group => (Outcome::CutAsTail, String::new()),
        // Of a file that ends early nothing says how long it was, and of one that is gone that there was one.
        0 if !matches!(damage, Damage::Flip { .. }) && lost.first() > rows.last() => {
            (Outcome::CutAsTail, String::new())
        }
        0 => (Outcome::Wrong, format!("{} points of the log are gone in silence", lost.len())),
        _ => (Outcome::Reported, String::new()),
    }
}
