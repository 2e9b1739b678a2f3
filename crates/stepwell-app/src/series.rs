//! Charts: the points or buckets of many series on common bounds.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use stepwell_engine::{ChartData, ChartRequest, Reader, Snapshot};
use stepwell_kernels::{BucketState, Grid, XAxis, bucketize};
use stepwell_metadata::RunOrigin;
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey, check_metric, check_run_id, limits};

use crate::{app::App, code::ErrorCode, error::AppError};

/// Generations of forks that are followed.
const FORKS_MAX: usize = 64;

/// Which of the points at one step count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PointsMode {
    /// The one written last.
    #[default]
    Last,
    All,
}

/// What a chart asks for.
#[derive(Debug, Clone)]
pub struct SeriesRequest {
    pub project: String,
    pub run_ids: Vec<String>,
    pub metrics: Vec<String>,
    /// Inclusive.
    pub from_step: Option<i64>,
    pub to_step: Option<i64>,
    pub x: XAxis,
    pub buckets: usize,
    pub points: PointsMode,
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub enum SeriesAnswer {
    /// The caller has the answer: it gave the tag of it.
    Unchanged {
        tag: String,
    },
    Read {
        tag: String,
        response: SeriesResponse,
    },
}

/// All series asked for, those without a point included.
#[derive(Debug, Clone)]
pub struct SeriesResponse {
    /// What was visible: the answer changes only with a larger one.
    pub snapshot_lsn: u64,
    pub series: Vec<SeriesResult>,
    /// The memory of the answer counts until this is dropped.
    pub reader: Arc<Reader>,
}

/// One series.
#[derive(Debug, Clone)]
pub struct SeriesResult {
    pub run_id: String,
    pub metric: String,
    /// Points in the range.
    pub points: u64,
    /// Points where there are no more of them than buckets, else buckets.
    pub data: Arc<ChartData>,
}

/// A run and the runs it was forked from, nearest first, each with the last step it shows.
struct Lineage {
    run_id: String,
    parts: Vec<(String, String, i64)>,
}

impl App {
    /// Reads series. Buckets are the cells of one grid for all series of a request: as wide as the smallest power of two (steps
    /// or microseconds) of which so many cover the steps asked for, or else the range of x of all their points.
    ///
    /// An answer has a tag, which stays the same while the points of these series are the same in the same segments and memory;
    /// a caller that gives it back as `known` is spared the reading.
    pub async fn series(&self, request: SeriesRequest, known: Option<&str>) -> Result<SeriesAnswer, AppError> {
        check(&request)?;
        let project = self.project(&request.project).await?;
        let lineages = self.lineages(&project.project_id, &request).await?;
        let snapshot = self.parts.engine.snapshot().read_by(self.reader());
        let tag = tag(&snapshot, &lineages, &request);
        if known == Some(tag.as_str()) {
            return Ok(SeriesAnswer::Unchanged { tag });
        }
        let response = tokio::task::spawn_blocking(move || read(&snapshot, &lineages, &request))
            .await
            .map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))??;
        Ok(SeriesAnswer::Read { tag, response })
    }

    /// Of the runs of a request, in its order.
    async fn lineages(&self, project_id: &str, request: &SeriesRequest) -> Result<Vec<Lineage>, AppError> {
        // A question for each generation, not for each run.
        let mut origins: BTreeMap<String, RunOrigin> = BTreeMap::new();
        let mut unknown = request.run_ids.clone();
        for _ in 0..=FORKS_MAX {
            if unknown.is_empty() {
                break;
            }
            let found = self.parts.metadata.run_origins(&unknown).await?;
            unknown = found.values().filter_map(|origin| origin.forked_from.clone()).map(|from| from.run_id).collect();
            origins.extend(found);
            unknown.retain(|run_id| !origins.contains_key(run_id));
        }
        let lineage = |run_id: &String| {
            let origin = origins.get(run_id).ok_or_else(|| AppError::run_not_found(run_id))?;
            if origin.project_id != project_id {
                let message = format!("run {run_id:?} is not in project {:?}", request.project);
                return Err(AppError::new(ErrorCode::RunNotFound, message).field("run_ids"));
            }
            lineage(run_id, origin, &origins)
        };
        request.run_ids.iter().map(lineage).collect()
    }
}

