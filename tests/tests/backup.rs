//! Backup and restore by the real binary, beside a real server.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use stepwell_env::DirLock;
use stepwell_tests::{
    Http, S3, Server, ServerOptions,
    backup::{self, Plan, back_up, restore, stepwell},
    command,
};

#[test]
fn under_load_and_kills_every_backup_has_what_was_acknowledged_before_it() {
    let report = backup::run(&Plan::default()).unwrap();
    println!("{report}");
    assert_eq!((report.backups, report.restored), (6, 6));
    assert!(report.acked_batches > 20, "the writers hardly wrote: {report}");
}

fn options(flags: &[&str]) -> ServerOptions {
    ServerOptions { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..ServerOptions::default() }
}

/// Logs `values` at consecutive steps, a batch each; the last LSN.
fn log(http: &Http, first_step: i64, values: &[f64]) -> u64 {
    let mut last = 0;
    for (step, value) in (first_step..).zip(values) {
        let line = json!({"run_id": "r", "metric": "m", "step": step, "value": value}).to_string();
        let reply = http.send("POST", "/api/v1/ingest", &[("content-type", "application/x-ndjson")], line.as_bytes());
        last = reply.unwrap().expect(200).unwrap()["last_lsn"].as_u64().unwrap();
    }
    last
}

fn create_run(http: &Http) {
    let run = json!({"project": "p", "run_id": "r", "params": {"lr": 0.5}, "tags": {"team": "vision"}});
    http.post("/api/v1/runs", &run).unwrap().expect(201).unwrap();
}

fn steps(http: &Http) -> Vec<Value> {
    let rows = http.sql("p", "SELECT step FROM points ORDER BY step").unwrap();
    rows.into_iter().map(|row| row["step"].clone()).collect()
}

fn fails_with(arguments: &[&str], part: &str) {
    let output = stepwell(arguments).unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(part), "wanted {part:?} in {text:?}");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[test]
fn a_restored_server_answers_on_every_surface_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("back ups"));
    let mut server = Server::start_in(&data_dir, &options(&["--flush-age-seconds", "1"])).unwrap();
    create_run(&server.http());
    log(&server.http(), 0, &[0.5, -0.25]);
    let first = back_up(&data_dir, &to, &[]).unwrap();
    assert_eq!((&first["backup"], &first["lsn"], &first["new_bytes"]), (&json!(1), &json!(2), &first["bytes"]));
    // Nothing came, so that nothing is copied.
    let same = back_up(&data_dir, &to, &[]).unwrap();
    assert_eq!((&same["backup"], &same["new_bytes"]), (&json!(2), &json!(0)));
    let last = log(&server.http(), 2, &[1.0, 2.0]);
    server.terminate().unwrap();
    server.check_log(&[]).unwrap();
    // A stopped server's directory is backed up alike.
    let third = back_up(&data_dir, &to, &["--keep", "2"]).unwrap();
    assert_eq!(third["lsn"], json!(last));
    let url = format!("file://{}", to.to_str().unwrap().replace(' ', "%20"));
    let list = stepwell(&["backup", "list", "--json", &url]).unwrap();
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().iter().map(|row| &row["backup"]).collect::<Vec<_>>(), [2, 3]);
    let words = String::from_utf8(stepwell(&["backup", "list", &url]).unwrap().stdout).unwrap();
    assert!(words.contains("backup 3 of 20") && words.contains("up to LSN 4"), "{words}");

    let pruned = stepwell(&["backup", "prune", "--keep", "2", &url]).unwrap();
    assert!(String::from_utf8_lossy(&pruned.stdout).starts_with("removed 0 older backups, 0 files"), "{pruned:?}");

    let old = directory.path().join("old");
    restore(&to, &old, &["--backup", "2"]).unwrap();
    let server = Server::start_in(&old, &options(&[])).unwrap();
    assert_eq!(steps(&server.http()), [0, 1]);
    let new = directory.path().join("new");
    std::fs::create_dir(&new).unwrap();
    assert_eq!(restore(&to, &new, &[]).unwrap()["lsn"], json!(last));
    let mut server = Server::start_in(&new, &options(&[])).unwrap();
    let http = server.http();
    assert_eq!(steps(&http), [0, 1, 2, 3]);
    let run = http.get("/api/v1/runs/r").unwrap().expect(200).unwrap();
    assert_eq!((&run["params"]["lr"], &run["tags"]["team"]), (&json!(0.5), &json!("vision")));
    let best = http.sql("p", "SELECT max, min FROM summaries").unwrap();
    assert_eq!(best, [json!({"max": 2.0, "min": -0.25})]);
    let chart = http.get("/api/v1/series?project=p&run_ids=r&metrics=m&buckets=10").unwrap().expect(200).unwrap();
    assert!(chart.to_string().contains("-0.25"), "{chart}");
    assert_eq!(log(&http, 4, &[3.0]), last + 1, "LSNs go on");
    // The restored directory is backed up to the same place: what it shares with the other is there.
    let fourth = back_up(&new, &to, &[]).unwrap();
    assert_eq!((&fourth["backup"], fourth["lsn"].as_u64()), (&json!(4), Some(last + 1)));
    assert!(fourth["new_bytes"].as_u64() < fourth["bytes"].as_u64());
    server.terminate().unwrap();
    server.check_log(&[]).unwrap();
}

