//! Filters and orders against MLflow's own words and against brute force.

mod filters;
pub(crate) mod generated;
mod orders;
mod pages;

use std::{borrow::Cow, collections::BTreeMap};

use super::*;

/// A record of any surface.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, Attribute<'static>>,
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Name, digest, context.
    datasets: Vec<[String; 3]>,
}

impl Sample {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }.with("run_id", name.to_owned()).with("start_time", 0)
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Attribute<'static>>) -> Self {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }

    /// The same under another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self.with("run_id", name.to_owned())
    }

    pub(crate) fn start(&self) -> Option<i64> {
        match self.attributes.get("start_time") {
            Some(Attribute::Integer(start)) => Some(*start),
            _ => None,
        }
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
