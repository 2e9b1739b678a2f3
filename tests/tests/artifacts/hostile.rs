//! Paths that would lead elsewhere, and clients that go away.

use std::{io::Write, time::Duration};

use anyhow::Result;
use serde_json::json;
use stepwell_tests::{Server, ServerOptions};

use crate::{PROXY, connect, files, get, put, raw, run_of, settled};

/// Spellings of a way out, as they are sent.
const ATTACKS: [&str; 22] = [
    "../../secret",
    "..",
    "1/../../secret",
    "/etc/passwd",
    "//etc/passwd",
    "%2e%2e/secret",
    "%2E%2E%2Fsecret",
    "..%2fsecret",
    "%252e%252e%252fsecret",
    "%25252e%25252e%25252fsecret",
    "%2fetc%2fpasswd",
    "%252fetc%252fpasswd",
    "..%5csecret",
    "..\\secret",
    "C:%5cWindows%5cx",
    "C:/Windows/x",
    "file:///etc/passwd",
    "a%00b",
    "a%2500b",
    "a%23b",
    "%ff%fe",
    "1/%c0%ae%c0%ae/secret",
];

#[test]
fn no_path_leads_out_of_the_artifacts() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    run_of(&http, "r")?;
    std::fs::write(server.data_dir().join("secret"), "secret")?;
    // A link where a blob would lie is none of ours, whatever it is called.
    let shard = server.data_dir().join("artifacts/ab");
    std::fs::create_dir_all(&shard)?;
    std::os::unix::fs::symlink("/etc/passwd", shard.join("link"))?;
    for attack in ATTACKS {
        for method in ["GET", "PUT", "DELETE"] {
            for prefix in ["/api/2.0", "/ajax-api/2.0"] {
                let head = format!(
                    "{method} {prefix}/mlflow-artifacts/artifacts/{attack} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                );
                let body = if method == "PUT" { "Content-Length: 3\r\n\r\nxyz" } else { "\r\n" };
                let (status, answer) = raw(&server, format!("{head}{body}").as_bytes())?;
                assert_eq!(status, 400, "{method} {attack}: {answer}");
                assert!(
                    !answer.contains("root:") && answer.contains("INVALID_PARAMETER_VALUE"),
                    "{method} {attack}: {answer}"
                );
            }
        }
        let encoded = attack.replace('\\', "%5C");
        for call in [
            format!("{PROXY}/artifacts?path={encoded}"),
            format!("/get-artifact?run_id=r&path={encoded}"),
            format!("/api/2.0/mlflow/artifacts/list?run_id=r&path={encoded}"),
        ] {
            let (status, answer) =
                raw(&server, format!("GET {call} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
            assert_eq!(status, 400, "{call}: {answer}");
        }
        for what in ["create", "complete", "abort"] {
            let reply =
                http.post(&format!("{PROXY}/mpu/{what}/1"), &json!({"path": attack, "upload_id": "x", "parts": []}))?;
            assert!([400, 404, 200].contains(&reply.status), "{what} {attack}: {}", reply.text());
        }
    }
    assert_eq!(std::fs::read_to_string(server.data_dir().join("secret"))?, "secret");
    let names =
        std::fs::read_dir(server.data_dir())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_>>()?;
    names.retain(|name| name.contains("etc") || name.contains("passwd") || name.contains("Windows"));
    assert_eq!(names, Vec::<String>::new());
    assert_eq!(files(server.data_dir())?, ["link"], "nothing was stored");
    server.check_log(&[])
}

#[test]
fn an_upload_that_is_broken_off_leaves_nothing() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    put(&http, "x", b"before")?;
    for sent in [0, 10, 400_000] {
        let mut stream = connect(&server)?;
        stream.write_all(
            format!("PUT {PROXY}/artifacts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n").as_bytes(),
        )?;
        stream.write_all(&vec![7; sent])?;
        stream.flush()?;
        std::thread::sleep(Duration::from_millis(50));
        drop(stream);
        settled(server.data_dir(), 1)?;
        assert_eq!(get(&http, "x")?.text(), "before");
    }
    // Chunked, and without the last chunk.
    let mut stream = connect(&server)?;
    stream.write_all(
        format!("PUT {PROXY}/artifacts/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
            .as_bytes(),
    )?;
    std::thread::sleep(Duration::from_millis(50));
    drop(stream);
    settled(server.data_dir(), 1)?;
    assert_eq!(get(&http, "x")?.text(), "before");
    server.check_log(&[])
}

#[test]
fn a_slow_upload_is_given_up() -> Result<()> {
    let flags = ["--body-idle-seconds", "1"].map(String::from).to_vec();
    let server = Server::start_with(&ServerOptions { flags, ..ServerOptions::default() })?;
    let (status, answer) = raw(
        &server,
        format!("PUT {PROXY}/artifacts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").as_bytes(),
    )?;
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("TEMPORARILY_UNAVAILABLE"), "{answer}");
    settled(server.data_dir(), 0)?;
    server.check_log(&[])
}

#[test]
fn what_a_kill_leaves_goes_at_the_next_start() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start_in(dir.path(), &ServerOptions::default())?;
    let http = server.http();
    put(&http, "kept", b"kept")?;
    let mut stream = connect(&server)?;
    stream.write_all(
        format!("PUT {PROXY}/artifacts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n").as_bytes(),
    )?;
    stream.write_all(&vec![1; 2_000_000])?;
    for _ in 0..500 {
        if files(dir.path())?.len() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(files(dir.path())?.len(), 2, "an upload is under way");
    server.kill()?;
    // A blob of which the row was not written any more.
    let orphan = format!("cd{}", "0".repeat(62));
    std::fs::create_dir_all(dir.path().join("artifacts/cd"))?;
    std::fs::write(dir.path().join("artifacts/cd").join(orphan), "x")?;
    let server = Server::start_in(dir.path(), &ServerOptions::default())?;
    settled(dir.path(), 1)?;
    assert_eq!(get(&server.http(), "kept")?.text(), "kept");
    server.check_log(&[])
}
