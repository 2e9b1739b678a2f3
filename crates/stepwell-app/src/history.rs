//! Whole series, point by point.

use std::{
    cmp::Ordering,
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use stepwell_engine::{ReadMemory, Reader};
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey};

use crate::{app::App, code::ErrorCode, error::AppError};

/// Histories shorter than that are read anew each time.
const REMEMBERED_POINTS_MIN: usize = 10_000;
/// The share that all histories that are remembered have of the memory of those who read.
const REMEMBERED_SHARE: usize = 16;

/// What ordering a history takes for each point beside it, bytes: a list of rows, half as much to sort it, and the points again in
/// columns that grow.
const ORDERING_BYTES: usize = 2 * size_of::<usize>() + 2 * SeriesColumns::POINT_BYTES;

/// Long histories read lately: who reads one page by page is not to have it read and sorted anew for each page.
pub(crate) struct Histories {
    known: Mutex<VecDeque<Remembered>>,
    points_max: usize,
}

/// The points of a series.
#[derive(Clone, Default)]
pub struct History {
    points: Arc<SeriesColumns>,
    /// Their memory counts until this is dropped, unless they are remembered.
    _reader: Option<Arc<Reader>>,
}

impl Deref for History {
    type Target = SeriesColumns;

    fn deref(&self) -> &SeriesColumns {
        &self.points
    }
}

struct Remembered {
    key: SeriesKey,
    /// Of the points that there were.
    fingerprint: u64,
    points: Arc<SeriesColumns>,
}

impl Histories {
    /// Remembers a share of what `memory` may hold.
    pub(crate) fn new(memory: &ReadMemory) -> Self {
        Self {
            known: Mutex::default(),
            points_max: memory.limit_bytes() / REMEMBERED_SHARE / SeriesColumns::POINT_BYTES,
        }
    }

    fn get(&self, key: &SeriesKey, fingerprint: u64) -> Option<Arc<SeriesColumns>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|known| known.key == *key && known.fingerprint == fingerprint)?;
        Some(found.points.clone())
    }

    fn remember(&self, key: SeriesKey, fingerprint: u64, points: Arc<SeriesColumns>) {
        if !(REMEMBERED_POINTS_MIN..=self.points_max).contains(&points.len()) {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.key != key);
        known.push_back(Remembered { key, fingerprint, points });
        while known.iter().map(|known| known.points.len()).sum::<usize>() > self.points_max {
            known.pop_front();
        }
    }
}

impl App {
    /// All points of a series in order of (timestamp, step, value), those that are alike in all three once. A NaN is like
    /// any other, and stands where zero would. Of a run in the trash, too. `reader` holds them.
    pub async fn history(
        &self,
        reader: Arc<Reader>,
        project_id: &str,
        run_id: &str,
        metric: &str,
    ) -> Result<History, AppError> {
        let key = SeriesKey::new(project_id, metric, run_id);
        let app = self.clone();
        blocking(move || app.read_history(reader, key)).await
    }

    fn read_history(&self, reader: Arc<Reader>, key: SeriesKey) -> Result<History, AppError> {
        let filter = PointFilter::series(&key);
        let snapshot = self.parts.engine.snapshot().showing_hidden().read_by(reader);
        let fingerprint = snapshot.fingerprint(&filter);
        if let Some(points) = self.parts.histories.get(&key, fingerprint) {
            return Ok(History { points, _reader: None });
        }
        let mut points = snapshot.series(&key, &filter)?;
        if !is_ordered(&points) {
            let mut passing = snapshot.reader().passing();
            passing.hold(points.len() * ORDERING_BYTES)?;
            order(&mut points);
        }
        let points = Arc::new(points);
        self.parts.histories.remember(key, fingerprint, points.clone());
        Ok(History { points, _reader: Some(snapshot.reader().clone()) })
    }
}

/// Runs what reads memory and disk beside the threads that answer.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AppError> + Send + 'static,
) -> Result<T, AppError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))?
}

/// Two points by (timestamp, step, value).
fn compare(points: &SeriesColumns, a: usize, b: usize) -> Ordering {
    let value = |value: f64| if value.is_nan() { (0.0, true) } else { (value, false) };
    let values = || value(points.value[a]).partial_cmp(&value(points.value[b])).unwrap_or(Ordering::Equal);
    let steps = || points.step[a].cmp(&points.step[b]);
    points.timestamp_us[a].cmp(&points.timestamp_us[b]).then_with(steps).then_with(values)
}

/// The common case, a run that logs as it goes: in order, and nothing twice.
fn is_ordered(points: &SeriesColumns) -> bool {
    (1..points.len()).all(|at| compare(points, at - 1, at) == Ordering::Less)
}

/// Orders points, and keeps the first written of those that are alike.
fn order(points: &mut SeriesColumns) {
    let compare = |a: usize, b: usize| compare(points, a, b);
    let mut rows: Vec<usize> = (0..points.len()).collect();
    rows.sort_by(|&a, &b| compare(a, b).then_with(|| points.lsn[a].cmp(&points.lsn[b])));
    rows.dedup_by(|later, kept| compare(*later, *kept) == Ordering::Equal);
    let mut ordered = SeriesColumns::default();
    for row in rows {
        ordered.append_range(points, row..row + 1);
    }
    *points = ordered;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_what_is_alike_once_in_order_of_time_step_and_value() {
        let mut points = SeriesColumns::default();
        let nan = f64::from_bits(0x7ff8_0000_0000_0001);
        for (lsn, (step, time, value)) in
            [(1, 20, 2.0), (1, 20, 1.0), (2, 10, nan), (2, 10, f64::NAN), (2, 10, -1.0), (1, 20, 2.0), (0, 20, 9.0)]
                .into_iter()
                .enumerate()
        {
            points.push(step, time, value, lsn as u64);
        }
        order(&mut points);
        assert_eq!(points.lsn, [4, 2, 6, 1, 0]);
        assert_eq!(points.value[1].to_bits(), nan.to_bits(), "the first written is kept, bit for bit");
    }

    #[test]
    fn i9_histories_are_remembered_within_a_bound() {
        let points_max = 4_000_000;
        let histories = Histories::new(&ReadMemory::new(points_max * SeriesColumns::POINT_BYTES * REMEMBERED_SHARE));
        let history = |points: usize| {
            let zeros = vec![0; points];
            let (timestamp_us, value) = (zeros.clone(), vec![0.0; points]);
            Arc::new(SeriesColumns { step: zeros, timestamp_us, value, lsn: vec![0; points] })
        };
        let key = |run: usize| SeriesKey::new("1", "loss", run.to_string());
        histories.remember(key(0), 7, history(REMEMBERED_POINTS_MIN - 1));
        assert!(histories.get(&key(0), 7).is_none());
        for run in 1..=4 {
            histories.remember(key(run), 7, history(points_max / 3));
        }
        let known: Vec<usize> = (1..=4).filter(|&run| histories.get(&key(run), 7).is_some()).collect();
        assert_eq!(known, [2, 3, 4]);
        assert!(histories.get(&key(4), 8).is_none(), "it has other points now");
    }
}
