//! Which handler answers which path: the first segment says whose it is.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_app::{App, Reader};

use super::{
    Charge, args::Args, artifacts, experiments, failure::Failure, history, lineage, registry, runs, text::Text, traces,
    webhooks,
};

/// A request, taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    /// Segments after `/mlflow/`, percent-decoded.
    pub(crate) path: &'a [&'a str],
    pub(crate) args: &'a Args<'a>,
    /// For what is read of texts in them.
    pub(crate) charge: Charge<'a>,
    /// Holds what is read for the answer.
    pub(crate) reader: &'a Arc<Reader>,
}

impl Call<'_> {
    /// There is no such endpoint, or not for this method.
    pub(crate) fn unknown<T>(&self) -> Result<T, Failure> {
        let (method, path) = (self.method, self.path.join("/"));
        let shown: String = path.chars().take(200).collect();
        Err(Failure::endpoint_not_found(format!("There is no endpoint {method} /mlflow/{shown} here.")))
    }
}

/// Finds the handler and calls it; the answer is JSON. What may be long is written as it is found, the rest from a tree of values.
pub(crate) async fn dispatch(app: &App, call: Call<'_>) -> Result<Text, Failure> {
    match call.path.first().copied().unwrap_or_default() {
        "runs" => runs::route(app, call).await,
        "metrics" => history::route(app, call).await,
        "server-info" | "server-features" => Text::of(call.reader, &server_info()),
        "experiments" => experiments::route(app, call).await,
        "registered-models" | "model-versions" => registry::route(app, call).await,
        "logged-models" => lineage::route(app, call).await,
        "webhooks" => Text::of(call.reader, &webhooks::route(app, call).await?),
        "traces" => Text::of(call.reader, &traces::route(app, call).await?),
        "artifacts" => artifacts::route(app, call).await,
        _ => call.unknown(),
    }
}

/// What the client asks before it uses what only some servers have.
fn server_info() -> Value {
    json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": true,
        "multipart_downloads_enabled": false,
        "presigned_upload_run_id_supported": false,
        "presigned_upload_model_id_supported": false,
        "features_enabled": {"gateway": false},
    })
}
