//! What the engine was told and what it answered, and so what a snapshot must show.

mod check;
mod deletion;

use std::{collections::HashMap, sync::Arc};

pub(crate) use check::{Moment, Seen};
use stepwell_engine::{EngineError, IngestAck, ProjectRun};
use stepwell_types::SeriesKey;

use self::deletion::Deleted;
use crate::batches::{Row, all_series};

/// Position of a batch in [`Model::batches`].
pub(crate) type BatchNumber = usize;

/// A batch and what is known of it.
pub(crate) struct Sent {
    pub(crate) rows: Arc<Vec<Row>>,
    /// LSN of its first point, once known: it was acknowledged, or seen. It is there for ever then.
    pub(crate) first_lsn: Option<u64>,
    pub(crate) is_acked: bool,
    /// It was sent by one who did not live to hear the answer, or whose log failed: it may be there after the next start.
    pub(crate) may_be: bool,
    /// Sent and not yet answered.
    in_flight: u32,
}

pub(crate) struct Model {
    pub(crate) all_series: Vec<SeriesKey>,
    pub(crate) batches: Vec<Sent>,
    /// Points by bits, and by timestamp, as far as these are their own.
    by_bits: HashMap<u64, (BatchNumber, usize)>,
    by_time: HashMap<i64, (BatchNumber, usize)>,
    deleted: Vec<Deleted>,
    /// Runs that no snapshot shows.
    pub(crate) hidden: Vec<ProjectRun>,
    /// Runs of which it is just now changing.
    pub(crate) hiding: Vec<ProjectRun>,
    /// Number of the present life.
    pub(crate) life: u64,
    /// The log of this life has failed (I8).
    is_poisoned: bool,
    /// Files of this life did not open: what is in them is not shown.
    pub(crate) is_damaged: bool,
    /// Points sent so far.
    pub(crate) next_id: u64,
    pub(crate) acked: u64,
    pub(crate) duplicates: u64,
    pub(crate) refused: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            all_series: all_series(),
            batches: Vec::new(),
            by_bits: HashMap::new(),
            by_time: HashMap::new(),
            deleted: Vec::new(),
            hidden: Vec::new(),
            hiding: Vec::new(),
            life: 0,
            is_poisoned: false,
            is_damaged: false,
            next_id: 0,
            acked: 0,
            duplicates: 0,
            refused: 0,
        }
    }

    /// Takes in a batch that is about to be sent for the first time.
    pub(crate) fn add(&mut self, rows: Vec<Row>) -> BatchNumber {
        let number = self.batches.len();
        for (position, row) in rows.iter().enumerate() {
            if row.has_own_bits {
                self.by_bits.insert(row.bits, (number, position));
            } else {
                self.by_time.insert(row.timestamp_us, (number, position));
            }
        }
        let rows = Arc::new(rows);
        self.batches.push(Sent { rows, first_lsn: None, is_acked: false, may_be: false, in_flight: 0 });
        number
    }

    /// A life begins: nothing is hidden until somebody says so.
    pub(crate) fn begin_life(&mut self) {
        self.life += 1;
        self.is_poisoned = false;
        self.is_damaged = false;
        self.hidden.clear();
        self.hiding.clear();
    }

    /// A life has ended, in whatever way: who waits for an answer gets none.
    pub(crate) fn end_life(&mut self) {
        for batch in self.batches.iter_mut().filter(|batch| batch.in_flight > 0) {
            batch.in_flight = 0;
            batch.may_be = true;
        }
        let life = self.life;
        self.deleted.iter_mut().for_each(|deleted| deleted.end_life(life));
    }

    pub(crate) fn sent(&mut self, number: BatchNumber) {
        self.batches[number].in_flight += 1;
    }

    /// What the engine says of a batch. An error is what is wrong with that.
    pub(crate) fn answered(
        &mut self,
        number: BatchNumber,
        answer: &Result<IngestAck, EngineError>,
    ) -> Result<(), String> {
        let could_be_hidden = self.is_damaged || self.could_all_be_excluded(number);
        let is_poisoned = self.is_poisoned;
        let batch = &mut self.batches[number];
        batch.in_flight -= 1;
        let ack = match answer {
            Err(error) => {
                if matches!(error, EngineError::Poisoned { .. }) {
                    self.is_poisoned = true;
                    batch.may_be = true;
                }
                self.refused += 1;
                return Ok(());
            }
            Ok(ack) => ack,
        };
        if ack.points != batch.rows.len() as u64 {
            return Err(format!("batch {number} has {} points, the answer says {}", batch.rows.len(), ack.points));
        }
        let lsn = ack.first_lsn.map(|lsn| lsn.0);
        if lsn.is_some() && ack.last_lsn.map(|lsn| lsn.0) != lsn.map(|lsn| lsn + ack.points - 1) {
            return Err(format!("batch {number}: {ack:?} does not add up"));
        }
        if ack.duplicate {
            let is_known = batch.first_lsn.is_some() || batch.is_acked;
            // Nobody saw it, and yet it is there: then all of it is deleted or hidden.
            let is_unseen = batch.may_be && could_be_hidden;
            if !is_known && !is_unseen && batch.in_flight == 0 {
                return Err(format!("I3: batch {number} is called a duplicate and was never applied"));
            }
            if let (Some(known), Some(told)) = (batch.first_lsn, lsn)
                && known != told
            {
                return Err(format!("I3: batch {number} is at LSN {known}, its duplicate was told {told}"));
            }
            self.duplicates += 1;
        } else {
            // It may have been seen between becoming visible and this answer.
            if batch.is_acked || batch.first_lsn.is_some_and(|seen| Some(seen) != lsn) {
                return Err(format!("I3: batch {number} was applied twice"));
            }
            if is_poisoned {
                return Err(format!("I8: batch {number} was acknowledged after the log had failed"));
            }
            if lsn.is_none() {
                return Err(format!("batch {number} was acknowledged without an LSN"));
            }
            self.acked += 1;
        }
        batch.is_acked = true;
        batch.first_lsn = batch.first_lsn.or(lsn);
        Ok(())
    }

    /// Whether a start may bring back a deletion of which nobody heard that it happened.
    pub(crate) fn has_uncertain_deletions(&self) -> bool {
        self.deleted.iter().any(Deleted::is_uncertain)
    }

    /// Deletions that were asked for.
    pub(crate) fn deletions(&self) -> usize {
        self.deleted.len()
    }

    /// Whether somebody sent this very point.
    pub(crate) fn was_sent(&self, point: &Seen) -> bool {
        self.identify(point.bits, point.timestamp_us).is_some_and(|(number, position)| {
            let row = &self.batches[number].rows[position];
            (row.series, row.step, row.timestamp_us, row.bits)
                == (point.series, point.step, point.timestamp_us, point.bits)
        })
    }

    fn identify(&self, bits: u64, timestamp_us: i64) -> Option<(BatchNumber, usize)> {
        self.by_bits.get(&bits).or_else(|| self.by_time.get(&timestamp_us)).copied()
    }

    fn is_hidden(&self, row: &Row) -> bool {
        let key = &self.all_series[row.series];
        self.hidden.iter().any(|(project_id, run_id)| *project_id == key.project_id && *run_id == key.run_id)
    }

    fn may_be_hidden(&self, row: &Row) -> bool {
        let key = &self.all_series[row.series];
        self.hiding.iter().any(|(project_id, run_id)| *project_id == key.project_id && *run_id == key.run_id)
    }

    /// Whether each row of a batch is matched by a deletion, or hidden.
    fn could_all_be_excluded(&self, number: BatchNumber) -> bool {
        self.batches[number].rows.iter().all(|row| {
            let key = &self.all_series[row.series];
            self.is_hidden(row)
                || self.may_be_hidden(row)
                || self.deleted.iter().any(|deleted| deleted.matches(key, row.timestamp_us))
        })
    }
}
