//! A raw TCP origin that behaves as told: well, oddly, or badly. No HTTP library is involved, since those cannot send
//! what breaks them.
//!
//! Paths are the request target without its query, as it came. A PUT's body is stored only once it is whole, as an
//! honest server does it.
#![expect(clippy::expect_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// How an answer's end is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// Chunks of at most 4 KiB.
    Chunked,
    /// By the connection's end.
    Close,
    /// Content-Length.
    Length,
    /// HTTP/1.0, no length, by the connection's end.
    Old,
}

/// What the origin does with requests for a path.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Serves the stored file, or 404; stores a PUT with 201, or 204 where something was; deletes with 204.
    Serve(Framing),
    /// Serves with more header lines, such as `Content-Encoding: gzip\r\n`.
    ServeWith(Framing, String),
    /// Serves so many bytes of the stored file's body, then closes.
    Truncate(Framing, usize),
    /// As `Truncate`, then resets the connection.
    Reset(usize),
    /// As `Truncate`, then says nothing more.
    Stall(Framing, usize),
    /// Serves a gigabyte of spaces, whatever is stored; announces it where the framing does.
    Endless(Framing),
    /// Serves spaces for ever, one after each such wait.
    Drip(Duration),
    /// Serves with a Content-Length off by so much: positive announces more than comes, negative less.
    Lie(i64),
    /// Serves this part of the stored file with that status (200 or 206) and a Content-Range.
    Part(u16, usize, usize),
    /// 302 to there.
    Redirect(String),
    /// Sends these bytes whatever the request, then closes.
    Raw(Vec<u8>),
    /// Reads the request's body, stores nothing, answers with this status.
    Status(u16),
    /// Answers a PUT with this status at its head, then reads the body; stores it if the status is 2xx.
    Early(u16),
    /// Answers a PUT with this status at its head and closes; stores nothing.
    EarlyClose(u16),
    /// Reads so many bytes of a PUT's body, then closes without an answer.
    HangUp(usize),
    /// Stores a PUT, then closes without an answer: the client cannot know.
    StoreSilently,
    /// Never sends 100 Continue; stores a PUT if its body comes anyway.
    NoContinue,
    /// Reads the head (and body), then never answers.
    Silent,
    /// Stores and deletes as it should; 401 to every reader.
    WriteOnly,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `PUT`, …
    pub method: String,
    /// The request target with its query.
    pub target: String,
    /// The whole head with its line ends.
    pub head: String,
}

impl Seen {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header's first value; names are compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    scripts: HashMap<String, Behaviour>,
    default: Option<Behaviour>,
    seen: Vec<Seen>,
}

/// The origin. It stops, and its connections close, when it is dropped.
pub struct Origin {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Origin {
    /// Listens on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // The client's going away is its own business.
                    let _ = converse(BufReader::new(stream), &shared).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, state, task }
    }

    /// `http://addr`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stores a file, as if behind the gate's back.
    pub fn put_file(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        lock(&self.state).files.insert(path.to_owned(), bytes.into());
    }

    /// Removes a file.
    pub fn remove_file(&self, path: &str) {
        lock(&self.state).files.remove(path);
    }

    /// What is stored.
    pub fn stored(&self, path: &str) -> Option<Vec<u8>> {
        lock(&self.state).files.get(path).cloned()
    }

    /// Behaves so at a path from the next request on.
    pub fn script(&self, path: &str, behaviour: Behaviour) {
        lock(&self.state).scripts.insert(path.to_owned(), behaviour);
    }

    /// Behaves so wherever nothing else is scripted; at first `Serve(Length)`.
    pub fn script_all(&self, behaviour: Behaviour) {
        lock(&self.state).default = Some(behaviour);
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// How many requests a path had.
    pub fn count(&self, path: &str) -> usize {
        lock(&self.state).seen.iter().filter(|seen| seen.path() == path).count()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

type Stream = BufReader<TcpStream>;

/// Whether the connection goes on.
type Next = io::Result<bool>;

async fn converse(mut stream: Stream, state: &Mutex<State>) -> io::Result<()> {
    while let Some(seen) = read_head(&mut stream).await? {
        let (behaviour, file) = {
            let mut state = lock(state);
            state.seen.push(seen.clone());
            let scripted = state.scripts.get(seen.path()).or(state.default.as_ref()).cloned();
            (
                scripted.unwrap_or(Behaviour::Serve(Framing::Length)),
                state.files.get(seen.path()).cloned(),
            )
        };
        let goes_on = match seen.method.as_str() {
            "GET" | "HEAD" => answer_read(&mut stream, &seen, &behaviour, file).await?,
            _ => answer_write(&mut stream, &seen, &behaviour, state).await?,
        };
        if !goes_on {
            stream.shutdown().await?;
            break;
        }
    }
    Ok(())
}

async fn read_head(stream: &mut Stream) -> io::Result<Option<Seen>> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut raw).await? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&raw).into_owned();
    let mut words = head.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(Some(Seen { method, target, head }))
}

