//! Requests that no client sends, and requests that are nearly right: generated from a seed, judged by what every answer must be.

mod dice;
mod endpoints;
mod values;
mod world;

pub use world::GUESSED_EXPERIMENTS;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use stepwell_env::{Clock, SystemClock};

use self::{
    dice::Dice,
    endpoints::{ENDPOINTS, Endpoint},
    world::World,
};
use super::raw::{Raw, RawReply};

const PREFIXES: [&str; 4] = ["/api/2.0/mlflow/", "/api/3.0/mlflow/", "/ajax-api/2.0/mlflow/", "/ajax-api/3.0/mlflow/"];
/// Of segments in paths and values in queries.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// No request may take longer.
const SECONDS_MAX: f64 = 10.0;
/// What a JSON number that is too long for anything becomes here.
const DEEP: usize = 100_000;

/// A request, as it goes over the network.
#[derive(Debug, Clone)]
pub struct Hostile {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

/// How many answers there were of each status.
pub type Tally = std::collections::BTreeMap<u16, usize>;

/// Sends `count` requests that follow from `seed`; fails at the first answer that is not one of MLflow's. `spared` are ids that it does
/// not use though answers name them: what is deleted by its id is gone by right.
pub fn attack(url: &str, seed: u64, count: usize, spared: &[&str]) -> Result<Tally> {
    let (mut dice, mut world, mut raw, mut tally) = (Dice::new(seed), World::new(spared), Raw::new(url), Tally::new());
    for number in 0..count {
        let request = request(&world, &mut dice);
        let clock = SystemClock::new();
        let sent = raw.send(&request.method, &request.target, &[("content-type", "application/json")], &request.body);
        let judged =
            sent.and_then(|reply| judge(&request, &reply, clock.monotonic()).map(|answer| (reply.status, answer)));
        let (status, answer) = judged.with_context(|| {
            let body: String = String::from_utf8_lossy(&request.body).chars().take(2_000).collect();
            let target: String = request.target.chars().take(2_000).collect();
            format!("seed {seed}, request {number}: {} {target}\n{body}", request.method)
        })?;
        *tally.entry(status).or_default() += 1;
        world.learn(&answer, &mut dice);
    }
    Ok(tally)
}

/// Every answer is one of MLflow's: JSON, an error with its code; never that the server failed.
fn judge(request: &Hostile, reply: &RawReply, took: Duration) -> Result<Value> {
    let shown = || String::from_utf8_lossy(&reply.body).chars().take(600).collect::<String>();
    ensure!(took.as_secs_f64() < SECONDS_MAX, "took {took:?}");
    ensure!(!matches!(reply.status, 500 | 502 | 504 | 505..), "status {}: {}", reply.status, shown());
    if request.method == "HEAD" || is_file(request) && reply.status < 400 {
        return Ok(Value::Null);
    }
    let is_api = request.target.starts_with("/api/") || request.target.starts_with("/ajax-api/");
    let Ok(answer) = serde_json::from_slice::<Value>(&reply.body) else {
        // What the HTTP library refuses before anybody is asked, it refuses without a body.
        ensure!(
            reply.body.is_empty() && reply.status == 400 || !is_api,
            "status {}, no JSON: {:?}",
            reply.status,
            shown()
        );
        return Ok(Value::Null);
    };
    if reply.status >= 400 && is_api {
        let is_text = |name: &str| answer[name].as_str().is_some_and(|text| !text.is_empty());
        let is_mlflow_s = is_text("error_code") && is_text("message");
        // A path or a method that nobody knows may be refused before anybody thinks of MLflow.
        let is_ours = matches!(reply.status, 404 | 405) && is_text("code") && is_text("detail");
        ensure!(is_mlflow_s || is_ours, "status {}, no error of MLflow's: {}", reply.status, shown());
    } else if is_api && !answer.is_object() {
        bail!("no object: {}", shown());
    }
    Ok(answer)
}

/// Whether the answer is the bytes of a file.
fn is_file(request: &Hostile) -> bool {
    request.target.contains("/mlflow-artifacts/artifacts/") || request.target.starts_with("/get-artifact")
}

fn request(world: &World, dice: &mut Dice) -> Hostile {
    let mut request = match dice.below(20) {
        0 | 1 => proxy(world, dice),
        _ => {
            let endpoint = *dice.of(ENDPOINTS);
            call(endpoint, world, dice)
        }
    };
    if dice.chance(3) {
        request.method = dice.word(&["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]).to_string();
    }
    if dice.chance(8) {
        spoil(&mut request, dice);
    }
    request
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A call of the API. Most of its fields are there and right, or it would not get far.
fn call((method, path, fields): Endpoint, world: &World, dice: &mut Dice) -> Hostile {
    let sanity = *dice.of(&[100, 95, 80, 40]);
    let mut members = Map::new();
    let mut target = format!("{}{path}", dice.word(&PREFIXES));
    for (name, kind) in fields {
        let value = values::value(*kind, world, dice, sanity);
        let braces = format!("{{{name}}}");
        if target.contains(&braces) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let text = if dice.chance(95) { encoded(&text) } else { text.replace([' ', '\n', '\r', '\u{0}'], "%20") };
            target = target.replace(&braces, &text);
        } else if dice.chance(85) {
            members.insert((*name).to_owned(), value);
        }
    }
    let body = if method == "GET" || target.ends_with("upload-artifact") {
        let query = query(&members, dice);
        target = format!("{target}?{query}");
        Vec::new()
    } else {
        Value::Object(members).to_string().into_bytes()
    };
    Hostile { method: method.to_owned(), target, body }
}

fn query(members: &Map<String, Value>, dice: &mut Dice) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut pairs = Vec::new();
    for (name, value) in members {
        match value {
            Value::Array(values) => {
                pairs.extend(values.iter().map(|value| format!("{name}={}", encoded(&text(value)))))
            }
            value => pairs.push(format!("{name}={}", encoded(&text(value)))),
        }
    }
    if dice.chance(5) {
        pairs.push(dice.word(&["%ff=%fe", "a", "=", "&&", "%", "run_id=%00", "page_token=%80", "a[]=1"]).to_string());
    }
    // A request line has its limit.
    let mut query = pairs.join("&");
    query.truncate(query.char_indices().map(|(at, _)| at).take_while(|at| *at < 30_000).last().unwrap_or(0) + 1);
    query
}

/// A call of the proxy of artifacts.
fn proxy(world: &World, dice: &mut Dice) -> Hostile {
    let root = match dice.below(3) {
        0 => String::new(),
        _ => format!("{}/{}/artifacts/", world.one("experiment_id", dice), world.one("run_id", dice)),
    };
    let path = values::path(dice);
    let path = if dice.chance(60) {
        path.split('/').map(encoded).collect::<Vec<_>>().join("/")
    } else {
        path.replace(' ', "+")
    };
    let method = dice.word(&["GET", "PUT", "DELETE", "GET"]).to_string();
    let prefix = dice.word(&["/api/2.0/mlflow-artifacts/artifacts/", "/ajax-api/2.0/mlflow-artifacts/artifacts/"]);
    let target = match dice.below(6) {
        0 => format!("/get-artifact?run_id={}&path={}", world.one("run_id", dice), encoded(&path)),
        1 => format!("/api/2.0/mlflow-artifacts/artifacts?path={}", encoded(&format!("{root}{path}"))),
        2 => {
            format!(
                "/api/2.0/mlflow-artifacts/mpu/{}/{root}{path}",
                dice.word(&["create", "complete", "abort", "other"])
            )
        }
        _ => format!("{prefix}{root}{path}"),
    };
    let ascii =
        target.chars().map(|c| if c.is_ascii_graphic() { c.to_string() } else { encoded(&c.to_string()) }).collect();
    let body = match dice.below(3) {
        0 => Vec::new(),
        1 => br#"{"path": "a", "num_parts": 3, "upload_id": "x", "parts": [{"part_number": 1, "etag": "e"}]}"#.to_vec(),
        _ => vec![b'x'; dice.below(5_000)],
    };
    Hostile { method, target: ascii, body }
}

/// Bytes that are not what they should be.
fn spoil(request: &mut Hostile, dice: &mut Dice) {
    let body = &mut request.body;
    match dice.below(12) {
        0 => body.clear(),
        1 => body.truncate(dice.below(body.len() + 1)),
        2 => *body = [b"[".repeat(DEEP), b"]".repeat(DEEP)].concat(),
        3 => *body = br#"{"a":"#.repeat(DEEP / 10),
        4 => *body = b"[1, 2]".to_vec(),
        5 => *body = Value::String(String::from_utf8_lossy(body).into_owned()).to_string().into_bytes(),
        6 => (0..=dice.below(4)).for_each(|_| {
            let at = dice.below(body.len() + 1);
            body.splice(at..at, [0xff, 0xfe, 0x80, dice.next() as u8]);
        }),
        7 => *body = br#"{"run_id": "\ud800", "key": "\udfff\u0000"}"#.to_vec(),
        8 => *body = [br#"{"run_id":"a","run_id":1,"#.to_vec(), body.get(1..).unwrap_or_default().to_vec()].concat(),
        9 => body.extend(b" trailing"),
        10 => request.target = request.target.replacen('/', "//", 1 + dice.below(4)),
        _ => request.target.push('/'),
    }
}
