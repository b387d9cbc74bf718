//! `tufgate init` as a command: the stores, the ceremony of `init.rs`, and what an operator should know afterwards.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        CliError, block_on,
        init::{InitArgs, InitError, InitOptions, Initialised, check, init, vacant},
        print, print_json,
    },
    clock::{Clock, SystemClock},
    config::Config,
    depot::fs::FsDepot,
    ledger::{Ledger as _, sqlite::SqliteLedger},
    server::{StartError, error::RESTORE_HINT},
    tuf::layout::Generation,
};

/// Make keys and the first root
#[derive(Debug, Args)]
pub struct Init {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Number of bins; must be what `bins` under `[tuf]` says: it is where bins begin
    #[arg(long, value_name = "N")]
    bins: Option<u32>,
    #[command(flatten)]
    ceremony: InitArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Init {
    /// Makes them.
    pub fn run(self) -> Result<(), CliError> {
        let config = Config::load(&self.config)?;
        if let Some(bins) = self.bins.filter(|bins| Generation::of(*bins).is_none()) {
            return Err(CliError::usage(format_args!(
                "`--bins {bins}` is not a power of two from 2 to 16384"
            )));
        }
        if let Some(bins) = self.bins.filter(|bins| *bins != config.tuf.bins) {
            let message = format!(
                "`--bins {bins}` differs from the configuration, which says {}",
                config.tuf.bins
            );
            return Err(CliError::config(message).hint(format_args!("write `bins = {bins}` under `[tuf]`")));
        }
        let options = self.ceremony.options().map_err(failed)?;
        let made = block_on(perform(&config, &options))??;
        match self.json {
            true => print_json(&json!({
                "root_sha256": made.fingerprint,
                "expires": made.expires,
                "created": made.created.iter().map(|(path, encrypted)| json!({"path": path, "encrypted": encrypted})).collect::<Vec<_>>(),
            })),
            false => {
                print(made)?;
                print(format_args!(
                    "next: give clients `{}`, take `{}` offline, then `tufgate serve`",
                    config.depot.join("1.root.json").display(),
                    options.root_dir.display()
                ))
            }
        }
    }
}

/// Makes ledger and depot where they are missing, and performs the ceremony.
pub async fn perform(config: &Config, options: &InitOptions) -> Result<Initialised, CliError> {
    check(config, options).map_err(failed)?;
    let depot = FsDepot::open(&config.depot).map_err(StartError::from)?;
    // Before there is a ledger: beside metadata, an empty one looks like one that forgot.
    if let Err(error) = vacant(&depot).await {
        return Err(match config.ledger.exists() {
            true => failed(error),
            false => StartError::no_ledger(config).into(),
        });
    }
    let ledger = SqliteLedger::open(&config.ledger).map_err(StartError::from)?;
    if ledger.publication().await.map_err(StartError::from)?.is_some() {
        return Err(failed(InitError::Published(config.ledger.display().to_string())));
    }
    init(config, &depot, options, SystemClock.now()).await.map_err(failed)
}

fn failed(error: InitError) -> CliError {
    match error {
        InitError::Depot(error) => StartError::from(error).into(),
        InitError::Key(error) => StartError::from(error).into(),
        InitError::NoTargetsKey => CliError::config(error),
        InitError::Passphrase(ref name) => {
            let hint = format!("`export {name}=…` first, or give `--unencrypted` to try things out");
            CliError::config(error).hint(hint)
        }
        InitError::Threshold { .. } => CliError::usage(error),
        InitError::Published(_) => CliError::damaged(error).hint(RESTORE_HINT),
        InitError::Already(_) => CliError::failed(error).hint("to start anew, name another `depot` and `ledger`"),
        _ => CliError::failed(error),
    }
}
