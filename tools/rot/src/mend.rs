//! What a repair makes of one damage: everything undamaged is there, and it has said what is not.

use anyhow::Result;
use stepwell_engine::{Concern, PointsConcerned, RepairReport, repair};
use stepwell_env::SimDisk;

use crate::{
    answers::{Answers, Other, Row, Rows},
    directory::{DELETED, DELETED_POINTS, Directory, config, env},
    judge::Outcome,
};

/// Points in a segment that the log does not have are of these batches at most.
const LOG_POINTS: usize = 9;

/// Repairs twice and asks everything. Returns the points given up, or what is wrong.
pub(crate) fn mend(directory: &Directory, disk: &SimDisk, outcome: Outcome) -> Result<Result<u64, String>> {
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
    let lost: Rows = expected.difference(rows).cloned().collect();
    let is_untouched = |other: &Other| match &other.key {
        Some(key) => lost.iter().all(|row| row.key.run_id != key.run_id),
        None => lost.is_empty(),
    };
    if let Some(what) = answers.first_other(&directory.answers, is_untouched) {
        return Ok(Err(format!("{what} is another after the repair, though no point of it is lost")));
    }
    Ok(match outcome {
        Outcome::Right if !lost.is_empty() => Err(format!("{} points are lost that a start had", lost.len())),
        Outcome::Reported | Outcome::CutAsTail => of_log(&report, &lost, outcome),
        _ => of_segments(&report, &lost),
    }
    .map(|()| lost.len() as u64))
}

/// Each lost point of the log is in a range of LSNs that is told; a tail cannot be told.
fn of_log(report: &RepairReport, lost: &Rows, outcome: Outcome) -> Result<(), String> {
    let said = |row: &Row| {
        report.found.damages.iter().any(|damage| match damage.concerns {
            Concern::Log { first_lsn, before_lsn } => {
                first_lsn <= row.lsn && before_lsn.is_none_or(|before| row.lsn < before)
            }
            _ => false,
        })
    };
    match lost.iter().find(|row| !said(row)) {
        Some(row) if outcome == Outcome::Reported => {
            Err(format!("the repair does not say that LSN {} is lost", row.lsn))
        }
        _ if lost.len() > LOG_POINTS => Err(format!("{} points are lost, of which segments have some", lost.len())),
        _ => Ok(()),
    }
}

/// Each lost point is among those that are told, and no more are told than are lost, but for some that were deleted before.
fn of_segments(report: &RepairReport, lost: &Rows) -> Result<(), String> {
    let told: Vec<&PointsConcerned> = report.segments.iter().filter_map(|segment| segment.lost.as_ref()).collect();
    if let Some(row) = lost.iter().find(|row| !told.iter().any(|told| covers(told, row))) {
        return Err(format!("the repair does not say that {row:?} is lost"));
    }
    let count: u64 = told.iter().map(|told| told.points).sum();
    let may_be_deleted = |told: &&PointsConcerned| told.series.is_none() || told.metrics.contains(DELETED);
    let deleted_max = if told.iter().any(may_be_deleted) { DELETED_POINTS as u64 } else { 0 };
    let lost = lost.len() as u64;
    match count >= lost && count <= lost + deleted_max {
        true => Ok(()),
        false => Err(format!("{lost} points are lost, the repair says {count}")),
    }
}

fn covers(told: &PointsConcerned, row: &Row) -> bool {
    let is_within = |(low, high): (i64, i64), at: i64| low <= at && at <= high;
    let by_name = told.series.is_none()
        || (told.project_ids.contains(&row.key.project_id)
            && told.metrics.contains(&row.key.metric)
            && told.run_ids.contains(&row.key.run_id));
    by_name && is_within(told.step, row.step) && told.lsn.0 <= row.lsn && row.lsn <= told.lsn.1
}
