//! As much of an HTTP server as imports need: one request a connection, answered by a function.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

/// What was asked.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path_and_query: String,
    headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}: ");
        self.headers.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix(&prefix).map(str::to_owned))
    }

    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let head = line(&mut reader);
        let mut words = head.split(' ').map(str::to_owned);
        let (method, path_and_query) = (words.next().unwrap(), words.next().unwrap());
        let mut request = Self { method, path_and_query, headers: Vec::new(), body: Vec::new() };
        loop {
            match line(&mut reader) {
                end if end.is_empty() => break,
                header => request.headers.push(header),
            }
        }
        if request.header("transfer-encoding").is_some() {
            while let length @ 1.. = u64::from_str_radix(&line(&mut reader), 16).unwrap() {
                reader.by_ref().take(length).read_to_end(&mut request.body).unwrap();
                line(&mut reader);
            }
            line(&mut reader);
        } else {
            let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
            reader.take(length).read_to_end(&mut request.body).unwrap();
        }
        request
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Starts it; its URL.
pub(crate) fn serve(mut answer: impl FnMut(&Request) -> (u16, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    stepwell_env::spawn("test-server", move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (status, body) = answer(&Request::read(&stream));
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        }
    })
    .unwrap();
    url
}
