//! What an operator's commands share: naming a target, naming the operator, telling the signer and waiting for it.

use std::{path::Path, time::Duration};

use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};

use crate::{
    cli::CliError,
    clock::{Clock, SystemClock},
    intake,
    ledger::{Act, Ledger, LedgerError, Observation, Seq},
    server::error::AUDIT_HINT,
    target::TargetPath,
    wake,
};

/// Longest wait for the signer to publish what a command asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A target path as an operator types it: decoded, with or without leading `/`.
pub fn target(text: &str) -> Result<TargetPath, String> {
    TargetPath::new(text.strip_prefix('/').unwrap_or(text)).map_err(|why| match text.contains('%') {
        true => format!("no target path: {why}; write it decoded, `a b` for `a%20b`"),
        false => format!("no target path: {why}"),
    })
}

/// `operator NAME`, for the audit chain.
pub fn who() -> String {
    match std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")) {
        Ok(user) if !user.is_empty() => format!("operator {user}"),
        _ => "operator".to_owned(),
    }
}

/// An observation by this operator, now.
pub fn observation(path: &TargetPath, act: Act) -> Observation {
    Observation {
        seq: 0,
        path: path.clone(),
        act,
        who: who(),
        at: SystemClock.now(),
    }
}

/// What became of an observation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is in this snapshot.
    Published(u64),
    /// The signer does not run, or has not come to it yet; it is recorded and will be signed.
    Pending,
}

impl Outcome {
    /// Version of the snapshot that holds it.
    pub fn snapshot(self) -> Option<u64> {
        match self {
            Self::Published(snapshot) => Some(snapshot),
            Self::Pending => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Published(snapshot) => write!(f, "published in snapshot {snapshot}"),
            Self::Pending => f.write_str("recorded; no signer has published it yet"),
        }
    }
}

/// Wakes the signer and waits until a publication covers `seq`, committed just now, and no gate goes by what stood before.
pub async fn published(ledger: &dyn Ledger, socket: &Path, seq: Seq) -> Result<Outcome, CliError> {
    let obeyed = sleep(intake::TRUST);
    let (outcome, ()) = tokio::join!(covered_by(ledger, socket, seq), obeyed);
    outcome
}

async fn covered_by(ledger: &dyn Ledger, socket: &Path, seq: Seq) -> Result<Outcome, CliError> {
    let covered = async || -> Result<Option<Outcome>, CliError> {
        let publication = ledger.publication().await.map_err(failed)?;
        Ok(publication
            .filter(|last| last.upto >= seq)
            .map(|last| Outcome::Published(last.snapshot)))
    };
    let Ok(mut signer) = wake::nudge(socket).await else {
        return Ok(Outcome::Pending);
    };
    let waited = timeout(PATIENCE, async {
        loop {
            if let Some(outcome) = covered().await? {
                return Ok(outcome);
            }
            // One byte a publication; a signer that goes away may have published before.
            if !matches!(signer.read(&mut [0; 64]).await, Ok(1..)) {
                return Ok(covered().await?.unwrap_or(Outcome::Pending));
            }
        }
    });
    waited.await.unwrap_or(Ok(Outcome::Pending))
}

/// A ledger error, for people.
pub fn failed(error: LedgerError) -> CliError {
    match error {
        LedgerError::Damaged { .. } | LedgerError::Newer { .. } => CliError::damaged(error).hint(AUDIT_HINT),
        _ => CliError::failed(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_typed_with_its_slash() {
        assert_eq!(target("/a/b c").unwrap(), target("a/b c").unwrap());
        assert!(target("a%20b").unwrap_err().contains("no target path"));
    }
}
