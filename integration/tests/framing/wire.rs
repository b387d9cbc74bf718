//! A client that sends bytes as they are and reads answers one after the other, so that it notices one too many.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use crate::support::http;

/// An answer on a connection that may carry more.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    /// The body, its coding removed.
    pub body: Vec<u8>,
    /// The body came to the end that its framing announced.
    pub whole: bool,
}

impl Answer {
    /// Values of a field.
    pub fn of(&self, name: &str) -> Vec<String> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_ascii_lowercase())
            .collect()
    }

    /// The connection ends after it.
    pub fn closes(&self) -> bool {
        self.of("connection") == ["close"]
    }
}

/// A connection to the gate.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    ended: bool,
}

impl Wire {
    /// Connects.
    pub fn open(addr: SocketAddr) -> Self {
        let stream = http::connect(addr);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            stream,
            unread: Vec::new(),
            ended: false,
        }
    }

    /// Sends; the gate may have closed already.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends each octet in a segment of its own.
    pub fn drip(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let _ = self.stream.write_all(&[*byte]);
        }
    }

    /// Sends no more.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next final answer; `None` when the connection ended before one. Informational ones are skipped.
    pub fn answer(&mut self, head_only: bool) -> Option<Answer> {
        loop {
            let head = loop {
                match self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                    Some(end) => break self.take(end + 4),
                    None if !self.more() => {
                        assert!(
                            self.unread.is_empty(),
                            "half a head: {:?}",
                            self.unread.escape_ascii().to_string()
                        );
                        return None;
                    }
                    None => {}
                }
            };
            let head: String = head.iter().map(|b| char::from(*b)).collect();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let Some(status) = status.filter(|_| head.starts_with("HTTP/1.1 ")) else {
                panic!("no answer: {head:?}");
            };
            let mut answer = Answer {
                status,
                head,
                body: Vec::new(),
                whole: true,
            };
            match status {
                100..=199 => continue,
                204 | 304 => {}
                _ if head_only => {}
                _ => self.body(&mut answer),
            }
            return Some(answer);
        }
    }

    /// Whether the connection ends here, nothing after what was read.
    pub fn ends(&mut self) -> bool {
        self.unread.is_empty() && !self.more()
    }

    fn body(&mut self, answer: &mut Answer) {
        let (lengths, codings) = (answer.of("content-length"), answer.of("transfer-encoding"));
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => {
                while self.more() {}
                answer.body = std::mem::take(&mut self.unread);
            }
            ([length], []) => {
                let length: usize = length.parse().unwrap();
                while self.unread.len() < length && self.more() {}
                answer.whole = self.unread.len() >= length;
                answer.body = self.take(length.min(self.unread.len()));
            }
            ([], [coding]) if coding == "chunked" => answer.whole = self.chunks(&mut answer.body).is_some(),
            _ => panic!("two framings: {:?}", answer.head),
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let end = loop {
                match self.unread.windows(2).position(|window| window == b"\r\n") {
                    Some(end) => break end,
                    None if !self.more() => return None,
                    None => {}
                }
            };
            let line = self.take(end + 2);
            let size = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
            while self.unread.len() < size + 2 && self.more() {}
            if self.unread.len() < size + 2 {
                body.append(&mut self.unread);
                return None;
            }
            body.append(&mut self.take(size));
            assert_eq!(self.take(2), b"\r\n");
            if size == 0 {
                return Some(());
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.unread.split_off(length);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Reads on; `false` at the connection's end. A gate that says nothing fails the test.
    fn more(&mut self) -> bool {
        let mut chunk = [0; 16384];
        if self.ended {
            return false;
        }
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the gate is silent"),
            Err(_reset) => self.ended = true,
        }
        !self.ended
    }
}
