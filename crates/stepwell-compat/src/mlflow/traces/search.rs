//! Searching traces, with the grammar of all searches.

use std::{borrow::Cow, collections::BTreeSet, ops::ControlFlow, sync::Arc};

use serde_json::{Value, json};
use stepwell_app::{App, Reader, Trace};

use super::told::Told;
use crate::mlflow::{
    args::Args,
    failure::Failure,
    search::{Attribute, Entity, Filter, Order, Page, PageToken, Record, Surface},
};

const RESULTS_DEFAULT: i64 = 100;
const RESULTS_MAX: i64 = 500;
const NAME_TAG: &str = "mlflow.traceName";
const RUN_METADATA: &str = "mlflow.sourceRun";

/// Of MLflow 3: experiments are among the locations.
pub(super) async fn v3(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Value, Failure> {
    let mut project_ids = Vec::new();
    for location in args.objects("locations")? {
        if let Some(experiment) = location.object("mlflow_experiment")? {
            project_ids.push(experiment.required("experiment_id")?.to_owned());
        }
    }
    search(app, args, reader, project_ids, Told::v3(reader)).await
}

/// Of MLflow 2.
pub(super) async fn v2(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Value, Failure> {
    let project_ids = args.texts("experiment_ids")?.into_iter().map(ToOwned::to_owned).collect();
    search(app, args, reader, project_ids, Told::v2(reader)).await
}

async fn search(
    app: &App,
    args: &Args<'_>,
    reader: &Arc<Reader>,
    project_ids: Vec<String>,
    mut told: Told,
) -> Result<Value, Failure> {
    let most = args.integer("max_results")?.unwrap_or(RESULTS_DEFAULT);
    let most = usize::try_from(most).ok().filter(|most| (1..=RESULTS_MAX as usize).contains(most));
    let most = most.ok_or_else(|| Failure::invalid(format!("max_results must be between 1 and {RESULTS_MAX}.")))?;
    let filter = Filter::parse(Surface::Traces, args.text("filter")?.unwrap_or_default())?;
    let order = Order::parse(Surface::Traces, &args.texts("order_by")?)?;
    let token = PageToken::parse(args.text("page_token")?)?;
    let wanted = Wanted { filter, order, end: token.offset.saturating_add(most) };
    let sorting = reader.beside();
    let mut found = Vec::new();
    // One that is named again, however it is spelt, has no more traces; what is no number is no project.
    for project_id in project_ids.iter().filter_map(|id| id.parse().ok()).collect::<BTreeSet<i64>>() {
        found.extend(wanted.of_project(app, &sorting, project_id).await?);
    }
    wanted.order.sort(&mut found);
    let page = Page::cut(found, token, most);
    let mut next = page.next;
    for (before, seen) in page.items.iter().enumerate() {
        if told.is_long() {
            next = Some(PageToken { offset: token.offset + before }.text());
            break;
        }
        told.tell(app, &seen.trace.trace_id).await?;
    }
    let mut answer = json!({});
    if !told.infos.is_empty() {
        answer["traces"] = Value::from(told.infos);
    }
    if let Some(next) = next {
        answer["next_page_token"] = Value::from(next);
    }
    Ok(answer)
}

/// What a search asks for.
struct Wanted {
    filter: Filter,
    order: Order,
    /// How many of those found are on this page or before it.
    end: usize,
}

impl Wanted {
    /// Traces of a project that pass, at least those up to the end of the page, and one more if there is one.
    async fn of_project(&self, app: &App, reader: &Reader, project_id: i64) -> Result<Vec<Seen>, Failure> {
        // Traces come as most searches want them: then what follows the page need not be read.
        let is_by_time = self
            .order
            .keys
            .first()
            .is_some_and(|key| key.entity == Entity::Attribute && key.key == "timestamp_ms" && !key.is_ascending);
        let mut found = Vec::<Seen>::new();
        let visit = |trace: Trace| {
            let ms = trace.started_at_us.div_euclid(1_000);
            if is_by_time && found.get(self.end).is_some_and(|last| last.trace.started_at_us.div_euclid(1_000) > ms) {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(mut seen) = Seen::that_passes(&self.filter, trace) {
                seen.keep_what_sorts(&self.order);
                reader.hold(size_of::<Seen>() + seen.trace.text_bytes())?;
                found.push(seen);
            }
            Ok(ControlFlow::Continue(()))
        };
        app.each_trace(project_id, visit).await?;
        Ok(found)
    }
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

    /// Lets go of what the order does not look at: there may be many of them.
    fn keep_what_sorts(&mut self, order: &Order) {
        let sorts = |entity, name: &str| order.keys.iter().any(|key| key.entity == entity && key.key == name);
        let is_by_name = sorts(Entity::Attribute, "name");
        self.trace.tags.retain(|key, _| sorts(Entity::Tag, key) || (is_by_name && key == NAME_TAG));
        self.trace.metadata.retain(|key, _| sorts(Entity::Param, key));
        self.trace.linked_runs = Vec::new();
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
