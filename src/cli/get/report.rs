//! What `tufgate get` says: a bar on a terminal, lines elsewhere, JSON where it is asked for.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    GetArgs, GetError,
    plan::{Job, Output},
};
use crate::{
    cli::{say, unless_left},
    client::{Downloaded, Notice},
    terminal::{printable, printable_json},
};

/// How often a download that no bar shows says how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where everything is said.
pub(super) struct Report {
    json: bool,
    quiet: bool,
    count: usize,
    bar: Option<ProgressBar>,
    /// The target under way, and when it was last spoken of.
    now: Mutex<(String, Instant)>,
    /// Bytes of the downloads before this one.
    all: AtomicU64,
}

impl Report {
    pub(super) fn new(args: &GetArgs, jobs: &[Job]) -> Self {
        let seen = !args.json && !args.quiet && io::stderr().is_terminal();
        Self {
            json: args.json,
            quiet: args.quiet,
            count: jobs.len(),
            bar: seen.then(bar),
            now: Mutex::new((String::new(), Instant::now())),
            all: AtomicU64::new(0),
        }
    }

    /// A target is asked for.
    pub(super) fn begins(&self, job: &Job) {
        let name = match self.count {
            1 => printable(&job.target),
            count => format!("[{}/{count}] {}", job.number, printable(&job.target)),
        };
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(0);
            bar.set_message(name.clone());
        }
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (name, Instant::now());
    }

    /// So many bytes of it are there.
    pub(super) fn progress(&self, bytes: u64, length: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(length);
            bar.set_position(bytes);
        } else if !self.quiet && !self.json {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            if now.1.elapsed() >= LINE_EVERY {
                now.1 = Instant::now();
                say(format_args!("{}: {bytes} of {length} bytes", now.0));
            }
        }
    }

    /// It is there, or has failed.
    pub(super) fn ends(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Something went wrong that is no error yet.
    pub(super) fn notice(&self, notice: &Notice) {
        if self.quiet {
            return;
        }
        let line = format!("note: {}", printable(&notice.to_string()));
        match &self.bar {
            Some(bar) => bar.suspend(|| say(&line)),
            None => say(&line),
        }
    }

    /// A target is there.
    pub(super) fn done(&self, job: &Job, done: &Downloaded, snapshot: u64) -> Result<(), GetError> {
        self.all.fetch_add(done.target.length, Relaxed);
        let line = match (self.json, self.quiet) {
            (true, _) => json_line(done, snapshot),
            (false, true) => return Ok(()),
            (false, false) => text_line(done, job, snapshot),
        };
        // Standard output holds the target itself then.
        match job.output {
            Output::Standard => {
                say(&line);
                Ok(())
            }
            _ => print(&line),
        }
    }

    /// A target failed; the only one's error is told by the caller, as every command's is.
    pub(super) fn failed(&self, job: &Job, error: &GetError) -> Result<(), GetError> {
        self.refused(job, error)?;
        if self.count > 1 {
            let (target, said) = (format!("`{}`", job.target), error.to_string());
            match said.contains(&target) {
                true => say(format_args!("error: {}", printable(&said))),
                false => say(format_args!("error: {}: {}", printable(&target), printable(&said))),
            }
            if let Some(hint) = error.hint() {
                say(format_args!("hint: {hint}"));
            }
        }
        Ok(())
    }

    /// A target cannot be had: what JSON says of it.
    pub(super) fn refused(&self, job: &Job, error: &GetError) -> Result<(), GetError> {
        if !self.json {
            return Ok(());
        }
        let line = json!({
            "target": job.target, "error": error.to_string(),
            "attack": error.attack().map(|attack| attack.to_string()), "hint": error.hint(),
        });
        let line = printable_json(&line.to_string());
        match job.output {
            Output::Standard => {
                say(&line);
                Ok(())
            }
            _ => print(&line),
        }
    }

    /// A last line about many.
    pub(super) fn sum(&self) -> Result<(), GetError> {
        match self.count {
            1 => Ok(()),
            _ if self.quiet || self.json => Ok(()),
            count => print(&format!("{count} targets, {} bytes", self.all.load(Relaxed))),
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn json_line(done: &Downloaded, snapshot: u64) -> String {
    let Downloaded { target, path, present } = done;
    let line = json!({
        "target": target.path, "output": path.display().to_string(), "length": target.length, "sha256": target.hashes.sha256(),
        "role": target.role, "snapshot": snapshot, "present": present,
    });
    printable_json(&line.to_string())
}

fn text_line(done: &Downloaded, job: &Job, snapshot: u64) -> String {
    let Downloaded { target, path, present } = done;
    let what = if *present { "already there" } else { "verified" };
    let path = match job.output {
        Output::Standard => "standard output".to_owned(),
        _ => printable(&path.display().to_string()),
    };
    let (length, hashes) = (target.length, target.hashes);
    format!("{path} {what}: {length} bytes, {hashes}, snapshot {snapshot}")
}

fn print(line: &str) -> Result<(), GetError> {
    unless_left(writeln!(io::stdout(), "{line}")).map_err(GetError::Print)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{client::TargetFile, digest::Digest};

    #[test]
    fn the_outcome_is_one_line() {
        let target = TargetFile {
            path: "a/b".into(),
            length: 3,
            hashes: Digest::of("abc").into(),
            custom: None,
            role: "bins4-a".into(),
        };
        let done = Downloaded {
            target,
            path: "b".into(),
            present: false,
        };
        let line = |output| {
            let (number, target) = (1, "a/b".to_owned());
            text_line(&done, &Job { number, target, output }, 7)
        };
        let verified = format!("verified: 3 bytes, sha256 {}, snapshot 7", Digest::of("abc"));
        assert_eq!(line(Output::File("b".into())), format!("b {verified}"));
        assert_eq!(line(Output::Standard), format!("standard output {verified}"));
        let json: serde_json::Value = serde_json::from_str(&json_line(&done, 7)).unwrap();
        assert_eq!(
            (&json["output"], &json["snapshot"], &json["present"]),
            (&json!("b"), &json!(7), &json!(false))
        );
    }
}
