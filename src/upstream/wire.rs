//! A raw loopback server for tests: it sends the bytes it is told to, whatever HTTP thinks of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Framing, memory::Script};

/// What the server does for one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Sends the bytes and reads the next request.
    Keep(Vec<u8>),
    /// Sends the bytes and closes.
    Close(Vec<u8>),
    /// Sends the bytes, then nothing more.
    Stall(Vec<u8>),
}

#[derive(Default)]
struct State {
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    heads: Mutex<Vec<String>>,
    connections: Mutex<usize>,
}

/// The server; it stops when dropped.
pub struct Wire {
    pub addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Wire {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *shared.connections.lock().unwrap() += 1;
                tokio::spawn(converse(stream, Arc::clone(&shared)));
            }
        });
        Self { addr, state, task }
    }

    /// Replies to requests for `path` (with its query): each once, the last one for ever.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.state.replies.lock().unwrap().insert(path.to_owned(), replies);
    }

    /// Request heads as they came.
    pub fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        state.heads.lock().unwrap().push(text);
        let reply = match state.replies.lock().unwrap().get_mut(&path) {
            Some(replies) if replies.len() > 1 => replies.pop_front(),
            Some(replies) => replies.front().cloned(),
            None => None,
        };
        let missing = || Reply::Keep(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec());
        match reply.unwrap_or_else(missing) {
            Reply::Keep(bytes) if stream.write_all(&bytes).await.is_ok() => {}
            Reply::Keep(_) => return,
            Reply::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Stall(bytes) => {
                let _ = stream.write_all(&bytes).await;
                std::future::pending().await
            }
        }
    }
}

/// A script as bytes.
pub fn rendered(script: &Script, head_only: bool) -> Reply {
    let mut out = format!("HTTP/1.1 {}\r\n", script.status).into_bytes();
    for (name, value) in &script.headers {
        out.extend_from_slice(format!("{name}: {}\r\n", value.to_str().unwrap()).as_bytes());
    }
    out.extend_from_slice(&match script.framing {
        Framing::Length(length) => format!("Content-Length: {length}\r\n\r\n").into_bytes(),
        Framing::Chunked => b"Transfer-Encoding: chunked\r\n\r\n".to_vec(),
        Framing::Close => b"\r\n".to_vec(),
    });
    for chunk in script.chunks.iter().filter(|chunk| !chunk.is_empty() && !head_only) {
        match script.framing {
            Framing::Chunked => {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(chunk),
        }
    }
    let sent: u64 = script.chunks.iter().map(|chunk| chunk.len() as u64).sum();
    match script.framing {
        _ if script.failure.is_some() => Reply::Close(out),
        Framing::Close => Reply::Close(out),
        Framing::Length(length) if sent < length => Reply::Close(out),
        Framing::Chunked => {
            out.extend_from_slice(b"0\r\n\r\n");
            Reply::Keep(out)
        }
        Framing::Length(_) => Reply::Keep(out),
    }
}
