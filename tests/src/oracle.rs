//! What a server must have: acknowledged ⊆ recovered ⊆ attempted, each batch once, whole, bit for bit (I1, I3, I4, I5, I7).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use stepwell_env::{Random, SeededRandom};

use crate::{
    Http,
    arrow_stream::Row,
    read_back::{Bits, bits, read},
};

/// The project of all runs here.
pub const PROJECT: &str = "faults";
/// Steps between the first points of two batches; a batch has fewer points.
const STEPS_PER_BATCH: u64 = 100_000;

/// One producer with a run of its own, and how far it has come.
#[derive(Debug, Clone)]
pub struct Producer {
    pub name: String,
    seed: u64,
    /// Points of a batch, at most.
    points_max: u64,
    /// All batches below this sequence are acknowledged; the first is 1.
    pub next: u64,
    /// All batches sent at least once are below this sequence.
    pub attempted_below: u64,
    /// The last acknowledged batches that were duplicates: sent again, since the first time was not acknowledged.
    pub retried: u64,
}

/// What a look at the server gave.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub points: u64,
    /// Batches that were there without having been acknowledged, whole.
    pub unacknowledged: u64,
}

impl Producer {
    /// One that has sent nothing.
    pub fn new(name: impl Into<String>, seed: u64, points_max: u64) -> Self {
        assert!((1..STEPS_PER_BATCH).contains(&points_max), "batches must be told apart by their steps");
        Self { name: name.into(), seed, points_max, next: 1, attempted_below: 1, retried: 0 }
    }

    /// The points of one batch: a function of the seed, so that no oracle need be kept.
    pub fn batch(&self, sequence: u64) -> Vec<Row> {
        let random = SeededRandom::new(self.seed ^ sequence.rotate_left(40));
        let points = 1 + random.next_u64() % self.points_max;
        (0..points)
            .map(|point| Row {
                run_id: self.name.clone(),
                metric: format!("m{}", random.next_u64() % 7),
                // The step tells batch and point apart, so that a doubled or lost point is seen as such.
                step: i64::try_from(sequence * STEPS_PER_BATCH + point).unwrap_or(i64::MAX),
                timestamp_us: i64::from_ne_bytes(random.next_u64().to_ne_bytes()) >> 8,
                value: hostile(random.next_u64()),
            })
            .collect()
    }

    /// Compares what the server has of this producer with what it acknowledged.
    pub fn verify(&self, http: &Http) -> Result<Found> {
        let found = read(http, PROJECT, &self.name).with_context(|| format!("reading {}", self.name))?;
        self.compare(&found).with_context(|| format!("producer {}", self.name))
    }

    fn compare(&self, found: &BTreeMap<i64, Bits>) -> Result<Found> {
        let mut rest = found.clone();
        let (mut unacknowledged, mut hole) = (0, None);
        for sequence in 1..self.attempted_below {
            let rows = self.batch(sequence);
            let there = rows.iter().filter(|row| found.contains_key(&row.step)).count();
            if sequence < self.next {
                ensure!(
                    there == rows.len(),
                    "batch {sequence} was acknowledged; {there} of {} points are there (I1)",
                    rows.len()
                );
            } else if there == 0 {
                hole = hole.or(Some(sequence));
                continue;
            } else {
                ensure!(there == rows.len(), "batch {sequence}: {there} of {} points are there (I4, I7)", rows.len());
                // One producer's batches are applied in order: a later one would make the retry of this one a duplicate.
                ensure!(hole.is_none(), "batch {sequence} is there, batch {hole:?} before it is not (I3, I4)");
                unacknowledged += 1;
            }
            for row in &rows {
                let got = rest.remove(&row.step);
                ensure!(got == Some(bits(row)), "step {} is {got:?}, was sent as {:?} (I5)", row.step, bits(row));
            }
        }
        match rest.first_key_value() {
            Some((step, _)) => bail!("step {step} is there and was never sent (I7); {} such points", rest.len()),
            None => Ok(Found { points: found.len() as u64, unacknowledged }),
        }
    }
}

/// Any bits at all, NaN payloads included.
fn hostile(bits: u64) -> f64 {
    match bits % 16 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => f64::from_bits(0x7ff8_0000_0000_0000 | (bits >> 16)),
        5 => f64::from_bits(1),
        6..=9 => f64::from_bits(bits.rotate_left(17)),
        _ => (bits >> 40) as f64 / 1024.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(producer: &Producer, sequences: impl IntoIterator<Item = u64>) -> BTreeMap<i64, Bits> {
        sequences
            .into_iter()
            .flat_map(|sequence| producer.batch(sequence).into_iter().map(|row| (row.step, bits(&row))))
            .collect()
    }

    #[test]
    fn the_oracle_sees_what_is_lost_torn_altered_invented_or_out_of_order() {
        let producer = Producer { next: 3, attempted_below: 6, ..Producer::new("p", 7, 50) };
        assert_eq!(producer.compare(&stored(&producer, 1..=2)).unwrap().unacknowledged, 0);
        assert_eq!(producer.compare(&stored(&producer, 1..=4)).unwrap().unacknowledged, 2);
        let refused = |found: &BTreeMap<i64, Bits>| format!("{:#}", producer.compare(found).unwrap_err());
        assert!(refused(&stored(&producer, [1])).contains("I1"));
        assert!(refused(&stored(&producer, [1, 2, 4])).contains("I3"));
        assert!(refused(&stored(&producer, [1, 2, 9])).contains("never sent"));
        let mut torn = stored(&producer, 1..=3);
        torn.pop_last();
        assert!(producer.batch(3).len() > 1 && refused(&torn).contains("I4"));
        let mut altered = stored(&producer, 1..=2);
        altered.first_entry().unwrap().get_mut().2 ^= 1;
        assert!(refused(&altered).contains("I5"));
    }
}
