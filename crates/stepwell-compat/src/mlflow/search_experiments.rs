//! `experiments/search`: the experiments that pass a filter, in an order, page by page.

use std::{borrow::Cow, sync::Arc};

use serde_json::json;
use stepwell_app::{App, Project, Reader};

use super::{
    args::Args,
    experiments::experiment_json,
    failure::Failure,
    search::{Attribute, Filter, Order, Page, PageToken, Record, Surface},
    text::{List, Text},
    view::{View, results_max},
};

pub(crate) async fn search(app: &App, args: &Args<'_>, reader: &Arc<Reader>) -> Result<Text, Failure> {
    let filter = Filter::parse(Surface::Experiments, args.text("filter")?.unwrap_or_default())?;
    let order = Order::parse(Surface::Experiments, &args.texts("order_by")?)?;
    let (view, results_max) = (View::of(args, "view_type")?, results_max(args)?);
    let token = PageToken::parse(args.text("page_token")?)?;
    // That one is there for MLflow's clients before anyone makes it.
    app.first_project().await?;
    let all = app.all_projects().await?;
    let reader = reader.clone();
    let told = move || {
        let mut found = all;
        found.retain(|project| view.shows(project.deleted_at_us) && filter.accepts(project));
        order.sort(&mut found);
        let page = Page::cut(found, token, results_max);
        let list = List { name: "experiments", items: &page.items, shown: experiment_json, next: page.next };
        match page.items.is_empty() {
            // MLflow's clients find this list also where there is none.
            true => Text::of(&reader, &json!({"experiments": []})),
            false => Text::of(&reader, &list),
        }
    };
    app.beside(told).await?
}

impl Record for Project {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        match name {
            "name" => Some(self.name.as_str().into()),
            "experiment_id" => self.project_id.parse().ok().map(Attribute::Integer),
            "creation_time" => Some(Attribute::Integer(self.created_at_us.div_euclid(1_000))),
            "last_update_time" => Some(Attribute::Integer(self.updated_at_us.div_euclid(1_000))),
            _ => None,
        }
    }

    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        self.tags.get(key).map(|value| value.into())
    }
}
