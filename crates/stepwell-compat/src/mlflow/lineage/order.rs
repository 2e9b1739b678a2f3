//! The order of logged models, by attributes and by metrics on a dataset.

use serde_json::Value;
use stepwell_app::{LoggedModel, ModelMetric};

use crate::mlflow::{
    args::Args,
    failure::Failure,
    search::{Entity, Order, SortKey, Surface},
};

/// One key of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderBy {
    field_name: String,
    is_ascending: bool,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

impl OrderBy {
    pub(super) fn of(args: &Args<'_>) -> Result<Self, Failure> {
        Ok(Self {
            field_name: args.text("field_name")?.unwrap_or_default().to_owned(),
            is_ascending: args.flag("ascending")?.unwrap_or(true),
            dataset_name: args.given("dataset_name")?,
            dataset_digest: args.given("dataset_digest")?,
        })
    }

    /// As page tokens keep it.
    pub(super) fn json(&self) -> Value {
        serde_json::json!({
            "field_name": self.field_name,
            "ascending": self.is_ascending,
            "dataset_name": self.dataset_name,
            "dataset_digest": self.dataset_digest,
        })
    }

    /// The metric that it is by.
    fn metric(&self) -> Option<&str> {
        self.field_name.strip_prefix("metrics.")
    }

    /// The value that a model is sorted by: of the metric's points on the dataset the latest.
    pub(super) fn value(&self, model: &LoggedModel) -> Option<f64> {
        let name = self.metric()?;
        let is_on = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        let points = model.metrics.iter().filter(|metric| {
            metric.metric == name
                && is_on(&self.dataset_name, &metric.dataset_name)
                && is_on(&self.dataset_digest, &metric.dataset_digest)
        });
        points.max_by(|a, b| when(a).cmp(&when(b)).then_with(|| b.run_id.cmp(&a.run_id))).map(|metric| metric.value)
    }
}

fn when(metric: &ModelMetric) -> (i64, i64) {
    (metric.timestamp_us, metric.step)
}

/// The order of these keys: one by a metric has its place among them as its key, for the same metric may be there twice, on
/// two datasets.
pub(super) fn order(keys: &[OrderBy]) -> Result<Order, Failure> {
    let mut order = Order::parse(Surface::LoggedModels, &[] as &[&str])?;
    let ties = std::mem::take(&mut order.keys);
    for (place, key) in keys.iter().enumerate() {
        let (field, is_ascending) = (&key.field_name, key.is_ascending);
        order.keys.push(match field.split_once('.') {
            Some(("metrics", _)) => SortKey { entity: Entity::Metric, key: place.to_string(), is_ascending },
            Some(_) => {
                return Err(Failure::invalid(format!(
                    "Invalid order by field name: {field}. Only metrics are supported."
                )));
            }
            None => SortKey { entity: Entity::Attribute, key: attribute(field)?.to_owned(), is_ascending },
        });
    }
    let is_new = |tie: &SortKey| !order.keys.iter().any(|key| key.entity == tie.entity && key.key == tie.key);
    let ties: Vec<SortKey> = ties.into_iter().filter(is_new).collect();
    order.keys.extend(ties);
    Ok(order)
}

/// The name by which an attribute is known.
fn attribute(field: &str) -> Result<&'static str, Failure> {
    Ok(match field {
        "name" => "name",
        "model_id" => "model_id",
        "model_type" => "model_type",
        "status" => "status",
        "source_run_id" => "source_run_id",
        "experiment_id" => "experiment_id",
        "creation_time" | "creation_timestamp" | "creation_timestamp_ms" => "creation_timestamp",
        "last_updated_timestamp" | "last_updated_timestamp_ms" => "last_updated_timestamp",
        _ => return Err(Failure::invalid(format!("Invalid order by field name: {field}"))),
    })
}
