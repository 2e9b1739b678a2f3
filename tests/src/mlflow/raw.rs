//! HTTP without manners: any bytes as a request, over one connection that is opened anew when the server closes it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// How long an answer may take before it counts as none.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A connection to one server.
pub struct Raw {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct RawReply {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Raw {
    /// Of the server at `url`.
    pub fn new(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned(), stream: None }
    }

    /// Sends a request whose target is any text without spaces, and reads the answer.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<RawReply> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.address).into_bytes();
        for (name, value) in headers {
            request.extend(format!("{name}: {value}\r\n").bytes());
        }
        request.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
        request.extend(body);
        // A kept connection may have been closed after the answer before; a new one has not.
        if let Some(stream) = self.stream.take()
            && let Ok((stream, reply)) = exchange(stream, &request, method)
        {
            self.stream = stream;
            return Ok(reply);
        }
        let stream = TcpStream::connect(&self.address).context("connect")?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        let (stream, reply) = exchange(BufReader::new(stream), &request, method)?;
        self.stream = stream;
        Ok(reply)
    }
}

type Exchanged = (Option<BufReader<TcpStream>>, RawReply);

fn exchange(mut stream: BufReader<TcpStream>, request: &[u8], method: &str) -> Result<Exchanged> {
    // A server may answer and close before it has read all; the answer is what counts.
    let written = stream.get_mut().write_all(request);
    let status_line = line(&mut stream).or_else(|error| written.context("write").and(Err(error)))?;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("status line {status_line:?}"))?;
    let (mut length, mut is_chunked, mut closes, mut content_type) = (None, false, false, String::new());
    loop {
        let header = line(&mut stream)?.to_ascii_lowercase();
        let Some((name, value)) = header.split_once(':') else { break };
        match (name, value.trim()) {
            ("content-length", value) => length = Some(value.parse::<u64>().context("content-length")?),
            ("transfer-encoding", value) => is_chunked = value == "chunked",
            ("connection", value) => closes = value == "close",
            ("content-type", value) => content_type = value.to_owned(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if method == "HEAD" || status == 204 || status == 304 {
    } else if is_chunked {
        loop {
            let size = u64::from_str_radix(&line(&mut stream)?, 16).context("size of a chunk")?;
            (&mut stream).take(size).read_to_end(&mut body)?;
            line(&mut stream)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = length {
        (&mut stream).take(length).read_to_end(&mut body)?;
    } else {
        closes = true;
        stream.read_to_end(&mut body)?;
    }
    Ok(((!closes).then_some(stream), RawReply { status, content_type, body }))
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).context("read an answer")? == 0 {
        bail!("the connection was closed without an answer");
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