#[test]
fn a_restore_goes_back_to_any_lsn_that_the_kept_log_reaches() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    let flags = ["--flush-age-seconds", "1", "--wal-retain-bytes", "1000000"];
    let mut server = Server::start_in(&data_dir, &options(&flags)).unwrap();
    create_run(&server.http());
    let mut ends = Vec::new();
    for round in 0..4 {
        ends.push(log(&server.http(), round * 2, &[0.5, 1.5]));
        std::thread::sleep(std::time::Duration::from_millis(700));
    }
    let made = back_up(&data_dir, &to, &[]).unwrap();
    assert_eq!((&made["lsn_reach"], made["lsn"].as_u64()), (&json!(0), Some(8)));
    server.terminate().unwrap();
    // A restart neither reads nor loses what is kept.
    let mut server = Server::start_in(&data_dir, &options(&flags)).unwrap();
    server.terminate().unwrap();
    assert_eq!(back_up(&data_dir, &to, &[]).unwrap()["lsn_reach"], json!(0));
    for (round, end) in ends.iter().enumerate() {
        let restored = directory.path().join(format!("at-{end}"));
        let answer = restore(&to, &restored, &["--backup", "1", "--lsn", &end.to_string()]).unwrap();
        assert_eq!(answer["lsn"], json!(end));
        let server = Server::start_in(&restored, &options(&[])).unwrap();
        assert_eq!(steps(&server.http()), (0..2 * (round as i64 + 1)).collect::<Vec<_>>());
        assert_eq!(log(&server.http(), 100, &[9.0]), end + 1);
        server.check_log(&[]).unwrap();
    }
    let (from, never) = (to.to_str().unwrap(), directory.path().join("never"));
    fails_with(
        &["restore", "--from", from, "--lsn", "9", "--data-dir", never.to_str().unwrap()],
        "LSN 9 is not in reach",
    );
}

