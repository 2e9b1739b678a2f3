//! Artifacts over sockets, against the real binary: in MLflow's words and in ours.

mod care;
mod hostile;
mod s3;
mod streams;
mod traces;
mod words;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::json;
use stepwell_tests::{Http, Reply, Server};

/// The proxy of artifacts.
const PROXY: &str = "/api/2.0/mlflow-artifacts";

fn run_of(http: &Http, run_id: &str) -> Result<()> {
    http.post("/api/v1/runs", &json!({"project": "p", "run_id": run_id}))?.expect(201)?;
    Ok(())
}

fn put(http: &Http, path: &str, bytes: &[u8]) -> Result<Reply> {
    http.send("PUT", &format!("{PROXY}/artifacts/{path}"), &[("content-type", "text/plain")], bytes)
}

fn get(http: &Http, path: &str) -> Result<Reply> {
    http.get(&format!("{PROXY}/artifacts/{path}"))
}

/// A connection on which bytes are sent as they are; an HTTP library would tidy paths up.
fn connect(server: &Server) -> Result<TcpStream> {
    let stream = TcpStream::connect(server.url().strip_prefix("http://").context("url")?)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Sends a request and reads until the other side closes; status and all that came.
fn raw(server: &Server, request: &[u8]) -> Result<(u16, String)> {
    let mut stream = connect(server)?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).with_context(|| format!("no status in {answer:?}"))?;
    Ok((status.parse()?, answer))
}

/// Files below the directory of artifacts.
fn files(data_dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for dir in std::fs::read_dir(data_dir.join("artifacts"))? {
        for file in std::fs::read_dir(dir?.path())? {
            found.push(file?.file_name().to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// Waits until there are so many files: what a client left behind is removed beside the next request.
fn settled(data_dir: &Path, count: usize) -> Result<()> {
    for _ in 0..500 {
        if files(data_dir)?.len() == count {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("{:?}, {count} expected", files(data_dir)?)
}
