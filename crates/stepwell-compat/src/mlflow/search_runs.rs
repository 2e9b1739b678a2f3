//! `runs/search`: the runs of experiments that pass a filter, in an order, page by page.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Serialize, Serializer};
use serde_json::Value;
use stepwell_app::{
    App, AppError, Dataset, DatasetUse, LatestMetric, LatestReader, Project, ProjectRuns, Reader, Run, RunLinks,
};
use stepwell_types::{LatestPoint, SeriesKey};

use super::{
    args::{Args, invalid_value},
    experiments,
    failure::Failure,
    lineage, params,
    run_json::{RunJson, run_artifact_uri, status_text},
    search::{Attribute, DatasetField, Filter, Order, Page, PageToken, Record, Surface},
    tags,
    text::Text,
    view::{RESULTS_MAX, View, results_max},
};

/// Runs whose datasets and models are read at once.
const LINKED_RUNS_AT_ONCE: usize = 200;

/// A checked request.
struct Wanted {
    filter: Filter,
    order: Order,
    view: View,
    token: PageToken,
    results_max: usize,
}

#[derive(Serialize)]
struct Answer {
    runs: Found,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// The runs of a page, written one by one.
struct Found {
    parts: Vec<Part>,
    /// Places of parts and of their runs.
    page: Vec<(usize, usize)>,
    /// For each part by run.
    metrics: Vec<HashMap<String, Vec<LatestMetric>>>,
    links: BTreeMap<String, RunLinks>,
}

impl Serialize for Found {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.page.iter().map(|&(part, row)| {
            let Part { project, runs, .. } = &self.parts[part];
            let run_id = &runs[row].run_id;
            let metrics = self.metrics[part].get(run_id).map_or(&[][..], Vec::as_slice);
            RunJson::new(&runs[row], project, metrics, self.links.get(run_id))
        }))
    }
}

pub(crate) async fn search(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    let wanted = Wanted::of(args)?;
    // Runs first: what they logged before they were read is in a later look at their metrics.
    let mut parts: Vec<Part> = Vec::new();
    for experiment_id in args.texts("experiment_ids")? {
        let (_, project) = experiments::find(app, experiment_id).await?;
        let is_new = |project: &Project| parts.iter().all(|part| part.project.project_id != project.project_id);
        if let Some(project) = project.filter(is_new) {
            let runs = app.project_runs(&project.project_id).await?;
            let mut datasets = BTreeMap::new();
            if wanted.filter.asks_for_datasets() {
                datasets = app.dataset_uses_of_runs(&project.project_id, lineage::CONTEXT).await?;
            }
            parts.push(Part { project, runs, metrics: HashMap::new(), datasets });
        }
    }
    let latest = app.latest(reader.clone());
    for part in &mut parts {
        part.read_metrics(&latest, &wanted, reader).await?;
    }
    let (parts, page) = app
        .beside(move || {
            let page = wanted.select(&parts);
            (parts, page)
        })
        .await?;
    let metrics = metrics_of(&latest, &parts, &page.items).await?;
    let run_ids: Vec<String> = page.items.iter().map(|&(part, row)| parts[part].runs[row].run_id.clone()).collect();
    let links = links_of(app, reader, &run_ids).await?;
    let reader = reader.clone();
    let runs = Found { parts, page: page.items, metrics, links };
    let answer = Answer { runs, next_page_token: page.next };
    app.beside(move || Text::of(&reader, &answer)).await?
}

impl Wanted {
    fn of(args: &Args<'_>) -> Result<Self, Failure> {
        if let Some(wanted) = args.integer("max_results")?.filter(|&wanted| wanted > RESULTS_MAX) {
            return Err(invalid_value("max_results", &Value::from(wanted)));
        }
        Ok(Self {
            filter: Filter::parse(Surface::Runs, args.text("filter")?.unwrap_or_default())?,
            order: Order::parse(Surface::Runs, &args.texts("order_by")?)?,
            view: View::of(args, "run_view_type")?,
            token: PageToken::parse(args.text("page_token")?)?,
            results_max: results_max(args)?,
        })
    }

    /// The page, as places of parts and of their runs.
    fn select(&self, parts: &[Part]) -> Page<(usize, usize)> {
        let mut found = Vec::new();
        for (of, part) in parts.iter().enumerate() {
            let candidates = (0..part.runs.len()).map(|row| Candidate { part, of, row });
            found.extend(
                candidates.filter(|candidate| {
                    self.view.shows(candidate.run().deleted_at_us) && self.filter.accepts(candidate)
                }),
            );
        }
        self.order.sort(&mut found);
        let places = found.into_iter().map(|candidate| (candidate.of, candidate.row)).collect();
        Page::cut(places, self.token, self.results_max)
    }
}

