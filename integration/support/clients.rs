//! The TUF clients of other people, as programs; `integration/README.md` has their command line and what each can do.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// One client program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// python-tuf 7.0.1
    PythonTuf,
    /// tuf-js 6.0.2
    TufJs,
    /// go-tuf 2.4.2
    GoTuf,
    /// tough 0.24.0
    Tough,
    /// sigstore-tuf 0.15.1
    SigstoreTuf,
    /// rust-tuf 0.3.0-beta14
    RustTuf,
    /// sigstore-java 2.0.0
    SigstoreJava,
}

/// A way to delegate to the same bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// `path_hash_prefixes`, at `/metadata/`
    Prefixes,
    /// `succinct_roles`, at `/metadata/succinct/`
    Succinct,
}

/// The gate as a client sees it, and where the client keeps what it knows.
#[derive(Clone, Debug)]
pub struct Place {
    /// The gate, without a slash at the end.
    pub gate: String,
    /// The trusted root.
    pub root: PathBuf,
    /// The client's metadata cache: an empty folder makes a new client, the same folder the same client again.
    pub dir: PathBuf,
    /// Sent before the client's own name in `User-Agent`.
    pub user_agent: String,
}

/// What a client said of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The target path.
    pub target: String,
    /// SHA-256 in hex of the bytes the client verified and wrote, or why there are none.
    pub result: Result<String, String>,
}

impl Client {
    /// Those that read the flat layout only.
    pub const FLAT: [Client; 2] = [Client::RustTuf, Client::SigstoreJava];

    /// Every client that reads bins.
    pub const ALL: [Client; 5] = [
        Client::PythonTuf,
        Client::TufJs,
        Client::GoTuf,
        Client::Tough,
        Client::SigstoreTuf,
    ];

    /// The part of `User-Agent` that tells the client from the others.
    pub fn name(self) -> &'static str {
        match self {
            Client::PythonTuf => "python-tuf",
            Client::TufJs => "tuf-js",
            Client::GoTuf => "go-tuf",
            Client::Tough => "tough",
            Client::SigstoreTuf => "sigstore-tuf",
            Client::RustTuf => "rust-tuf",
            Client::SigstoreJava => "sigstore-java",
        }
    }

    /// The view the client is tried with first.
    pub fn view(self) -> View {
        match self {
            Client::GoTuf => View::Succinct,
            _ => View::Prefixes,
        }
    }

    /// Whether the client finds targets through a view at all.
    pub fn reads(self, view: View) -> bool {
        match self {
            Client::PythonTuf | Client::TufJs => true,
            Client::GoTuf => view == View::Succinct,
            Client::Tough | Client::SigstoreTuf => view == View::Prefixes,
            Client::RustTuf | Client::SigstoreJava => false,
        }
    }

    /// Why the client cannot download a target that every other client can, if so.
    pub fn cannot(self, target: &str) -> Option<&'static str> {
        match (self, target) {
            (Client::TufJs, "__proto__") => {
                Some("looks targets up in a plain object, whose `__proto__` is never its own")
            }
            _ => None,
        }
    }

    /// Refreshes through the client's own view and downloads targets to files, asking for hash-prefixed names.
    ///
    /// The result has one element for each target, in order.
    pub fn get(self, place: &Place, targets: &[(&str, &Path)]) -> Vec<Said> {
        self.get_through(self.view(), place, &[], targets)
    }

    /// As [`Client::get`], through a view that is named, with more options such as `--bare`.
    pub fn get_through(self, view: View, place: &Place, options: &[&str], targets: &[(&str, &Path)]) -> Vec<Said> {
        let output = self
            .command(view, place)
            .args(options)
            .arg("--")
            .args(pairs(targets))
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; `integration/install tests` gets it", self.name()));
        self.said(&output, targets)
    }

    fn command(self, view: View, place: &Place) -> Command {
        let built = built();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients");
        let mut command = match self {
            Client::PythonTuf => with_script(built.join("venv/bin/python"), source.join("python_tuf.py")),
            Client::TufJs => with_script("node".into(), source.join("js/get.mjs")),
            Client::GoTuf => Command::new(built.join("go-tuf-get")),
            Client::Tough => Command::new(built.join("rust/debug/tough-get")),
            Client::SigstoreTuf => Command::new(built.join("rust/debug/sigstore-tuf-get")),
            Client::RustTuf => Command::new(built.join("rust/debug/rust-tuf-get")),
            Client::SigstoreJava => {
                let mut command = Command::new("java");
                let path = built.join("java");
                command.arg("-cp").arg(format!("{0}:{0}/*", path.display())).arg("Get");
                command
            }
        };
        let metadata = match view {
            View::Prefixes => "metadata/",
            View::Succinct => "metadata/succinct/",
        };
        command
            .env("TUF_JS_MODULES", built.join("node"))
            .arg("--metadata-url")
            .arg(format!("{}/{metadata}", place.gate))
            .arg("--targets-url")
            .arg(format!("{}/", place.gate))
            .arg("--root")
            .arg(&place.root)
            .arg("--dir")
            .arg(&place.dir)
            .arg("--user-agent")
            .arg(&place.user_agent);
        command
    }

    /// Reads the report; a client that says less than a line a target broke, and its stderr says how.
    fn said(self, output: &Output, targets: &[(&str, &Path)]) -> Vec<Said> {
        let report = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = report.lines().collect();
        let broke = || panic!("{}: {report}{}", self.name(), String::from_utf8_lossy(&output.stderr));
        if lines.len() != targets.len() {
            broke();
        }
        let said: Vec<Said> = targets
            .iter()
            .zip(lines)
            .map(|((target, _), line)| parse(target, line).unwrap_or_else(broke))
            .collect();
        assert_eq!(
            output.status.success(),
            said.iter().all(|said| said.result.is_ok()),
            "{}: {report}",
            self.name()
        );
        said
    }
}

