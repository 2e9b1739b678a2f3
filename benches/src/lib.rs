//! Criterion benchmarks, a stage of the data's path each.
//!
//! All are over the reference data of the load generator, so that their points per second stand beside the figures of the whole
//! path: `cargo bench -p stepwell-benches`.

use stepwell_loadgen::{Dataset, Shape};
use stepwell_types::{Batch, BatchError, SeriesColumns, SeriesKey};

/// A batch as T1 sends them: rows of all metrics of one run.
pub fn batch(metrics: u64, rows: u64) -> Result<Batch, BatchError> {
    batch_of(&Dataset::new("bench", Shape { runs: 1, metrics, steps: 100_000 }, 1), rows)
}

/// The first rows of all metrics of the first run.
pub fn batch_of(dataset: &Dataset, rows: u64) -> Result<Batch, BatchError> {
    let metrics = dataset.shape().metrics;
    // As the decoder makes them, the series of a batch share the names of project and run.
    let (project, run): (std::sync::Arc<str>, std::sync::Arc<str>) = ("1".into(), dataset.run_id(0).into());
    let series = (0..metrics).map(|metric| SeriesKey::new(project.clone(), dataset.metric(metric), run.clone()));
    let points = (0..metrics * rows).map(|number| dataset.point(0, number % metrics, number / metrics));
    let points: Vec<_> = points.collect();
    Batch::new(
        series.collect(),
        (0..metrics * rows).map(|number| (number % metrics) as u32).collect(),
        points.iter().map(|point| point.step).collect(),
        points.iter().map(|point| point.timestamp_us).collect(),
        points.iter().map(|point| point.value).collect(),
    )
}

/// One series of consecutive steps.
pub fn series(points: u64) -> SeriesColumns {
    let dataset = Dataset::new("bench", Shape { runs: 1, metrics: 1, steps: points }, 1);
    let mut columns = SeriesColumns::default();
    for step in 0..points {
        let point = dataset.point(0, 0, step);
        columns.push(point.step, point.timestamp_us, point.value, step + 1);
    }
    columns
}
