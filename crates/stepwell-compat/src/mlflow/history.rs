//! Histories of metrics: whole, page by page, or thinned out for charts.

use serde::Serialize;
use stepwell_app::{App, History};
use stepwell_types::SeriesColumns;

use super::{
    args::{Args, missing, write_float},
    failure::Failure,
    json_text,
    routes::Call,
    search::PageToken,
};

/// Points of a page that does not say how many it wants; then there is a next page.
const PAGE_POINTS_MAX: usize = 1_000_000;
const BULK_RUNS_MAX: usize = 100;
const BULK_POINTS_MAX: usize = 25_000;
const INTERVAL_POINTS_MAX: i64 = 2_500;

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
struct Page<'a> {
    /// Protocol buffers have no empty list, which MLflow's bulk call does not go through.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Vec<Point<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Answers a request as JSON: a page may be long, and is written without a tree of values.
pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Vec<u8>, Failure> {
    match (call.method, call.path) {
        ("GET", [_, "get-history"]) => get(app, call.args).await,
        ("GET", [_, "get-history-bulk"]) => bulk(app, call.args).await,
        ("GET", [_, "get-history-bulk-interval"]) => interval(app, call.args).await,
        _ => call.unknown(),
    }
}

async fn get(app: &App, args: &Args<'_>) -> Result<Vec<u8>, Failure> {
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
    let points = history(app, run_id, metric).await?;
    let (from, to) = (offset.min(points.len()), offset.saturating_add(max_results).min(points.len()));
    json_text(&Page {
        metrics: (from < to).then(|| (from..to).map(|row| point(metric, &points, row, None)).collect()),
        next_page_token: (to < points.len()).then(|| PageToken { offset: to }.text()),
    })
}

async fn bulk(app: &App, args: &Args<'_>) -> Result<Vec<u8>, Failure> {
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
    let mut histories = Vec::new();
    let mut left = max_results;
    for run_id in run_ids {
        if left == 0 {
            break;
        }
        let points = history(app, run_id, metric).await?;
        let rows = points.len().min(left);
        left -= rows;
        histories.push((run_id, points, rows));
    }
    let mut metrics = Vec::with_capacity(max_results - left);
    for (run_id, points, rows) in &histories {
        metrics.extend((0..*rows).map(|row| point(metric, points, row, Some(run_id))));
    }
    json_text(&Page { metrics: Some(metrics), next_page_token: None })
}

async fn interval(app: &App, args: &Args<'_>) -> Result<Vec<u8>, Failure> {
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
    let mut metrics = Vec::new();
    let mut histories = Vec::new();
    for run_id in run_ids {
        let points = history(app, run_id, metric).await?;
        let rows = sample(&points, steps, max_results as usize);
        histories.push((run_id, points, rows));
    }
    for (run_id, points, rows) in &histories {
        metrics.extend(rows.iter().map(|&row| point(metric, points, row, Some(run_id))));
    }
    json_text(&Page { metrics: Some(metrics).filter(|metrics| !metrics.is_empty()), next_page_token: None })
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
async fn history(app: &App, run_id: &str, metric: &str) -> Result<History, Failure> {
    match app.find_run(run_id).await? {
        Some(run) => Ok(app.history(&run.project_id, run_id, metric).await?),
        None => Ok(History::default()),
    }
}

fn point<'a>(key: &'a str, points: &SeriesColumns, row: usize, run_id: Option<&'a str>) -> Point<'a> {
    let timestamp = points.timestamp_us[row].div_euclid(1_000);
    Point { key, value: points.value[row], timestamp, step: points.step[row], run_id }
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
