//! Names to numbers, and pairs of numbers to the series of a batch.

use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use stepwell_types::{Batch, NameError, SeriesKey, limits};

use super::{
    Budget, DecodeError,
    budget::decoded_too_large,
    error::{DecodeCode, too_many_points},
};

/// No series, in the dense table.
const NONE: u32 = u32::MAX;
/// Largest dense (run, metric) table, entries of four bytes.
const DENSE_ENTRIES_MAX: usize = 1 << 20;
/// Entries for each row of the batch: a larger table would cost more to fill than it saves.
const DENSE_ENTRIES_PER_ROW: usize = 16;

/// What a name takes beside its text, bytes: its counts, two handles, its number, and the slack of list and table.
const NAME_BYTES: usize = 96;
/// What a series takes, bytes: its pair of numbers, its place in the table, and its key.
const SERIES_BYTES: usize = 112;

/// The distinct names of one column, checked as they come in.
pub(crate) struct Names {
    check: fn(&str) -> Result<(), NameError>,
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32, RandomState>,
    bytes: usize,
    /// What `bytes` may become.
    bytes_max: usize,
    /// The name asked for last: columns of plain strings repeat it often.
    last: u32,
}

impl Names {
    /// No names yet; each new one must pass `check`.
    pub(crate) fn new(check: fn(&str) -> Result<(), NameError>) -> Self {
        Self { check, names: Vec::new(), ids: HashMap::default(), bytes: 0, bytes_max: usize::MAX, last: NONE }
    }

    /// The number of a name, new or known.
    pub(crate) fn id(&mut self, name: &str) -> Result<u32, DecodeError> {
        if self.names.get(self.last as usize).is_some_and(|last| &**last == name) {
            return Ok(self.last);
        }
        self.last = match self.ids.get(name) {
            Some(&id) => id,
            None => self.insert(name)?,
        };
        Ok(self.last)
    }

    /// The same for bytes not known to be text. Long ones are refused before they are looked at.
    pub(crate) fn id_of_bytes(&mut self, name: &[u8]) -> Result<u32, DecodeError> {
        if name.len() > limits::METRIC_BYTES_MAX {
            let message = format!("a name is {} bytes long; the limit is {}", name.len(), limits::METRIC_BYTES_MAX);
            return Err(DecodeError::new(DecodeCode::InvalidName, message).limit(limits::METRIC_BYTES_MAX));
        }
        match std::str::from_utf8(name) {
            Ok(name) => self.id(name),
            Err(error) => Err(DecodeError::new(DecodeCode::InvalidName, format!("a name is not UTF-8: {error}"))),
        }
    }

    /// Bytes they take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn insert(&mut self, name: &str) -> Result<u32, DecodeError> {
        (self.check)(name).map_err(|error| DecodeError::name(&error))?;
        // Names are fewer than points, whose number is bounded far below 2^32.
        let id = self.names.len() as u32;
        let name: Arc<str> = name.into();
        self.bytes += name.len() + NAME_BYTES;
        if self.bytes > self.bytes_max {
            return Err(decoded_too_large(self.bytes_max));
        }
        self.names.push(name.clone());
        self.ids.insert(name, id);
        Ok(id)
    }
}

/// The columns of a batch in the making. The project of each series is left empty: the application layer resolves it.
pub(crate) struct BatchBuilder {
    pub(crate) runs: Names,
    pub(crate) metrics: Names,
    pairs: Vec<(u32, u32)>,
    dense: Vec<u32>,
    /// Number of metrics the dense table has room for; 0 when the pairs are hashed.
    dense_stride: usize,
    hashed: HashMap<(u32, u32), u32, RandomState>,
    pub(crate) series_index: Vec<u32>,
    pub(crate) step: Vec<i64>,
    pub(crate) timestamp_us: Vec<i64>,
    pub(crate) value: Vec<f64>,
    /// What the budget has been charged with of names and series.
    charged_bytes: usize,
}

