//! Filters and orders against MLflow's own words and against brute force.

mod filters;
mod generated;
mod orders;
mod pages;

use std::{borrow::Cow, collections::BTreeMap};

use super::*;

/// A record of any surface.
#[derive(Debug, Clone, Default)]
struct Sample {
    name: String,
    attributes: BTreeMap<String, Attribute<'static>>,
    metrics: BTreeMap<String, f64>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    /// Name, digest, context.
    datasets: Vec<[String; 3]>,
}

impl Sample {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }.with("run_id", name.to_owned()).with("start_time", 0)
    }

    fn with(mut self, key: &str, value: impl Into<Attribute<'static>>) -> Self {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }

    fn metric(mut self, key: &str, value: f64) -> Self {
        self.metrics.insert(key.to_owned(), value);
        self
    }

    fn param(mut self, key: &str, value: &str) -> Self {
        self.params.insert(key.to_owned(), value.to_owned());
        self
    }

    fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    fn dataset(mut self, name: &str, digest: &str, context: &str) -> Self {
        self.datasets.push([name, digest, context].map(str::to_owned));
        self
    }
}

impl Record for Sample {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.attributes.get(name).cloned()
    }

    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        self.tags.get(key).map(|value| value.into())
    }

    fn metric(&self, key: &str) -> Option<f64> {
        self.metrics.get(key).copied()
    }

    fn param(&self, key: &str) -> Option<Cow<'_, str>> {
        self.params.get(key).map(|value| value.into())
    }

    fn any_dataset(&self, field: DatasetField, test: &dyn Fn(&str) -> bool) -> bool {
        self.datasets.iter().any(|dataset| test(&dataset[field as usize]))
    }
}

/// Names of those that pass.
fn accepted(surface: Surface, filter: &str, samples: &[Sample]) -> Vec<String> {
    let filter = Filter::parse(surface, filter).unwrap_or_else(|failure| panic!("{filter}: {failure}"));
    samples.iter().filter(|sample| filter.accepts(*sample)).map(|sample| sample.name.clone()).collect()
}

/// Names in order.
fn sorted(surface: Surface, order: &[&str], samples: &[Sample]) -> Vec<String> {
    let mut samples = samples.to_vec();
    Order::parse(surface, order).unwrap_or_else(|failure| panic!("{order:?}: {failure}")).sort(&mut samples);
    samples.into_iter().map(|sample| sample.name).collect()
}
