//! What runs read and made: datasets, and the logged models of MLflow 3.

mod datasets;
mod json;
mod models;
mod order;
mod search;
mod token;

use stepwell_app::App;

pub(crate) use self::{
    datasets::{CONTEXT, log_inputs, log_outputs, search_datasets},
    json::{run_inputs, run_outputs},
    models::log_model_metrics,
};
use super::{failure::Failure, routes::Call, text::Text};

/// Endpoints below `logged-models`.
pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Text, Failure> {
    let args = call.args;
    let answer = match (call.method, call.path) {
        ("POST", [_, "search"]) => return search::models(app, args, call.reader).await,
        ("POST", [_]) => models::create(app, args).await,
        ("GET", [_, id]) => models::get(app, id, args).await,
        ("GET", [_, id, "artifacts", "directories"]) => return models::artifacts(app, id, args, call.reader).await,
        ("PATCH", [_, id]) => models::finalize(app, id, args).await,
        ("DELETE", [_, id]) => models::delete(app, id).await,
        ("PATCH", [_, id, "tags"]) => models::set_tags(app, id, args).await,
        ("DELETE", [_, id, "tags", key @ ..]) if !key.is_empty() => models::delete_tag(app, id, &key.join("/")).await,
        ("POST", [_, id, "params"]) => models::log_params(app, id, args).await,
        _ => call.unknown(),
    };
    Text::of(call.reader, &answer?)
}
