//! What one damage came to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Result;
use stepwell_engine::{Concern, Engine, RepairReport, check, repair};
use stepwell_env::SimDisk;

use crate::{
    answers::{Answers, DAMAGE, Rows, text},
    damage::Damage,
    directory::{Directory, config, env},
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
    /// Whether `check` found it.
    pub is_found: bool,
    /// Points that the repair gave up.
    pub points_lost: u64,
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
        Err(error) => of_error(damage, &text(&error)),
        Ok(engine) => of_answers(directory, damage, &Answers::of(&engine)),
    };
    let found = check(&env(&disk), &config())?;
    let mut verdict = Verdict { outcome, detail, is_found: !found.is_healthy(), points_lost: 0 };
    let is_reason_to_find = matches!(outcome, Outcome::Refused | Outcome::Reported);
    if is_reason_to_find && found.is_healthy() {
        return Ok(wrong(verdict, "`check` finds nothing".to_owned()));
    }
    if outcome == Outcome::CutAsTail && matches!(damage, Damage::Flip { .. }) && found.notes.is_empty() {
        return Ok(wrong(verdict, "`check` says nothing of the tail".to_owned()));
    }
    if outcome < Outcome::Wrong {
        match mend(directory, &disk, outcome)? {
            Ok(points_lost) => verdict.points_lost = points_lost,
            Err(detail) => return Ok(wrong(verdict, detail)),
        }
    }
    Ok(verdict)
}

fn wrong(verdict: Verdict, detail: String) -> Verdict {
    Verdict { outcome: Outcome::Wrong, detail, ..verdict }
}

/// An error must say that it is damage, in which file, and where.
fn of_error(damage: &Damage, error: &str) -> (Outcome, String) {
    let name = damage.path().file_name().unwrap_or_default().to_string_lossy();
    let says_where = error.starts_with(DAMAGE) && error.contains(&*name) && error.contains("at byte");
    match says_where {
        true => (Outcome::Refused, String::new()),
        false => (Outcome::Wrong, format!("an error that does not say what is damaged and where: {error}")),
    }
}

fn of_answers(directory: &Directory, damage: &Damage, answers: &Answers) -> (Outcome, String) {
    let whole = &directory.answers;
    for error in answers.errors() {
        let (outcome, detail) = of_error(damage, error);
        if outcome == Outcome::Wrong {
            return (outcome, detail);
        }
    }
    let is_log = damage.path().extension().is_some_and(|suffix| suffix == "wal");
    match (&answers.scan, &whole.scan) {
        (Ok(rows), Ok(expected)) if is_log && rows != expected => {
            return of_log(directory, damage, (rows, expected), answers.damaged);
        }
        (Ok(rows), Ok(expected)) if rows != expected => {
            return (Outcome::Wrong, format!("{} of {} points, in silence", rows.len(), expected.len()));
        }
        _ => {}
    }
    for ((what, answer), (_, expected)) in answers.others.iter().zip(&whole.others) {
        if answer.is_ok() && answer != expected {
            return (Outcome::Wrong, format!("{what} is another"));
        }
    }
    match answers.is_right() {
        true => (Outcome::Right, String::new()),
        false if answers.damaged == 0 => (Outcome::Wrong, "the damage is not counted".to_owned()),
        false => (Outcome::Refused, String::new()),
    }
}

fn of_log(directory: &Directory, damage: &Damage, (rows, expected): (&Rows, &Rows), damaged: u64) -> (Outcome, String) {
    let lost: Rows = expected.difference(rows).cloned().collect();
    if !rows.is_subset(expected) {
        return (Outcome::Wrong, "the log gives points that nobody wrote".to_owned());
    }
    match damaged {
        0 if lost == directory.last_group => (Outcome::CutAsTail, String::new()),
        // Of a file that ends early nothing says how long it was, and of one that is gone that there was one.
        0 if !matches!(damage, Damage::Flip { .. }) && lost.first() > rows.last() => {
            (Outcome::CutAsTail, String::new())
        }
        0 => (Outcome::Wrong, format!("{} points of the log are gone in silence", lost.len())),
        _ => (Outcome::Reported, String::new()),
    }
}

/// Repairs, and looks whether everything undamaged is still there. Returns the points given up.
fn mend(directory: &Directory, disk: &SimDisk, outcome: Outcome) -> Result<Result<u64, String>> {
    let report = repair(&env(disk), &config(), false)?;
    if let Some(after) = report.after.as_ref().filter(|after| !after.is_healthy()) {
        return Ok(Err(format!("damaged after the repair: {:?}", after.damages)));
    }
    let again = repair(&env(disk), &config(), false)?;
    if again.after.is_some() {
        return Ok(Err(format!("a second repair had something to do: {again:?}")));
    }
    let answers = Answers::read(disk)?;
    let (Ok(rows), Ok(expected)) = (&answers.scan, &directory.answers.scan) else {
        return Ok(Err(format!("it does not answer after the repair: {:?}", answers.errors().next())));
    };
    if !answers.is_right() || !rows.is_subset(expected) {
        return Ok(Err("it answers wrongly after the repair".to_owned()));
    }
    let lost = (expected.len() - rows.len()) as u64;
    let said = lost_in_segments(&report);
    let is_of_log = matches!(outcome, Outcome::Reported | Outcome::CutAsTail);
    // Points that are deleted are lost as well, and nobody misses them.
    if said < lost && !is_of_log {
        return Ok(Err(format!("{lost} points are lost, the repair says {said}")));
    }
    if (is_of_log && lost > 9) || (outcome == Outcome::Right && lost > 0) {
        return Ok(Err(format!("{lost} points are lost")));
    }
    Ok(Ok(lost))
}

fn lost_in_segments(report: &RepairReport) -> u64 {
    let of_log = report.found.damages.iter().any(|damage| matches!(damage.concerns, Concern::Log { .. }));
    debug_assert!(!of_log || report.segments.is_empty(), "one damage is of one file");
    report.segments.iter().filter_map(|segment| Some(segment.lost.as_ref()?.points)).sum()
}
