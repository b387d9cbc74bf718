//! `fixtures/repositories/`: scenarios as they lie there, and a server that serves their states.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
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

/// One folder. Its README says what the fields mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    pub about: String,
    pub kind: Kind,
    pub by: String,
    pub base: Option<String>,
    /// The server is slow: the clients get short timeouts.
    #[serde(default)]
    pub hurry: bool,
    pub steps: Vec<Step>,
    pub verify: Verify,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Honest,
    Hostile,
}

/// One state and one question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    ask: Ask,
    pub ours: String,
    pub python_tuf: String,
    pub why: Option<String>,
    /// Files of the client's folder that a refusal changes all the same, since they were valid.
    #[serde(default)]
    pub moves: Vec<String>,
    #[serde(default)]
    pub http: HashMap<String, Rule>,
    #[serde(default)]
    removed: Vec<String>,
}

impl Step {
    /// Targets to download after the refresh.
    pub fn targets(&self) -> &[String] {
        match &self.ask {
            Ask::Refresh(word) => {
                assert_eq!(word, "refresh");
                &[]
            }
            Ask::Targets(targets) => targets,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Ask {
    Refresh(String),
    Targets(Vec<String>),
}

/// What `tufgate verify` says of the last state.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// `clean`, `found`, or `any` where neither is the scenario's point.
    pub expect: String,
    pub why: Option<String>,
}

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

/// `fixtures/repositories`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repositories")
}

impl Scenario {
    /// Every scenario, by name.
    pub fn all() -> Vec<Self> {
        let folders = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = folders.filter(|folder| folder.join("scenario.json").exists()).collect();
        names.sort();
        names.iter().map(|folder| Self::read(folder)).collect()
    }

    fn read(folder: &Path) -> Self {
        let text = fs::read(folder.join("scenario.json")).unwrap();
        let mut scenario: Self =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        scenario.name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        scenario
    }

    /// What is served at a step, counted from 0: its files on top of those before.
    pub fn files(&self, step: usize) -> BTreeMap<String, Vec<u8>> {
        let mut files = match &self.base {
            Some(base) => {
                let base = Self::read(&folder().join(base));
                base.files(base.steps.len() - 1)
            }
            None => BTreeMap::new(),
        };
        for (number, step) in self.steps[..=step].iter().enumerate() {
            let state = folder().join(&self.name).join((number + 1).to_string());
            lay(&state, &state, &mut files);
            for path in &step.removed {
                files.remove(path).expect("a file that was there");
            }
        }
        files
    }
}

/// Lays a step's files on top of others. `packed.jsonl.gz` holds files too large or too many to lie there.
fn lay(state: &Path, at: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    #[derive(Deserialize)]
    struct Packed {
        path: String,
        body: String,
    }
    for entry in fs::read_dir(at).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lay(state, &path, files);
        } else if path.ends_with("packed.jsonl.gz") {
            let unpacked = flate2::read::GzDecoder::new(fs::File::open(&path).unwrap());
            for line in io::BufRead::lines(io::BufReader::new(unpacked)) {
                let packed: Packed = serde_json::from_str(&line.unwrap()).unwrap();
                files.insert(packed.path, packed.body.into_bytes());
            }
        } else {
            let name = path.strip_prefix(state).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
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
pub struct Site {
    addr: SocketAddr,
    states: Arc<Mutex<HashMap<String, Arc<State>>>>,
    task: JoinHandle<()>,
}

impl Site {
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

impl Drop for Site {
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
    reply(&mut stream, key, &rule, state.files.get(&path)).await?;
    stream.shutdown().await
}

async fn reply(stream: &mut TcpStream, key: &str, rule: &Rule, file: Option<&Vec<u8>>) -> io::Result<()> {
    let mut status = rule.status.unwrap_or(if file.is_some() { 200 } else { 404 });
    let mut body = file.cloned().unwrap_or_default();
    let mut lines = "Connection: close\r\n".to_owned();
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
        stream.write_all(format!("HTTP/1.1 200 Told\r\n{lines}\r\n").as_bytes()).await?;
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
    stream.write_all(format!("HTTP/1.1 {status} Told\r\n{lines}\r\n").as_bytes()).await?;
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
