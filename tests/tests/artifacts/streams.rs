//! Large files, and many at once: memory that does not grow with them.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use stepwell_tests::{Server, ServerOptions};

use crate::{PROXY, connect, files, get, put};

/// Bytes of the large file: many times what the server may hold of it.
const LARGE_BYTES: usize = 96 << 20;
const PIECE_BYTES: usize = 1 << 20;
/// What a stream, both ways, may add to the memory of the process: buffers, their allocator's slack, code that is touched first.
const GROWTH_BYTES: u64 = 48 << 20;

fn piece(number: usize) -> Vec<u8> {
    (0..PIECE_BYTES).map(|at| ((at >> 3) ^ number.wrapping_mul(2_654_435_761)) as u8).collect()
}

#[test]
fn i9_a_large_file_goes_in_and_out_in_constant_memory() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    put(&http, "small", b"small")?;
    get(&http, "small")?;
    let before = server.resident_bytes_max()?;

    let mut stream = connect(&server)?;
    let head = format!(
        "PUT {PROXY}/artifacts/large HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE_BYTES}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    for number in 0..LARGE_BYTES / PIECE_BYTES {
        stream.write_all(&piece(number))?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let mut stream = connect(&server)?;
    stream.write_all(
        format!("GET {PROXY}/artifacts/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let head = read_head(&mut stream)?;
    ensure!(head.starts_with("HTTP/1.1 200") && head.contains(&format!("content-length: {LARGE_BYTES}")), "{head}");
    let mut read = vec![0; PIECE_BYTES];
    for number in 0..LARGE_BYTES / PIECE_BYTES {
        stream.read_exact(&mut read)?;
        ensure!(read == piece(number), "piece {number} came back otherwise");
    }
    ensure!(stream.read(&mut read)? == 0, "nothing comes after it");
    let grown = server.resident_bytes_max()?.saturating_sub(before);
    ensure!(grown < GROWTH_BYTES, "memory grew by {} MiB", grown >> 20);
    server.check_log(&[])
}

/// The head of an answer, byte by byte, so that nothing of the body is taken.
fn read_head(stream: &mut std::net::TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).context("head")
}

/// Damage behind the first chunk: the head has gone out, so the connection ends before any byte of what is damaged.
#[test]
fn i11_a_damaged_artifact_is_never_served_as_a_whole() -> Result<()> {
    let server = Server::start()?;
    let http = server.http();
    let bytes = [piece(1), piece(2)].concat();
    put(&http, "x", &bytes)?;
    put(&http, "y", b"whole")?;
    let name = files(server.data_dir())?.into_iter().find(|name| !name.starts_with("incoming")).context("no blob")?;
    let large = files(server.data_dir())?
        .into_iter()
        .map(|name| server.data_dir().join("artifacts").join(&name[..2]).join(&name))
        .find(|path| path.metadata().is_ok_and(|metadata| metadata.len() == bytes.len() as u64))
        .context(name)?;
    let rotten = |at: usize| -> Result<()> {
        let mut content = bytes.clone();
        content[at] ^= 0x10;
        Ok(std::fs::write(&large, content)?)
    };
    rotten(5)?;
    let reply = get(&http, "x")?;
    assert_eq!(reply.status, 500);
    assert!(
        reply.text().contains("is damaged at byte 0") && reply.text().contains("INTERNAL_ERROR"),
        "{}",
        reply.text()
    );
    rotten(bytes.len() - 1)?;
    let mut stream = connect(&server)?;
    stream.write_all(format!("GET {PROXY}/artifacts/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
    let head = read_head(&mut stream)?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = Vec::new();
    // A reset or an end: either is less than Content-Length.
    let _ = stream.read_to_end(&mut body);
    assert!(body.len() < bytes.len() && bytes.starts_with(&body), "{} of {} bytes", body.len(), bytes.len());
    let ranged = http.send("GET", &format!("{PROXY}/artifacts/x"), &[("range", "bytes=0-99")], b"")?;
    assert_eq!((ranged.status, ranged.body == bytes[..100]), (206, true), "what is not damaged is served");
    assert_eq!(get(&http, "y")?.text(), "whole");
    server.check_log(&["is damaged"])
}

/// More uploads at once than there is memory for hear when to come back, and none of those taken suffers.
#[test]
fn i9_streams_past_the_budget_are_refused() -> Result<()> {
    let flags = ["--request-bytes", "4194304"].map(String::from).to_vec();
    let server = Server::start_with(&ServerOptions { flags, ..ServerOptions::default() })?;
    let mut open = Vec::new();
    for number in 0..8 {
        let mut stream = connect(&server)?;
        let head = format!(
            "PUT {PROXY}/artifacts/{number} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab"
        );
        stream.write_all(head.as_bytes())?;
        open.push(stream);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut refused = 0;
    for number in 8..13 {
        let reply = put(&server.http(), &number.to_string(), b"abcd")?;
        if reply.status == 429 {
            assert!(
                reply.header("retry-after").is_some() && reply.text().contains("REQUEST_LIMIT_EXCEEDED"),
                "{}",
                reply.text()
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 5);
    for (number, mut stream) in open.into_iter().enumerate() {
        stream.write_all(b"cd")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer}");
    }
    assert_eq!(get(&server.http(), "3")?.text(), "abcd");
    server.check_log(&[])
}

/// I8: without room an upload is refused with a reason, and everything else goes on.
#[test]
fn i8_a_file_that_is_too_large_for_the_disk_is_refused_before_it_is_sent() -> Result<()> {
    let server = Server::start()?;
    let mut stream = connect(&server)?;
    stream.write_all(
        format!("PUT {PROXY}/artifacts/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999999\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("TEMPORARILY_UNAVAILABLE"), "{answer}");
    assert!(answer.contains("bytes free"), "{answer}");
    put(&server.http(), "x", b"x")?;
    assert_eq!(get(&server.http(), "x")?.text(), "x");
    server.check_log(&[])
}
