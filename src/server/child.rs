//! The signer as a child process: the only one that opens keys.
//!
//! Its standard input is a pipe whose other end only this process holds, so it ends when this one does, however that
//! happens. On its standard output it writes one line, `ready`, once its keys are open and its socket listens.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// The line of a child that is at work.
pub const READY: &str = "ready";

/// How to start the signer.
#[derive(Clone, Debug)]
pub struct SignerProgram {
    /// This program.
    pub program: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
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
    /// This very program, with a configuration file.
    pub fn this(config: &Path) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            config: config.to_owned(),
        })
    }

    /// Starts it and waits until it is at work.
    pub async fn start(&self) -> Result<SignerChild, ChildError> {
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
                    return Ok(SignerChild { child });
                }
            }
        }
        Err(ChildError::Ended(child.wait().await.map_err(failed)?))
    }
}

/// A signer at work.
pub struct SignerChild {
    child: Child,
}

impl SignerChild {
    /// Waits until it ends by itself, which is an error, or until `shutdown`; then closes its standard input, at which
    /// it publishes what is pending and ends, and kills it if it has not ended within `grace`.
    pub async fn attend(mut self, shutdown: CancellationToken, grace: Duration) -> Result<(), ChildError> {
        tokio::select! {
            status = self.child.wait() => return Err(ended(status)),
            () = shutdown.cancelled() => drop(self.child.stdin.take()),
        }
        match timeout(grace, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(ended(status)),
            Err(_) => {
                // Nothing is lost: what it had not published stands in the ledger.
                let _ = self.child.kill().await;
                Err(ChildError::Killed)
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
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
            Self::Ended(status) => status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| [64, 65].contains(code)),
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

    const GRACE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_child_ends_when_its_standard_input_closes() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "echo ready; cat; exit 0");
        let child = program.start().await.unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        child.attend(shutdown, GRACE).await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_and_a_death_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = script(dir.path(), "exit 64").start().await.err().unwrap();
        assert_eq!(refusal.refusal(), Some(64));

        let child = script(dir.path(), "echo ready; kill -9 $$").start().await.unwrap();
        let death = child.attend(CancellationToken::new(), GRACE).await.unwrap_err();
        assert_eq!(death.refusal(), None);
        assert!(death.to_string().contains("signal: 9"), "{death}");
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let child = script(dir.path(), "echo ready; exec sleep 600").start().await.unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let killed = child.attend(shutdown, Duration::ZERO).await.unwrap_err();
        assert!(matches!(killed, ChildError::Killed));
    }
}
