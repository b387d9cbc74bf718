//! `tufgate status`: what the running gate says of itself or, when none runs, what stands in ledger and depot.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::timeout;

use crate::{
    admin::status::Status as Report,
    catalog::roles::Roles,
    cli::{CliError, block_on, print, print_json},
    config::Config,
    server::{Store, error::AUDIT_HINT},
};

/// Longest wait for the admin listener.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer of the admin listener that is read.
const LIMIT: usize = 16 << 20;

/// Show versions, counts, drifts and roles
///
/// The running gate is asked at its admin listener; when none answers, ledger and depot are read.
#[derive(Debug, Args)]
pub struct Status {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints it. What it says does not change the exit code: `/readyz` is what a probe asks.
    pub fn run(self) -> Result<(), CliError> {
        let config = Config::load(&self.config)?;
        let report = block_on(report(&config))??;
        match self.json {
            true => print_json(&report)?,
            false => print(report)?,
        }
        Ok(())
    }
}

async fn report(config: &Config) -> Result<Report, CliError> {
    if let Some(admin) = config.admin.listen
        && let Some(report) = ask(admin).await
    {
        return Ok(report);
    }
    let store = Store::existing(config)?;
    Report::of(&*store.ledger, &Roles::new(store.depot))
        .await
        .map_err(|error| CliError::damaged(error).hint(AUDIT_HINT))
}

/// What the admin listener says; `None` when nothing answers there.
async fn ask(admin: SocketAddr) -> Option<Report> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let url = format!("http://{admin}/status").parse().ok()?;
    let answer = timeout(PATIENCE, client.get(url)).await.ok()?.ok()?;
    let body = timeout(PATIENCE, Limited::new(answer.into_body(), LIMIT).collect())
        .await
        .ok()?
        .ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}
