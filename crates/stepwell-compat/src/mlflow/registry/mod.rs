//! The model registry: registered models, their versions, and prompts, which MLflow keeps as registered models with a tag.

mod events;
mod json;
mod models;
mod names;
mod search;
mod source;
mod uri;
mod versions;

use stepwell_app::App;

pub(crate) use self::{events::example, versions::download_uri};
use super::{failure::Failure, routes::Call, text::Text};

/// Endpoints below `registered-models` and `model-versions`.
pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Text, Failure> {
    let args = call.args;
    let answer = match (call.method, call.path) {
        ("POST", ["registered-models", "create"]) => models::create(app, args).await,
        ("POST", ["registered-models", "rename"]) => models::rename(app, args).await,
        ("PATCH" | "POST", ["registered-models", "update"]) => models::update(app, args).await,
        ("DELETE" | "POST", ["registered-models", "delete"]) => models::delete(app, args).await,
        ("GET", ["registered-models", "get"]) => models::get(app, args).await,
        ("GET", ["registered-models", "search"]) => return search::models(app, args, call.reader).await,
        ("GET" | "POST", ["registered-models", "get-latest-versions"]) => models::latest_versions(app, args).await,
        ("POST", ["registered-models", "set-tag"]) => models::set_tag(app, args).await,
        ("DELETE", ["registered-models", "delete-tag"]) => models::delete_tag(app, args).await,
        ("POST", ["registered-models", "alias"]) => models::set_alias(app, args).await,
        ("DELETE", ["registered-models", "alias"]) => models::delete_alias(app, args).await,
        ("GET", ["registered-models", "alias"]) => versions::get_by_alias(app, args).await,
        ("POST", ["model-versions", "create"]) => versions::create(app, args).await,
        ("PATCH" | "POST", ["model-versions", "update"]) => versions::update(app, args).await,
        ("POST", ["model-versions", "transition-stage"]) => versions::transition(app, args).await,
        ("DELETE" | "POST", ["model-versions", "delete"]) => versions::delete(app, args).await,
        ("GET", ["model-versions", "get"]) => versions::get(app, args).await,
        ("GET", ["model-versions", "search"]) => return search::versions(app, args, call.reader).await,
        ("GET", ["model-versions", "get-download-uri"]) => download_uri(app, args).await,
        ("POST", ["model-versions", "set-tag"]) => versions::set_tag(app, args).await,
        ("DELETE", ["model-versions", "delete-tag"]) => versions::delete_tag(app, args).await,
        _ => call.unknown(),
    };
    Text::of(call.reader, &answer?)
}
