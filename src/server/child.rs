//! The signer as a child process: the only one that opens keys.
//!
//! Its standard input is a pipe whose other end only this process holds, so it ends when this one does, however that
//! happens. On its standard output it writes the line `ready` once its keys are open and its socket listens, and then
//! the lines `published SECONDS` after each publication, `failing SINCE FAILURES` when that changes and `guarded WHAT CLIENT
//! COUNT` for what was not published for a client's sake, since its metrics are counted here.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{compat::Client, telemetry::Metrics};

/// The line of a child that is at work.
pub const READY: &str = "ready";
const PUBLISHED: &str = "published ";
const FAILING: &str = "failing ";
const GUARDED: &str = "guarded ";
/// Between looks at whether signing fails.
const LOOK: Duration = Duration::from_secs(1);

/// How to start the signer: a program that understands `serve --role signer --supervised --config FILE`, which is
/// `tufgate`, or one that hands such a command line to [`crate::Cli`].
#[derive(Clone, Debug)]
pub struct SignerProgram {
    program: PathBuf,
    config: PathBuf,
}

/// A signer process that could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It did not start.
    #[error("`{program}` could not be started as signer: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended by itself; what it had to say stands on standard error.
    #[error("the signer process ended with {0}")]
    Ended(ExitStatus),
    /// It was killed because it was not done in time.
    #[error("the signer process did not end in time and was killed")]
    Killed,
}

impl SignerProgram {
    /// That program, with the configuration file of the gate.
    pub fn new(program: impl Into<PathBuf>, config: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            config: config.into(),
        }
    }

    /// This very program, with the configuration file of the gate.
    pub fn this(config: &Path) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            config: std::path::absolute(config)?,
        })
    }

    /// Starts it and waits until it is at work.
    pub(super) async fn start(&self) -> Result<SignerChild, ChildError> {
        let failed = |source| ChildError::Spawn {
            program: self.program.display().to_string(),
            source,
        };
        let mut child = Command::new(&self.program)
            .args(["serve", "--role", "signer", "--supervised", "--config"])
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(stdout) = child.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await.map_err(failed)? {
                if line == READY {
                    return Ok(SignerChild { child, lines });
                }
            }
        }
        Err(ChildError::Ended(child.wait().await.map_err(failed)?))
    }
}

