//! Whole imports into a server that keeps what an import needs: runs, tags, and points once per (producer, sequence).

mod http;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Request, serve};
use serde_json::{Value, json};
use stepwell_client::Client;
use stepwell_import::tensorboard::{ImportError, ImportReport, import};

const MADE_BY: &str = "stepwell.import.tensorboard.made_by";

/// Runs by id; batches refused as duplicates are those at or below the producer's last sequence.
#[derive(Default)]
struct Server {
    runs: BTreeMap<String, Value>,
    last: BTreeMap<String, u64>,
    /// Ids of runs that have points, whether or not the runs are there.
    with_points: BTreeSet<String>,
}

impl Server {
    fn start() -> (Client, Arc<Mutex<Self>>) {
        let server = Arc::new(Mutex::new(Self::default()));
        let shared = server.clone();
        let url = serve(move |request| shared.lock().unwrap().answer(request));
        (Client::new(&url).unwrap(), server)
    }

    fn answer(&mut self, request: &Request) -> (u16, Vec<u8>) {
        let (header, path) = (|name: &str| request.header(name).unwrap(), &request.path_and_query);
        let (status, answer) = if path.ends_with("/ingest") {
            let (producer, sequence) = (header("stepwell-producer"), header("stepwell-sequence"));
            let (last, sequence) = (self.last.entry(producer).or_default(), sequence.parse::<u64>().unwrap());
            let duplicate = sequence <= *last;
            *last = sequence.max(*last);
            let text = String::from_utf8_lossy(&request.body);
            self.with_points.extend(self.runs.keys().filter(|id| text.contains(id.as_str())).cloned());
            (200, json!({"points": 0, "first_lsn": null, "last_lsn": null, "duplicate": duplicate}))
        } else if path.ends_with("/sql") {
            let query = String::from_utf8_lossy(&request.body);
            let rows =
                self.with_points.iter().filter(|id| query.contains(&format!("'{id}'"))).map(|_| json!({"step": 0}));
            (200, json!({"rows": rows.collect::<Vec<_>>()}))
        } else {
            self.run(&request.method, path.rsplit('/').next().unwrap(), &request.body)
        };
        (status, answer.to_string().into_bytes())
    }

    fn run(&mut self, method: &str, escaped: &str, body: &[u8]) -> (u16, Value) {
        let given: Value = serde_json::from_slice(body).unwrap_or_default();
        if method == "POST" {
            let id = given["run_id"].as_str().unwrap().to_owned();
            if self.runs.contains_key(&id) {
                return (409, json!({"code": "run_exists", "detail": "the run exists"}));
            }
            let run = json!({"run_id": id, "project_id": "1", "name": given["name"], "status": "running", "params": {},
                "tags": given.get("tags").cloned().unwrap_or(json!({}))});
            self.runs.insert(id, run.clone());
            return (201, run);
        }
        let id = escaped.replace("%2D", "-").replace("%2F", "/").replace("%2E", ".").replace("%5F", "_");
        let run = self.runs.get_mut(&id).unwrap();
        for (member, value) in given.as_object().into_iter().flatten() {
            match value.as_object() {
                Some(entries) => {
                    let kept = run[member].as_object_mut().unwrap();
                    kept.extend(entries.clone());
                    kept.retain(|_, value| !value.is_null());
                }
                None => run[member] = value.clone(),
            }
        }
        (200, run.clone())
    }
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tensorboard/logdir")
}

fn run(client: &Client, logdir: &Path) -> ImportReport {
    static IMPORTS: AtomicU64 = AtomicU64::new(0);
    let (mut last, import_id) = (None, IMPORTS.fetch_add(1, Ordering::Relaxed).to_string());
    let report = import(logdir, "tb", &import_id, client, &mut |progress| last = Some(progress)).unwrap();
    let last = last.unwrap();
    assert_eq!(last.bytes_done, last.bytes_total);
    report
}

#[test]
fn i3_a_repeated_import_adds_nothing_and_hparams_become_params() {
    let (client, server) = Server::start();
    let first = run(&client, &fixture());
    assert!(first.skipped.is_empty(), "{:?}", first.skipped);
    assert_eq!(first.new_points(), first.points());
    let before = server.lock().unwrap().runs.clone();
    let trial = before.values().find(|run| run["name"] == "hp/trial_0").unwrap();
    assert_eq!(trial["params"], json!({"bn": true, "layers": 18.0, "lr": 0.1, "opt": "sgd"}));
    assert_eq!(trial["status"], "finished");
    let second = run(&client, &fixture());
    assert_eq!((second.points(), second.new_points()), (first.points(), 0));
    assert_eq!(server.lock().unwrap().runs, before);
}

