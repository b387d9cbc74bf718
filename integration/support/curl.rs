//! curl, as people run it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// What curl got.
#[derive(Debug)]
pub struct Got {
    /// curl's exit code.
    pub code: i32,
    /// Status; 0 when there was none.
    pub status: u16,
    /// `1`, `1.1`, `2`.
    pub version: String,
    /// Head of the last answer, as curl writes it.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
    /// What it said.
    pub said: String,
}

impl Got {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// Runs curl with these arguments, and with `input` on its standard input.
pub fn curl(args: &[&str], input: &[u8]) -> Got {
    let folder = tempfile::tempdir().unwrap();
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let mut child = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "40", "--globoff"])
        .arg("--dump-header")
        .arg(&head)
        .arg("--output")
        .arg(&body)
        .args(["--write-out", "%{http_code} %{http_version}"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("curl: {error}; `integration/install tests` gets it"));
    // It need not read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let (status, version) = told.split_once(' ').unwrap_or_default();
    let heads = std::fs::read_to_string(&head).unwrap_or_default();
    Got {
        code: output.status.code().unwrap_or(-1),
        status: status.parse().unwrap_or(0),
        version: version.to_owned(),
        head: heads
            .trim_end()
            .rsplit("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_owned(),
        body: std::fs::read(&body).unwrap_or_default(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
