//! A web server over a table of answers, which a test changes one at a time: what a repository looks like from outside,
//! with one thing wrong.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Header lines besides Content-Length and Connection.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// What is answered after the first time, if something else.
    pub later: Option<Box<Reply>>,
}

impl Reply {
    /// 200 with these bytes.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
            later: None,
        }
    }

    /// Another status, with a short body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::of("<html>no</html>")
        }
    }

    /// With one more header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answering otherwise after the first time.
    pub fn then(mut self, later: Reply) -> Self {
        self.later = Some(Box::new(later));
        self
    }
}

/// Answers by request path.
pub type Table = HashMap<String, Reply>;

/// What is served, and how often each path was asked.
#[derive(Default)]
struct State {
    table: Table,
    /// For what is not in the table.
    other: Option<Reply>,
    asked: HashMap<String, u64>,
}

/// The server; it ends when dropped.
pub struct Site {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// Starts with nothing: everything is a 404.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (state, ended) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (shared, end) = (state.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                // A client that hangs up is none of the server's business.
                std::thread::spawn(move || connection.and_then(|connection| answer(connection, &shared)).ok());
            }
        });
        Self {
            addr,
            state,
            ended,
            thread: Some(thread),
        }
    }

    /// Serves this from now on, and `other` for every other path, or a 404.
    pub fn serve(&self, table: Table, other: Option<Reply>) {
        *self.state.lock().unwrap() = State {
            table,
            other,
            asked: HashMap::new(),
        };
    }

    /// `http://ADDR`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees that it has ended.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut connection: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let reply = {
            let mut state = state.lock().unwrap();
            let asked = state.asked.entry(path.clone()).or_default();
            *asked += 1;
            let first = *asked == 1;
            let reply = state.table.get(&path).or(state.other.as_ref()).cloned();
            let reply = reply.unwrap_or_else(|| Reply::status(404));
            match (first, reply.later.clone()) {
                (false, Some(later)) => *later,
                _ => reply,
            }
        };
        let mut head = format!(
            "HTTP/1.1 {} X\r\nContent-Length: {}\r\n",
            reply.status,
            reply.body.len()
        );
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        connection.write_all(&[head.as_bytes(), &reply.body].concat())?;
    }
}