fn lineage(run_id: &str, origin: &RunOrigin, origins: &BTreeMap<String, RunOrigin>) -> Result<Lineage, AppError> {
    let mut parts = vec![(origin.project_id.clone(), run_id.to_owned(), i64::MAX)];
    let mut last_step = i64::MAX;
    let mut fork = origin.forked_from.as_ref();
    while let Some(point) = fork {
        if parts.len() > FORKS_MAX {
            let message = format!("run {run_id:?} is a fork of more than {FORKS_MAX} generations");
            return Err(AppError::new(ErrorCode::InvalidValue, message).field("run_ids").limit(FORKS_MAX));
        }
        last_step = last_step.min(point.step);
        // A source in the trash shows nothing here either.
        let Some(source) = origins.get(&point.run_id) else { break };
        parts.push((source.project_id.clone(), point.run_id.clone(), last_step));
        fork = source.forked_from.as_ref();
    }
    Ok(Lineage { run_id: run_id.to_owned(), parts })
}

fn check(request: &SeriesRequest) -> Result<(), AppError> {
    let invalid = |field: &str, message: String| AppError::new(ErrorCode::InvalidValue, message).field(field);
    for run_id in &request.run_ids {
        check_run_id(run_id)?;
    }
    for metric in &request.metrics {
        check_metric(metric)?;
    }
    if request.run_ids.is_empty() || request.metrics.is_empty() {
        let field = if request.run_ids.is_empty() { "run_ids" } else { "metrics" };
        return Err(invalid(field, format!("{field} is empty; name at least one")));
    }
    if !(1..=limits::BUCKETS_MAX).contains(&request.buckets) {
        let limit = limits::BUCKETS_MAX;
        return Err(invalid("buckets", format!("buckets must be 1 to {limit}")).limit(limit));
    }
    let series = request.run_ids.len().saturating_mul(request.metrics.len());
    if series > limits::SERIES_PER_REQUEST_MAX {
        let limit = limits::SERIES_PER_REQUEST_MAX;
        return Err(invalid("metrics", format!("{series} series are asked for, the limit is {limit}")).limit(limit));
    }
    match (request.from_step, request.to_step) {
        (Some(from), Some(to)) if from > to => {
            Err(invalid("to_step", format!("to_step {to} is below from_step {from}")))
        }
        _ => Ok(()),
    }
}

/// Of the request, of what its runs were forked from, and of the points they have.
fn tag(snapshot: &Snapshot, lineages: &[Lineage], request: &SeriesRequest) -> String {
    let parts = || lineages.iter().flat_map(|lineage| &lineage.parts);
    let filter = PointFilter {
        project_ids: Some(parts().map(|(project_id, ..)| project_id.as_str().into()).collect()),
        metrics: Some(request.metrics.iter().map(|metric| metric.as_str().into()).collect()),
        run_ids: Some(parts().map(|(_, run_id, _)| run_id.as_str().into()).collect()),
        ..PointFilter::default()
    };
    let mut hasher = DefaultHasher::new();
    parts().for_each(|part| part.hash(&mut hasher));
    format!("{request:?}").hash(&mut hasher);
    format!("{:016x}{:016x}", snapshot.fingerprint(&filter), hasher.finish())
}

fn read(snapshot: &Snapshot, lineages: &[Lineage], request: &SeriesRequest) -> Result<SeriesResponse, AppError> {
    let is_forked = lineages.iter().any(|lineage| lineage.parts.len() > 1);
    let data = if request.x == XAxis::Step && request.points == PointsMode::Last && !is_forked {
        chart(snapshot, lineages, request)?
    } else {
        from_points(snapshot, lineages, request)?
    };
    let names = lineages.iter().flat_map(|lineage| request.metrics.iter().map(|metric| (&lineage.run_id, metric)));
    let series = names
        .zip(data)
        .map(|((run_id, metric), data)| SeriesResult {
            run_id: run_id.clone(),
            metric: metric.clone(),
            points: data.points(),
            data,
        })
        .collect();
    Ok(SeriesResponse { snapshot_lsn: snapshot.lsn().0, series, reader: snapshot.reader().clone() })
}

