//! Artifacts in an object store that speaks S3: moto's server, which others test their use of Amazon's with.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use stepwell_tests::{Reply, S3, Server, ServerOptions, command};

use super::{get, put, run_of, settled};

fn answered(reply: Reply, status: u16) -> Result<Vec<u8>> {
    ensure!(reply.status == status, "{} and not {status}: {}", reply.status, reply.text());
    Ok(reply.body)
}

/// Keys and lengths of the blobs; who owns them is an object, too.
fn blobs(s3: &mut S3) -> Result<BTreeMap<String, u64>> {
    let mut objects = s3.list()?;
    objects.retain(|key, _| !key.ends_with("stepwell-owner"));
    Ok(objects)
}

const URL: [&str; 2] = ["--artifacts-url", "s3://team/stepwell"];

#[test]
fn artifacts_are_in_the_object_store_across_restarts_and_go_with_their_names() -> Result<()> {
    let mut s3 = S3::start()?;
    let dir = tempfile::tempdir()?;
    let server = Server::start_in(dir.path(), &s3.options(&URL))?;
    run_of(&server.http(), "r")?;
    // More than one part of an upload, and more than is read at once.
    let large: Vec<u8> = (0..20_000_003_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    answered(put(&server.http(), "0/r/artifacts/model.bin", &large)?, 200)?;
    answered(put(&server.http(), "0/r/artifacts/note.txt", b"short")?, 200)?;
    answered(put(&server.http(), "0/r/artifacts/again.txt", b"short")?, 200)?;
    assert_eq!(blobs(&mut s3)?.into_values().collect::<Vec<_>>().iter().sum::<u64>(), large.len() as u64 + 5);
    settled(dir.path(), 0)?;
    let path = "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/model.bin";
    let part = server.http().send("GET", path, &[("range", "bytes=9999990-10000009")], b"")?;
    assert_eq!(answered(part, 206)?, large[9_999_990..10_000_010]);
    drop(server);

    // It is kept where they are; nothing needs to be told again.
    let server = Server::start_in(dir.path(), &s3.options(&[]))?;
    assert!(answered(get(&server.http(), "0/r/artifacts/model.bin")?, 200)? == large);
    assert_eq!(answered(get(&server.http(), "0/r/artifacts/note.txt")?, 200)?, b"short");
    let delete = |name: &str| {
        server.http().send("DELETE", &format!("/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/{name}"), &[], b"")
    };
    answered(delete("note.txt")?, 200)?;
    assert_eq!(blobs(&mut s3)?.len(), 2, "another name has the same bytes");
    answered(delete("again.txt")?, 200)?;
    assert_eq!(blobs(&mut s3)?.len(), 1);
    drop(server);

    let other = command()?
        .args(["serve", "--listen", "127.0.0.1:0", "--artifacts-url", "s3://team/other", "--data-dir"])
        .arg(dir.path())
        .envs(s3.variables())
        .output()?;
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("are in s3://team/stepwell"), "{said}");
    Ok(())
}

/// As someone does who wants to try something with real data, while the server runs.
#[test]
fn i1_a_data_directory_copied_by_hand_leaves_the_objects_of_its_original_alone() -> Result<()> {
    let mut s3 = S3::start()?;
    let dir = tempfile::tempdir()?;
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let server = Server::start_in(&here, &s3.options(&URL))?;
    run_of(&server.http(), "r")?;
    answered(put(&server.http(), "0/r/artifacts/early.txt", b"early")?, 200)?;
    ensure!(std::process::Command::new("cp").arg("-a").args([&here, &there]).status()?.success());
    answered(put(&server.http(), "0/r/artifacts/later.txt", b"later")?, 200)?;
    let objects = blobs(&mut s3)?;

    let copy = Server::start_in(&there, &s3.options(&[]))?;
    assert_eq!(answered(get(&copy.http(), "0/r/artifacts/early.txt")?, 200)?, b"early");
    answered(
        copy.http().send("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/early.txt", &[], b"")?,
        200,
    )?;
    answered(put(&copy.http(), "0/r/artifacts/new.txt", b"new")?, 200)?;
    let is_told = || copy.log().iter().any(|line| line.contains("--artifacts-take-over"));
    for _ in 0..3_000 {
        if is_told() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(is_told(), "{:?}", copy.log());
    assert_eq!(blobs(&mut s3)?, objects);
    drop(copy);
    drop(server);
    let server = Server::start_in(&here, &s3.options(&[]))?;
    for (name, content) in [("early.txt", b"early"), ("later.txt", b"later")] {
        assert_eq!(answered(get(&server.http(), &format!("0/r/artifacts/{name}"))?, 200)?, content);
    }
    Ok(())
}

#[test]
fn a_store_that_does_not_take_objects_is_refused_before_it_is_relied_on() -> Result<()> {
    let s3 = S3::start()?;
    let dir = tempfile::tempdir()?;
    let refused = command()?
        .args(["serve", "--listen", "127.0.0.1:0", "--artifacts-url", "s3://nobodys-bucket/x", "--data-dir"])
        .arg(dir.path())
        .envs(s3.variables())
        .output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("s3://nobodys-bucket/x cannot be used"), "{said}");
    // Nothing was settled.
    drop(Server::start_in(dir.path(), &ServerOptions::default())?);
    Ok(())
}