/// A signer at work.
pub struct SignerChild {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl SignerChild {
    /// Waits until it ends by itself, which is an error, or until `shutdown`; then closes its standard input, at which
    /// it publishes what is pending and ends, and kills it if it has not ended within `grace()`. Meanwhile it counts
    /// its publications, and passes `reload` on as SIGHUP.
    pub async fn attend(
        mut self,
        shutdown: CancellationToken,
        grace: impl FnOnce() -> Duration,
        reload: &Notify,
        metrics: &Metrics,
    ) -> Result<(), ChildError> {
        // The pipe belongs to `wait`, which would close it.
        let stdin = self.child.stdin.take();
        metrics.signing_failing_since_seconds.set(0);
        let mut failures = 0;
        loop {
            tokio::select! {
                line = self.lines.next_line() => match line {
                    Ok(Some(line)) => count(&line, &mut failures, metrics),
                    // Its output ends a moment before it does itself.
                    _ => return Err(ended(self.child.wait().await)),
                },
                () = reload.notified() => self.hang_up(),
                () = shutdown.cancelled() => break,
            }
        }
        drop(stdin);
        match timeout(grace(), self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(ended(status)),
            Err(_) => {
                // Nothing is lost: what it had not published stands in the ledger.
                let _ = self.child.kill().await;
                Err(ChildError::Killed)
            }
        }
    }
}

impl SignerChild {
    /// Has it read its keys again.
    fn hang_up(&self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(error) = id.and_then(|id| kill_process(id, Signal::HUP).err()) {
            tracing::error!(%error, "the signer process could not be told to read its keys again");
        }
    }
}

/// `failures`: how many this child has told of.
fn count(line: &str, failures: &mut u64, metrics: &Metrics) {
    if let Some((since, total)) = line.strip_prefix(FAILING).and_then(|rest| rest.split_once(' '))
        && let (Ok(since), Ok(total)) = (since.parse(), total.parse::<u64>())
    {
        metrics.signing_failing_since_seconds.set(since);
        metrics.signing_failures_total.inc_by(total.saturating_sub(*failures));
        *failures = total;
    }
    if let Some(rest) = line.strip_prefix(GUARDED)
        && let [what, client, count] = rest.split(' ').collect::<Vec<_>>()[..]
        && let (Some(client), Ok(count)) = (Client::of_key(client), count.parse())
    {
        metrics
            .guarded_total
            .with_label_values(&[what, client.key()])
            .inc_by(count);
    }
    let seconds = line
        .strip_prefix(PUBLISHED)
        .and_then(|seconds| seconds.trim().parse().ok());
    if let Some(seconds) = seconds {
        metrics.publications_total.inc();
        metrics.publication_seconds.observe(seconds);
    }
}

/// What of `guarded_total` was told.
#[derive(Default)]
struct Guarded(BTreeMap<(&'static str, &'static str), u64>);

impl Guarded {
    /// Lines of what is new: `guarded WHAT CLIENT COUNT`.
    fn told(&mut self, metrics: &Metrics) -> String {
        let mut lines = String::new();
        for (what, client) in ["target", "role"]
            .into_iter()
            .flat_map(|what| Client::ALL.map(|client| (what, client)))
        {
            let labels = (what, client.key());
            let total = metrics.guarded_total.with_label_values(&[labels.0, labels.1]).get();
            let told = self.0.entry(labels).or_default();
            if total > *told {
                lines += &format!("{GUARDED}{} {} {}\n", labels.0, labels.1, total - *told);
                *told = total;
            }
        }
        lines
    }
}

/// The child's side: writes the lines until nobody reads them.
pub async fn report(mut published: watch::Receiver<u64>, metrics: Metrics) {
    let mut out = tokio::io::stdout();
    let mut line = format!("{READY}\n");
    let mut before = metrics.publication_seconds.get_sample_sum();
    let mut told = (0, 0);
    let mut guarded = Guarded::default();
    while line.is_empty() || (out.write_all(line.as_bytes()).await.is_ok() && out.flush().await.is_ok()) {
        line.clear();
        tokio::select! {
            changed = published.changed() => {
                if changed.is_err() {
                    return;
                }
                let sum = metrics.publication_seconds.get_sample_sum();
                line = format!("{PUBLISHED}{}\n", sum - before);
                before = sum;
            }
            () = sleep(LOOK) => {}
        }
        line += &guarded.told(&metrics);
        let failing = (
            metrics.signing_failing_since_seconds.get(),
            metrics.signing_failures_total.get(),
        );
        if failing != told {
            line += &format!("{FAILING}{} {}\n", failing.0, failing.1);
            told = failing;
        }
    }
}

fn ended(status: io::Result<ExitStatus>) -> ChildError {
    match status {
        Ok(status) => ChildError::Ended(status),
        Err(source) => ChildError::Spawn {
            program: "signer".to_owned(),
            source,
        },
    }
}

impl ChildError {
    /// The exit code of a child that refused to start: 64 bad configuration, 65 damaged data.
    pub fn refusal(&self) -> Option<u8> {
        match self {
            Self::Ended(status) => status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .filter(|code| [64, 65].contains(code)),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for the program: a shell script that sees the same pipes.
    fn script(dir: &Path, body: &str) -> SignerProgram {
        let program = dir.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        SignerProgram {
            program,
            config: dir.join("tufgate.toml"),
        }
    }

    fn grace() -> Duration {
        Duration::from_secs(20)
    }

    #[tokio::test]
    async fn a_child_ends_when_its_standard_input_closes() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "echo ready; cat; exit 0");
        let child = program.start().await.unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        child
            .attend(shutdown, grace, &Notify::new(), &Metrics::new().unwrap())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn its_publications_are_counted_and_its_death_is_no_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let body = "echo ready; echo published 0.5; echo failing 1900000000 3; echo published 1.5; echo noise; \
                    echo guarded target tuf-js 2; echo guarded target vi 9; echo failing 1900000000 4; kill -9 $$";
        let child = script(dir.path(), body).start().await.unwrap();
        let metrics = Metrics::new().unwrap();
        let death = child
            .attend(CancellationToken::new(), grace, &Notify::new(), &metrics)
            .await
            .unwrap_err();
        assert_eq!(death.refusal(), None);
        assert!(death.to_string().contains("signal: 9"), "{death}");
        assert_eq!(metrics.publications_total.get(), 2);
        assert_eq!(metrics.publication_seconds.get_sample_sum(), 2.0);
        assert_eq!(metrics.signing_failures_total.get(), 4);
        assert_eq!(metrics.guarded_total.with_label_values(&["target", "tuf-js"]).get(), 2);
        assert_eq!(metrics.signing_failing_since_seconds.get(), 1_900_000_000);
    }

    #[tokio::test]
    async fn a_refusal_carries_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = script(dir.path(), "exit 64").start().await.err().unwrap();
        assert_eq!(refusal.refusal(), Some(64));
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let child = script(dir.path(), "echo ready; exec sleep 600").start().await.unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let metrics = Metrics::new().unwrap();
        let killed = child
            .attend(shutdown, || Duration::ZERO, &Notify::new(), &metrics)
            .await
            .unwrap_err();
        assert!(matches!(killed, ChildError::Killed));
    }
}
