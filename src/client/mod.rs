//! A TUF client: the workflow of the specification (1.0.34, section 5) over HTTP and HTTPS, with lazy look-up of
//! delegated roles, so that one bin is fetched for one target.
//!
//! It trusts no server, no cache and no file of its own store: everything read is verified. It never writes an output
//! that is not what the metadata lists.

pub mod delegation;
pub mod download;
pub mod error;
pub mod fetch;
pub mod mirrors;
pub mod naming;
pub mod notice;
mod partial;
pub mod place;
mod roots;
pub mod store;
pub mod trusted;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;
use tough::schema::Metafile;

pub use self::{
    download::Downloaded,
    error::{Attack, ClientError},
    fetch::{FetchError, Fetcher, Timeouts},
    naming::TargetNaming,
    notice::Notice,
    place::Place,
};
use self::{
    download::Source,
    error::refused,
    mirrors::Mirrors,
    naming::Base,
    store::Store,
    trusted::{Seen, Trusted},
};
use crate::{
    clock::Clock,
    digest::Digest,
    tuf::{schema::Targets, verify::Keys},
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
    /// Where metadata lies: `http://gate/metadata/`; mirrors after it, in order of preference.
    pub metadata_urls: Vec<String>,
    /// Where targets lie: `http://gate/`; mirrors after it, in order of preference.
    pub targets_urls: Vec<String>,
    /// The root to begin with.
    pub trust: Trust,
    /// Folder for trusted metadata; one for each repository.
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
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// The role that lists it.
    pub role: String,
}

