//! MLflow's REST API, as the clients of MLflow 2 and 3 speak it.
//!
//! [`answer`] takes a request below `/api/2.0/mlflow` or its other spellings and gives MLflow's answer. The file list is the
//! surface: `routes` finds the handler; `experiments` (our projects) and so on have one each; `args` reads what a request says
//! with MLflow's own refusals; `failure` has its error codes. Semantics and limits follow MLflow 3.17's server.

mod args;
pub mod artifacts;
mod batch;
mod experiments;
mod failure;
mod history;
mod lineage;
mod logging;
mod names;
mod params;
mod python;
mod registry;
mod routes;
mod run_json;
mod runs;
mod search;
mod search_experiments;
mod search_runs;
mod tags;
mod text;
mod traces;
mod view;
mod webhooks;

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use stepwell_app::{App, Reader};

pub use self::failure::Failure;
use self::{args::Args, routes::Call, text::Text};

/// The version of MLflow whose server this one stands in for; clients ask it before they use what older servers lack.
pub const MLFLOW_VERSION: &str = "3.17.2";

/// Longer bodies take a while to read, bytes.
const INLINE_BYTES_MAX: usize = 512 << 10;

/// Counts bytes that a request is read into, before they are taken; refuses it where there is no room.
pub type Charge<'a> = &'a (dyn Fn(usize) -> Result<(), Failure> + Sync);

/// A request as it came.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// What follows `/mlflow/`, still percent-encoded.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub body: &'a [u8],
    /// Whoever answers keeps count until there is the answer.
    pub charge: Charge<'a>,
}

/// What is answered: JSON.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub body: Vec<u8>,
    /// Seconds to wait before the same request is worth sending again.
    pub retry_after_seconds: Option<u64>,
    /// Counts the body as memory of those who read until it is dropped, if it is long.
    pub counted_by: Option<Arc<Reader>>,
}

/// Answers a request; a refusal is an answer too.
pub async fn answer(app: &App, request: Request<'_>) -> Answer {
    Answer::of(handle(app, request).await)
}

impl Answer {
    fn of(result: Result<Text, Failure>) -> Self {
        match result {
            Ok(Text { bytes: body, counted_by }) => Self { status: 200, body, retry_after_seconds: None, counted_by },
            Err(failure) => failure.answer(),
        }
    }
}

async fn handle(app: &App, request: Request<'_>) -> Result<Text, Failure> {
    let reader = app.reader();
    let decode = |segment: &str| percent_decode_str(segment).decode_utf8().map(|text| text.into_owned());
    let path: Vec<String> = request
        .path
        .split('/')
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::invalid("The path of the request is not UTF-8."))?;
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    // What most requests are reads its body by itself.
    if request.method == "POST" && segments == ["runs", "log-batch"] {
        return Text::of(&reader, &logging::log_batch(app, request.body, request.charge).await?);
    }
    let args = match (request.method, request.query) {
        ("GET", Some(query)) => Args::of_query(query)?,
        _ => read(app, request.body, || Args::of_body(request.body, request.charge))?,
    };
    let call = Call { method: request.method, path: &segments, args: &args, charge: request.charge, reader: &reader };
    routes::dispatch(app, call).await
}

/// Reads a body without holding up other requests of this thread.
fn read<T>(app: &App, body: &[u8], work: impl FnOnce() -> T) -> T {
    if body.len() > INLINE_BYTES_MAX { app.in_place(work) } else { work() }
}

#[cfg(test)]
mod tests;
