//! An upstream that takes HTTP/1.1 at its word: it reads each message as RFC 9112 frames it, notes every octet that is
//! not by the book, and answers in bytes that a test chooses.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// `GET`, `PUT`, …
    pub method: String,
    /// The request target.
    pub target: String,
    /// The head with its line ends.
    pub head: String,
    /// The body, its coding removed.
    pub body: Vec<u8>,
    /// It came to its end.
    pub whole: bool,
}

impl Message {
    /// The gate asks for itself: a read of a tracked path, never with anything of the client's but conditions.
    pub fn own(&self) -> bool {
        self.head.contains("\r\nuser-agent: tufgate/")
    }
}

/// What is sent in answer to a request for a path.
#[derive(Clone, Debug)]
pub struct Script {
    /// The bytes, framing and all.
    pub bytes: Vec<u8>,
    /// The connection ends afterwards.
    pub close: bool,
    /// Sent at the request's head, its body unread; else after it.
    pub early: bool,
    /// Sent on the same connection once [`Recorder::release`] is called.
    pub late: Vec<u8>,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    faults: Vec<String>,
    known: Vec<String>,
    scripts: HashMap<String, Script>,
    files: HashMap<String, Vec<u8>>,
    waiting: Vec<SyncSender<()>>,
}

/// The upstream; it stops when dropped.
pub struct Recorder {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Listens on a free loopback port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let ended = Arc::<AtomicBool>::default();
        let (shared, end) = (Arc::clone(&state), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away mid-message is what some tests are about.
                    let _ = converse(stream, &state);
                });
            }
        });
        Self {
            addr,
            state,
            ended,
            thread: Some(thread),
        }
    }

    /// `http://addr`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Answers 200 to reads of what begins so; everything else is 404.
    pub fn know(&self, path: &str) {
        self.state().known.push(path.to_owned());
    }

    /// Answers so at this path from the next request on.
    pub fn script(&self, path: &str, script: Script) {
        self.state().scripts.insert(path.to_owned(), script);
    }

    /// Every request so far.
    pub fn messages(&self) -> Vec<Message> {
        self.state().messages.clone()
    }

    /// What was not by the book.
    pub fn faults(&self) -> Vec<String> {
        self.state().faults.clone()
    }

    /// Has what is [`Script::late`] sent; the bytes are with the other side when this returns.
    pub fn release(&self) {
        let waiting = std::mem::take(&mut self.state().waiting);
        for told in waiting {
            // Nothing is kept in this channel: the second one is taken once the first has been acted upon.
            let _ = told.send(());
            let _ = told.send(());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(mut message) = read_head(&mut stream, state)? {
        let script = lock(state).scripts.get(&message.target).cloned();
        let early = script.as_ref().is_some_and(|script| script.early);
        if early {
            stream.get_mut().write_all(&script.as_ref().unwrap().bytes)?;
        } else if message
            .head
            .to_ascii_lowercase()
            .contains("\r\nexpect: 100-continue\r\n")
        {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let read = read_body(&mut stream, &mut message);
        message.whole = matches!(read, Ok(Ok(())));
        let answer = {
            let mut state = lock(state);
            if let Ok(Err(fault)) = &read {
                state.faults.push(format!("{fault}: {message:?}"));
            }
            let answer = by_the_book(&mut state, &message);
            state.messages.push(message);
            answer
        };
        read?.map_err(io::Error::other)?;
        let Some(script) = script else {
            stream.get_mut().write_all(&answer)?;
            continue;
        };
        // Before the answer, so that whoever has read it finds this one waiting.
        let (tell, told) = sync_channel(0);
        if !script.late.is_empty() {
            lock(state).waiting.push(tell);
        }
        if !early {
            stream.get_mut().write_all(&script.bytes)?;
        }
        if !script.late.is_empty() {
            let _ = told.recv();
            stream.get_mut().write_all(&script.late)?;
            let _ = told.recv();
        }
        if script.close {
            stream.get_mut().shutdown(std::net::Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink())?;
            return Ok(());
        }
    }
    Ok(())
}

/// What an honest server answers; a PUT is stored.
fn by_the_book(state: &mut State, message: &Message) -> Vec<u8> {
    let target = &message.target;
    let text = match message.method.as_str() {
        "PUT" if message.whole => {
            state.files.insert(target.clone(), message.body.clone());
            return b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        "GET" | "HEAD"
            if !state.files.contains_key(target) && !state.known.iter().any(|known| target.starts_with(known)) =>
        {
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        _ => state.files.get(target).cloned().unwrap_or_else(|| body_of(target)),
    };
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len()).into_bytes();
    if message.method != "HEAD" {
        answer.extend_from_slice(&text);
    }
    answer
}

/// What lies at a path where nothing was put.
pub fn body_of(target: &str) -> Vec<u8> {
    format!("what lies at {target}\n").into_bytes()
}

type Stream = BufReader<TcpStream>;

fn read_line(stream: &mut Stream) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    Ok((!line.is_empty()).then(|| line.iter().map(|b| char::from(*b)).collect()))
}

fn read_head(stream: &mut Stream, state: &Mutex<State>) -> io::Result<Option<Message>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let Some(line) = read_line(stream)? else {
            if !head.is_empty() {
                lock(state).faults.push(format!("a head that ends early: {head:?}"));
            }
            return Ok(None);
        };
        head.push_str(&line);
        let plain = line
            .strip_suffix("\r\n")
            .is_some_and(|line| !line.contains(['\r', '\n', '\0']));
        if !plain || head == "\r\n" {
            lock(state).faults.push(format!("no line of a head: {head:?}"));
            return Ok(None);
        }
    }
    let words: Vec<&str> = head.lines().next().unwrap().split(' ').collect();
    // hyper speaks HTTP/1.0 on a connection on which it was answered so.
    let ([method, target, "HTTP/1.1" | "HTTP/1.0"], 1) = (words.as_slice(), head.matches("\r\n\r\n").count()) else {
        lock(state).faults.push(format!("no request line: {head:?}"));
        return Ok(None);
    };
    Ok(Some(Message {
        method: (*method).to_owned(),
        target: (*target).to_owned(),
        head: head.clone(),
        body: Vec::new(),
        whole: false,
    }))
}