#[test]
fn a_damaged_backup_is_named_and_not_restored_and_wrong_places_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    let mut server = Server::start_in(&data_dir, &options(&[])).unwrap();
    create_run(&server.http());
    log(&server.http(), 0, &[0.5]);
    server.terminate().unwrap();
    back_up(&data_dir, &to, &[]).unwrap();
    let (data_dir, from) = (data_dir.to_str().unwrap(), to.to_str().unwrap());
    let new = directory.path().join("new");
    let new = new.to_str().unwrap();
    for path in files(&to.join("files")).into_iter().chain(files(&to.join("backups"))) {
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        fails_with(&["backup", "verify", from], name);
        fails_with(&["restore", "--from", from, "--data-dir", new], name);
        assert!(!Path::new(new).exists(), "{name}");
        std::fs::write(&path, good).unwrap();
    }
    assert!(stepwell(&["backup", "verify", from]).unwrap().status.success());
    fails_with(&["restore", "--from", from, "--data-dir", data_dir], "is not empty");
    fails_with(&["restore", "--from", from, "--backup", "7", "--data-dir", new], "there is no backup 7");
    fails_with(&["restore", "--from", data_dir, "--data-dir", new], "holds no backup");
    fails_with(&["backup", "--data-dir", from, "--to", new], "is not a data directory");
    let within = format!("{data_dir}/segments/../x");
    fails_with(&["backup", "--data-dir", data_dir, "--to", &within], "keep backups outside");
    fails_with(&["backup", "--data-dir", data_dir, "--to", "s3://key:secret@bucket/x"], "come from the environment");
    fails_with(&["backup", "--data-dir", data_dir], "--to");
    assert_eq!(files(Path::new(data_dir)).iter().filter(|path| path.ends_with("x")).count(), 0);
}

/// A server's life in which one point is logged.
fn live_once(data_dir: &Path, step: i64) {
    let mut server = Server::start_in(data_dir, &options(&[])).unwrap();
    if step == 0 {
        create_run(&server.http());
    }
    log(&server.http(), step, &[0.5]);
    server.terminate().unwrap();
}

#[test]
fn pruning_removes_old_backups_and_the_files_that_only_they_name() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    // The same states of the same directory; the one place never had the first.
    let (to, never_first) = (directory.path().join("backups"), directory.path().join("never first"));
    let place = to.to_str().unwrap();
    for step in 0..3 {
        live_once(&data_dir, step);
        back_up(&data_dir, &to, &[]).unwrap();
        if step > 0 {
            back_up(&data_dir, &never_first, &[]).unwrap();
        }
    }
    let stored = |place: &Path| -> BTreeSet<PathBuf> {
        let root = place.join("files");
        files(&root).into_iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect()
    };
    let before = stored(&to);
    assert!(before.is_superset(&stored(&never_first)) && before.len() > stored(&never_first).len());
    std::fs::write(to.join("files/segments/00000000000000000009.parquet.tmp"), b"of an interrupted one").unwrap();
    std::fs::write(to.join("notes.txt"), b"not ours").unwrap();

    fails_with(&["backup", "prune", place, "--keep", "0"], "--keep");
    fails_with(&["backup", "prune", data_dir.to_str().unwrap(), "--keep", "1"], "holds no backup");
    let lock = DirLock::acquire(&to, "a backup").unwrap();
    fails_with(&["backup", "prune", place, "--keep", "1"], "a backup");
    drop(lock);
    assert_eq!(stored(&to).len(), before.len() + 1, "nothing was removed yet");

    let pruned = stepwell(&["backup", "prune", place, "--keep", "2"]).unwrap();
    let said = String::from_utf8(pruned.stdout).unwrap();
    let gone = before.len() + 1 - stored(&to).len();
    assert!(said.starts_with(&format!("removed 1 older backups, {gone} files")), "{said}");
    assert_eq!(stored(&to), stored(&never_first), "what the kept backups name, and nothing else");
    assert!(to.join("notes.txt").exists());
    let list = stepwell(&["backup", "list", "--json", place]).unwrap();
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().iter().map(|row| &row["backup"]).collect::<Vec<_>>(), [2, 3]);
    assert!(stepwell(&["backup", "verify", place]).unwrap().status.success());
    let never = directory.path().join("never");
    fails_with(
        &["restore", "--from", place, "--backup", "1", "--data-dir", never.to_str().unwrap()],
        "there is no backup 1",
    );
    for (number, points) in [("2", 2), ("3", 3)] {
        let restored = directory.path().join(number);
        restore(&to, &restored, &["--backup", number]).unwrap();
        let server = Server::start_in(&restored, &options(&[])).unwrap();
        assert_eq!(steps(&server.http()), (0..points).collect::<Vec<_>>());
    }
}

