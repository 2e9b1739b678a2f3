//! A small blocking HTTP client that hands out every status as an answer.

use std::{io::Read, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::http::{Method, Request};

/// Calls one server.
#[derive(Clone)]
pub struct Http {
    agent: ureq::Agent,
    base: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("status {}, body {}", self.status, self.text()))
    }

    /// The body as JSON, if the status is `status`.
    pub fn expect(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "wanted {status}, got {}: {}", self.status, self.text());
        self.json()
    }
}

impl Http {
    /// A client of the server at `base`, e.g. `http://127.0.0.1:9090`. Calls give up after 120 s.
    pub fn new(base: &str) -> Self {
        Self::with_timeout(base, Duration::from_secs(120))
    }

    /// The same, with calls that give up after `at_most`.
    pub fn with_timeout(base: &str, at_most: Duration) -> Self {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(at_most)).proxy(None).build();
        Self { agent: config.into(), base: base.to_owned() }
    }

    /// Sends any request; the body is sent as it is.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        let method: Method = method.parse().context("method")?;
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.agent.run(request.body(body).context("request")?)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut bytes = Vec::new();
        response.into_body().into_reader().read_to_end(&mut bytes).context("read the body")?;
        Ok(Reply { status, headers, body: bytes })
    }

    /// GET without special headers.
    pub fn get(&self, path: &str) -> Result<Reply> {
        self.send("GET", path, &[], b"")
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// PATCH of JSON.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send("PATCH", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Answers one SQL query as the list of its rows.
    pub fn sql(&self, project: &str, query: &str) -> Result<Vec<Value>> {
        let body = serde_json::json!({"query": query, "project": project});
        let reply = self.post("/api/v1/sql", &body)?.expect(200).with_context(|| query.to_owned())?;
        Ok(reply["rows"].as_array().context("rows")?.clone())
    }

    /// Answers one SQL query as an Arrow stream.
    pub fn sql_arrow(&self, project: &str, query: &str) -> Result<Vec<arrow::record_batch::RecordBatch>> {
        let body = serde_json::json!({"query": query, "project": project}).to_string();
        let accept = ("accept", crate::arrow_stream::MEDIA_TYPE);
        let reply =
            self.send("POST", "/api/v1/sql", &[("content-type", "application/json"), accept], body.as_bytes())?;
        ensure!(reply.status == 200, "{query}: {} {}", reply.status, reply.text());
        crate::arrow_stream::decode(&reply.body)
    }
}
