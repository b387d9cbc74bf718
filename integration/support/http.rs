//! A raw HTTP/1.1 client for tests: sends exactly the bytes it is given, and tells a whole body from a cut one.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code; 0 when the connection ended before one.
    pub status: u16,
    /// Header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body bytes that arrived, chunked coding removed.
    pub body: Vec<u8>,
    /// The body is all that its framing announced.
    pub whole: bool,
}

impl Response {
    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The last part of the problem's `type`.
    pub fn problem(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(problem.get("type")?.as_str()?.rsplit(':').next()?.to_owned())
    }
}

/// Sends raw bytes on a fresh connection and reads one final answer.
pub fn raw(addr: SocketAddr, request: &[u8]) -> Response {
    let mut stream = connect(addr);
    // The gate may answer and close before it has read all: what it said still counts.
    let _ = stream.write_all(request);
    read(stream, request.starts_with(b"HEAD "))
}

/// A connection with test timeouts.
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads one final answer to its end or to the connection's.
pub fn read(mut stream: TcpStream, head: bool) -> Response {
    let mut bytes = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        if let Some(response) = parse(&bytes, head, false) {
            return response;
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return parse(&bytes, head, true).unwrap_or_else(nothing),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// A request with these header lines and a Content-Length body.
pub fn request(addr: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() || method == "PUT" {
        request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    raw(addr, &request)
}

/// GET.
pub fn get(addr: SocketAddr, target: &str) -> Response {
    request(addr, "GET", target, &[], b"")
}

/// PUT.
pub fn put(addr: SocketAddr, target: &str, body: &[u8]) -> Response {
    request(addr, "PUT", target, &[], body)
}

/// PUT with chunked coding, in pieces of this size.
pub fn put_chunked(addr: SocketAddr, target: &str, body: &[u8], piece: usize) -> Response {
    let mut request =
        format!("PUT {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
            .into_bytes();
    for piece in body.chunks(piece) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    raw(addr, &request)
}

fn nothing() -> Response {
    Response {
        status: 0,
        headers: Vec::new(),
        body: Vec::new(),
        whole: false,
    }
}

/// Parses an answer; `None` while more bytes are needed and may come. Informational answers are skipped.
fn parse(bytes: &[u8], head: bool, ended: bool) -> Option<Response> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let rest = &bytes[at + 4..];
    let mut lines = text.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    if (100..200).contains(&status) {
        return parse(rest, head, ended);
    }
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let (body, whole) = if head || status == 204 || status == 304 {
        (Vec::new(), true)
    } else if find("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        dechunk(rest)
    } else if let Some(length) = find("content-length").and_then(|length| length.parse::<usize>().ok()) {
        // Looked at once it is all there.
        if rest.len() < length && !ended {
            return None;
        }
        (rest[..rest.len().min(length)].to_vec(), rest.len() >= length)
    } else {
        (rest.to_vec(), ended)
    };
    (whole || ended).then_some(Response {
        status,
        headers,
        body,
        whole,
    })
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..at])
            .ok()
            .and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
        let Some(size) = size else { return (body, false) };
        rest = &rest[at + 2..];
        if size == 0 {
            return (body, rest.len() >= 2);
        }
        body.extend_from_slice(&rest[..rest.len().min(size)]);
        if rest.len() < size + 2 {
            return (body, false);
        }
        rest = &rest[size + 2..];
    }
}
