//! The latest point of each series: the largest (step, time, value), whatever was written last.

use std::{collections::HashMap, sync::Arc};

use stepwell_engine::{Reader, Snapshot};
use stepwell_types::{LatestPoint, PointFilter, SeriesKey};

use crate::{app::App, error::AppError, history::blocking};

/// The point of a series that counts as its latest.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestMetric {
    pub metric: Arc<str>,
    pub step: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub timestamp_us: i64,
    pub value: f64,
}

/// Reads latest points, all of one moment. Of runs in the trash, too. What it has read counts as memory of who reads until it is
/// dropped.
#[derive(Clone)]
pub struct LatestReader {
    snapshot: Snapshot,
}

impl App {
    /// The latest points as they are now; `reader` holds those that are read.
    pub fn latest(&self, reader: Arc<Reader>) -> LatestReader {
        LatestReader { snapshot: self.parts.engine.snapshot().showing_hidden().read_by(reader) }
    }
}

impl LatestReader {
    /// One more of the same moment and for the same request: what it reads is held until it is dropped.
    pub fn beside(&self) -> Self {
        Self { snapshot: self.snapshot.clone().read_by(self.snapshot.reader().beside()) }
    }

    /// Of some metrics in all runs of a project, in order of metric, then run.
    pub async fn of_metrics(
        &self,
        project_id: &str,
        metrics: &[&str],
    ) -> Result<Vec<(SeriesKey, LatestPoint)>, AppError> {
        let filter = PointFilter {
            project_ids: Some([project_id.into()].into()),
            metrics: Some(metrics.iter().map(|&metric| metric.into()).collect()),
            ..PointFilter::default()
        };
        self.read(filter).await
    }

    /// Of all metrics in some runs of a project: by run, then in order of metric.
    pub async fn of_runs(
        &self,
        project_id: &str,
        run_ids: &[String],
    ) -> Result<HashMap<String, Vec<LatestMetric>>, AppError> {
        let filter = PointFilter {
            project_ids: Some([project_id.into()].into()),
            run_ids: Some(run_ids.iter().map(|run_id| run_id.as_str().into()).collect()),
            ..PointFilter::default()
        };
        let mut latest: HashMap<String, Vec<LatestMetric>> = HashMap::with_capacity(run_ids.len());
        for (key, LatestPoint { step, timestamp_us, value }) in self.read(filter).await? {
            let metric = LatestMetric { metric: key.metric, step, timestamp_us, value };
            match latest.get_mut(key.run_id.as_ref()) {
                Some(metrics) => metrics.push(metric),
                None => drop(latest.insert(key.run_id.to_string(), vec![metric])),
            }
        }
        Ok(latest)
    }

    async fn read(&self, filter: PointFilter) -> Result<Vec<(SeriesKey, LatestPoint)>, AppError> {
        let snapshot = self.snapshot.clone();
        blocking(move || Ok(snapshot.latest(&filter)?)).await
    }
}
