//! Whether a snapshot shows what it must and nothing else.

use std::collections::BTreeMap;

use super::{BatchNumber, Model};

/// A point as a snapshot shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Position among the series of the world.
    pub(crate) series: usize,
    pub(crate) step: i64,
    pub(crate) timestamp_us: i64,
    pub(crate) bits: u64,
    pub(crate) lsn: u64,
}

/// When a snapshot is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Right after a start, before anything is sent: what might have survived has, or never will.
    Start,
    Later,
}

/// Which rows of a batch are shown, and where it begins.
struct Found {
    first_lsn: u64,
    rows: Vec<bool>,
}

impl Model {
    /// Compares all points of a snapshot, the last visible LSN of which is `lsn`, taken at this very moment.
    pub(crate) fn check(&mut self, points: &[Seen], lsn: u64, moment: Moment) -> Result<(), String> {
        let settles = moment == Moment::Start;
        let found = self.find(points, lsn)?;
        for (number, found) in &found {
            self.take_place(*number, found, lsn, settles)?;
        }
        // First what is shown, which rules deletions out as reasons for what is missing; then again, by what the missing have told.
        self.note_all_shown(points, settles)?;
        for number in 0..self.batches.len() {
            self.check_batch(number, found.get(&number), lsn, settles)?;
        }
        self.note_all_shown(points, settles)?;
        if settles && !self.is_damaged {
            self.settle();
        }
        self.check_places()
    }

    fn note_all_shown(&mut self, points: &[Seen], settles: bool) -> Result<(), String> {
        points.iter().try_for_each(|point| {
            let key = self.all_series[point.series].clone();
            self.note_shown(&key, point.timestamp_us, point.lsn, settles)
        })
    }

    /// Says of each point which batch it is of; each is there once, bit for bit (I3, I5, I10).
    fn find(&self, points: &[Seen], lsn: u64) -> Result<BTreeMap<BatchNumber, Found>, String> {
        let mut found: BTreeMap<BatchNumber, Found> = BTreeMap::new();
        for point in points {
            let Some((number, position)) = self.identify(point.bits, point.timestamp_us) else {
                return Err(format!("I5: nobody ever sent {point:?}"));
            };
            let row = &self.batches[number].rows[position];
            if (row.series, row.step, row.timestamp_us, row.bits)
                != (point.series, point.step, point.timestamp_us, point.bits)
            {
                return Err(format!("I5: row {position} of batch {number} was sent as {row:?} and came as {point:?}"));
            }
            if point.lsn > lsn {
                return Err(format!("I2: {point:?} is beyond the snapshot's LSN {lsn}"));
            }
            let first_lsn = point.lsn.wrapping_sub(position as u64);
            let batch = found.entry(number).or_insert_with(|| {
                let rows = vec![false; self.batches[number].rows.len()];
                Found { first_lsn, rows }
            });
            if batch.rows[position] {
                return Err(format!("I3, I10: row {position} of batch {number} is there twice: {point:?}"));
            }
            if batch.first_lsn != first_lsn {
                return Err(format!("I6: row {position} of batch {number} is at LSN {}", point.lsn));
            }
            batch.rows[position] = true;
        }
        Ok(found)
    }

    /// Takes note of where a batch is.
    fn take_place(&mut self, number: BatchNumber, found: &Found, lsn: u64, settles: bool) -> Result<(), String> {
        let is_damaged = self.is_damaged;
        let batch = &mut self.batches[number];
        match batch.first_lsn {
            Some(known) if known != found.first_lsn => {
                return Err(format!("I6: batch {number} moved from LSN {known} to {}", found.first_lsn));
            }
            Some(_) => {}
            None => {
                // Where not all could be read at the start, what it has brought back shows later.
                let may_be = batch.may_be && (settles || is_damaged);
                let may_appear = batch.is_acked || batch.in_flight > 0 || may_be;
                if !may_appear {
                    return Err(format!("I4: batch {number} was refused, and is there at LSN {}", found.first_lsn));
                }
                batch.first_lsn = Some(found.first_lsn);
            }
        }
        if found.first_lsn + batch.rows.len() as u64 - 1 > lsn {
            return Err(format!("I2: a part of batch {number} is visible, up to LSN {lsn}"));
        }
        Ok(())
    }

    /// A batch that is there is there whole, but for what is deleted or hidden (I1, I7).
    fn check_batch(
        &mut self,
        number: BatchNumber,
        found: Option<&Found>,
        lsn: u64,
        settles: bool,
    ) -> Result<(), String> {
        let batch = &self.batches[number];
        let Some(first_lsn) = batch.first_lsn else {
            if batch.is_acked && !self.is_damaged && !self.could_all_be_excluded(number) {
                return Err(format!("I1: batch {number} was acknowledged as a duplicate and is nowhere"));
            }
            return Ok(());
        };
        let rows = batch.rows.clone();
        for (position, row) in rows.iter().enumerate() {
            let is_shown = found.is_some_and(|found| found.rows[position]);
            let (at, key) = (first_lsn + position as u64, self.all_series[row.series].clone());
            if is_shown && self.is_hidden(row) {
                return Err(format!("row {position} of batch {number} is hidden and shown: {row:?}"));
            }
            if is_shown || self.is_hidden(row) || self.may_be_hidden(row) || self.is_damaged {
                continue;
            }
            if !self.explains_missing(&key, row.timestamp_us, at, settles) {
                return Err(format!(
                    "I1, I7: row {position} of {} of batch {number} is lost: LSN {at} of {lsn}, {key:?} {row:?}",
                    rows.len()
                ));
            }
        }
        Ok(())
    }

    /// What did not come back never will.
    fn settle(&mut self) {
        for number in 0..self.batches.len() {
            if self.batches[number].first_lsn.is_none() && !self.could_all_be_excluded(number) {
                self.batches[number].may_be = false;
            }
        }
        self.settle_deletions();
    }

    /// No two batches have an LSN in common.
    fn check_places(&self) -> Result<(), String> {
        let place = |(number, batch): (BatchNumber, &super::Sent)| {
            batch.first_lsn.map(|first| (first, first + batch.rows.len() as u64, number))
        };
        let mut places: Vec<_> = self.batches.iter().enumerate().filter_map(place).collect();
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            Some(pair) => Err(format!("I6: batches {} and {} have LSNs in common", pair[0].2, pair[1].2)),
            None => Ok(()),
        }
    }
}
