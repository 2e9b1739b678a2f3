//! Search of registered models and versions. Prompts are found only by who asks for prompts.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::Value;
use stepwell_app::{App, ModelVersion, Reader, RegisteredModel};

use super::{json, names::IS_PROMPT};
use crate::mlflow::{
    args::{Args, invalid_value},
    failure::Failure,
    search::{Attribute, Comparison, Entity, Filter, Order, Page, PageToken, Record, Surface},
    text::{List, Text},
};

const MODELS_DEFAULT: usize = 100;
const MODELS_MAX: usize = 1_000;
const VERSIONS_MAX: usize = 200_000;

impl Record for RegisteredModel {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        match name {
            "name" => Some(Attribute::from(self.name.as_str())),
            "last_updated_timestamp" => Some(Attribute::from(self.updated_at_us.div_euclid(1_000))),
            _ => None,
        }
    }

    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        self.tags.get(key).map(Cow::from)
    }
}

impl Record for ModelVersion {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        match name {
            "name" => Some(Attribute::from(self.name.as_str())),
            "version_number" => Some(Attribute::from(self.version)),
            // A version of no run has an empty one.
            "run_id" => Some(Attribute::from(self.run_id.as_deref().unwrap_or_default())),
            "source_path" => Some(Attribute::from(self.source.as_str())),
            "creation_timestamp" => Some(Attribute::from(self.created_at_us.div_euclid(1_000))),
            "last_updated_timestamp" => Some(Attribute::from(self.updated_at_us.div_euclid(1_000))),
            _ => None,
        }
    }

    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        self.tags.get(key).map(Cow::from)
    }
}

/// What a search asks for.
struct Asked {
    filter: Filter,
    order: Order,
    token: PageToken,
    max_results: usize,
}

impl Asked {
    fn of(args: &Args<'_>, surface: Surface, (default, most): (usize, usize)) -> Result<Self, Failure> {
        let max_results = match args.integer("max_results")? {
            None => default,
            Some(number) => match usize::try_from(number) {
                Ok(number) if number <= most => number,
                _ => return Err(invalid_value("max_results", args.value("max_results").unwrap_or(&Value::Null))),
            },
        };
        Ok(Self {
            filter: Filter::parse(surface, args.text("filter")?.unwrap_or_default())?,
            order: Order::parse(surface, &args.texts("order_by")?)?,
            token: PageToken::parse(args.text("page_token")?)?,
            max_results,
        })
    }

    /// Whether prompts are meant. If not, what is said of the tag that marks them does not count.
    fn takes_prompts(&mut self) -> bool {
        let is_mark = |entity, key: &str| entity == Entity::Tag && key == IS_PROMPT;
        let said = self.filter.clauses.iter().find(|clause| is_mark(clause.entity, &clause.key));
        let takes = said.is_some_and(|clause| match &clause.comparison {
            Comparison::Equals(value) => value.eq_ignore_ascii_case("true"),
            Comparison::Differs(value) => value.eq_ignore_ascii_case("false"),
            _ => false,
        });
        if !takes {
            self.filter.clauses.retain(|clause| !is_mark(clause.entity, &clause.key));
        }
        takes
    }

    fn page<R: Record>(&self, found: impl Iterator<Item = R>) -> Page<R> {
        let mut found: Vec<R> = found.filter(|record| self.filter.accepts(record)).collect();
        self.order.sort(&mut found);
        Page::cut(found, self.token, self.max_results)
    }
}

pub(super) async fn models(app: &App, args: &Args<'_>, reader: &Reader) -> Result<Text, Failure> {
    let mut asked = Asked::of(args, Surface::RegisteredModels, (MODELS_DEFAULT, MODELS_MAX))?;
    let takes_prompts = asked.takes_prompts();
    let all = app.registered_models().await?.into_iter();
    let is_prompt = |model: &RegisteredModel| model.tags.get(IS_PROMPT).is_some_and(|value| value == "true");
    let page = asked.page(all.filter(|model| takes_prompts || !is_prompt(model)));
    let names: Vec<String> = page.items.iter().map(|model| model.name.clone()).collect();
    let newest = app.newest_versions(&names).await?;
    let shown = |model: &RegisteredModel| json::model(model, newest.get(&model.name).map_or(&[], Vec::as_slice));
    Text::of(reader, &List { name: "registered_models", items: &page.items, shown, next: page.next })
}

pub(super) async fn versions(app: &App, args: &Args<'_>, reader: &Reader) -> Result<Text, Failure> {
    let mut asked = Asked::of(args, Surface::ModelVersions, (VERSIONS_MAX, VERSIONS_MAX))?;
    if asked.max_results == 0 {
        return Err(Failure::invalid("Invalid value for max_results. It must be a positive integer, but got 0"));
    }
    let takes_prompts = asked.takes_prompts();
    let all = app.model_versions(one_name(&asked.filter)).await?;
    let is_prompt = |version: &&ModelVersion| version.tags.get(IS_PROMPT).is_some_and(|value| value == "true");
    let prompts: BTreeSet<String> = all.iter().filter(is_prompt).map(|version| version.name.clone()).collect();
    let page = asked.page(all.into_iter().filter(|version| takes_prompts || !prompts.contains(&version.name)));
    let shown = |version: &ModelVersion| json::version(version, false);
    Text::of(reader, &List { name: "model_versions", items: &page.items, shown, next: page.next })
}

/// The only registered model whose versions can pass, if the filter says which.
fn one_name(filter: &Filter) -> Option<&str> {
    filter.clauses.iter().find_map(|clause| match (&clause.comparison, clause.key.as_str()) {
        (Comparison::Equals(name), "name") if clause.entity == Entity::Attribute => Some(name.as_str()),
        _ => None,
    })
}
