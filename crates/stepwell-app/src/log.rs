//! Logging rows by hand: steps and timestamps are filled in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use stepwell_engine::IngestAck;
use stepwell_types::{Batch, ProducerSequence, SeriesKey, check_metric, check_run_id};

use crate::{app::App, code::ErrorCode, error::AppError};

/// Runs whose next step is remembered; past it all are forgotten and looked up again.
const KNOWN_STEPS_MAX: usize = 10_000;

/// Per project and run, the step that the next point without one gets; held while such points are being logged.
pub(crate) type NextSteps = Mutex<HashMap<(Arc<str>, Arc<str>), Arc<tokio::sync::Mutex<Option<i64>>>>>;

/// Values of several metrics at one step.
#[derive(Debug, Clone, Default)]
pub struct LogRow {
    /// One past the run's last if absent.
    pub step: Option<i64>,
    /// Microseconds since the Unix epoch, UTC; now if absent.
    pub timestamp_us: Option<i64>,
    pub metrics: Vec<(String, f64)>,
}

impl App {
    /// Logs rows of one run as one batch. Rows without a step follow one another, and no two calls give the same step.
    pub async fn log(
        &self,
        run_id: &str,
        rows: Vec<LogRow>,
        producer: Option<ProducerSequence>,
    ) -> Result<IngestAck, AppError> {
        self.check_writable()?;
        check_run_id(run_id)?;
        let run: Arc<str> = run_id.into();
        let Some(project_id) = self.project_id_of_run(&run).await? else {
            let points = rows.iter().map(|row| row.metrics.len()).sum();
            return self.unless_applied(producer, points, AppError::run_not_found(run_id)).await;
        };
        if rows.iter().all(|row| row.step.is_some()) {
            return self.ingest(self.batch(&run, rows)?, producer).await;
        }
        let next_step = self.next_step(&project_id, &run);
        let mut next_step = next_step.lock().await;
        // Steps that came another way since are in the snapshot; those given out here are remembered as well.
        let snapshot = self.parts.engine.snapshot();
        let (project, of_run) = (project_id, run.clone());
        let stored = tokio::task::spawn_blocking(move || snapshot.last_step(&project, &of_run))
            .await
            .map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))??;
        let after = |step: i64| {
            step.checked_add(1).ok_or_else(|| {
                let message = "the run has a point at the largest step there is; give the step of each row";
                AppError::new(ErrorCode::InvalidValue, message).field("step")
            })
        };
        let mut next = stored.map(after).transpose()?.unwrap_or(0).max(next_step.unwrap_or(0));
        let mut filled = rows;
        for row in &mut filled {
            let step = *row.step.get_or_insert(next);
            next = next.max(after(step)?);
        }
        let ack = self.ingest(self.batch(&run, filled)?, producer).await?;
        // Of a duplicate none of these steps was given.
        if !ack.duplicate {
            *next_step = Some(next);
        }
        Ok(ack)
    }

    fn next_step(&self, project_id: &Arc<str>, run_id: &Arc<str>) -> Arc<tokio::sync::Mutex<Option<i64>>> {
        let mut steps = self.parts.next_steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() >= KNOWN_STEPS_MAX {
            // One that is in use stays: its holder and the next caller must meet.
            steps.retain(|_, step| Arc::strong_count(step) > 1);
        }
        steps.entry((project_id.clone(), run_id.clone())).or_default().clone()
    }

    /// Once no batch of a run that is purged, or of any run of a project, can come any more: one made anew begins with the first step.
    pub(crate) fn forget_steps(&self, project_id: &str, run_id: Option<&str>) {
        let mut steps = self.parts.next_steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.retain(|(project, run), _| &**project != project_id || run_id.is_some_and(|run_id| run_id != &**run));
    }

    fn batch(&self, run: &Arc<str>, rows: Vec<LogRow>) -> Result<Batch, AppError> {
        let now_us = self.now_us();
        let mut series: Vec<SeriesKey> = Vec::new();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let (mut index, mut steps, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, row) in rows.into_iter().enumerate() {
            for (metric, value) in row.metrics {
                let number = match numbers.get(&metric) {
                    Some(&number) => number,
                    None => {
                        check_metric(&metric).map_err(|error| AppError::from(error).row(at + 1))?;
                        let number = series.len() as u32;
                        series.push(SeriesKey::new("", metric.as_str(), run.clone()));
                        numbers.insert(metric, number);
                        number
                    }
                };
                index.push(number);
                steps.push(row.step.unwrap_or(0));
                times.push(row.timestamp_us.unwrap_or(now_us));
                values.push(value);
            }
        }
        Ok(Batch::new(series, index, steps, times, values)?)
    }
}

#[cfg(test)]
mod tests;