/// Reads a body; the inner error says what of it is not by the book.
fn read_body(stream: &mut Stream, message: &mut Message) -> io::Result<Result<(), String>> {
    let of = |name: &str| -> Vec<String> {
        let fields = message
            .head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_matches([' ', '\t']).to_owned())
            .collect()
    };
    let (lengths, codings, hosts) = (of("content-length"), of("transfer-encoding"), of("host"));
    if hosts.len() != 1 {
        return Ok(Err(format!("{} Hosts", hosts.len())));
    }
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Ok(())),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            let length: u64 = length.parse().map_err(io::Error::other)?;
            let read = stream.take(length).read_to_end(&mut message.body)?;
            match read as u64 == length {
                true => Ok(Ok(())),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => read_chunks(stream, &mut message.body),
        _ => Ok(Err(format!("lengths {lengths:?} and codings {codings:?}"))),
    }
}

fn read_chunks(stream: &mut Stream, body: &mut Vec<u8>) -> io::Result<Result<(), String>> {
    loop {
        let Some(line) = read_line(stream)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let digits = line
            .strip_suffix("\r\n")
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(size) = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok()) else {
            return Ok(Err(format!("chunk size {line:?}")));
        };
        let start = body.len();
        body.resize(start + size, 0);
        let mut end = [0; 2];
        stream.read_exact(&mut body[start..])?;
        stream.read_exact(&mut end)?;
        if &end != b"\r\n" {
            return Ok(Err(format!("a chunk that ends in {end:?}")));
        }
        if size == 0 {
            return Ok(Ok(()));
        }
    }
}