fn chart(snapshot: &Snapshot, lineages: &[Lineage], request: &SeriesRequest) -> Result<Vec<Arc<ChartData>>, AppError> {
    let keys = lineages.iter().flat_map(|lineage| &lineage.parts).flat_map(|(project_id, run_id, _)| {
        request.metrics.iter().map(|metric| SeriesKey::new(project_id.as_str(), metric.as_str(), run_id.as_str()))
    });
    let all: Vec<SeriesKey> = keys.collect();
    // A series named twice is read once.
    let mut distinct = all.clone();
    distinct.sort();
    distinct.dedup();
    let (from_step, to_step) = (request.from_step, request.to_step);
    let chart = ChartRequest { series: distinct, from_step, to_step, buckets: request.buckets };
    let data: Vec<Arc<ChartData>> = snapshot.chart(&chart)?.into_iter().map(Arc::new).collect();
    let of = |key| chart.series.binary_search(key).ok().and_then(|at| data.get(at).cloned());
    Ok(all.iter().filter_map(of).collect())
}

/// Where rollups do not tell: an x axis of time, every point of a step, or forks.
fn from_points(
    snapshot: &Snapshot,
    lineages: &[Lineage],
    request: &SeriesRequest,
) -> Result<Vec<Arc<ChartData>>, AppError> {
    let range = (request.from_step.unwrap_or(i64::MIN), request.to_step.unwrap_or(i64::MAX));
    // All points are held until their buckets are.
    let (answer, snapshot) = (snapshot.reader(), &snapshot.clone().read_by(snapshot.reader().beside()));
    let mut all: Vec<SeriesColumns> = Vec::new();
    for lineage in lineages {
        for metric in &request.metrics {
            all.push(points(snapshot, lineage, metric, range, request.points)?);
        }
    }
    let (from, to) = bounds(request, all.iter());
    let grid = Grid::covering(from, to, request.buckets);
    let data = |points: SeriesColumns| {
        let data = if points.len() <= request.buckets {
            ChartData::Raw(points)
        } else {
            let states = bucketize(&points, request.x, from, to, grid);
            ChartData::Buckets(states.iter().map(BucketState::finish).collect())
        };
        answer.hold(data.heap_bytes())?;
        Ok(Arc::new(data))
    };
    all.into_iter().map(data).collect()
}

/// Points of a run and of what it was forked from. At one step the nearer run's points count, whatever was written later.
fn points(
    snapshot: &Snapshot,
    lineage: &Lineage,
    metric: &str,
    range: (i64, i64),
    mode: PointsMode,
) -> Result<SeriesColumns, AppError> {
    let mut merged = SeriesColumns::default();
    for (project_id, run_id, last_step) in &lineage.parts {
        let filter = PointFilter { step: (range.0, range.1.min(*last_step)), ..PointFilter::default() };
        if filter.step.0 > filter.step.1 {
            continue;
        }
        let key = SeriesKey::new(project_id.as_str(), metric, run_id.as_str());
        let mut part = snapshot.series(&key, &filter)?;
        if mode == PointsMode::Last {
            part.keep_last_per_step();
        }
        if merged.is_empty() {
            merged = part;
            continue;
        }
        let mut older = SeriesColumns::default();
        for i in 0..part.len() {
            if mode == PointsMode::All || merged.step.binary_search(&part.step[i]).is_err() {
                older.push(part.step[i], part.timestamp_us[i], part.value[i], part.lsn[i]);
            }
        }
        merged.append(&older);
        merged.sort();
    }
    Ok(merged)
}

fn bounds<'a>(request: &SeriesRequest, all: impl Iterator<Item = &'a SeriesColumns>) -> (i64, i64) {
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    for points in all {
        let x = match request.x {
            XAxis::Step => &points.step,
            XAxis::Time => &points.timestamp_us,
        };
        for &x in x {
            low = low.min(x);
            high = high.max(x);
        }
    }
    match request.x {
        XAxis::Step => (request.from_step.unwrap_or(low), request.to_step.unwrap_or(high)),
        XAxis::Time => (low, high),
    }
}
