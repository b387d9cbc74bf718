//! `publish`: into the depot, once enough have signed. A running gate takes it up.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tough::schema::RoleType;

use super::{failed, file, moment, roles::Roles, show};
use crate::{
    ceremony::{Draft, Kind},
    cli::{CliError, block_on, print, print_json, say},
    clock::{Clock as _, SystemClock},
    compat::{self, Client},
    config::Config,
    depot::{Depot, DepotError, TIMESTAMP, fs::FsDepot},
    server::StartError,
    terminal::printable,
    tuf::{
        layout,
        verify::{Keys, Unverified},
    },
    wake,
};

/// Publish a draft that enough have signed
///
/// Refuses until the thresholds of the current and of the new root are met, and where the depot has moved on. The draft
/// becomes the record of the ceremony: archive it.
#[derive(Args, Debug)]
pub struct Publish {
    /// The draft, which becomes the record, and copies of it that were signed apart
    #[arg(required = true)]
    drafts: Vec<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Publish a root that does not accept what the online keys have signed: clients that take it up fail until the
    /// signer has signed with keys that it lists
    #[arg(long)]
    revoke: bool,
    /// Files of the roles that it delegates to, as they are submitted: the first of a new role, and the next of one whose
    /// keys or paths change
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Publish {
    /// Publishes.
    pub fn run(self, kind: Kind) -> Result<(), CliError> {
        let mut draft = file::drafts(self.drafts.iter().map(PathBuf::as_path), kind)?;
        let config = Config::load(&self.config)?;
        let (name, bytes) = draft.finished(SystemClock.now()).map_err(failed)?;
        let depot = FsDepot::open(&config.depot).map_err(StartError::from)?;
        let roles = Roles::read(&self.with, kind)?;
        block_on(self.put(&draft, &config, &depot, (&name, bytes), &roles))??;
        if draft.published().is_none() {
            draft.publish(moment()).map_err(failed)?;
        }
        if let Some(record) = self.drafts.first() {
            file::write(record, &draft, false)?;
        }
        // A signer that does not run takes it up when it starts.
        let signer = block_on(wake::nudge(&config.signer.socket))?.is_ok();
        if let Some(warning) = show::long_chain(&draft) {
            say(warning);
        }
        self.tell(&draft, &name, signer)
    }

    async fn put(
        &self,
        draft: &Draft,
        config: &Config,
        depot: &FsDepot,
        (name, bytes): (&str, Bytes),
        roles: &Roles,
    ) -> Result<(), CliError> {
        let ready = roles.ready(draft, config).await?;
        if depot.read(name).await.map_err(stored)? == Some(bytes.clone()) {
            // Cut short after this step, or done before: what follows it is what is missing.
            return roles.submit(ready).await;
        }
        let (root, current) = newest(depot, draft.kind()).await?;
        draft.follows(&root, &current).map_err(failed)?;
        readable(draft, &bytes, &config.tuf.clients)?;
        if !self.revoke {
            accepts(draft, depot).await?;
        }
        depot.put_all(vec![(name.to_owned(), bytes)]).await.map_err(stored)?;
        roles.submit(ready).await
    }

    fn tell(&self, draft: &Draft, name: &str, signer: bool) -> Result<(), CliError> {
        if self.json {
            let published = draft.published();
            return print_json(&json!({"file": name, "sha256": published.map(|made| made.sha256), "signer": signer}));
        }
        let told = match signer {
            true => "the signer was told",
            false => "no signer runs, it takes this up when it starts",
        };
        print(format_args!("{}published {name}; {told}", show::standing(draft)))?;
        match self.drafts.first() {
            Some(record) => print(format_args!("archive the record `{}`", record.display())),
            None => Ok(()),
        }
    }
}

/// The newest root of a depot, and the newest file of the role that is drafted.
pub async fn newest(depot: &dyn Depot, kind: Kind) -> Result<(Bytes, Bytes), CliError> {
    let mut root = None;
    for version in 1.. {
        match depot.read(&layout::file("root", version)).await.map_err(stored)? {
            Some(bytes) => root = Some(bytes),
            None => break,
        }
    }
    let root = root.ok_or_else(|| {
        CliError::config("the depot holds no root").hint("`tufgate init` writes the first; `--config` names the gate")
    })?;
    if kind == Kind::Root {
        return Ok((root.clone(), root));
    }
    let files = depot.list().await.map_err(stored)?;
    let versions = files.iter().filter_map(|file| layout::versioned(&file.name));
    let newest = versions
        .filter(|(_, role)| *role == kind.role())
        .map(|(version, _)| version)
        .max();
    let name = newest.map(|version| layout::file(kind.role(), version));
    let name =
        name.ok_or_else(|| CliError::config("the depot holds no targets.json").hint("start `tufgate serve` once"))?;
    match depot.read(&name).await.map_err(stored)? {
        Some(current) => Ok((root, current)),
        None => Err(CliError::failed(format_args!("`{name}` is gone from the depot"))),
    }
}

/// Whether the clients that must go on can read the new file.
fn readable(draft: &Draft, bytes: &Bytes, clients: &[Client]) -> Result<(), CliError> {
    let envelope: serde_json::Value = serde_json::from_slice(bytes).map_err(CliError::failed)?;
    let (signed, length) = (&envelope["signed"], bytes.len() as u64);
    let found = match draft.kind() {
        Kind::Root => compat::root(signed, length, clients),
        Kind::Targets => compat::role("targets", signed, length, clients),
    };
    match found.into_iter().next() {
        Some(violation) => Err(CliError::failed(printable(&violation.to_string()))
            .hint("`tuf.clients` names the clients that must go on; what is published stays as it is")),
        None => Ok(()),
    }
}

/// Whether clients that take the new root up accept what is published now.
async fn accepts(draft: &Draft, depot: &dyn Depot) -> Result<(), CliError> {
    let Some(root) = draft.next_root() else { return Ok(()) };
    let Some(timestamp) = depot.read(TIMESTAMP).await.map_err(stored)? else {
        return Ok(());
    };
    let version = |file: &Bytes, name: &str| -> Option<u64> {
        let file: serde_json::Value = serde_json::from_slice(file).ok()?;
        file["signed"]["meta"][name]["version"].as_u64()
    };
    let mut files = vec![(RoleType::Timestamp, Some(timestamp.clone()))];
    if let Some(snapshot) = version(&timestamp, "snapshot.json") {
        let snapshot = depot.read(&layout::file("snapshot", snapshot)).await.map_err(stored)?;
        if let Some(targets) = snapshot.as_ref().and_then(|file| version(file, "targets.json")) {
            let targets = depot.read(&layout::file("targets", targets)).await.map_err(stored)?;
            files.push((RoleType::Targets, targets));
        }
        files.push((RoleType::Snapshot, snapshot));
    }
    for (role, file) in files {
        let good = |file: Bytes| Unverified::parse(&file)?.check(&Keys::of_root(root, role)?);
        if file.is_none_or(|file| good(file).is_err()) {
            let message = format!("the new root does not accept the {role} that is published now");
            return Err(CliError::failed(message).hint(
                "to rotate a key as planned, let the signer sign with the old and the new one first; to revoke one now, \
                 give `--revoke`: clients fail until the signer has signed anew",
            ));
        }
    }
    Ok(())
}

pub(super) fn stored(error: DepotError) -> CliError {
    StartError::from(error).into()
}

/// What a draft follows: files that are named, or the newest of a depot.
pub fn base(
    kind: Kind,
    from: Option<&Path>,
    root: Option<&Path>,
    config: &Path,
) -> Result<(Vec<u8>, Vec<u8>), CliError> {
    match (kind, from, root) {
        (Kind::Root, Some(from), _) => {
            let bytes = file::read(from)?;
            Ok((bytes.clone(), bytes))
        }
        (Kind::Targets, Some(from), Some(root)) => Ok((file::read(root)?, file::read(from)?)),
        (Kind::Targets, Some(_), None) => Err(CliError::usage(
            "`--from` needs `--root`, the root whose keys sign targets",
        )),
        (_, None, _) => {
            let config = Config::load(config)?;
            let (root, current) = block_on(newest(&FsDepot::look(&config.depot), kind))??;
            Ok((root.into(), current.into()))
        }
    }
}
