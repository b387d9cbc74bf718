//! What clients say of one state of a repository: ours as a program, and python-tuf beside it.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tufgate::internals::client::{Client, ClientOptions, Timeouts, Trust};

use super::{clients, scenario::Step};

/// What was said at one step.
pub struct Said {
    pub ours: String,
    pub python_tuf: String,
    /// Reasons, for the message of a failure.
    pub reasons: String,
}

/// Where the clients of one scenario keep and get things.
pub struct Place {
    pub root: PathBuf,
    pub metadata: PathBuf,
    pub targets: PathBuf,
    pub theirs: PathBuf,
    pub metadata_url: String,
    pub targets_url: String,
    pub hurry: bool,
}

/// What a step follows.
pub enum Begun {
    /// Another step.
    Before,
    /// The first root, which our client took or refused.
    Now(Result<(), String>),
}

/// Asks both clients.
pub fn said_of(step: &Step, begun: Begun, place: &Place, runtime: &Handle, python: &mut Python) -> Said {
    let first = matches!(begun, Begun::Now(_));
    let ran = match begun {
        Begun::Now(Err(refused)) => Err(refused),
        _ if place.hurry => runtime.block_on(by_library(step, place)),
        _ => by_command(step, place),
    };
    let (ours, our_reason) = match ran {
        Ok(()) => ("ok".to_owned(), String::new()),
        Err(error) => (verdict(&error), error),
    };
    let (python_tuf, their_reason) = python.ask(&json!({
        "dir": place.theirs.join("metadata"), "out": place.theirs.join("targets"),
        "root": first.then_some(&place.root),
        "metadata_url": place.metadata_url, "targets_url": place.targets_url, "targets": step.targets(),
        "patience": if place.hurry { 0.5 } else { 20.0 },
    }));
    Said {
        ours,
        python_tuf,
        reasons: format!("ours: {our_reason}; python-tuf: {their_reason}"),
    }
}

/// One run of our client through the protocol of client suites.
fn by_command(step: &Step, place: &Place) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tufgate"));
    command.arg("tuf").arg("--metadata-dir").arg(&place.metadata);
    command.args(["--metadata-url", &place.metadata_url]);
    if step.targets().is_empty() {
        command.arg("refresh");
    } else {
        command.args(["--target-base-url", &place.targets_url]);
        command.arg("--target-dir").arg(&place.targets);
        for path in step.targets() {
            command.arg(format!("--target-name={path}"));
        }
        command.arg("download");
    }
    outcome(&mut command)
}

fn outcome(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        other => panic!("exit {other:?}: {output:?}"),
    }
}

/// The same as a library, which can be told to hurry.
async fn by_library(step: &Step, place: &Place) -> Result<(), String> {
    let options = ClientOptions {
        timeouts: Timeouts {
            idle: Duration::from_millis(500),
            total: Duration::from_millis(800),
            ..Timeouts::default()
        },
        ..ClientOptions::new(&place.metadata_url, &place.targets_url, Trust::Stored, &place.metadata)
    };
    let mut client = Client::open(options).map_err(|error| error.to_string())?;
    assert!(step.targets().is_empty(), "a slow server is asked for metadata");
    client.refresh().await.map_err(|error| error.to_string())
}

/// Trusts the first root, as a user does once.
pub fn init(place: &Place) -> Begun {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tufgate"));
    command.arg("tuf").arg("--metadata-dir").arg(&place.metadata);
    Begun::Now(outcome(command.arg("init").arg(&place.root)))
}

/// What `tufgate verify` says of the state served now: `clean`, `warned` or `found`, and the codes of what it found.
pub fn verified(place: &Place, all: bool) -> (String, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tufgate"));
    command
        .arg("verify")
        .arg("--root")
        .arg(&place.root)
        .arg("--json")
        .args(all.then_some("--all"));
    command.args([
        "--metadata-url",
        &place.metadata_url,
        "--targets-url",
        &place.targets_url,
    ]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0..=2)), "{output:?}");
    let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
        // A root that cannot be trusted to begin with.
        return ("found".to_owned(), vec!["no-report".to_owned()]);
    };
    let mut codes = BTreeSet::new();
    let mut worst = "clean";
    for finding in report["findings"].as_array().unwrap() {
        let code = finding["code"].as_str().unwrap();
        match (finding["severity"].as_str().unwrap(), code) {
            // The fixtures are meant to outlive us.
            ("note", _) | (_, "expires-far") => continue,
            ("error", _) => worst = "found",
            ("warning", _) if worst == "clean" => worst = "warned",
            _ => {}
        }
        codes.insert(code.to_owned());
    }
    (worst.to_owned(), codes.into_iter().collect())
}

/// The verdict in an error's words.
fn verdict(error: &str) -> String {
    let looks = error
        .split_once("looks like a")
        .map(|(_, rest)| rest.trim_start_matches('n').trim_start());
    match looks.and_then(|rest| rest.split_once(" attack")) {
        Some((attack, _)) => attack.to_owned(),
        None if error.contains("is no root metadata") => "no root".to_owned(),
        None if error.ends_with("is not in this repository") => "not found".to_owned(),
        None => "unavailable".to_owned(),
    }
}

/// python-tuf in a process of its own; it ends with its standard input.
pub struct Python {
    child: Child,
    requests: Option<ChildStdin>,
    verdicts: BufReader<ChildStdout>,
}

impl Python {
    /// Starts it.
    pub fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients/python_suite.py");
        let mut child = Command::new(clients::python())
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (requests, verdicts) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self {
            child,
            requests,
            verdicts,
        }
    }

    /// A verdict and its reason.
    fn ask(&mut self, request: &Value) -> (String, String) {
        let pipe = self.requests.as_mut().unwrap();
        writeln!(pipe, "{request}").unwrap();
        let mut line = String::new();
        self.verdicts.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{request}: {error}: {line:?}"));
        (
            said["verdict"].as_str().unwrap().to_owned(),
            said["reason"].as_str().unwrap().to_owned(),
        )
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}
