//! MLflow's own clients, the newest and one a year old, see of Stepwell what they saw of a genuine MLflow server.
//!
//! Each session of `tests/python/mlflow` is a test for each client. What a genuine server answered is in `expected/`
//! (`cargo xtask mlflow record` writes it anew); `differences.json` says where Stepwell answers otherwise, and why.

use std::{
    process::Command,
    sync::{LazyLock, Mutex, PoisonError},
};

use serde_json::json;
use stepwell_tests::{
    Server, ServerOptions,
    mlflow::{Client, Sessions, differences, expected, names, reasons},
    repository,
};

type Worker = LazyLock<Mutex<Sessions>>;

static NEWEST: Worker = LazyLock::new(|| Mutex::new(Sessions::start(Client::Newest).unwrap()));
static YEAR_OLD: Worker = LazyLock::new(|| Mutex::new(Sessions::start(Client::YearOld).unwrap()));

fn is_as_expected(session: &str, client: Client) {
    // Receivers of webhooks are on this machine.
    let flags = vec!["--webhook-private".to_owned()];
    let server = Server::start_with(&ServerOptions { flags, ..ServerOptions::default() }).unwrap();
    let worker = match client {
        Client::Newest => &NEWEST,
        Client::YearOld => &YEAR_OLD,
    };
    let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = worker.run(session, server.url()).unwrap_or_else(|error| panic!("{error:#}"));
    drop(worker);
    let differences = differences(&expected(session, client).unwrap(), &seen);
    assert!(differences.is_empty(), "{session}: {} entries differ\n{}", differences.len(), differences.join("\n"));
    server.check_log(&[]).unwrap();
}

/// The README's example, and the points that it logged, in SQL.
#[test]
fn i2_the_readme_s_example_works_as_pasted_and_sql_sees_its_points() {
    let server = Server::start().unwrap();
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let script = readme.split("```py\n").nth(1).unwrap().split("```").next().unwrap();
    let script = script.replace("http://127.0.0.1:9090", server.url());
    let python = Client::Newest.python().unwrap();
    let output = Command::new(python).args(["-c", &script]).env("NO_PROXY", "127.0.0.1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("metrics.loss") && text.contains("0.01"), "{text}");
    let rows = server.http().sql("digits", "SELECT count(*) AS points, min(value) AS best FROM points").unwrap();
    assert_eq!(rows, [json!({"points": 100, "best": 0.01})]);
    server.check_log(&[]).unwrap();
}

macro_rules! sessions {
    ($($module:ident: $($function:ident)*;)*) => {
        mod newest {
            $(mod $module {
                $(#[test]
                fn $function() {
                    crate::is_as_expected(concat!(stringify!($module), ".", stringify!($function)), crate::Client::Newest);
                })*
            })*
        }

        mod year_old {
            $(mod $module {
                $(#[test]
                fn $function() {
                    crate::is_as_expected(concat!(stringify!($module), ".", stringify!($function)), crate::Client::YearOld);
                })*
            })*
        }

        #[test]
        fn every_session_is_a_test() {
            let tests = [$($(concat!(stringify!($module), ".", stringify!($function))),*),*];
            assert_eq!(names().unwrap(), tests);
        }
    };
}

// `cargo xtask mlflow` runs these alone.
sessions! {
    first_steps: quickstart endings lifecycle;
    experiments: lifecycle search;
    autolog: fit grid_search signature;
    frameworks: lightning transformers keras boosting;
    sweeps: nested resumed;
    values: edges raw;
    limits: batches names_and_values immutable tags;
    handshake: greetings wrong_requests;
    searching: filters orders pages tables;
    histories: paged bulk interval;
    inputs: datasets low_level;
    artifacts: files figures proxy;
    models: registered python_function logged;
    registry: lifecycle search sources;
    prompts: versions;
    traces: decorated in_run assessed;
    webhooks: managed sent;
    command_line: experiments runs_and_artifacts project models;
    low_level: asynchronous threads environments;
}

/// `schemas/mlflow.md` lists each difference; UPDATE_SCHEMAS=1 writes the list.
#[test]
fn the_docs_tell_every_difference() {
    let told: String = reasons().unwrap().iter().map(|why| format!("- {why}\n")).collect();
    let path = repository().join("schemas/mlflow.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- differences:begin -->\n").unwrap();
    let (listed, after) = rest.split_once("<!-- differences:end -->").unwrap();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        let text = format!("{before}<!-- differences:begin -->\n{told}<!-- differences:end -->{after}");
        return std::fs::write(&path, text).unwrap();
    }
    assert_eq!(listed, told);
}
