//! Other programs' readers and writers: pyarrow, DuckDB, Polars and pandas (I12). `cargo xtask test` installs them.

use std::{path::Path, process::Command};

use serde_json::json;
use stepwell_tests::{Server, ServerOptions, repository, venv_python};

/// Runs `tests/python/NAME` with the server's address and data directory as arguments.
fn python(name: &str, server: &Server) -> String {
    let script = repository().join("tests/python").join(name);
    let output = Command::new(venv_python().unwrap())
        .arg(&script)
        .arg(server.url())
        .arg(server.data_dir())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}", script.display());
    text
}

fn segments(data_dir: &Path) -> usize {
    let entries = std::fs::read_dir(data_dir.join("segments")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|suffix| suffix == "parquet")).count()
}

fn server() -> Server {
    let flags = ["--flush-age-seconds", "1"].map(str::to_owned).to_vec();
    let server = Server::start_with(&ServerOptions { flags, ..ServerOptions::default() }).unwrap();
    server.http().post("/api/v1/runs", &json!({"project": "p", "run_id": "r"})).unwrap().expect(201).unwrap();
    server
}

#[test]
fn pyarrow_posts_every_layout_and_reads_answers() {
    let server = server();
    println!("{}", python("post_arrow.py", &server));
    server.check_log(&[]).unwrap();
}

#[test]
fn i1_i3_pyarrow_streams_batches_over_flight() {
    let server = server();
    println!("{}", python("put_flight.py", &server));
    server.check_log(&[]).unwrap();
}

#[test]
fn segments_are_plain_parquet_to_pyarrow_duckdb_and_polars() {
    let server = server();
    println!("{}", python("fill.py", &server));
    for _ in 0..200 {
        if segments(server.data_dir()) > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(segments(server.data_dir()) > 0, "no segment after 10 s");
    println!("{}", python("read_segments.py", &server));
    server.check_log(&[]).unwrap();
}

#[test]
fn the_readme_s_python_works_as_pasted() {
    let server = server();
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks = readme.split("```python\n").skip(1).map(|part| part.split("```").next().unwrap());
    let address = server.url().trim_start_matches("http://");
    let script = blocks.collect::<String>().replace("127.0.0.1:9090", address);
    let output =
        Command::new(venv_python().unwrap()).arg("-c").arg(&script).env("NO_PROXY", "127.0.0.1").output().unwrap();
    assert!(output.status.success(), "{}\n{}", script, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1000") && text.contains("\"sequence\":10,"), "{text}");
    server.check_log(&[]).unwrap();
}
