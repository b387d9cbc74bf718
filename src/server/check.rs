//! `serve --check`: everything that a start asks for, and every listed file, without listening anywhere.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use tokio::sync::{Notify, watch};

use crate::{
    cache::Cache,
    clock::{Clock as _, SystemClock},
    config::Config,
    depot::{Depot, TIMESTAMP},
    digest::Digest,
    server::{StartError, Store, parts},
    signer::{self, OnlineKeys, Parts, Signer},
    telemetry::Metrics,
    tls::Certificate,
    tuf::layout,
    upstream::{http::HttpUpstream, secure::Authorities},
};

/// Keys open, the ledger's rows and audit chain hold, what the timestamp names lies whole in the depot, and the signer
/// would start from both.
pub async fn check(config: &Config) -> Result<(), StartError> {
    if !config.ledger.exists() {
        return Err(StartError::no_ledger(config));
    }
    config.check_files()?;
    let keys = OnlineKeys::open(config).await?;
    HttpUpstream::new(&config.upstream, &Authorities::load(&config.upstream)?)?;
    if let Some(files) = &config.gate.tls {
        Certificate::load(&files.certificate, &files.key, SystemClock.now())?;
    }
    Cache::check(&config.cache)?;
    let parts::Store { ledger, depot } = Store::existing(config)?;
    ledger.check().await?;
    listed(config, &*depot).await?;
    let mut signer = Signer::new(Parts {
        config: Arc::new(config.clone()),
        ledger,
        depot,
        keys,
        clock: Arc::new(SystemClock),
        metrics: Metrics::new()?,
        wake: Arc::new(Notify::new()),
        reload: Arc::new(Notify::new()),
        published: watch::Sender::new(0),
        holder: "check".to_owned(),
    });
    Ok(signer.look().await?)
}

/// A signed file, as far as the walk reads it. Signatures are checked by whoever trusts a root: clients and the signer.
#[derive(Deserialize)]
struct Envelope {
    signed: Listing,
}

#[derive(Deserialize)]
struct Listing {
    version: u64,
    #[serde(default)]
    meta: BTreeMap<String, Meta>,
}

#[derive(Deserialize)]
struct Meta {
    version: u64,
    length: Option<usize>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// Walks timestamp → snapshot → every file it lists.
async fn listed(config: &Config, depot: &dyn Depot) -> Result<(), StartError> {
    let damaged = |detail: String| StartError::Damaged {
        place: config.depot.clone(),
        detail,
    };
    let Some(bytes) = depot.read(TIMESTAMP).await? else {
        // Before the first publication there is nothing to walk.
        return Ok(());
    };
    let parse = |name: &str, bytes: &[u8]| -> Result<Listing, StartError> {
        let envelope: Result<Envelope, _> = serde_json::from_slice(bytes);
        envelope
            .map(|file| file.signed)
            .map_err(|error| damaged(format!("`{name}`: {error}")))
    };
    let mut listings = vec![parse(TIMESTAMP, &bytes)?];
    while let Some(listing) = listings.pop() {
        for (file, meta) in listing.meta {
            let role = file.strip_suffix(".json").unwrap_or(&file);
            let mut names = vec![layout::file(role, meta.version)];
            if layout::is_twofold(role) {
                names.push(layout::succinct(role, meta.version));
            }
            for name in names {
                let bytes = depot.read(&name).await?;
                let bytes = bytes.ok_or_else(|| damaged(format!("`{name}` is missing")))?;
                if meta.length.is_some_and(|length| length != bytes.len()) {
                    return Err(damaged(format!("`{name}` has another length than listed")));
                }
                let hash = meta.hashes.get("sha256");
                if hash.is_some_and(|hash| *hash != Digest::of(&bytes).to_string()) {
                    return Err(damaged(format!("`{name}` has another sha256 than listed")));
                }
                let inner = parse(&name, &bytes)?;
                if inner.version != meta.version {
                    return Err(damaged(format!("`{name}` holds version {}", inner.version)));
                }
                // Only the snapshot lists files.
                if role == "snapshot" {
                    let listed = |role: &str| inner.meta.contains_key(&format!("{role}.json"));
                    signer::check_layout(&config.tuf, listed)?;
                    listings.push(inner);
                }
            }
        }
    }
    Ok(())
}