/// A TUF client for one repository.
pub struct Client {
    metadata: Mirrors,
    targets: Mirrors,
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
        let fetcher = Fetcher::new(options.timeouts);
        Self::open_with(options, fetcher)
    }

    /// The same with a fetcher that has retries, authorities or a listener; it has timeouts of its own.
    pub fn open_with(options: ClientOptions, fetcher: Fetcher) -> Result<Self, ClientError> {
        Ok(Self {
            metadata: Mirrors::parse(&options.metadata_urls)?,
            targets: Mirrors::parse(&options.targets_urls)?,
            store: Store::open(options.store.clone())?,
            fetcher,
            options,
            update: None,
        })
    }

    /// Updates root, timestamp, snapshot and targets (5.1 to 5.6.6). The first mirror whose roots and timestamp pass
    /// their checks counts; what they list may come from any.
    pub async fn refresh(&mut self) -> Result<(), ClientError> {
        self.update = None;
        let now = self.options.clock.now();
        let mut tries = self.metadata.tries(&self.fetcher);
        while tries.next().await.is_some() {
            match self.refresh_here(now).await {
                Ok(update) => {
                    tries.served();
                    self.update = Some(update);
                    return Ok(());
                }
                // Another mirror would not help, unless it is the one that has the root.
                Err(error @ ClientError::Local { .. }) => return Err(error),
                Err(error @ ClientError::NoRoot(_)) if !matches!(self.options.trust, Trust::RootSha256(_)) => {
                    return Err(error);
                }
                Err(error) => tries.failed(error),
            }
        }
        Err(tries.into_error())
    }

    /// An update from the mirror that is asked now. `now` holds for the whole of it, whichever mirror it ends with.
    async fn refresh_here(&self, now: Timestamp) -> Result<Update, ClientError> {
        let mut trusted = self.walk_roots(now).await?;
        self.update_timestamp(&mut trusted).await?;
        self.update_snapshot(&mut trusted).await?;
        let keys = trusted.targets_keys()?;
        let targets = self.role(&trusted, "targets", &keys).await?;
        let top = ("targets".to_owned(), "root".to_owned());
        Ok(Update {
            trusted,
            roles: HashMap::from([(top, Arc::new(targets))]),
        })
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
        progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Downloaded, ClientError> {
        let Some(target) = self.find(path).await? else {
            return Err(ClientError::NotFound(path.to_owned()));
        };
        self.save(target, &Place::of(output)?, progress).await
    }

    /// Downloads a target that was found to its place (5.7), unless it is there already. A download that broke off is
    /// continued from the file that it left beside the place.
    pub async fn save(
        &self,
        target: TargetFile,
        place: &Place,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Downloaded, ClientError> {
        let present = download::is_present(place, &target).await;
        if !present {
            let (length, url) = (target.length, |base: &Base| self.url_at(base, &target));
            download::save(&self.source(&target, &url), place, &mut |bytes| progress(bytes, length)).await?;
        }
        Ok(Downloaded {
            target,
            path: place.path().to_owned(),
            present,
        })
    }

    /// Downloads a target that was found to a file without a name, and gives that file at its first byte: for those who
    /// pass the bytes on where they cannot be taken back.
    pub async fn spool(
        &self,
        target: &TargetFile,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<File, ClientError> {
        let url = |base: &Base| self.url_at(base, target);
        download::spool(&self.source(target, &url), &mut |bytes| progress(bytes, target.length)).await
    }

    /// Where a target is asked for first.
    pub fn target_url(&self, target: &TargetFile) -> String {
        self.url_at(self.targets.current(), target)
    }

    fn url_at(&self, base: &Base, target: &TargetFile) -> String {
        let consistent = self
            .update
            .as_ref()
            .is_none_or(|update| update.trusted.root().consistent_snapshot);
        let naming = if consistent {
            self.options.naming
        } else {
            TargetNaming::Bare
        };
        base.target(&target.path, &target.sha256, naming)
    }

    fn source<'a>(&'a self, target: &'a TargetFile, url: &'a (dyn Fn(&Base) -> String + Sync)) -> Source<'a> {
        Source {
            fetcher: &self.fetcher,
            mirrors: &self.targets,
            target,
            url,
        }
    }

    async fn update_timestamp(&self, trusted: &mut Trusted) -> Result<(), ClientError> {
        const NAME: &str = "timestamp.json";
        if let Some(stored) = self.store.read(NAME)? {
            // What does not verify any more (rotated keys, a damaged file) is as good as absent.
            let _ = trusted.take_timestamp(&stored);
        }
        let url = self.metadata.current().metadata("timestamp", None);
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
        let consistent = trusted.root().consistent_snapshot;
        let take = |bytes: &[u8]| trusted.take_snapshot(bytes);
        let (bytes, ()) = self
            .versioned(consistent, "snapshot", &listed, MAX_SNAPSHOT, take)
            .await?;
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
                let sha256 = listed.hashes.get("sha256").and_then(|hex| hex.parse().ok());
                let Some(sha256) = sha256 else {
                    return Err(refused(
                        path,
                        Attack::ArbitrarySoftware,
                        format!("`{role}` lists no sha256 of it"),
                    ));
                };
                return Ok(Some(TargetFile {
                    path: path.to_owned(),
                    length: listed.length,
                    sha256,
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
        let consistent = trusted.root().consistent_snapshot;
        let take = |bytes: &[u8]| trusted.targets(bytes, role, keys);
        let (bytes, targets) = self.versioned(consistent, role, &listed, MAX_TARGETS, take).await?;
        self.store.write(&name, &bytes)?;
        Ok(targets)
    }

    /// Fetches a file that a snapshot or timestamp lists from the first mirror whose bytes pass `take`.
    async fn versioned<T>(
        &self,
        consistent: bool,
        role: &str,
        listed: &Metafile,
        limit: u64,
        mut take: impl FnMut(&[u8]) -> Result<T, ClientError>,
    ) -> Result<(Bytes, T), ClientError> {
        let mut tries = self.metadata.tries(&self.fetcher);
        while let Some(base) = tries.next().await {
            let url = base.metadata(role, consistent.then_some(listed.version.get()));
            let fetched = self
                .metadata(&format!("{role}.json"), &url, listed.length.unwrap_or(limit))
                .await;
            match fetched.and_then(|bytes| Ok((take(&bytes)?, bytes))) {
                Ok((taken, bytes)) => {
                    tries.served();
                    return Ok((bytes, taken));
                }
                Err(error) => tries.failed(error),
            }
        }
        Err(tries.into_error())
    }

    async fn metadata(&self, name: &str, url: &str, limit: u64) -> Result<Bytes, ClientError> {
        let bytes = self.fetcher.bytes(url, limit).await.map_err(|error| match error {
            FetchError::TooLong { limit, .. } => refused(
                name,
                Attack::EndlessData,
                format!("`{url}` has more than {limit} bytes"),
            ),
            other => other.into(),
        })?;
        // No attack, but the wrong URL, or a network that wants its visitors to log in.
        match bytes.trim_ascii_start().first() {
            Some(b'<') => Err(FetchError::Page { url: url.to_owned() }.into()),
            _ => Ok(bytes),
        }
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
