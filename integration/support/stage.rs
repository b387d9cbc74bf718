//! A server of scenarios' states, which misbehaves where a scenario says so. No HTTP library is involved, since those
//! cannot send what breaks them.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// How a path is answered, where that is not 200 and the file. At most one of these but for `chunked`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Another status, with the file where there is one.
    status: Option<u16>,
    /// A web page.
    #[serde(default)]
    html: bool,
    /// The file, then blanks for as long as the client reads.
    #[serde(default)]
    endless: bool,
    /// The file, packed.
    #[serde(default)]
    gzip: bool,
    /// Blanks that unpack to 64 MiB.
    #[serde(default)]
    gzip_bomb: bool,
    /// 302 to another path of the scenario.
    redirect: Option<String>,
    /// So many bytes, then the end of the connection.
    cut: Option<usize>,
    /// A Content-Length off by so much.
    lie: Option<i64>,
    /// The end of the connection, at once.
    #[serde(default)]
    hang_up: bool,
    /// In chunks, without a length.
    #[serde(default)]
    chunked: bool,
    /// So many bytes, then silence.
    stall: Option<usize>,
    /// Byte by byte, so many milliseconds apart.
    drip: Option<u64>,
}

/// What stays as it is in a file's name.
const ON_DISK: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b'+')
    .remove(b',')
    .remove(b'=');

/// The file for a URL path: decoded and resolved as servers do, then encoded so that every disk can hold it. `make` does
/// the same.
fn disk(path: &str) -> String {
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/') {
        match &*percent_decode_str(segment).decode_utf8_lossy() {
            ".." => drop(segments.pop()),
            "" | "." => {}
            segment => segments.push(utf8_percent_encode(segment, ON_DISK).to_string()),
        }
    }
    segments.join("/")
}

/// What one client is served.
#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    http: HashMap<String, Rule>,
}

/// A server of many states, each below a folder of its own. It stops, and its connections close, when it is dropped.
pub struct Stage {
    addr: SocketAddr,
    states: Arc<Mutex<HashMap<String, Arc<State>>>>,
    task: JoinHandle<()>,
}

impl Stage {
    /// Listens on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        let states = Arc::<Mutex<HashMap<String, Arc<State>>>>::default();
        let shared = Arc::clone(&states);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // The client's going away is its own business.
                let shared = Arc::clone(&shared);
                connections.spawn(async move { answer(stream, &shared).await.ok() });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, states, task }
    }

    /// Serves a state below `/KEY/` from now on.
    pub fn serve(&self, key: &str, files: BTreeMap<String, Vec<u8>>, http: HashMap<String, Rule>) {
        let state = Arc::new(State { files, http });
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(key.to_owned(), state);
    }

    /// A URL below `/KEY/`.
    pub fn url(&self, key: &str, path: &str) -> String {
        format!("http://{}/{key}/{path}", self.addr)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, states: &Mutex<HashMap<String, Arc<State>>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (key, path) = target.trim_start_matches('/').split_once('/').unwrap_or_default();
    let state = states.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    let state = state.unwrap_or_default();
    let path = disk(path);
    let rule = state.http.get(&path).cloned().unwrap_or_default();
    reply(&mut stream, key, &path, &rule, state.files.get(&path)).await?;
    stream.shutdown().await
}

/// What an honest server says of how long an answer may be kept.
fn cacheable(path: &str, status: u16) -> &'static str {
    let name = path.strip_prefix("metadata/").unwrap_or_default();
    match status {
        200 if name.starts_with(|first: char| first.is_ascii_digit()) => "public, max-age=31536000, immutable",
        200 => "no-cache",
        _ => "no-store",
    }
}

async fn reply(stream: &mut TcpStream, key: &str, path: &str, rule: &Rule, file: Option<&Vec<u8>>) -> io::Result<()> {
    let mut status = rule.status.unwrap_or(if file.is_some() { 200 } else { 404 });
    let mut body = file.cloned().unwrap_or_default();
    let mut lines = format!("Connection: close\r\nCache-Control: {}\r\n", cacheable(path, status));
    if rule.hang_up {
        return Ok(());
    }
    if rule.html {
        (status, body) = (200, b"<!doctype html><title>Sign in</title>".to_vec());
    }
    if let Some(to) = &rule.redirect {
        (status, body) = (302, Vec::new());
        lines += &format!("Location: /{key}/{to}\r\n");
    }
    if rule.gzip || rule.gzip_bomb {
        let plain = if rule.gzip_bomb { vec![b' '; 64 << 20] } else { body };
        let mut packer = flate2::read::GzEncoder::new(&plain[..], flate2::Compression::fast());
        body = Vec::new();
        io::Read::read_to_end(&mut packer, &mut body)?;
        lines += "Content-Encoding: gzip\r\n";
    }
    if rule.endless {
        stream
            .write_all(format!("HTTP/1.1 200 Told\r\n{lines}\r\n").as_bytes())
            .await?;
        stream.write_all(&body).await?;
        loop {
            stream.write_all(&[b' '; 16 << 10]).await?;
        }
    }
    let announced = body.len() as i64 + rule.lie.unwrap_or(0);
    lines += &match (rule.chunked, status) {
        (true, _) => "Transfer-Encoding: chunked\r\n".to_owned(),
        (false, 204) => String::new(),
        (false, _) => format!("Content-Length: {announced}\r\n"),
    };
    stream
        .write_all(format!("HTTP/1.1 {status} Told\r\n{lines}\r\n").as_bytes())
        .await?;
    if status == 204 {
        return Ok(());
    }
    if let Some(pause) = rule.drip {
        for byte in body {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        return Ok(());
    }
    let sent = &body[..rule.cut.or(rule.stall).unwrap_or(body.len())];
    if rule.chunked {
        stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
        stream.write_all(sent).await?;
        return match rule.cut {
            Some(_) => Ok(()),
            None => stream.write_all(b"\r\n0\r\n\r\n").await,
        };
    }
    stream.write_all(sent).await?;
    if rule.stall.is_some() {
        // Until the client hangs up.
        return stream.read_u8().await.map(drop);
    }
    Ok(())
}
