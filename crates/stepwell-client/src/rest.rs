//! Calls of an HTTP API that speaks JSON, whosever it is: MLflow's, of a server or of ours.

use std::io::Read;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::{Agent, SendBody};

use crate::{
    ClientError,
    client::{agent, check, read_json, to_json},
};

/// What may stand in a path or a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A server and its base URL.
#[derive(Debug, Clone)]
pub struct Rest {
    agent: Agent,
    base_url: String,
}

impl Rest {
    /// The API at `base_url`. Does not connect yet.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        let (agent, base_url) = agent(base_url)?;
        Ok(Self { agent, base_url })
    }

    /// The base URL, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Reads JSON; `query` is encoded here, `path` is sent as it is.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ClientError> {
        let url = self.url(path, query);
        read_json(&url, check(&url, self.agent.get(&url).header("Accept", "application/json").call())?)
    }

    /// Sends JSON and reads JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let url = self.url(path, &[]);
        let bytes = to_json(&url, body)?;
        read_json(&url, check(&url, self.agent.post(&url).content_type("application/json").send(&bytes[..]))?)
    }

    /// The same by PATCH.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let url = self.url(path, &[]);
        let bytes = to_json(&url, body)?;
        read_json(&url, check(&url, self.agent.patch(&url).content_type("application/json").send(&bytes[..]))?)
    }

    /// Deletes, by a JSON body that says what.
    pub fn delete(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let url = self.url(path, &[]);
        let bytes = to_json(&url, body)?;
        let request = self.agent.delete(&url).header("Content-Type", "application/json").force_send_body();
        read_json(&url, check(&url, request.send(&bytes[..]))?)
    }

    /// The bytes of a file, as they come.
    pub fn download(&self, path: &str, query: &[(&str, &str)]) -> Result<impl Read + 'static, ClientError> {
        let url = self.url(path, query);
        Ok(check(&url, self.agent.get(&url).call())?.into_body().into_reader())
    }

    /// Sends the bytes of a file as they are read, so that its size does not matter.
    pub fn upload(&self, path: &str, bytes: &mut dyn Read) -> Result<(), ClientError> {
        let url = self.url(path, &[]);
        let mut bytes = bytes;
        let request = self.agent.put(&url).content_type("application/octet-stream");
        check(&url, request.send(SendBody::from_reader(&mut bytes))).map(|_| ())
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let pairs: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        format!("{}{path}{mark}{}", self.base_url, pairs.join("&"))
    }
}

/// A path of a file, each of its segments as a path of a URL has it.
pub fn encoded_path(path: &str) -> String {
    path.split('/').map(|segment| utf8_percent_encode(segment, PLAIN).to_string()).collect::<Vec<_>>().join("/")
}