async fn answer_read(stream: &mut Stream, seen: &Seen, behaviour: &Behaviour, file: Option<Vec<u8>>) -> Next {
    use Behaviour as B;
    let found = file.is_some();
    let body = file.unwrap_or_default();
    let length = i64::try_from(body.len()).expect("a test's file");
    match behaviour {
        B::Raw(bytes) => return stream.write_all(bytes).await.map(|()| false),
        B::Silent => return std::future::pending().await,
        B::Status(status) => return plain(stream, *status, "").await,
        B::WriteOnly => return plain(stream, 401, "").await,
        B::Redirect(to) => return plain(stream, 302, &format!("Location: {to}\r\n")).await,
        B::Endless(framing) => return gigabyte(stream, *framing).await,
        B::Drip(wait) => return drip(stream, *wait).await,
        _ if !found => return plain(stream, 404, "").await,
        _ => {}
    }
    let (framing, lines) = match behaviour {
        B::Serve(framing) | B::Truncate(framing, _) | B::Stall(framing, _) => (*framing, String::new()),
        B::ServeWith(framing, lines) => (*framing, lines.clone()),
        B::Part(_, from, to) => (
            Framing::Length,
            format!("Content-Range: bytes {from}-{}/{length}\r\n", to - 1),
        ),
        _ => (Framing::Length, String::new()),
    };
    let (status, body, announced) = match behaviour {
        B::Part(status, from, to) => (*status, &body[*from..*to], i64::try_from(to - from).expect("a part")),
        B::Lie(off) => (200, &body[..], length + off),
        _ => (200, &body[..], length),
    };
    let version = if framing == Framing::Old { "1.0" } else { "1.1" };
    let told = match framing {
        Framing::Length => format!("Content-Length: {announced}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::Close | Framing::Old => "Connection: close\r\n".to_owned(),
    };
    stream
        .write_all(format!("HTTP/{version} {status} Told\r\n{lines}{told}\r\n").as_bytes())
        .await?;
    let open = !matches!(framing, Framing::Close | Framing::Old);
    if seen.method == "HEAD" {
        return Ok(open);
    }
    let sent = match behaviour {
        B::Truncate(_, at) | B::Reset(at) | B::Stall(_, at) => *at,
        _ => body.len(),
    };
    write_body(stream, &body[..sent.min(body.len())], framing).await?;
    match behaviour {
        B::Truncate(..) => return Ok(false),
        B::Reset(_) => {
            // With no time to linger the kernel sends RST instead of FIN.
            stream.get_ref().set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        B::Stall(..) => std::future::pending().await,
        B::Lie(off) if *off != 0 => return Ok(false),
        _ if framing == Framing::Chunked => stream.write_all(b"0\r\n\r\n").await?,
        _ => {}
    }
    Ok(open)
}

async fn answer_write(stream: &mut Stream, seen: &Seen, behaviour: &Behaviour, state: &Mutex<State>) -> Next {
    use Behaviour as B;
    let expects = seen
        .header("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    match behaviour {
        B::Raw(bytes) => return stream.write_all(bytes).await.map(|()| false),
        B::EarlyClose(status) => return plain(stream, *status, "Connection: close\r\n").await.map(|_| false),
        B::Early(status) => {
            plain(stream, *status, "").await?;
        }
        B::NoContinue => {}
        _ if expects => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
        _ => {}
    }
    let limit = match behaviour {
        B::HangUp(at) => *at,
        _ => usize::MAX,
    };
    let Some(body) = read_body(stream, seen, limit).await? else {
        return Ok(false);
    };
    let store = |state: &Mutex<State>| match seen.method.as_str() {
        "DELETE" => lock(state).files.remove(seen.path()).is_some(),
        _ => lock(state).files.insert(seen.path().to_owned(), body).is_some(),
    };
    match behaviour {
        B::HangUp(_) => Ok(false),
        B::Silent => std::future::pending().await,
        B::Status(status) => plain(stream, *status, "").await,
        B::Redirect(to) => plain(stream, 307, &format!("Location: {to}\r\n")).await,
        B::Early(status) => {
            if (200..300).contains(status) {
                store(state);
            }
            Ok(true)
        }
        B::StoreSilently => {
            store(state);
            Ok(false)
        }
        _ => {
            let status = match (seen.method.as_str(), store(state)) {
                ("DELETE", false) => 404,
                ("DELETE", true) | (_, true) => 204,
                (_, false) => 201,
            };
            plain(stream, status, "").await
        }
    }
}

/// A gigabyte, as far as the client wants it.
async fn gigabyte(stream: &mut Stream, framing: Framing) -> Next {
    const LENGTH: usize = 1 << 30;
    let told = match framing {
        Framing::Length => format!("Content-Length: {LENGTH}"),
        Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
        Framing::Close | Framing::Old => "Connection: close".to_owned(),
    };
    stream
        .write_all(format!("HTTP/1.1 200 Told\r\n{told}\r\n\r\n").as_bytes())
        .await?;
    let piece = [b' '; 1 << 16];
    for _ in 0..LENGTH / piece.len() {
        write_body(stream, &piece, framing).await?;
    }
    Ok(false)
}

async fn drip(stream: &mut Stream, wait: Duration) -> Next {
    stream
        .write_all(b"HTTP/1.1 200 Told\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    loop {
        tokio::time::sleep(wait).await;
        write_body(stream, b" ", Framing::Chunked).await?;
    }
}

/// An answer without a body.
async fn plain(stream: &mut Stream, status: u16, lines: &str) -> Next {
    let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
    stream
        .write_all(format!("HTTP/1.1 {status} Told\r\n{lines}{length}\r\n").as_bytes())
        .await?;
    Ok(true)
}

async fn write_body(stream: &mut Stream, body: &[u8], framing: Framing) -> io::Result<()> {
    if framing != Framing::Chunked {
        return stream.write_all(body).await;
    }
    for chunk in body.chunks(4096) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        stream.write_all(chunk).await?;
        stream.write_all(b"\r\n").await?;
    }
    Ok(())
}

/// The request's body, or its first `limit` bytes; `None` when the client went away within it.
async fn read_body(stream: &mut Stream, seen: &Seen, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    if seen.header("transfer-encoding").is_none() {
        let length = seen
            .header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let wanted = limit.min(length);
        let read = stream.take(wanted as u64).read_to_end(&mut body).await?;
        return Ok((read == wanted).then_some(body));
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(digits, 16) else {
            return Ok(None);
        };
        let start = body.len();
        body.resize(start + size, 0);
        let mut end = [0; 2];
        if stream.read_exact(&mut body[start..]).await.is_err() || stream.read_exact(&mut end).await.is_err() {
            return Ok(None);
        }
        if size == 0 || body.len() >= limit {
            body.truncate(limit);
            return Ok(Some(body));
        }
    }
}
