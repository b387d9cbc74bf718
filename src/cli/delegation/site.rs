//! Which gate is asked, and which root is trusted.

use std::{env, fs, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    cli::{CliError, block_on, get},
    client::{Client, ClientOptions, Fetcher, Timeouts, Trust, chain},
    digest::Digest,
    terminal::printable,
};

/// How a gate is reached.
#[derive(Args, Clone, Debug, Default)]
pub struct Reach {
    /// The gate: metadata at URL/metadata/
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Where metadata lies, if not at URL/metadata/
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    pub metadata_url: Option<String>,
    /// Trust these certificate authorities (PEM) for https too, beside the system's or those of SSL_CERT_FILE
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds of silence after which the gate is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl Reach {
    /// Where metadata lies; `None` if nothing was said.
    pub fn metadata(&self) -> Option<String> {
        let below = |url: &String| format!("{}/metadata/", url.trim_end_matches('/'));
        self.metadata_url.clone().or_else(|| self.url.as_ref().map(below))
    }

    /// How long it may take.
    fn timeouts(&self) -> Timeouts {
        let (idle, defaults) = (Duration::from_secs(self.timeout), Timeouts::default());
        Timeouts {
            connect: idle.min(defaults.connect),
            idle,
            total: idle * 2,
            ..defaults
        }
    }

    /// What asks.
    pub fn fetcher(&self) -> Result<Fetcher, CliError> {
        let fetcher = Fetcher::new(self.timeouts());
        match &self.ca {
            None => Ok(fetcher),
            Some(ca) => {
                let trusting = fs::read(ca).and_then(|pem| fetcher.with_authorities(&pem));
                trusting.map_err(|error| CliError::io(ca, &error))
            }
        }
    }
}

/// A gate, and why its metadata is believed.
#[derive(Args, Clone, Debug)]
pub struct Site {
    // Not a doc comment: clap would make it the help of the command.
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Trust begins with this root file
    #[arg(long, value_name = "FILE", conflicts_with = "root_sha256")]
    pub root: Option<PathBuf>,
    /// Trust begins with the root that has this sha256; without it and --root, with what was trusted last time
    #[arg(long, value_name = "HEX")]
    root_sha256: Option<Digest>,
    /// Folder for trusted metadata; by default one for each metadata URL below the user's data folder
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Site {
    /// A client of the gate's.
    pub fn client(&self) -> Result<Client, CliError> {
        let Some(metadata) = self.reach.metadata() else {
            return Err(CliError::usage("no gate is named").hint("give `--url URL`"));
        };
        let store = match &self.store {
            Some(store) => store.clone(),
            None => get::options::store_of(&metadata, |name| env::var_os(name).map(PathBuf::from))?,
        };
        let trust = match (&self.root, self.root_sha256) {
            (Some(file), _) => Trust::RootFile(file.clone()),
            (None, Some(digest)) => Trust::RootSha256(digest),
            (None, None) => Trust::Stored,
        };
        let options = ClientOptions {
            timeouts: self.reach.timeouts(),
            ..ClientOptions::new(&metadata, &metadata, trust, store)
        };
        Ok(Client::open_with(options, self.reach.fetcher()?)?)
    }

    /// What stands on the way to a role now, verified; `None` where nobody delegates to it.
    pub fn found(&self, client: &mut Client, role: &str) -> Result<Option<chain::Chain>, CliError> {
        let found = block_on(client.chain(role))?;
        Ok(found.map_err(|error| get::GetError::of_refresh(error, self.root.clone()))?)
    }

    /// What stands on the way to a role now, verified.
    pub fn chain(&self, client: &mut Client, role: &str) -> Result<chain::Chain, CliError> {
        self.found(client, role)?.ok_or_else(|| {
            CliError::failed(format_args!("nobody delegates to a role `{}` there", printable(role))).hint(
                "`tufgate delegation list` shows the roles; the first file of a role is drafted with `--delegated-by`, from \
                 the draft of targets that makes it",
            )
        })
    }
}
