//! `tufgate drift`: what to do where the upstream's bytes no longer match the record.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    cli::{CliError, block_on, operator, print, print_json},
    clock::{Clock, SystemClock},
    config::Config,
    ledger::{self, Act, AuditLine, Ledger},
    server::Store,
    target::TargetPath,
    upstream::{
        http::HttpUpstream,
        neutral::{self, Neutral},
        secure::Authorities,
    },
};

/// List and settle paths whose upstream bytes differ from what was recorded
#[derive(Debug, Args)]
pub struct Drift {
    #[command(subcommand)]
    action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Action {
    /// List them, and exit 1 if there are any
    List(Common),
    /// Take the upstream's bytes in place of the record; they are read again first
    Accept(One),
    /// Keep the record and look at the upstream anew at the next read
    Reject(One),
    /// Drop record, history and tombstone: the path may be learned anew
    Forget(One),
}

/// What every action takes.
#[derive(Debug, Args)]
struct Common {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// An action on one path.
#[derive(Debug, Args)]
struct One {
    /// Target path, decoded, as `drift list` shows it
    #[arg(value_parser = operator::target)]
    path: TargetPath,
    #[command(flatten)]
    common: Common,
}

impl Drift {
    /// Does it; `list` ends with 1 when it found any.
    pub fn run(self) -> Result<(), CliError> {
        block_on(async {
            match self.action {
                Action::List(common) => list(common).await,
                Action::Accept(one) => accept(one).await,
                Action::Reject(one) => reject(one).await,
                Action::Forget(one) => forget(one).await,
            }
        })?
    }
}

async fn list(common: Common) -> Result<(), CliError> {
    let store = Store::existing(&Config::load(&common.config)?)?;
    let drifts = store.ledger.drifts().await.map_err(operator::failed)?;
    if common.json {
        print_json(&json!({"drifts": drifts}))?;
    } else if drifts.is_empty() {
        print("no drift")?;
    } else {
        for drift in &drifts {
            print(format_args!(
                "{}\n  recorded {}\n  upstream {} ({} bytes), seen {}",
                drift.path, drift.recorded, drift.observed, drift.observed_length, drift.at
            ))?;
        }
    }
    match drifts.len() {
        0 => Ok(()),
        1 => Err(CliError::failed("1 path has drifted")),
        many => Err(CliError::failed(format_args!("{many} paths have drifted"))),
    }
}

/// A drift, and where it is recorded.
struct Found {
    config: Config,
    store: Store,
    drift: ledger::Drift,
}

impl One {
    async fn find(&self) -> Result<Found, CliError> {
        let config = Config::load(&self.common.config)?;
        let store = Store::existing(&config)?;
        let entry = store.ledger.lookup(&self.path).await.map_err(operator::failed)?;
        let drift = entry.drift.ok_or_else(|| {
            let message = format!("`{}` has not drifted, as far as the gate has seen", self.path);
            CliError::failed(message).hint("where the upstream has other bytes, read it once through the gate")
        })?;
        Ok(Found { config, store, drift })
    }

    fn report(&self, done: &str, snapshot: Option<u64>, text: &str) -> Result<(), CliError> {
        match self.common.json {
            true => print_json(&json!({ done: self.path, "snapshot": snapshot })),
            false => print(format_args!("{done} `{}`: {text}", self.path)),
        }
    }
}

impl Found {
    /// Appends an observation, ends the drift, and waits for the signer.
    async fn observe(&self, act: Act) -> Result<operator::Outcome, CliError> {
        let ledger = &*self.store.ledger;
        let observation = operator::observation(&self.drift.path, act);
        let seq = ledger.observe(observation).await.map_err(operator::failed)?;
        self.end().await?;
        operator::published(ledger, &self.config.signer.socket, seq).await
    }

    async fn end(&self) -> Result<(), CliError> {
        end(&*self.store.ledger, &self.drift.path).await
    }
}

/// Marks a path whole.
async fn end(ledger: &dyn Ledger, path: &TargetPath) -> Result<(), CliError> {
    let ended = ledger.set_drift(path, None, &operator::who(), SystemClock.now()).await;
    ended.map_err(operator::failed)
}

async fn accept(one: One) -> Result<(), CliError> {
    let found = one.find().await?;
    let authorities = Authorities::load(&found.config.upstream).map_err(CliError::config)?;
    let upstream = HttpUpstream::new(&found.config.upstream, &authorities).map_err(CliError::config)?;
    let read = neutral::read(&upstream, &one.path, u64::MAX)
        .await
        .map_err(CliError::failed)?;
    let (digest, length) = match read {
        Neutral::Found { digest, length, .. } => (digest, length),
        Neutral::Missing => {
            let message = format!("the upstream no longer has `{}`", one.path);
            return Err(CliError::failed(message).hint("put bytes back there, or `tufgate drift forget` the path"));
        }
        Neutral::Refused(status) => {
            let message = format!("the upstream answers {status} for `{}`", one.path);
            return Err(CliError::failed(message));
        }
        Neutral::Unverifiable(why) => {
            let message = format!("the upstream's answer for `{}` proves nothing: {why}", one.path);
            return Err(CliError::failed(message));
        }
    };
    if digest != found.drift.observed {
        let message = format!("the upstream now has other bytes than those in question (sha256 {digest})");
        return Err(CliError::failed(message).hint("see `tufgate drift list` once the gate has looked at them too"));
    }
    let outcome = found.observe(Act::Replace { digest, length }).await?;
    one.report(
        "accepted",
        outcome.snapshot(),
        &format!("sha256 {digest}, {length} bytes, {outcome}"),
    )
}

async fn reject(one: One) -> Result<(), CliError> {
    let found = one.find().await?;
    found.end().await?;
    let line = AuditLine {
        at: SystemClock.now(),
        who: operator::who(),
        action: "drift-reject".to_owned(),
        path: one.path.as_str().to_owned(),
        detail: format!("kept {}, rejected {}", found.drift.recorded, found.drift.observed),
    };
    found.store.ledger.audit(line).await.map_err(operator::failed)?;
    one.report(
        "rejected",
        None,
        "the record stands; it drifts again if the upstream still has other bytes",
    )
}

async fn forget(one: One) -> Result<(), CliError> {
    let config = Config::load(&one.common.config)?;
    let store = Store::existing(&config)?;
    let entry = store.ledger.lookup(&one.path).await.map_err(operator::failed)?;
    if entry.target.is_none() && entry.pending.is_empty() && entry.drift.is_none() {
        return Err(CliError::failed(format_args!("nothing is recorded at `{}`", one.path)));
    }
    let ledger = &*store.ledger;
    let seq = ledger
        .observe(operator::observation(&one.path, Act::Forget))
        .await
        .map_err(operator::failed)?;
    if entry.drift.is_some() {
        end(ledger, &one.path).await?;
    }
    let outcome = operator::published(ledger, &config.signer.socket, seq).await?;
    one.report("forgot", outcome.snapshot(), &outcome.to_string())
}
