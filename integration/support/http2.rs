//! HTTP/2 by prior knowledge: `h2` for what is well formed, raw frames for what is not.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    /// Status; 0 when the stream ended before one.
    pub status: u16,
    /// Its header.
    pub headers: HeaderMap,
    /// The body bytes that arrived.
    pub body: Vec<u8>,
    /// How the stream ended: by END_STREAM, or reset.
    pub end: Result<(), Option<Reason>>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A runtime for one test's connections.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// A connection; it lives as long as the runtime and the handle.
pub async fn connect(addr: SocketAddr) -> SendRequest<Bytes> {
    let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    send
}

/// A request without its body.
pub fn request(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://{addr}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Waits for an answer's end.
pub async fn answer(response: ResponseFuture) -> Answer {
    let mut answer = Answer {
        status: 0,
        headers: HeaderMap::new(),
        body: Vec::new(),
        end: Ok(()),
    };
    let response = match response.await {
        Ok(response) => response,
        Err(error) => {
            answer.end = Err(error.reason());
            return answer;
        }
    };
    let (head, mut body) = response.into_parts();
    (answer.status, answer.headers) = (head.status.as_u16(), head.headers);
    while let Some(chunk) = body.data().await {
        match chunk {
            Ok(chunk) => {
                let _ = body.flow_control().release_capacity(chunk.len());
                answer.body.extend_from_slice(&chunk);
            }
            Err(error) => {
                answer.end = Err(error.reason());
                break;
            }
        }
    }
    answer
}

/// One exchange on a connection of its own; the body goes out in one piece.
pub fn exchange(addr: SocketAddr, request: Request<()>, body: Option<Bytes>) -> Answer {
    runtime().block_on(async {
        let mut send = connect(addr).await.ready().await.unwrap();
        let (response, mut stream) = send.send_request(request, body.is_none()).unwrap();
        if let Some(body) = body {
            // Who has refused already may have ended the stream.
            let _ = stream.send_data(body, true);
        }
        answer(response).await
    })
}

/// Frame types (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs, reason = "they are the RFC's names")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of HEADERS and CONTINUATION.
pub const END_STREAM: u8 = 1;
/// As above.
pub const END_HEADERS: u8 = 4;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a GET, without compression.
pub fn get_block(path: &str) -> Vec<u8> {
    // :method GET, :scheme http; :authority and :path as literals (RFC 7541 section 6.2.2 and appendix A).
    let mut block = vec![0x82, 0x86, 0x01, 4];
    block.extend(b"gate");
    block.extend([0x04, u8::try_from(path.len()).unwrap()]);
    block.extend(path.as_bytes());
    block
}

/// A connection on which anything may be sent.
pub struct Wire(pub TcpStream);

impl Wire {
    /// Connects, and sends the preface with empty settings.
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(40))).unwrap();
        let mut wire = Self(stream);
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.send(&frame(kind::SETTINGS, 0, 0, &[]));
        wire
    }

    /// Sends bytes; `false` when the other side is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// The next frame: type, flags, stream, payload; `None` at the connection's end.
    pub fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// Reads to the connection's end, and gives the reason of the last GOAWAY.
    pub fn goodbye(mut self) -> Option<u32> {
        let mut reason = None;
        while let Some((kind, _, _, payload)) = self.read() {
            if kind == kind::GOAWAY {
                reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        reason
    }
}
