//! A TUF client: the workflow of the specification (1.0.34, section 5) over plain HTTP, with lazy look-up of delegated
//! roles, so that one bin is fetched for one target.
//!
//! It trusts no server, no cache and no file of its own store: everything read is verified. It never writes an output
//! that is not what the metadata lists.

pub mod delegation;
pub mod download;
pub mod error;
pub mod fetch;
pub mod naming;
mod roots;
pub mod store;
pub mod trusted;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::Value;

pub use self::{
    download::Downloaded,
    error::{Attack, ClientError},
    fetch::Timeouts,
    naming::TargetNaming,
};
use self::{
    error::refused,
    fetch::{FetchError, Fetcher},
    naming::Base,
    store::Store,
    trusted::{Seen, Trusted},
};
use crate::{
    clock::Clock,
    digest::Digest,
    tuf::{
        hashes::Hashes,
        schema::{MetaFile, Targets},
        verify::Keys,
    },
};

/// Most bytes of a root.
const MAX_ROOT: u64 = 512_000;
/// Most bytes of a timestamp.
const MAX_TIMESTAMP: u64 = 16_384;
/// Most bytes of a snapshot whose length is not listed.
const MAX_SNAPSHOT: u64 = 2_000_000;
/// Most bytes of a targets file whose length is not listed.
const MAX_TARGETS: u64 = 5_000_000;
/// Most delegated roles that are visited for one target.
const MAX_DELEGATIONS: usize = 32;

/// Which root is trusted to begin with.
#[derive(Clone, Debug)]
pub enum Trust {
    /// A root file that came on a trusted way.
    RootFile(PathBuf),
    /// The SHA-256 of a root file; the file itself may come from anywhere.
    RootSha256(Digest),
    /// What the store trusted last.
    Stored,
}

/// What a client works with.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where metadata lies: `http://gate/metadata/`.
    pub metadata_url: String,
    /// Where targets lie: `http://gate/`.
    pub targets_url: String,
    /// The root to begin with.
    pub trust: Trust,
    /// Folder for trusted metadata; one for each metadata URL.
    pub store: PathBuf,
    /// How targets are asked for.
    pub naming: TargetNaming,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How long a server may take.
    pub timeouts: Timeouts,
}

/// A target as the metadata lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetFile {
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// The hashes of its bytes.
    pub hashes: Hashes,
    /// Application data that is listed with it; signatures cover it, the specification gives it no meaning.
    pub custom: Option<Value>,
    /// The role that lists it.
    pub role: String,
}

/// A TUF client for one repository.
pub struct Client {
    metadata: Base,
    targets: Base,
    options: ClientOptions,
    store: Store,
    fetcher: Fetcher,
    update: Option<Update>,
}

/// One finished refresh and the roles read since.
struct Update {
    trusted: Trusted,
    /// By role and by who delegated to it, since another delegator names other keys.
    roles: HashMap<(String, String), Arc<Targets>>,
}

