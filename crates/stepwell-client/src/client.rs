//! Calls of the HTTP API, one method each.

use std::{io::Read, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_ipc::reader::StreamReader;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use stepwell_types::ProducerSequence;
use ureq::{
    Agent, Body,
    http::{Response, Uri},
};

use crate::{
    ARROW_STREAM, ClientError, NewRunRequest, Run, RunUpdate, SeriesRequest, SeriesResponse, Writer, WriterOptions,
};

const JSON: &str = "application/json";
const STATUS_NOT_READY: u16 = 503;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the request's last byte to the answer's first; a query may take this long.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);

/// A server. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base_url: Arc<str>,
}

/// What the server says of an ingested batch: it is durable and visible (I1, I2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IngestAck {
    /// Points in the batch.
    pub points: u64,
    /// LSN of the first point, where known.
    pub first_lsn: Option<u64>,
    /// LSN of the last point, where known.
    pub last_lsn: Option<u64>,
    /// Whether this (producer, sequence) had been applied before; nothing was added then (I3).
    pub duplicate: bool,
}

#[derive(Deserialize)]
struct ProblemBody {
    /// MLflow's API has other names for both.
    #[serde(alias = "error_code")]
    code: String,
    #[serde(alias = "message")]
    detail: String,
    row: Option<u64>,
    field: Option<String>,
}

#[derive(Deserialize)]
struct SqlAnswer {
    rows: Vec<Map<String, Value>>,
    error: Option<ProblemBody>,
}

