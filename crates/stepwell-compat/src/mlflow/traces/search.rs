//! Searching traces, with the grammar of all searches.

use std::borrow::Cow;

use serde_json::{Value, json};
use stepwell_app::{App, Trace};

use super::info;
use crate::mlflow::{
    args::Args,
    failure::Failure,
    search::{Attribute, Filter, Order, Page, PageToken, Record, Surface},
};

const RESULTS_DEFAULT: i64 = 100;
const RESULTS_MAX: i64 = 500;
const NAME_TAG: &str = "mlflow.traceName";
const RUN_METADATA: &str = "mlflow.sourceRun";

/// Of MLflow 3: experiments are among the locations.
pub(super) async fn v3(app: &App, args: &Args) -> Result<Value, Failure> {
    let mut project_ids = Vec::new();
    for location in args.objects("locations")? {
        if let Some(experiment) = location.object("mlflow_experiment")? {
            project_ids.push(experiment.required("experiment_id")?.to_owned());
        }
    }
    search(app, args, project_ids, info::v3).await
}

/// Of MLflow 2.
pub(super) async fn v2(app: &App, args: &Args) -> Result<Value, Failure> {
    let project_ids = args.texts("experiment_ids")?.into_iter().map(ToOwned::to_owned).collect();
    search(app, args, project_ids, info::v2).await
}

async fn search(
    app: &App,
    args: &Args,
    project_ids: Vec<String>,
    shown: fn(&Trace) -> Value,
) -> Result<Value, Failure> {
    let most = args.integer("max_results")?.unwrap_or(RESULTS_DEFAULT);
    let most = usize::try_from(most).ok().filter(|most| (1..=RESULTS_MAX as usize).contains(most));
    let most = most.ok_or_else(|| Failure::invalid(format!("max_results must be between 1 and {RESULTS_MAX}.")))?;
    let filter = Filter::parse(Surface::Traces, args.text("filter")?.unwrap_or_default())?;
    let order = Order::parse(Surface::Traces, &args.texts("order_by")?)?;
    let token = PageToken::parse(args.text("page_token")?)?;
    let found = app.list_traces(&project_ids).await?.into_iter();
    let mut found: Vec<Seen> = found.filter_map(|trace| Seen::that_passes(&filter, trace)).collect();
    order.sort(&mut found);
    let page = Page::cut(found, token, most);
    let mut answer = json!({});
    if !page.items.is_empty() {
        answer["traces"] = page.items.iter().map(|seen| shown(&seen.trace)).collect();
    }
    if let Some(next) = page.next {
        answer["next_page_token"] = Value::from(next);
    }
    Ok(answer)
}

/// A trace as one of its runs sees it: the run that it came of, or one that it was linked to.
struct Seen {
    trace: Trace,
    run: Option<String>,
}

impl Seen {
    /// The trace if it passes for any of its runs.
    fn that_passes(filter: &Filter, trace: Trace) -> Option<Self> {
        let runs = trace.metadata.get(RUN_METADATA).into_iter().chain(&trace.linked_runs).cloned();
        let mut runs: Vec<Option<String>> = runs.map(Some).collect();
        if runs.is_empty() {
            runs.push(None);
        }
        let mut seen = Self { trace, run: None };
        for run in runs {
            seen.run = run;
            if filter.accepts(&seen) {
                return Some(seen);
            }
        }
        None
    }
}

impl Record for Seen {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let ms = |us: i64| Attribute::Integer(us.div_euclid(1_000));
        let trace = &self.trace;
        match name {
            "timestamp_ms" => Some(ms(trace.started_at_us)),
            "execution_time_ms" => trace.duration_us.map(ms),
            "end_time_ms" => trace.duration_us.map(|duration_us| ms(trace.started_at_us.saturating_add(duration_us))),
            "status" => Some(trace.state.as_str().into()),
            "request_id" => Some(trace.trace_id.as_str().into()),
            "experiment_id" => trace.project_id.parse().ok().map(Attribute::Integer),
            "client_request_id" => trace.client_request_id.as_deref().map(Attribute::from),
            "name" => trace.tags.get(NAME_TAG).map(|name| name.as_str().into()),
            "run_id" => self.run.as_deref().map(Attribute::from),
            _ => None,
        }
    }

    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        self.trace.tags.get(key).map(|value| Cow::Borrowed(value.as_str()))
    }

    /// Metadata take the place of params.
    fn param(&self, key: &str) -> Option<Cow<'_, str>> {
        self.trace.metadata.get(key).map(|value| Cow::Borrowed(value.as_str()))
    }
}