impl Client {
    /// Opens the store; nothing is fetched yet.
    pub fn open(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self {
            metadata: Base::parse(&options.metadata_url)?,
            targets: Base::parse(&options.targets_url)?,
            store: Store::open(options.store.clone())?,
            fetcher: Fetcher::new(options.timeouts),
            options,
            update: None,
        })
    }

    /// Updates root, timestamp, snapshot and targets (5.1 to 5.6.6).
    pub async fn refresh(&mut self) -> Result<(), ClientError> {
        self.update = None;
        let now = self.options.clock.now();
        let mut trusted = self.walk_roots(now).await?;
        self.update_timestamp(&mut trusted).await?;
        self.update_snapshot(&mut trusted).await?;
        let keys = trusted.targets_keys()?;
        let targets = self.role(&trusted, "targets", &keys).await?;
        let top = ("targets".to_owned(), "root".to_owned());
        self.update = Some(Update {
            trusted,
            roles: HashMap::from([(top, Arc::new(targets))]),
        });
        Ok(())
    }

    /// Version of the root in use; `None` before a refresh.
    pub fn root_version(&self) -> Option<u64> {
        Some(self.update.as_ref()?.trusted.root().version.get())
    }

    /// Version of the snapshot in use; `None` before a refresh.
    pub fn snapshot_version(&self) -> Option<u64> {
        let update = self.update.as_ref()?;
        Some(update.trusted.snapshot_listing().ok()?.version.get())
    }

    /// Looks a target up (5.6.7): pre-order depth-first, each role once, at most 32 of them. Refreshes first if that was
    /// not done yet.
    pub async fn find(&mut self, path: &str) -> Result<Option<TargetFile>, ClientError> {
        if self.update.is_none() {
            self.refresh().await?;
        }
        let Some(mut update) = self.update.take() else {
            return Ok(None);
        };
        let found = self.search(&mut update, path).await;
        self.update = Some(update);
        found
    }

    /// Downloads a target to `output` (5.7), unless that file holds it already. `progress` hears the number of bytes so
    /// far and in all.
    pub async fn download(
        &mut self,
        path: &str,
        output: &Path,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Downloaded, ClientError> {
        let Some(target) = self.find(path).await? else {
            return Err(ClientError::NotFound(path.to_owned()));
        };
        let present = download::is_present(output, &target).await;
        if !present {
            let stream = self.fetcher.open(&self.target_url(&target), target.length).await;
            let stream = stream.map_err(|error| download::bounded(error, &target))?;
            let length = target.length;
            download::save(stream, &target, output, &mut |bytes| progress(bytes, length)).await?;
        }
        Ok(Downloaded {
            target,
            path: output.to_owned(),
            present,
        })
    }

    /// Where a target is asked for.
    pub fn target_url(&self, target: &TargetFile) -> String {
        let consistent = self
            .update
            .as_ref()
            .is_none_or(|update| update.trusted.root().consistent_snapshot);
        let naming = if consistent {
            self.options.naming
        } else {
            TargetNaming::Bare
        };
        self.targets.target(&target.path, &target.hashes.prefix(), naming)
    }

    async fn update_timestamp(&self, trusted: &mut Trusted) -> Result<(), ClientError> {
        const NAME: &str = "timestamp.json";
        if let Some(stored) = self.store.read(NAME)? {
            // What does not verify any more (rotated keys, a damaged file) is as good as absent.
            let _ = trusted.take_timestamp(&stored);
        }
        let url = self.metadata.metadata("timestamp", None);
        let bytes = self.metadata(NAME, &url, MAX_TIMESTAMP).await?;
        let seen = trusted.take_timestamp(&bytes)?;
        trusted.check_timestamp_expiry()?;
        match seen {
            Seen::New => self.store.write(NAME, &bytes),
            Seen::Same => Ok(()),
        }
    }

    async fn update_snapshot(&self, trusted: &mut Trusted) -> Result<(), ClientError> {
        const NAME: &str = "snapshot.json";
        let stored = self.store.read(NAME)?;
        let current = stored.is_some_and(|stored| trusted.adopt_snapshot(&stored).unwrap_or(false));
        if current {
            return trusted.check_snapshot_expiry();
        }
        let listed = trusted.snapshot_listing()?.clone();
        let bytes = self.versioned(trusted, "snapshot", &listed, MAX_SNAPSHOT).await?;
        trusted.take_snapshot(&bytes)?;
        trusted.check_snapshot_expiry()?;
        self.store.write(NAME, &bytes)
    }

    async fn search(&self, update: &mut Update, path: &str) -> Result<Option<TargetFile>, ClientError> {
        let mut visited = HashSet::new();
        let mut ahead = vec![("targets".to_owned(), "root".to_owned(), update.trusted.targets_keys()?)];
        while let Some((role, parent, keys)) = ahead.pop() {
            if !visited.insert(role.clone()) {
                continue;
            }
            if visited.len() > MAX_DELEGATIONS {
                tracing::warn!(client.target = path, "gave up after {MAX_DELEGATIONS} delegated roles");
                return Ok(None);
            }
            let place = (role, parent);
            let targets = match update.roles.get(&place) {
                Some(targets) => targets.clone(),
                None => {
                    let targets = Arc::new(self.role(&update.trusted, &place.0, &keys).await?);
                    update.roles.insert(place.clone(), targets.clone());
                    targets
                }
            };
            let role = place.0;
            if let Some(listed) = targets.targets.get(path) {
                let hashes = Hashes::parse(&listed.hashes).map_err(|error| {
                    let why = format!("what `{role}` says of it cannot be checked: {error}");
                    refused(path, Attack::ArbitrarySoftware, why)
                })?;
                return Ok(Some(TargetFile {
                    path: path.to_owned(),
                    length: listed.length,
                    hashes,
                    custom: listed.custom.clone(),
                    role,
                }));
            }
            let Some(delegations) = &targets.delegations else {
                continue;
            };
            let next = delegation::roles_for(delegations, path)
                .map_err(|error| refused(format!("{role}.json"), Attack::ArbitrarySoftware, error))?;
            if next.last().is_some_and(|last| last.terminating) {
                ahead.clear();
            }
            // The stack's top is asked first.
            ahead.extend(next.into_iter().rev().map(|next| (next.name, role.clone(), next.keys)));
        }
        Ok(None)
    }

    /// `targets.json` or a delegated role: from the store where it is the version the snapshot lists, else fetched.
    async fn role(&self, trusted: &Trusted, role: &str, keys: &Keys) -> Result<Targets, ClientError> {
        let name = naming::stored(role);
        if let Some(stored) = self.store.read(&name)?
            && let Ok(targets) = trusted.targets(&stored, role, keys)
        {
            return Ok(targets);
        }
        let listed = trusted.targets_listing(role)?.clone();
        let bytes = self.versioned(trusted, role, &listed, MAX_TARGETS).await?;
        let targets = trusted.targets(&bytes, role, keys)?;
        self.store.write(&name, &bytes)?;
        Ok(targets)
    }

    /// Fetches a file that a snapshot or timestamp lists.
    async fn versioned(
        &self,
        trusted: &Trusted,
        role: &str,
        listed: &MetaFile,
        limit: u64,
    ) -> Result<Bytes, ClientError> {
        let consistent = trusted.root().consistent_snapshot;
        let url = self.metadata.metadata(role, consistent.then_some(listed.version.get()));
        self.metadata(&format!("{role}.json"), &url, listed.length.unwrap_or(limit))
            .await
    }

    async fn metadata(&self, name: &str, url: &str, limit: u64) -> Result<Bytes, ClientError> {
        self.fetcher.bytes(url, limit).await.map_err(|error| match error {
            FetchError::TooLong { limit, .. } => refused(
                name,
                Attack::EndlessData,
                format!("`{url}` has more than {limit} bytes"),
            ),
            other => other.into(),
        })
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
