//! MLflow's REST API, as the clients of MLflow 2 and 3 speak it.
//!
//! [`answer`] takes a request below `/api/2.0/mlflow` or its other spellings and gives MLflow's answer. The file list is the
//! surface: `routes` finds the handler; `experiments` (our projects) and so on have one each; `args` reads what a request says
//! with MLflow's own refusals; `failure` has its error codes. Semantics and limits follow MLflow 3.17's server.

mod args;
mod failure;
mod routes;
#[allow(dead_code, reason = "the areas that search come one by one")]
mod search;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use stepwell_app::App;

pub use self::failure::Failure;
use self::{args::Args, routes::Call};

/// The version of MLflow whose server this one stands in for; clients ask it before they use what older servers lack.
pub const MLFLOW_VERSION: &str = "3.17.2";

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// What follows `/mlflow/`, still percent-encoded.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub body: &'a [u8],
}

/// What is answered: JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub body: Vec<u8>,
    /// Seconds to wait before the same request is worth sending again.
    pub retry_after_seconds: Option<u64>,
}

/// Answers a request; a refusal is an answer too.
pub async fn answer(app: &App, request: Request<'_>) -> Answer {
    match handle(app, request).await {
        Ok(value) => Answer { status: 200, body: value.to_string().into_bytes(), retry_after_seconds: None },
        Err(failure) => failure.answer(),
    }
}

async fn handle(app: &App, request: Request<'_>) -> Result<Value, Failure> {
    let decode = |segment: &str| percent_decode_str(segment).decode_utf8().map(|text| text.into_owned());
    let path: Vec<String> = request
        .path
        .split('/')
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::invalid("The path of the request is not UTF-8."))?;
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    let args = match request.method {
        "GET" => Args::of_query(request.query.unwrap_or_default())?,
        _ => Args::of_body(request.body)?,
    };
    routes::dispatch(app, Call { method: request.method, path: &segments, args: &args }).await
}