#[test]
fn i3_a_file_that_grows_is_continued_where_the_import_ended() {
    let name = "events.out.tfevents.1790001000.trainbox";
    let whole = fs::read(fixture().join("resnet/resumed").join(name)).unwrap();
    let (client, _server) = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let mut added = 0;
    for length in [100_000, 209_820, 209_820, whole.len(), whole.len()] {
        fs::write(dir.path().join(name), &whole[..length]).unwrap();
        let report = run(&client, dir.path());
        added += report.new_points();
        assert_eq!(added, report.points(), "each point is new once");
        assert_eq!(report.skipped.len(), usize::from(length < whole.len()));
        assert_eq!(report.runs[0].path, ".");
    }
    assert_eq!(added, 9_000);
}

/// What is purged is gone with its tags; that its producers were heard before is known on.
#[test]
fn i4_a_purged_run_is_imported_anew() {
    let (client, server) = Server::start();
    let first = run(&client, &fixture());
    {
        let mut server = server.lock().unwrap();
        server.runs.clear();
        server.with_points.clear();
    }
    let second = run(&client, &fixture());
    assert!(first.points() > 0);
    assert_eq!((second.points(), second.new_points()), (first.points(), first.points()));
}

#[test]
fn i3_a_run_of_an_earlier_version_is_continued() {
    let (client, server) = Server::start();
    let first = run(&client, &fixture());
    // As they were made before runs were told which import made them.
    {
        let mut server = server.lock().unwrap();
        server.last.clear();
        for run in server.runs.values_mut() {
            let tags = run["tags"].as_object_mut().unwrap();
            assert!(tags.remove(MADE_BY).is_some());
            *tags = std::mem::take(tags).into_iter().map(|(key, value)| (key.replace(".cuts/", "/"), value)).collect();
        }
    }
    let of_earlier_version = run(&client, &fixture());
    assert_eq!(of_earlier_version.new_points(), first.points());
    let of_resumed = "tb-0a3632c86979de4a5108cb1b";
    assert!(server.lock().unwrap().last.contains_key(of_resumed), "the name that earlier versions gave");
    assert_eq!(run(&client, &fixture()).new_points(), 0);
}

/// A repair may lose rows of metadata, and somebody delete an odd tag; the points are there all the same.
#[test]
fn i3_points_of_a_run_that_lost_its_row_or_tags_are_not_sent_again() {
    let lost: [fn(&mut Server); 3] = [
        |server| server.runs.clear(),
        |server| server.runs.values_mut().for_each(|run| run["tags"] = json!({})),
        |server| server.runs.values_mut().for_each(|run| drop(run["tags"].as_object_mut().unwrap().remove(MADE_BY))),
    ];
    for (case, lose) in lost.into_iter().enumerate() {
        let (client, server) = Server::start();
        run(&client, &fixture());
        let sent = server.lock().unwrap().last.clone();
        lose(&mut server.lock().unwrap());
        for again in ["again", "and again"] {
            let result = import(&fixture(), "tb", again, &client, &mut |_| {});
            assert!(matches!(result, Err(ImportError::UnknownPoints { .. })), "{case}: {result:?}");
            assert_eq!(server.lock().unwrap().last, sent, "{case}: no batch but the first import's");
        }
    }
}

#[test]
fn i3_an_import_that_was_killed_when_it_had_made_its_runs_goes_on() {
    let (client, server) = Server::start();
    let first = run(&client, &fixture());
    {
        let mut server = server.lock().unwrap();
        server.last.clear();
        server.with_points.clear();
        let made_by = |run: &Value| run["tags"][MADE_BY].clone();
        let new = |run: &Value| json!({MADE_BY: made_by(run), "stepwell.import.tensorboard.new": "true"});
        server.runs.values_mut().for_each(|run| run["tags"] = new(run));
    }
    for new_points in [first.points(), 0] {
        assert_eq!(run(&client, &fixture()).new_points(), new_points);
    }
}

#[test]
fn an_empty_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let result = import(dir.path(), "tb", "0", &client, &mut |_| {});
    assert!(matches!(result, Err(ImportError::NoEventFiles { .. })));
}
