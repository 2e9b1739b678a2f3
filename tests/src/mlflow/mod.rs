//! Genuine clients of MLflow: what they see of a server in the sessions of `tests/python/mlflow`.

pub mod hostile;
pub mod raw;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::locate::{python_of, repository};

/// Versions of the client that sessions are run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Newest,
    /// `mlflow-skinny` of a year ago.
    YearOld,
}

impl Client {
    /// The interpreter that has it.
    pub fn python(self) -> Result<PathBuf> {
        python_of(match self {
            Self::Newest => "mlflow/newest",
            Self::YearOld => "mlflow/year-old",
        })
    }
}

/// What a session saw, entry by entry.
pub type Transcript = Map<String, Value>;

/// A process that has imported MLflow and runs sessions, each in a process of its own.
pub struct Sessions {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sessions {
    /// Starts it.
    pub fn start(client: Client) -> Result<Self> {
        let mut child = Command::new(client.python()?)
            .arg(folder().join("serve_sessions.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start Python")?;
        let requests = child.stdin.take().context("stdin")?;
        let answers = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Self { child, requests, answers })
    }

    /// Runs one session against the server at `url`.
    pub fn run(&mut self, session: &str, url: &str) -> Result<Transcript> {
        writeln!(self.requests, "{}", json!({"session": session, "url": url})).context("ask for a session")?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("read a transcript")?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("answer {line:?}"))?;
        match answer["transcript"].take() {
            Value::Object(transcript) => Ok(transcript),
            _ => bail!("{session}: {}", answer["error"].as_str().unwrap_or(&line)),
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        // Ended already, or ended here; there is nothing to do about a failure of either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> PathBuf {
    repository().join("tests/python/mlflow")
}

fn object(path: PathBuf) -> Result<Option<Transcript>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).map(Some).with_context(|| format!("{} is no transcript", path.display()))
}

/// The names of all sessions.
pub fn names() -> Result<Vec<String>> {
    let text = fs::read_to_string(folder().join("names.txt")).context("names.txt")?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// What the session is to see: what a genuine server showed it, but for the differences that `differences.json` explains.
pub fn expected(session: &str, client: Client) -> Result<Transcript> {
    let mut expected = object(folder().join(format!("expected/{session}.json")))?.context("no expected transcript")?;
    if client == Client::YearOld {
        expected.extend(object(folder().join(format!("expected/year-old/{session}.json")))?.unwrap_or_default());
        expected.retain(|_, seen| !is_absent(seen));
    }
    let differences = object(folder().join("differences.json"))?.unwrap_or_default();
    let of_session = differences.get(session).and_then(Value::as_object).into_iter().flatten();
    for (label, difference) in of_session {
        if let Some(genuine) = expected.get_mut(label) {
            ensure!(
                client != Client::Newest || *genuine != difference["stepwell"],
                "{session}: {label:?} is no difference: strike it from differences.json"
            );
            genuine.clone_from(&difference["stepwell"]);
        }
    }
    Ok(expected)
}

/// Why Stepwell answers otherwise, each reason once.
pub fn reasons() -> Result<Vec<String>> {
    let differences = object(folder().join("differences.json"))?.context("no differences.json")?;
    let mut reasons = Vec::new();
    for difference in differences.values().filter_map(Value::as_object).flat_map(Map::values) {
        let why = difference["why"].as_str().context("a difference without a reason")?.to_owned();
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }
    Ok(reasons)
}

/// An entry of the newest client that the old one has not.
fn is_absent(seen: &Value) -> bool {
    seen == "(absent)"
}

/// Entries that differ, as lines for whoever has to find out why.
pub fn differences(expected: &Transcript, seen: &Transcript) -> Vec<String> {
    let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let labels = expected.keys().chain(seen.keys().filter(|label| !expected.contains_key(*label)));
    labels
        .filter(|label| expected.get(*label) != seen.get(*label))
        .map(|label| format!("{label}\n  wanted {}\n  got    {}", shown(expected.get(label)), shown(seen.get(label))))
        .collect()
}