impl Client {
    /// A client of the server at `base_url`, such as `http://127.0.0.1:9090`. Does not connect yet.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        let (agent, base_url) = agent(base_url)?;
        Ok(Self { agent, base_url: base_url.into() })
    }

    /// The server's URL, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Whether the server takes calls; it does not while it replays its log after a start.
    pub fn is_ready(&self) -> Result<bool, ClientError> {
        let url = format!("{}/ready", self.base_url);
        match check(&url, self.agent.get(&url).header("Accept", JSON).call()) {
            Ok(_) => Ok(true),
            Err(ClientError::Problem { status: STATUS_NOT_READY, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a run, and its project if absent.
    pub fn create_run(&self, run: &NewRunRequest) -> Result<Run, ClientError> {
        self.post_json("/api/v1/runs", run)
    }

    /// Reads a run.
    pub fn run(&self, run_id: &str) -> Result<Run, ClientError> {
        let url = self.run_url(run_id);
        read_json(&url, check(&url, self.agent.get(&url).header("Accept", JSON).call())?)
    }

    /// Changes a run; what `update` leaves out stays.
    pub fn update_run(&self, run_id: &str, update: &RunUpdate) -> Result<Run, ClientError> {
        let url = self.run_url(run_id);
        let body = to_json(&url, update)?;
        let request = self.agent.patch(&url).header("Accept", JSON).content_type(JSON);
        read_json(&url, check(&url, request.send(&body[..]))?)
    }

    /// Sets a run's status to `finished`.
    pub fn finish_run(&self, run_id: &str) -> Result<Run, ClientError> {
        self.update_run(run_id, &RunUpdate { status: Some("finished".to_owned()), ..RunUpdate::default() })
    }

    /// Answers a query with rows by column name. NaN and the infinities are text, as the API writes them.
    pub fn sql(&self, query: &str, project: Option<&str>) -> Result<Vec<Map<String, Value>>, ClientError> {
        let answer: SqlAnswer = self.post_json("/api/v1/sql", &json!({"query": query, "project": project}))?;
        match answer.error {
            // The status had been sent when the query failed.
            Some(problem) => Err(problem.into_error(200, None)),
            None => Ok(answer.rows),
        }
    }

    /// Answers a query with Arrow record batches, and their schema, which is there even if no row is.
    pub fn sql_arrow(&self, query: &str, project: Option<&str>) -> Result<(SchemaRef, Vec<RecordBatch>), ClientError> {
        let url = format!("{}/api/v1/sql", self.base_url);
        let body = to_json(&url, &json!({"query": query, "project": project}))?;
        let request = self.agent.post(&url).header("Accept", ARROW_STREAM).content_type(JSON);
        let response = check(&url, request.send(&body[..]))?;
        let wrong =
            |error: arrow::error::ArrowError| ClientError::Answer { url: url.clone(), detail: error.to_string() };
        let reader = StreamReader::try_new_buffered(response.into_body().into_reader(), None).map_err(wrong)?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<_, _>>().map_err(wrong)?;
        Ok((schema, batches))
    }

    /// Reads series, downsampled to buckets.
    pub fn series(&self, request: &SeriesRequest) -> Result<SeriesResponse, ClientError> {
        self.post_json("/api/v1/series", request)
    }

    /// Sends an Arrow stream of points (see [`crate::Points::encode`]) once, without retrying.
    pub fn ingest(&self, stream: &[u8], producer: Option<&ProducerSequence>) -> Result<IngestAck, ClientError> {
        let url = format!("{}/api/v1/ingest", self.base_url);
        let mut request = self.agent.post(&url).header("Accept", JSON).content_type(ARROW_STREAM);
        if let Some(ProducerSequence { producer, sequence }) = producer {
            request = request
                .header("Stepwell-Producer", producer.as_ref())
                .header("Stepwell-Sequence", sequence.to_string());
        }
        read_json(&url, check(&url, request.send(stream))?)
    }

    /// An outbox with the usual bounds.
    pub fn writer(&self) -> Result<Writer, ClientError> {
        self.writer_with(WriterOptions::default())
    }

    /// An outbox with bounds of one's own.
    pub fn writer_with(&self, options: WriterOptions) -> Result<Writer, ClientError> {
        Writer::start(self.clone(), options)
    }

    fn run_url(&self, run_id: &str) -> String {
        format!("{}/api/v1/runs/{}", self.base_url, utf8_percent_encode(run_id, NON_ALPHANUMERIC))
    }

    fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base_url);
        let body = to_json(&url, body)?;
        let request = self.agent.post(&url).header("Accept", JSON).content_type(JSON);
        read_json(&url, check(&url, request.send(&body[..]))?)
    }
}

/// The connections to a server, and its base URL without a slash at the end.
pub(crate) fn agent(base_url: &str) -> Result<(Agent, String), ClientError> {
    let wrong = || ClientError::Url { url: base_url.to_owned() };
    let uri: Uri = base_url.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong());
    }
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(RESPONSE_TIMEOUT));
    if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        // A proxy does not reach this machine's own loopback.
        config = config.proxy(None);
    }
    Ok((config.build().into(), base_url.trim_end_matches('/').to_owned()))
}

impl ProblemBody {
    fn into_error(self, status: u16, retry_after: Option<Duration>) -> ClientError {
        let Self { code, detail, row, field } = self;
        ClientError::Problem { status, code, detail, row, field, retry_after }
    }
}

pub(crate) fn to_json(url: &str, body: &impl serde::Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(body).map_err(|error| ClientError::Answer { url: url.to_owned(), detail: error.to_string() })
}

fn read_all(url: &str, response: Response<Body>) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let read = response.into_body().into_reader().read_to_end(&mut bytes);
    read.map_err(|error| ClientError::Answer { url: url.to_owned(), detail: error.to_string() })?;
    Ok(bytes)
}

pub(crate) fn read_json<T: DeserializeOwned>(url: &str, response: Response<Body>) -> Result<T, ClientError> {
    let bytes = read_all(url, response)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ClientError::Answer { url: url.to_owned(), detail: error.to_string() })
}

/// Makes a refusal an error.
pub(crate) fn check(url: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, ClientError> {
    let response = answer.map_err(|source| ClientError::Transport { url: url.to_owned(), source: Box::new(source) })?;
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(response);
    }
    let header = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let bytes = read_all(url, response).unwrap_or_default();
    let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| ProblemBody {
        code: "http_status".to_owned(),
        detail: format!("{url} answered with status {status}"),
        row: None,
        field: None,
    });
    Err(problem.into_error(status, retry_after))
}
