//! A server for tests: answers each request with what a closure says.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

/// One request as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// All requests so far.
pub(crate) type Requests = Arc<Mutex<Vec<Request>>>;

/// Starts a server that answers the request of each number (from 0) with a status, header lines and a body; status 0
/// closes the connection without an answer.
pub(crate) fn start(
    mut answer: impl FnMut(usize, &Request) -> (u16, &'static str, String) + Send + 'static,
) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = requests.clone();
    stepwell_env::spawn("test-server", move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let request = read(&mut BufReader::new(&stream));
            let (status, headers, body) = answer(number, &request);
            seen.lock().unwrap().push(request);
            if status != 0 {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        }
    })
    .unwrap();
    (url, requests)
}

fn read(reader: &mut impl BufRead) -> Request {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let mut headers = Vec::new();
    while let Some((name, value)) = line().split_once(": ") {
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut request = Request { line: first, headers, body: Vec::new() };
    let length: u64 = request.header("content-length").parse().unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body).unwrap();
    request
}
