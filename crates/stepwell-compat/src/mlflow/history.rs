//! Histories of metrics: whole, page by page, or thinned out for charts.

use std::{
    ops::{Deref, Range},
    sync::Arc,
};

use serde::{Serialize, Serializer};
use stepwell_app::{App, AppError, History, Reader};
use stepwell_types::SeriesColumns;

use super::{
    args::{Args, missing, write_float},
    failure::Failure,
    routes::Call,
    search::PageToken,
    text::Text,
};

/// Points of a page that does not say how many it wants; then there is a next page.
const PAGE_POINTS_MAX: usize = 1_000_000;
const BULK_RUNS_MAX: usize = 100;
const BULK_POINTS_MAX: usize = 25_000;
const INTERVAL_POINTS_MAX: i64 = 2_500;
/// A point in JSON without its names, bytes: numbers of usual lengths.
const POINT_JSON_BYTES: usize = 96;
/// What choosing among the points of a history takes for each, bytes: a list of rows that grows, or is sorted.
const CHOSEN_BYTES: usize = 3 * size_of::<usize>();

/// A point as MLflow shows it.
#[derive(Serialize)]
struct Point<'a> {
    key: &'a str,
    #[serde(serialize_with = "write_float")]
    value: f64,
    /// Milliseconds since the Unix epoch.
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(bound = "P: Deref<Target = SeriesColumns>")]
struct Page<P> {
    /// Protocol buffers have no empty list, which MLflow's bulk call does not go through.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Points<P>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Points of one metric, written one by one.
struct Points<P> {
    key: String,
    parts: Vec<Part<P>>,
}

/// Some of the points of a run.
struct Part<P> {
    /// If it is told with each.
    run_id: Option<String>,
    points: P,
    rows: Range<usize>,
}

impl<P: Deref<Target = SeriesColumns>> Points<P> {
    /// About how long their JSON is, rather more.
    fn json_bytes(&self) -> usize {
        let of_part = |part: &Part<P>| {
            let run_id_bytes = part.run_id.as_ref().map_or(0, |run_id| run_id.len() + 12);
            part.rows.len() * (POINT_JSON_BYTES + self.key.len() + run_id_bytes)
        };
        self.parts.iter().map(of_part).sum()
    }
}

impl<P: Deref<Target = SeriesColumns>> Serialize for Points<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.parts.iter().flat_map(|part| {
            part.rows.clone().map(|row| {
                let points = &*part.points;
                let timestamp = points.timestamp_us[row].div_euclid(1_000);
                let (value, step) = (points.value[row], points.step[row]);
                Point { key: &self.key, value, timestamp, step, run_id: part.run_id.as_deref() }
            })
        }))
    }
}

/// Answers a request as JSON: a page may be long, and is written without a tree of values.
pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Text, Failure> {
    match (call.method, call.path) {
        ("GET", [_, "get-history"]) => get(app, call.args, call.reader).await,
        ("GET", [_, "get-history-bulk"]) => bulk(app, call.args, call.reader).await,
        ("GET", [_, "get-history-bulk-interval"]) => interval(app, call.args, call.reader).await,
        _ => call.unknown(),
    }
}

async fn get(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    let (run_id, metric) = (args.run_id()?, args.required("metric_key")?);
    let offset = PageToken::parse(args.text("page_token")?)?.offset;
    let max_results = match args.integer("max_results")? {
        None => PAGE_POINTS_MAX,
        Some(max_results) if max_results <= 0 => {
            return Err(Failure::invalid(format!(
                "Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer."
            )));
        }
        Some(max_results) => usize::try_from(max_results).unwrap_or(usize::MAX).min(PAGE_POINTS_MAX),
    };
    let points = history(app, reader, run_id, metric).await?;
    let (from, to) = (offset.min(points.len()), offset.saturating_add(max_results).min(points.len()));
    let next_page_token = (to < points.len()).then(|| PageToken { offset: to }.text());
    let parts = vec![Part { run_id: None, points, rows: from..to }];
    let metrics = (from < to).then(|| Points { key: metric.to_owned(), parts });
    told(app, reader, Page { metrics, next_page_token }).await
}

async fn bulk(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    let mut run_ids = args.texts("run_id")?;
    if run_ids.is_empty() {
        return Err(Failure::invalid("GetMetricHistoryBulk request must specify at least one run_id."));
    }
    if run_ids.len() > BULK_RUNS_MAX {
        return Err(Failure::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {BULK_RUNS_MAX} run_ids. Received {} run_ids.",
            run_ids.len()
        )));
    }
    let Some(metric) = args.text("metric_key")? else {
        return Err(Failure::invalid("GetMetricHistoryBulk request must specify a metric_key."));
    };
    let max_results = args.integer("max_results")?.unwrap_or(BULK_POINTS_MAX as i64);
    let max_results = usize::try_from(max_results).unwrap_or(0).min(BULK_POINTS_MAX);
    run_ids.sort_unstable();
    run_ids.dedup();
    let mut parts = Vec::new();
    let mut left = max_results;
    for run_id in run_ids {
        if left == 0 {
            break;
        }
        let points = history(app, reader, run_id, metric).await?;
        let rows = 0..points.len().min(left);
        left -= rows.len();
        parts.push(Part { run_id: Some(run_id.to_owned()), points, rows });
    }
    let metrics = Some(Points { key: metric.to_owned(), parts });
    told(app, reader, Page { metrics, next_page_token: None }).await
}

