//! A server that speaks S3: moto's, which others test their use of Amazon's with.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{ServerOptions, venv_python};

/// A running one, with a bucket named `team`. Killed when dropped.
pub struct S3 {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl S3 {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/s3_server.py");
        let mut child = Command::new(venv_python()?)
            .args([script, "team"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut answers = BufReader::new(child.stdout.take().context("stdout")?);
        let mut url = String::new();
        answers.read_line(&mut url)?;
        Ok(Self { ask: child.stdin.take().context("stdin")?, answers, url: url.trim().to_owned(), child })
    }

    /// The answer to a line of the server's script.
    pub fn ask(&mut self, line: &str) -> Result<Value> {
        writeln!(self.ask, "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("{line}: {answer:?}"))
    }

    /// Keys and lengths of all objects.
    pub fn list(&mut self) -> Result<BTreeMap<String, u64>> {
        Ok(serde_json::from_value(self.ask("list")?)?)
    }

    /// What a client of it needs in its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT", self.url.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// A server that has these flags and knows it.
    pub fn options(&self, flags: &[&str]) -> ServerOptions {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        ServerOptions { flags, variables: self.variables(), ..ServerOptions::default() }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