impl BatchBuilder {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        Self::with_names(Names::new(stepwell_types::check_run_id), Names::new(stepwell_types::check_metric))
    }

    /// An empty batch whose names are numbered as they were in the batch before it.
    pub(crate) fn with_names(runs: Names, metrics: Names) -> Self {
        Self {
            // What is kept from batch to batch has been charged, and is small.
            charged_bytes: runs.bytes + metrics.bytes,
            runs,
            metrics,
            pairs: Vec::new(),
            dense: Vec::new(),
            dense_stride: 0,
            hashed: HashMap::default(),
            series_index: Vec::new(),
            step: Vec::new(),
            timestamp_us: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Says how much names may grow until the next charge: so many bytes of a small body may be names that a batch of columns
    /// alone would hold many times the body.
    pub(crate) fn limit_names(&mut self, budget: &Budget) {
        for names in [&mut self.runs, &mut self.metrics] {
            names.bytes_max = names.bytes.saturating_add(budget.decoded_left_bytes());
        }
    }

    /// Charges the budget with what names and series have grown by since the last time.
    pub(crate) fn charge(&mut self, budget: &mut Budget) -> Result<(), DecodeError> {
        let held_bytes = self.runs.bytes + self.metrics.bytes + self.pairs.len() * SERIES_BYTES;
        let grown_bytes = held_bytes.saturating_sub(self.charged_bytes);
        self.charged_bytes = held_bytes;
        budget.decode(grown_bytes)
    }

    /// Appends the series of rows given as run and metric numbers: by a dense table while that is small, else by hash.
    pub(crate) fn extend_series(&mut self, runs: &[u32], metrics: &[u32]) {
        self.size_table(self.series_index.len() + runs.len());
        self.series_index.reserve(runs.len());
        for pair in runs.iter().copied().zip(metrics.iter().copied()) {
            let index = self.series(pair);
            self.series_index.push(index);
        }
    }

    /// Appends one row.
    pub(crate) fn push(&mut self, run: u32, metric: u32, step: i64, timestamp_us: i64, value: f64) {
        // One row at a time the table would have to grow with each new name, so rows are always hashed.
        let index = self.hashed_series((run, metric));
        self.series_index.push(index);
        self.step.push(step);
        self.timestamp_us.push(timestamp_us);
        self.value.push(value);
    }

    /// Hands the columns over.
    pub(crate) fn finish(self) -> Result<Batch, DecodeError> {
        self.finish_with_names().map(|(batch, _, _)| batch)
    }

    /// The same, and the names of runs and metrics for the next batch.
    pub(crate) fn finish_with_names(self) -> Result<(Batch, Names, Names), DecodeError> {
        let project: Arc<str> = "".into();
        let key = |&(run, metric): &(u32, u32)| {
            SeriesKey::new(
                project.clone(),
                self.metrics.names[metric as usize].clone(),
                self.runs.names[run as usize].clone(),
            )
        };
        let series = self.pairs.iter().map(key).collect();
        let points = self.series_index.len();
        if points > limits::BATCH_POINTS_MAX {
            return Err(too_many_points(points));
        }
        let batch =
            Batch::new(series, self.series_index, self.step, self.timestamp_us, self.value).map_err(|error| {
                DecodeError::new(DecodeCode::Internal, format!("the decoder made ragged columns: {error}"))
            })?;
        Ok((batch, self.runs, self.metrics))
    }

    /// Makes the table fit the names known now, for a batch of so many rows. Both sides grow by doubling, so that a stream of
    /// many small batches does not rebuild it for each.
    fn size_table(&mut self, rows: usize) {
        let (runs, metrics) = (self.runs.names.len().next_power_of_two(), self.metrics.names.len().next_power_of_two());
        if self.dense_stride >= metrics && self.dense.len() >= runs * self.dense_stride {
            return;
        }
        self.dense.clear();
        self.dense_stride = 0;
        if runs.saturating_mul(metrics) <= DENSE_ENTRIES_MAX.min(rows.saturating_mul(DENSE_ENTRIES_PER_ROW)) {
            self.dense_stride = metrics;
            self.dense.resize(runs * metrics, NONE);
            for (index, &(run, metric)) in self.pairs.iter().enumerate() {
                self.dense[run as usize * metrics + metric as usize] = index as u32;
            }
        } else if self.hashed.len() < self.pairs.len() {
            self.hashed = self.pairs.iter().enumerate().map(|(index, &pair)| (pair, index as u32)).collect();
        }
    }

    fn series(&mut self, pair: (u32, u32)) -> u32 {
        if self.dense_stride == 0 {
            return self.hashed_series(pair);
        }
        let slot = &mut self.dense[pair.0 as usize * self.dense_stride + pair.1 as usize];
        if *slot == NONE {
            *slot = self.pairs.len() as u32;
            self.pairs.push(pair);
        }
        *slot
    }

    fn hashed_series(&mut self, pair: (u32, u32)) -> u32 {
        let next = self.pairs.len() as u32;
        let index = *self.hashed.entry(pair).or_insert(next);
        if index == next {
            self.pairs.push(pair);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_hashed_tables_agree_while_names_grow() {
        let mut builder = BatchBuilder::new();
        let mut expected = Vec::new();
        for round in 0..60_u32 {
            let runs: Vec<u32> =
                (0..40).map(|i| builder.runs.id(&format!("r{}", i * 31 + round * 40)).unwrap()).collect();
            let metrics: Vec<u32> =
                (0..40).map(|i| builder.metrics.id(&format!("m{}", i * 7 % 11 + round * 40)).unwrap()).collect();
            builder.extend_series(&runs, &metrics);
            expected.extend(runs.into_iter().zip(metrics));
        }
        assert_eq!(builder.dense_stride, 0, "the last rounds must have been hashed");
        let got: Vec<_> = builder.series_index.iter().map(|&i| builder.pairs[i as usize]).collect();
        assert_eq!(got, expected);
        let distinct: std::collections::HashSet<_> = builder.pairs.iter().collect();
        assert_eq!(distinct.len(), builder.pairs.len());
    }
}
