//! Rot under the real binary: bytes flipped at rest and under a running server; what a client hears, `check` and `repair`.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};
use stepwell_tests::{Http, Server, ServerOptions, command};

fn run(arguments: &[&str], data_dir: &Path) -> Output {
    command().unwrap().args(arguments).arg(data_dir).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A run of its own in each of three segments: a start of the server for each, for a stop flushes.
fn filled(data_dir: &Path) {
    for run_id in ["a", "b", "c"] {
        let mut server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
        let http = server.http();
        let run = json!({"project": "rot", "run_id": run_id, "params": {"lr": 0.1}});
        http.post("/api/v1/runs", &run).unwrap().expect(201).unwrap();
        for step in 0..20 {
            let point = json!({"step": step, "metrics": {"loss": step as f64 / 2.0}});
            http.post(&format!("/api/v1/runs/{run_id}/log"), &point).unwrap().expect(200).unwrap();
        }
        server.terminate().unwrap();
    }
}

fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data_dir.join("segments")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Changes one bit in place, under the feet of whoever has the file open.
fn flip(path: &Path, byte: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut old = [0];
    file.read_exact_at(&mut old, byte).unwrap();
    file.write_all_at(&[old[0] ^ 4], byte).unwrap();
}

/// Status and body of a sum over a run's points.
fn sum(http: &Http, run_id: &str) -> (u16, Value) {
    let query = json!({"project": "rot", "query": format!("SELECT sum(value) AS s, max(step) AS l, max(timestamp) AS t FROM points WHERE run_id = '{run_id}'")});
    let reply = http.post("/api/v1/sql", &query).unwrap();
    (reply.status, reply.json().unwrap())
}

fn is_whole(answer: &(u16, Value)) -> bool {
    answer.0 == 200 && answer.1.to_string().contains("95.0")
}

#[test]
fn i11_damage_at_rest_is_named_checked_and_repaired_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    filled(data_dir);
    let clean = run(&["check"], data_dir);
    assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stdout));
    let damaged = segments(data_dir).swap_remove(1);
    flip(&damaged, std::fs::metadata(&damaged).unwrap().len() - 40);
    // The manifest rots too: its copy stands in.
    flip(&data_dir.join("MANIFEST"), 60);

    let found = run(&["check", "--json"], data_dir);
    assert_eq!(found.status.code(), Some(1));
    let found = json_of(&found);
    let of_points = found["damages"].as_array().unwrap().iter().find(|damage| damage["concerns"]["kind"] == "points");
    let of_points = of_points.unwrap_or_else(|| panic!("{found}"));
    assert_eq!((&of_points["file"], found["damages"].as_array().unwrap().len()), (&json!(damaged), 2), "{found}");
    assert_eq!(
        (&of_points["concerns"]["run_ids"], &of_points["concerns"]["points"]),
        (&json!(["b"]), &json!(20)),
        "{found}"
    );

    let mut server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
    let http = server.http();
    assert!(is_whole(&sum(&http, "a")) && is_whole(&sum(&http, "c")));
    let (status, problem) = sum(&http, "b");
    assert_eq!((status, &problem["code"]), (500, &json!("data_damaged")), "{problem}");
    assert!(problem.to_string().contains(damaged.file_name().unwrap().to_str().unwrap()), "{problem}");
    assert!(server.metric("stepwell_damaged_places").unwrap() >= 2.0);
    sum(&http, "b");
    let said = server.log().iter().filter(|line| line.contains("a segment is damaged")).count();
    assert_eq!(said, 1, "once, not once a read");
    server
        .check_log(&["a segment is damaged", "the manifest is damaged", "the query failed", "damaged at byte"])
        .unwrap();
    // A repair wants the directory for itself.
    assert!(!run(&["repair"], data_dir).status.success());
    server.terminate().unwrap();

    let would = json_of(&run(&["repair", "--dry-run", "--json"], data_dir));
    assert_eq!((&would["segments"][0]["lost"]["points"], &would["quarantined"]), (&json!(20), &json!([])), "{would}");
    let repaired = run(&["repair"], data_dir);
    let text = String::from_utf8_lossy(&repaired.stdout).into_owned();
    assert!(
        repaired.status.success() && text.contains("runs b"),
        "{text}{}",
        String::from_utf8_lossy(&repaired.stderr)
    );
    assert!(data_dir.join("quarantine/segments").join(damaged.file_name().unwrap()).exists());
    assert!(run(&["check"], data_dir).status.success());
    let again = String::from_utf8_lossy(&run(&["repair"], data_dir).stdout).into_owned();
    assert!(again.contains("nothing is damaged"), "{again}");

    let server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
    assert!(is_whole(&sum(&server.http(), "a")) && is_whole(&sum(&server.http(), "c")));
    assert_eq!(sum(&server.http(), "b").0, 200, "what is lost is given up: the query answers from what there is");
    server.check_log(&[]).unwrap();
}

