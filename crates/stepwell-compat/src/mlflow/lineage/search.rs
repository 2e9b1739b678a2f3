//! Search of logged models.

use std::borrow::Cow;

use serde_json::json;
use stepwell_app::{App, LoggedModel, ModelMetric, Reader};

use super::{
    json,
    order::{OrderBy, order},
    token::{self, Asked},
};
use crate::mlflow::{
    args::{Args, missing},
    failure::Failure,
    search::{Attribute, Filter, Page, Record, Surface},
    text::{List, Text},
};

const MAX_RESULTS_DEFAULT: usize = 50;

/// Only points on one of these count, if there are any.
struct DatasetFilter {
    name: String,
    digest: Option<String>,
}

/// A model as it is searched.
struct Searched<'a> {
    model: LoggedModel,
    datasets: &'a [DatasetFilter],
    order: &'a [OrderBy],
}

impl Searched<'_> {
    fn is_on(&self, metric: &ModelMetric) -> bool {
        let is_one = |dataset: &DatasetFilter| {
            metric.dataset_name.as_ref() == Some(&dataset.name)
                && (dataset.digest.is_none() || dataset.digest == metric.dataset_digest)
        };
        self.datasets.is_empty() || self.datasets.iter().any(is_one)
    }
}

impl Record for Searched<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let model = &self.model;
        let text = |text: &'static str| Some(Attribute::from(text));
        match name {
            "name" => Some(Attribute::from(model.name.as_str())),
            "model_id" => Some(Attribute::from(model.model_id.as_str())),
            "model_type" => Some(Attribute::from(model.kind.as_deref().unwrap_or_default())),
            "source_run_id" => Some(Attribute::from(model.source_run_id.as_deref().unwrap_or_default())),
            "status" => text(model.status.as_str()),
            "experiment_id" => model.project_id.parse::<i64>().ok().map(Attribute::from),
            "creation_timestamp" => Some(Attribute::from(model.created_at_us.div_euclid(1_000))),
            "last_updated_timestamp" => Some(Attribute::from(model.updated_at_us.div_euclid(1_000))),
            _ => None,
        }
    }

    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        self.model.tags.get(key).map(Cow::from)
    }

    fn param(&self, key: &str) -> Option<Cow<'_, str>> {
        self.model.params.get(key).map(Cow::from)
    }

    /// `key` is a place in the order.
    fn metric(&self, key: &str) -> Option<f64> {
        self.order.get(key.parse::<usize>().ok()?)?.value(&self.model)
    }

    fn any_metric(&self, key: &str, test: &dyn Fn(f64) -> bool) -> bool {
        self.model.metrics.iter().any(|metric| metric.metric == key && self.is_on(metric) && test(metric.value))
    }
}

pub(super) async fn models(app: &App, args: &Args<'_>, reader: &Reader) -> Result<Text, Failure> {
    let ids: Vec<String> = args.texts("experiment_ids")?.into_iter().map(ToOwned::to_owned).collect();
    if ids.is_empty() {
        return Err(missing("experiment_ids"));
    }
    let text = args.text("filter")?.unwrap_or_default();
    let filter = Filter::parse(Surface::LoggedModels, text)?;
    let datasets = args.objects("datasets")?.iter().map(dataset).collect::<Result<Vec<_>, _>>()?;
    let keys = args.objects("order_by")?.iter().map(OrderBy::of).collect::<Result<Vec<_>, _>>()?;
    let order = order(&keys)?;
    let asked: Asked = [
        ("experiment_ids", "Experiment IDs", json!(ids)),
        ("filter_string", "Filter string", json!(text)),
        ("order_by", "Order by", keys.iter().map(OrderBy::json).collect()),
    ];
    let token = token::parse(args.text("page_token")?, &asked)?;
    let max_results = match args.integer("max_results")? {
        None | Some(0) => MAX_RESULTS_DEFAULT,
        Some(number) => usize::try_from(number).map_err(|_| Failure::invalid("max_results must be positive."))?,
    };
    let of_experiments = app.logged_models(&ids).await?;
    let searched = of_experiments.into_iter().map(|model| Searched { model, datasets: &datasets, order: &keys });
    let is_measured = |searched: &Searched<'_>| {
        datasets.is_empty()
            || filter.metrics().next().is_some()
            || searched.model.metrics.iter().any(|metric| searched.is_on(metric))
    };
    let mut found: Vec<Searched<'_>> =
        searched.filter(|searched| is_measured(searched) && filter.accepts(searched)).collect();
    order.sort(&mut found);
    let page = Page::cut(found, token, max_results);
    let next = page.next.is_some().then(|| token::text(token.offset.saturating_add(max_results), asked));
    let shown = |found: &Searched<'_>| json::model(&found.model);
    Text::of(reader, &List { name: "models", items: &page.items, shown, next })
}

fn dataset(args: &Args<'_>) -> Result<DatasetFilter, Failure> {
    let name = args.given("dataset_name")?;
    let name = name.ok_or_else(|| Failure::invalid("`dataset_name` in the `datasets` clause must be specified."))?;
    Ok(DatasetFilter { name, digest: args.given("dataset_digest")? })
}