/// All metrics of the runs of a page, for each part by run.
async fn metrics_of(
    latest: &LatestReader,
    parts: &[Part],
    page: &[(usize, usize)],
) -> Result<Vec<HashMap<String, Vec<LatestMetric>>>, Failure> {
    let mut wanted: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for &(part, row) in page {
        wanted.entry(part).or_default().push(parts[part].runs[row].run_id.clone());
    }
    let mut metrics = vec![HashMap::new(); parts.len()];
    for (part, run_ids) in wanted {
        metrics[part] = latest.of_runs(&parts[part].project.project_id, &run_ids).await?;
    }
    Ok(metrics)
}

/// What runs read and made; `reader` holds it, lot by lot. A dataset may have megabytes of text, and is told with each run.
async fn links_of(app: &App, reader: &Reader, run_ids: &[String]) -> Result<BTreeMap<String, RunLinks>, Failure> {
    let text_bytes = |dataset: &Dataset| {
        let Dataset { name, digest, source_type, source, schema, profile } = dataset;
        let texts = [name, digest, source_type, source].into_iter().chain(schema).chain(profile);
        texts.map(String::len).sum::<usize>()
    };
    let mut links = BTreeMap::new();
    for run_ids in run_ids.chunks(LINKED_RUNS_AT_ONCE) {
        let lot = app.run_links(run_ids).await?;
        let datasets = lot.values().flat_map(|links| &links.datasets).map(|input| text_bytes(&input.dataset));
        reader.hold(datasets.sum()).map_err(AppError::from)?;
        links.extend(lot);
    }
    Ok(links)
}

/// The runs of one project, and what filter and order ask of their metrics.
struct Part {
    project: Project,
    runs: ProjectRuns,
    /// The latest value of each metric that is asked for, in the order of `runs`.
    metrics: HashMap<String, Vec<Option<f64>>>,
    /// By run, if the filter asks for any.
    datasets: BTreeMap<String, Vec<DatasetUse>>,
}

impl Part {
    async fn read_metrics(&mut self, latest: &LatestReader, wanted: &Wanted, reader: &Reader) -> Result<(), Failure> {
        let names: Vec<&str> = wanted.filter.metrics().chain(wanted.order.metrics()).collect();
        if names.is_empty() {
            return Ok(());
        }
        // Let go of with what it read, once that is in columns.
        let latest = latest.beside();
        let points = latest.of_metrics(&self.project.project_id, &names).await?;
        for of_metric in points.chunk_by(|(a, _), (b, _)| a.metric == b.metric) {
            reader.hold(self.runs.len() * size_of::<Option<f64>>()).map_err(AppError::from)?;
            let column = column(&self.runs, of_metric);
            self.metrics.extend(of_metric.first().map(|(key, _)| (key.metric.to_string(), column)));
        }
        Ok(())
    }
}

/// The value of each run; both are in the order of run ids.
fn column(runs: &ProjectRuns, points: &[(SeriesKey, LatestPoint)]) -> Vec<Option<f64>> {
    let mut points = points.iter().peekable();
    let value = |run: &Arc<Run>| {
        loop {
            let (key, point) = points.peek()?;
            match (*key.run_id).cmp(run.run_id.as_str()) {
                // Of a run that has been purged since.
                Ordering::Less => drop(points.next()),
                Ordering::Equal => return Some(point.value),
                Ordering::Greater => return None,
            }
        }
    };
    runs.iter().map(value).collect()
}

/// A run that may pass.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    part: &'a Part,
    of: usize,
    row: usize,
}

impl<'a> Candidate<'a> {
    fn run(&self) -> &'a Run {
        &self.part.runs[self.row]
    }
}

impl Record for Candidate<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let run = self.run();
        let millis = |us: i64| Attribute::Integer(us.div_euclid(1_000));
        match name {
            "run_id" => Some(run.run_id.as_str().into()),
            "run_name" => tags::value(run, tags::RUN_NAME).map(Attribute::from),
            "status" => Some(status_text(run.status).into()),
            "start_time" => Some(millis(run.started_at_us)),
            "end_time" => run.ended_at_us.map(millis),
            "user_id" => Some(run.user_name.as_deref().unwrap_or_default().into()),
            "artifact_uri" => Some(run_artifact_uri(&self.part.project, &run.run_id).into()),
            _ => None,
        }
    }

    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        tags::value(self.run(), key).map(Cow::Borrowed)
    }

    fn metric(&self, key: &str) -> Option<f64> {
        self.part.metrics.get(key)?.get(self.row).copied()?
    }

    fn param(&self, key: &str) -> Option<Cow<'_, str>> {
        self.run().params.get(key).map(|value| params::text(value).into())
    }

    fn any_dataset(&self, field: DatasetField, test: &dyn Fn(&str) -> bool) -> bool {
        let uses = self.part.datasets.get(&self.run().run_id);
        uses.into_iter().flatten().any(|dataset| match field {
            DatasetField::Name => test(&dataset.name),
            DatasetField::Digest => test(&dataset.digest),
            DatasetField::Context => dataset.context.as_deref().is_some_and(test),
        })
    }
}