/// It used to be left out of all answers until the next start.
#[test]
fn i11_a_segment_that_cannot_be_opened_at_start_fails_its_queries_and_answers_once_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    filled(data_dir);
    let segment = segments(data_dir).swap_remove(1);
    let aside = data_dir.join("aside");
    std::fs::rename(&segment, &aside).unwrap();
    // It opens, and cannot be mapped: not missing, and no damage.
    std::fs::create_dir(&segment).unwrap();
    let mut server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
    let http = server.http();
    assert!(is_whole(&sum(&http, "a")) && is_whole(&sum(&http, "c")));
    let (status, problem) = sum(&http, "b");
    assert_eq!((status, &problem["code"]), (503, &json!("file_unreadable")), "{problem}");
    assert!(problem.to_string().contains(segment.file_name().unwrap().to_str().unwrap()), "{problem}");
    assert_eq!(server.metric("stepwell_damaged_places").unwrap(), 1.0);
    std::fs::remove_dir(&segment).unwrap();
    std::fs::rename(&aside, &segment).unwrap();
    assert!(is_whole(&sum(&http, "b")), "without a restart");
    assert_eq!(server.metric("stepwell_damaged_places").unwrap(), 0.0);
    server.terminate().unwrap();
    server.check_log(&["cannot be opened", "the query failed"]).unwrap();
}

#[test]
fn i11_bytes_flipped_under_a_running_server_are_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    filled(data_dir);
    let server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
    let http = server.http();
    // All is read once, so that what is checked at first use has been.
    ["a", "b", "c"].iter().for_each(|run_id| assert!(is_whole(&sum(&http, run_id))));
    let mut refused = 0;
    for (path, run_id) in segments(data_dir).iter().zip(["a", "b", "c"]) {
        let length = std::fs::metadata(path).unwrap().len();
        for byte in (0..length).step_by(15) {
            flip(path, byte);
            let answer = sum(&http, run_id);
            match answer.0 {
                500 => {
                    assert_eq!(answer.1["code"], "data_damaged", "{}", answer.1);
                    refused += 1;
                }
                _ => assert!(is_whole(&answer), "{} byte {byte}: {answer:?}", path.display()),
            }
            flip(path, byte);
        }
    }
    assert!(refused > 10, "{refused}");
    assert_eq!(http.get("/health").unwrap().status, 200);
    ["a", "b", "c"]
        .iter()
        .for_each(|run_id| assert!(is_whole(&sum(&http, run_id)), "what is whole again answers again"));
    // Ingest goes on all the while.
    let point = json!({"step": 99, "metrics": {"loss": 1.0}});
    http.post("/api/v1/runs/a/log", &point).unwrap().expect(200).unwrap();
}

/// A segment is mapped: to touch what is no longer there would end the server by a signal, for the sake of one query.
#[test]
fn i11_a_segment_cut_under_a_running_server_fails_its_queries_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    filled(data_dir);
    let mut server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
    let http = server.http();
    ["a", "b", "c"].iter().for_each(|run_id| assert!(is_whole(&sum(&http, run_id))));
    let segment = segments(data_dir).swap_remove(1);
    let content = std::fs::read(&segment).unwrap();
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    for length in [0, 1, 100] {
        file.set_len(length).unwrap();
        let (status, problem) = sum(&http, "b");
        assert_eq!((status, &problem["code"]), (500, &json!("data_damaged")), "cut at {length}: {problem}");
        let text = problem.to_string();
        assert!(text.contains(segment.file_name().unwrap().to_str().unwrap()) && text.contains("at byte"), "{text}");
        assert!(is_whole(&sum(&http, "a")) && is_whole(&sum(&http, "c")));
        let point = json!({"step": 100 + length, "metrics": {"other": 0.0}});
        http.post("/api/v1/runs/b/log", &point).unwrap().expect(200).unwrap();
        // Beside the server, which finds the length wrong.
        let found = json_of(&run(&["check", "--json"], data_dir));
        assert_eq!(found["damages"][0]["file"], json!(segment), "{found}");
        file.write_all_at(&content, 0).unwrap();
        assert!(is_whole(&sum(&http, "b")), "without a restart");
    }
    server.terminate().unwrap();
    server.check_log(&["a segment is damaged", "the query failed", "damaged at byte"]).unwrap();
}

#[test]
fn i11_damaged_metadata_is_refused_by_name_and_a_flipped_bit_is_turned_back() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    filled(data_dir);
    let path = data_dir.join("metadata.sqlite");
    let whole = std::fs::read(&path).unwrap();
    for page in 0..whole.len() as u64 / 4_096 {
        flip(&path, page * 4_096 + 4_000);
        let found = json_of(&run(&["check", "--json"], data_dir));
        assert_eq!(found["damages"][0]["file"], json!(path), "page {page}: {found}");
        let repaired = run(&["repair"], data_dir);
        assert!(repaired.status.success(), "{}", String::from_utf8_lossy(&repaired.stderr));
        assert_eq!(std::fs::read(&path).unwrap(), whole, "page {page}");
    }
    assert!(run(&["check"], data_dir).status.success());
    let server = Server::start_in(data_dir, &ServerOptions::default()).unwrap();
    assert!(is_whole(&sum(&server.http(), "b")));
    drop(server);
    // Without the file every run would be unknown, in silence.
    std::fs::remove_file(&path).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let refused = command().unwrap().args(["sql", "SELECT 1", "--data-dir"]).arg(data_dir).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("metadata.sqlite is missing"), "{refused:?}");
    assert_eq!(run(&["check"], data_dir).status.code(), Some(1));
    assert!(run(&["repair"], data_dir).status.success() && run(&["check"], data_dir).status.success());
}