#[test]
fn i11_a_damaged_object_is_found_and_not_served_and_backups_say_what_they_lack() -> Result<()> {
    let mut s3 = S3::start()?;
    let dir = tempfile::tempdir()?;
    let server = Server::start_in(dir.path(), &s3.options(&URL))?;
    run_of(&server.http(), "r")?;
    answered(put(&server.http(), "0/r/artifacts/good.bin", &[7; 300_000])?, 200)?;
    answered(put(&server.http(), "0/r/artifacts/bad.bin", &[8; 300_001])?, 200)?;

    let (backups, restored) = (dir.path().with_extension("backups"), dir.path().with_extension("restored"));
    let run = |arguments: &[&str], variables: Vec<(String, String)>| -> Result<(bool, String)> {
        let output = command()?.args(arguments).envs(variables).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    };
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let (data, to) = (text(dir.path()), text(&backups));
    let (ok, said) = run(&["backup", "--data-dir", &data, "--to", &to], s3.variables())?;
    assert!(ok && said.contains("not copied: 2 artifacts of 600001 bytes, which are in s3://team/stepwell"), "{said}");
    let (ok, said) = run(&["backup", "verify", &to], Vec::new())?;
    assert!(ok, "{said}");
    let (ok, said) = run(&["restore", "--from", &to, "--data-dir", &text(&restored)], Vec::new())?;
    assert!(ok, "{said}");
    // The copy knows nothing of it, and had removed it.
    answered(put(&server.http(), "0/r/artifacts/later.bin", &[9; 300_002])?, 200)?;
    let copy = Server::start_in(&restored, &s3.options(&[]))?;
    assert_eq!(answered(get(&copy.http(), "0/r/artifacts/good.bin")?, 200)?, [7; 300_000]);
    let says = |line: &String| line.contains("belongs to another data directory");
    let told = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        copy.log().iter().any(says)
    });
    ensure!(told, "{:?}", copy.log());
    answered(copy.http().send("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/good.bin", &[], b"")?, 200)?;
    copy.check_log(&["belongs to another data directory"])?;
    drop(copy);
    assert_eq!(answered(get(&server.http(), "0/r/artifacts/good.bin")?, 200)?, [7; 300_000]);
    assert_eq!(answered(get(&server.http(), "0/r/artifacts/later.bin")?, 200)?, [9; 300_002]);

    let key = blobs(&mut s3)?.into_iter().find(|(_, bytes)| *bytes == 300_001).context("the object")?.0;
    s3.ask(&format!("flip {key}"))?;
    let reply = get(&server.http(), "0/r/artifacts/bad.bin");
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 500), "it is served");
    drop(server);
    let (ok, said) = run(&["check", &data], s3.variables())?;
    assert!(
        !ok && said.contains(&format!("s3://team/{key} at byte 0")) && said.contains("0/r/artifacts/bad.bin"),
        "{said}"
    );
    let (_, said) = run(&["repair", &data], s3.variables())?;
    assert!(said.contains("lost: 0/r/artifacts/bad.bin"), "{said}");
    let (ok, said) = run(&["check", &data], s3.variables())?;
    assert!(ok, "{said}");
    for path in [backups, restored] {
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}