async fn interval(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    const SEE_DOCS: &str = " See the API docs for more information about request parameters.";
    let run_ids = args.texts("run_ids")?;
    if run_ids.is_empty() {
        return Err(missing("run_ids"));
    }
    if run_ids.len() > BULK_RUNS_MAX {
        return Err(Failure::invalid(format!(
            "GetMetricHistoryBulkInterval request must specify at most {BULK_RUNS_MAX} run_ids. Received {} \
             run_ids.{SEE_DOCS}",
            run_ids.len()
        )));
    }
    let metric = args.required("metric_key")?;
    let steps = match (args.integer("start_step")?, args.integer("end_step")?) {
        (Some(start), Some(end)) if start > end => {
            return Err(Failure::invalid(format!(
                "end_step must be greater than start_step. Found start_step={start} and end_step={end}."
            )));
        }
        (Some(start), Some(end)) => (start, end),
        (None, None) => (i64::MIN, i64::MAX),
        _ => {
            return Err(Failure::invalid("If either start step or end step are specified, both must be specified."));
        }
    };
    let max_results = args.integer("max_results")?.unwrap_or(INTERVAL_POINTS_MAX);
    if !(1..=INTERVAL_POINTS_MAX).contains(&max_results) {
        return Err(Failure::invalid(format!("max_results must be between 1 and {INTERVAL_POINTS_MAX}.{SEE_DOCS}")));
    }
    let mut parts = Vec::new();
    for run_id in run_ids {
        let points = history(app, reader, run_id, metric).await?;
        let reader = reader.clone();
        // Only these are kept: a hundred long histories would be too much.
        let sampled = app.beside(move || sampled(&reader, &points, steps, max_results as usize)).await??;
        let rows = 0..sampled.len();
        parts.push(Part { run_id: Some(run_id.to_owned()), points: Box::new(sampled), rows });
    }
    let metrics = parts.iter().any(|part| !part.rows.is_empty()).then(|| Points { key: metric.to_owned(), parts });
    told(app, reader, Page { metrics, next_page_token: None }).await
}

/// Writes a page beside the threads that answer.
async fn told<P>(app: &App, reader: &Arc<Reader>, page: Page<P>) -> Result<Text, Failure>
where
    P: Deref<Target = SeriesColumns> + Send + 'static,
{
    let reader = reader.clone();
    let bytes = page.metrics.as_ref().map_or(0, Points::json_bytes);
    app.beside(move || Text::about(bytes, &reader, &page)).await?
}

/// The points that stand for a history; `reader` holds them.
fn sampled(
    reader: &Reader,
    points: &SeriesColumns,
    steps: (i64, i64),
    count: usize,
) -> Result<SeriesColumns, AppError> {
    let mut choosing = reader.passing();
    choosing.hold(points.len() * CHOSEN_BYTES)?;
    let rows = sample(points, steps, count);
    reader.hold(rows.len() * SeriesColumns::POINT_BYTES)?;
    let mut sampled = SeriesColumns::default();
    rows.into_iter().for_each(|row| sampled.append_range(points, row..row + 1));
    Ok(sampled)
}

/// The rows that stand for a history in order of steps: the first of each of `count` parts of equal size, and the last of all.
fn sample(points: &SeriesColumns, (start, end): (i64, i64), count: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..points.len()).filter(|&row| (start..=end).contains(&points.step[row])).collect();
    // In order of (timestamp, step, value) as they are; the sort keeps the order of what has one step.
    rows.sort_by_key(|&row| points.step[row]);
    let parts = count.min(rows.len());
    let mut kept: Vec<usize> = (0..parts)
        .map(|part| {
            // The first parts have one more where the rows do not come out even.
            let (size, larger) = (rows.len() / parts, rows.len() % parts);
            rows[part * size + part.min(larger)]
        })
        .collect();
    if let (Some(&last), Some(kept_last)) = (rows.last(), kept.last().copied())
        && last != kept_last
    {
        if kept.len() >= count {
            kept.pop();
        }
        kept.push(last);
    }
    kept
}

/// The history of a metric; a run that does not exist has none.
async fn history(app: &App, reader: &Reader, run_id: &str, metric: &str) -> Result<History, Failure> {
    match app.find_run(run_id).await? {
        Some(run) => Ok(app.history(reader.beside(), &run.project_id, run_id, metric).await?),
        None => Ok(History::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(steps: impl IntoIterator<Item = i64>) -> SeriesColumns {
        let mut points = SeriesColumns::default();
        steps.into_iter().for_each(|step| points.push(step, 0, 0.0, 0));
        points
    }

    #[test]
    fn a_sample_is_spread_evenly_and_has_both_ends() {
        let all = (i64::MIN, i64::MAX);
        assert_eq!(sample(&steps(0..10), all, 4), [0, 3, 6, 9]);
        assert_eq!(sample(&steps(0..10), all, 5), [0, 2, 4, 6, 9]);
        assert_eq!(sample(&steps(0..3), all, 5), [0, 1, 2]);
        assert_eq!(sample(&steps(0..10), all, 1), [9]);
        assert_eq!(sample(&steps(0..10), (3, 5), 2), [3, 5]);
        assert_eq!(sample(&steps([5, 1, 3]), all, 2), [1, 0]);
        assert!(sample(&steps([]), all, 2).is_empty() && sample(&steps(0..3), (7, 9), 2).is_empty());
        assert_eq!(sample(&steps([0; 9]), all, 3), [0, 3, 8]);
    }
}