/// `ok TARGET SHA256` or `err TARGET REASON`.
fn parse(target: &str, line: &str) -> Option<Said> {
    let (verdict, rest) = line.split_once(' ')?;
    let rest = rest.strip_prefix(target)?.strip_prefix(' ')?.to_owned();
    let result = match verdict {
        "ok" => Ok(rest),
        "err" => Err(rest),
        _ => return None,
    };
    Some(Said {
        target: target.to_owned(),
        result,
    })
}

fn pairs(targets: &[(&str, &Path)]) -> impl Iterator<Item = OsString> {
    targets
        .iter()
        .flat_map(|(target, out)| [OsString::from(target), out.as_os_str().to_owned()])
}

fn with_script(interpreter: PathBuf, script: PathBuf) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(script);
    command
}

/// The Python that has python-tuf.
pub fn python() -> PathBuf {
    built().join("venv/bin/python")
}

/// Where `integration/install` put the clients.
fn built() -> PathBuf {
    match std::env::var_os("TUFGATE_CLIENTS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/integration"),
    }
}

/// A python-tuf client that refreshes and downloads in a loop while something else happens to the gate.
#[derive(Debug)]
pub struct Loop(Child);

/// What a [`Loop`] saw.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// Refreshes that ended well.
    pub refreshes: u64,
    /// Downloads that ended well.
    pub downloads: u64,
    /// Rounds that a refused or reset connection ended.
    pub cut: u64,
    /// Rounds that anything else ended: a version that decreased, a file that was not there, a wrong signature.
    pub errors: u64,
    /// The first few of `errors`.
    pub samples: Vec<String>,
}

impl Loop {
    /// Starts rounds that are `pause` seconds apart.
    pub fn start(place: &Place, pause: f64, targets: &[(&str, &Path)]) -> Loop {
        let child = Client::PythonTuf
            .command(View::Prefixes, place)
            .arg("--loop")
            .arg(pause.to_string())
            .arg("--")
            .args(pairs(targets))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python-tuf starts");
        Loop(child)
    }

    /// Lets the round under way end, and says what there was.
    pub fn end(mut self) -> Rounds {
        drop(self.0.stdin.take());
        let mut report = String::new();
        self.0
            .stdout
            .take()
            .expect("a pipe")
            .read_to_string(&mut report)
            .expect("the report");
        self.0.wait().expect("python-tuf ends");
        let counts: Value = serde_json::from_str(&report).expect("one line of JSON");
        let count = |name: &str| counts[name].as_u64().expect("a number");
        Rounds {
            refreshes: count("refreshes"),
            downloads: count("downloads"),
            cut: count("cut"),
            errors: count("errors"),
            samples: counts["samples"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|sample| sample.as_str().expect("a text").to_owned())
                .collect(),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A test that failed before `end` leaves no process behind; after `end` there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
