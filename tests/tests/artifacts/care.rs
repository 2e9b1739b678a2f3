//! Artifacts in backups, checks, repairs and purges.

use std::{path::Path, process::Output};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stepwell_tests::{Server, ServerOptions, command};

use crate::{files, get, put, run_of, settled};

fn stepwell(arguments: &[&str]) -> Result<Output> {
    command()?.args(arguments).output().context("run the binary")
}

fn done(arguments: &[&str]) -> Result<Value> {
    let output = stepwell(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[test]
fn backups_carry_blobs_and_copy_only_what_is_new() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (data, backups, restored) = (dir.path().join("data"), dir.path().join("backups"), dir.path().join("restored"));
    let server = Server::start_in(&data, &ServerOptions::default())?;
    let http = server.http();
    run_of(&http, "r")?;
    let first: Vec<u8> = (0..900_000_u32).map(|at| (at % 253) as u8).collect();
    put(&http, "1/r/artifacts/model.bin", &first)?;
    put(&http, "1/r/artifacts/same.bin", &first)?;
    put(&http, "1/r/artifacts/notes.txt", b"first")?;
    let one = done(&["backup", "--data-dir", text(&data), "--to", text(&backups), "--json"])?;
    ensure!(one["new_bytes"].as_u64() > Some(900_000) && one["new_bytes"].as_u64() < Some(1_800_000), "{one}");
    put(&http, "1/r/artifacts/notes.txt", b"second")?;
    let two = done(&["backup", "--data-dir", text(&data), "--to", text(&backups), "--json"])?;
    ensure!(two["new_bytes"].as_u64() < Some(500_000), "{two}");
    ensure!(stepwell(&["backup", "verify", text(&backups)])?.status.success());

    for (number, notes) in [("1", "first"), ("2", "second")] {
        let to = restored.with_file_name(format!("restored-{number}"));
        done(&["restore", "--from", text(&backups), "--backup", number, "--data-dir", text(&to), "--json"])?;
        let server = Server::start_in(&to, &ServerOptions::default())?;
        let http = server.http();
        assert_eq!(get(&http, "1/r/artifacts/notes.txt")?.text(), notes);
        assert!(get(&http, "1/r/artifacts/same.bin")?.body == first);
        assert_eq!(files(&to)?.len(), 2);
        server.check_log(&[])?;
    }
    // A blob of a backup that rots is noticed.
    let mut blobs = Vec::new();
    for shard in std::fs::read_dir(backups.join("files/artifacts"))? {
        blobs.extend(
            std::fs::read_dir(shard?.path())?
                .map(|file| file.map(|file| file.path()))
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    assert_eq!(blobs.len(), 3);
    let mut content = std::fs::read(&blobs[0])?;
    content[0] ^= 1;
    std::fs::write(&blobs[0], content)?;
    ensure!(!stepwell(&["backup", "verify", text(&backups)])?.status.success());
    // The first is pruned with what only it has.
    done(&["backup", "--data-dir", text(&data), "--to", text(&backups), "--keep", "1", "--json"])?;
    let mut left = 0;
    for shard in std::fs::read_dir(backups.join("files/artifacts"))? {
        left += std::fs::read_dir(shard?.path())?.count();
    }
    assert_eq!(left, 2);
    server.check_log(&[])
}

#[test]
fn a_backup_beside_deletions_is_whole() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
    let server = Server::start_in(&data, &ServerOptions::default())?;
    let http = server.http();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let writing = scope.spawn(|| -> Result<()> {
            let mut round = 0_u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Each replaces what was there, so that a blob goes each time.
                put(&http, &format!("x/{}", round % 5), &round.to_le_bytes().repeat(1_000))?;
                round += 1;
            }
            Ok(())
        });
        let backed_up = (0..4).try_for_each(|_| -> Result<()> {
            done(&["backup", "--data-dir", text(&data), "--to", text(&backups), "--json"])?;
            Ok(())
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        backed_up
    })?;
    ensure!(stepwell(&["backup", "verify", text(&backups)])?.status.success());
    settled(&data, 5)?;
    server.check_log(&[])
}

#[test]
fn check_names_damage_and_repair_sets_it_aside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let mut server = Server::start_in(&data, &ServerOptions::default())?;
    let http = server.http();
    put(&http, "x/rotten", b"rotten")?;
    let blob = files(&data)?.remove(0);
    put(&http, "x/whole", b"whole")?;
    let healthy = done(&["check", text(&data), "--json"])?;
    assert_eq!(healthy["healthy"], json!(true), "beside the server");
    let path = data.join("artifacts").join(&blob[..2]).join(&blob);
    std::fs::write(&path, b"ROTTEN")?;
    server.terminate()?;
    let checked = stepwell(&["check", text(&data), "--json"])?;
    let found: Value = serde_json::from_slice(&checked.stdout)?;
    assert_eq!((checked.status.code(), found["damages"].as_array().map(Vec::len)), (Some(1), Some(1)), "{found}");
    assert_eq!(found["damages"][0]["concerns"], json!({"kind": "artifacts", "artifacts": ["x/rotten"]}));
    done(&["repair", text(&data), "--dry-run", "--json"])?;
    ensure!(path.exists(), "a dry run changes nothing");
    let repaired = done(&["repair", text(&data), "--json"])?;
    ensure!(repaired["artifacts"][0].as_str().is_some_and(|line| line.contains("lost: x/rotten")), "{repaired}");
    assert_eq!(done(&["check", text(&data), "--json"])?["healthy"], json!(true));
    assert_eq!(std::fs::read(data.join("quarantine").join(&blob))?, b"ROTTEN");
    assert_eq!(done(&["inspect", text(&data), "--json"])?["artifacts"], json!({"blobs": 1, "bytes": 5, "incoming": 0}));
    let server = Server::start_in(&data, &ServerOptions::default())?;
    assert_eq!(get(&server.http(), "x/rotten")?.status, 404);
    assert_eq!(get(&server.http(), "x/whole")?.text(), "whole");
    server.check_log(&[])
}

#[test]
fn a_purge_takes_a_runs_artifacts_with_it() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    run_of(&http, "r")?;
    run_of(&http, "r2")?;
    for run in ["r", "r2"] {
        http.send("PUT", &format!("/api/v1/runs/{run}/artifacts/d/x"), &[], run.as_bytes())?.expect(201)?;
    }
    assert_eq!(http.send("DELETE", "/api/v1/runs/r", &[], b"")?.status, 204);
    assert_eq!(files(server.data_dir())?.len(), 2, "the trash keeps them");
    assert_eq!(http.send("POST", "/api/v1/runs/r/purge", &[], b"")?.status, 204);
    assert_eq!(files(server.data_dir())?.len(), 1);
    assert_eq!(http.get("/api/v1/runs/r2/artifacts/d/x")?.text(), "r2");
    assert_eq!(http.send("DELETE", "/api/v1/projects/p", &[], b"")?.status, 204);
    assert_eq!(http.send("POST", "/api/v1/projects/p/purge", &[], b"")?.status, 204);
    assert_eq!(files(server.data_dir())?.len(), 0);
    server.check_log(&[])
}
