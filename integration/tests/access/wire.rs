//! An HTTP/1.1 client that sends the bytes it is given over kept connections and reads answers exactly to their end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::support::http::connect;

/// An answer as it came.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body is all that its framing announced.
    pub whole: bool,
}

impl Answer {
    /// All values of a header in order, each once: nginx puts what `add_header` says into a 416 twice.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(other, _)| other == name);
        let mut values: Vec<&str> = found.map(|(_, value)| value.as_str()).collect();
        values.dedup();
        values
    }

    /// Its first value.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The status line and headers, for a message.
    pub fn shown(&self) -> String {
        let lines: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let whole = if self.whole { "" } else { ", cut" };
        format!(
            "{} [{}] {} bytes{whole}",
            self.status,
            lines.join("; "),
            self.body.len()
        )
    }
}

/// A server, and the connection to it that is kept.
pub struct Line {
    addr: SocketAddr,
    kept: Option<BufReader<TcpStream>>,
}

impl Line {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, kept: None }
    }

    /// Sends a request's bytes and reads its final answer. A kept connection that the server closed meanwhile is replaced
    /// once.
    pub fn ask(&mut self, request: &[u8], fresh: bool) -> Answer {
        let head = request.starts_with(b"HEAD ");
        if let Some(mut kept) = self.kept.take().filter(|_| !fresh)
            && let Some(answer) = exchange(&mut kept, request, head)
        {
            self.keep(kept, &answer);
            return answer;
        }
        let mut stream = BufReader::new(connect(self.addr));
        let answer = exchange(&mut stream, request, head).unwrap_or_default();
        self.keep(stream, &answer);
        answer
    }

    fn keep(&mut self, stream: BufReader<TcpStream>, answer: &Answer) {
        let closes = answer
            .all("connection")
            .iter()
            .any(|value| value.eq_ignore_ascii_case("close"));
        self.kept = (answer.whole && !closes).then_some(stream);
    }
}

/// One request and its answer; `None` when the connection gave no head.
fn exchange(stream: &mut BufReader<TcpStream>, request: &[u8], head: bool) -> Option<Answer> {
    stream.get_mut().write_all(request).ok()?;
    let mut answer = Answer::default();
    while answer.status < 200 {
        (answer.status, answer.headers) = head_of(stream)?;
    }
    answer.whole = if head || matches!(answer.status, 204 | 304) {
        true
    } else if answer
        .all("transfer-encoding")
        .iter()
        .any(|coding| coding.contains("chunked"))
    {
        chunked(stream, &mut answer.body).is_some()
    } else if let Some(length) = answer
        .one("content-length")
        .and_then(|length| length.parse::<u64>().ok())
    {
        let read = stream.take(length).read_to_end(&mut answer.body);
        read.is_ok() && answer.body.len() as u64 == length
    } else {
        let ended = stream.read_to_end(&mut answer.body).is_ok();
        // Whatever comes on this connection belongs to the body.
        answer.headers.push(("connection".to_owned(), "close".to_owned()));
        ended
    };
    Some(answer)
}

/// Status and headers.
type Head = (u16, Vec<(String, String)>);

fn head_of(stream: &mut BufReader<TcpStream>) -> Option<Head> {
    let status = line(stream)?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Some((status, headers));
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// A line without its end.
fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).ok()?;
    let text = bytes.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn chunked(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let size = u64::from_str_radix(line(stream)?.trim(), 16).ok()?;
        if size == 0 {
            return line(stream)?.is_empty().then_some(());
        }
        let before = body.len() as u64;
        stream.take(size).read_to_end(body).ok()?;
        if body.len() as u64 != before + size || !line(stream)?.is_empty() {
            return None;
        }
    }
}