#[test]
fn a_backup_goes_to_an_object_store_and_comes_back_from_there() {
    let mut s3 = S3::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, restored) = (directory.path().join("data"), directory.path().join("restored"));
    let server = Server::start_in(&data_dir, &options(&["--flush-age-seconds", "1"])).unwrap();
    create_run(&server.http());
    let last = log(&server.http(), 0, &[0.5, -0.25, 4.0]);
    let weights: Vec<u8> = (0..9_000_000_u32).map(|at| (at >> 5) as u8).collect();
    let http = server.http();
    assert_eq!(http.send("PUT", "/api/v1/runs/r/artifacts/w.bin", &[], &weights).unwrap().status, 201);

    let variables = s3.variables();
    let run = |arguments: &[&str]| -> Result<String, String> {
        let output = command().unwrap().args(arguments).envs(variables.clone()).output().unwrap();
        let said = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
    };
    let (data, new, url) = (data_dir.to_str().unwrap(), restored.to_str().unwrap(), "s3://team/back/ups");
    let back_up = || -> Value {
        let made = run(&["backup", "--json", "--data-dir", data, "--to", url]).unwrap();
        serde_json::from_str(&made).unwrap()
    };
    let first = back_up();
    assert_eq!((first["lsn"].as_u64(), &first["new_bytes"]), (Some(last), &first["bytes"]));
    assert!(first["bytes"].as_u64().unwrap() > weights.len() as u64);

    // Somebody else is at work there, and then has been gone for an hour.
    s3.ask("put back/ups/LOCK 00ff 3 process 7 of host other (stepwell backup)").unwrap();
    for arguments in [&["backup", "--data-dir", data, "--to", url] as &[_], &["backup", "prune", "--keep", "1", url]] {
        let said = run(arguments).unwrap_err();
        assert!(
            said.contains("s3://team/back/ups/LOCK is held by process 7 of host other (stepwell backup)"),
            "{said}"
        );
    }
    s3.ask("age back/ups/LOCK").unwrap();
    let more = log(&server.http(), 3, &[8.0]);
    let second = back_up();
    assert!(s3.list().unwrap().keys().all(|key| !key.contains("LOCK")), "it is given back");
    assert!(second["new_bytes"].as_u64().unwrap() < 1_000_000, "what is there is not copied again: {second}");
    assert!(run(&["backup", "list", url]).unwrap().lines().count() == 2);
    assert!(run(&["backup", "verify", url]).unwrap().contains("every byte verified"));
    assert!(run(&["backup", "prune", "--keep", "1", url]).unwrap().starts_with("removed 1 older backups"));

    // What is damaged there is named, and nothing is made of it (I11).
    let key = s3.list().unwrap().into_iter().find(|(_, bytes)| *bytes == weights.len() as u64).unwrap().0;
    let flip = format!("flip {key}");
    s3.ask(&flip).unwrap();
    for refused in [run(&["backup", "verify", url]), run(&["restore", "--from", url, "--data-dir", new])] {
        let said = refused.unwrap_err();
        assert!(said.contains(&format!("s3://team/{key}")), "{said}");
    }
    assert!(!restored.exists());
    s3.ask(&flip).unwrap();

    run(&["restore", "--from", url, "--data-dir", new]).unwrap();
    drop(server);
    let server = Server::start_in(&restored, &options(&[])).unwrap();
    assert_eq!(steps(&server.http()), [0, 1, 2, 3]);
    assert!(server.http().get("/api/v1/runs/r/artifacts/w.bin").unwrap().body == weights);
    assert_eq!(log(&server.http(), 4, &[1.0]), more + 1, "LSNs go on");
    let said = run(&["backup", "list", "s3://team/nothing"]).unwrap_err();
    assert!(said.contains("s3://team/nothing"), "{said}");
}
