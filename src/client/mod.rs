//! A TUF client: the workflow of the specification (1.0.34, section 5) over HTTP and HTTPS, with lazy look-up of
//! delegated roles, so that one bin is fetched for one target.
//!
//! It trusts no server, no cache and no file of its own store: everything read is verified. It never writes an output
//! that is not what the metadata lists. Any repository will do: consistent snapshots or not, every kind of delegation
//! (TAP 15 among them), every key type of the specification, key ids of any form.
//!
//! One [`Client`] is one update: what its refresh saw holds for all look-ups until the next. Several clients and
//! processes may share a store; a lock makes them take turns, and no version in it ever goes back.

pub mod chain;
pub mod delegation;
pub mod download;
pub mod error;
pub mod fetch;
pub mod mirrors;
pub mod naming;
pub mod notice;
mod partial;
pub mod place;
pub mod public;
mod roots;
mod search;
pub mod store;
pub mod submit;
pub mod trusted;
mod update;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

pub use self::{
    download::Downloaded,
    error::{Attack, ClientError},
    fetch::{FetchError, Fetcher, Timeouts},
    naming::TargetNaming,
    notice::Notice,
    place::Place,
};
use self::{download::Source, error::refused, mirrors::Mirrors, naming::Base, search::Update, store::Store};
use crate::{
    clock::{Clock, SystemClock},
    digest::Digest,
    tuf::{hashes::Hashes, schema::MetaFile},
};

/// Most bytes of a root.
const MAX_ROOT: u64 = 512_000;
/// Most bytes of a timestamp.
const MAX_TIMESTAMP: u64 = 16_384;
/// Most bytes of a snapshot whose length is not listed.
const MAX_SNAPSHOT: u64 = 2_000_000;
/// Most bytes of a targets file whose length is not listed.
const MAX_TARGETS: u64 = 5_000_000;
/// Most bytes of any file, whatever length is listed: a stolen key must not exhaust memory.
const MAX_LISTED: u64 = 16 << 20;

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
    /// Ask no server: work with what the store holds, as long as that is not expired.
    pub offline: bool,
}

impl ClientOptions {
    /// The specification's names for targets, the system's clock, patience by default, online.
    pub fn new(
        metadata_url: impl Into<String>,
        targets_url: impl Into<String>,
        trust: Trust,
        store: impl Into<PathBuf>,
    ) -> Self {
        Self {
            metadata_urls: vec![metadata_url.into()],
            targets_urls: vec![targets_url.into()],
            trust,
            store: store.into(),
            naming: TargetNaming::default(),
            clock: Arc::new(SystemClock),
            timeouts: Timeouts::default(),
            offline: false,
        }
    }
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
    metadata: Mirrors,
    targets: Mirrors,
    options: ClientOptions,
    store: Store,
    fetcher: Fetcher,
    update: Option<Update>,
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
        let _lock = match self.lock().await {
            // A store on read-only media serves as well.
            Err(ClientError::Local { .. }) if self.options.offline => None,
            lock => Some(lock?),
        };
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
                Err(error) if error.is_local() => return Err(error),
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
        let snapshot = self.update_snapshot(&mut trusted).await?;
        self.begin_search(trusted, snapshot).await
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

    /// Looks a target up (5.6.7): pre-order, depth first, each role once, at most 32 delegated ones. A role on the way that
    /// is missing or refused ends the search with its error. Refreshes first if that was not done yet.
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
        if !present && self.options.offline {
            let path = place.path().to_owned();
            let there = path.symlink_metadata().is_ok();
            return Err(ClientError::Output { path, there });
        }
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
        if self.options.offline {
            return Err(ClientError::Offline(target.path.clone()));
        }
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
        base.target(&target.path, &target.hashes.prefix(), naming)
    }

    fn source<'a>(&'a self, target: &'a TargetFile, url: &'a (dyn Fn(&Base) -> String + Sync)) -> Source<'a> {
        Source {
            fetcher: &self.fetcher,
            mirrors: &self.targets,
            target,
            url,
        }
    }

    /// Fetches a file that a snapshot or timestamp lists from the first mirror whose bytes pass `take`.
    async fn versioned<T>(
        &self,
        consistent: bool,
        role: &str,
        listed: &MetaFile,
        limit: u64,
        mut take: impl FnMut(&[u8]) -> Result<T, ClientError>,
    ) -> Result<(Bytes, T), ClientError> {
        let name = format!("{role}.json");
        let limit = listed.length.unwrap_or(limit);
        if limit > MAX_LISTED {
            let why = format!("{limit} bytes are listed, more than {MAX_LISTED}");
            return Err(refused(name, Attack::EndlessData, why));
        }
        let mut tries = self.metadata.tries(&self.fetcher);
        while let Some(base) = tries.next().await {
            let url = base.metadata(role, consistent.then_some(listed.version.get()));
            let fetched = self.metadata(&name, &url, limit).await;
            match fetched.and_then(|bytes| Ok((take(&bytes)?, bytes))) {
                Ok((taken, bytes)) => {
                    tries.served();
                    return Ok((bytes, taken));
                }
                Err(error) if error.is_local() => return Err(error),
                Err(error) => tries.failed(error),
            }
        }
        Err(tries.into_error())
    }

    async fn metadata(&self, name: &str, url: &str, limit: u64) -> Result<Bytes, ClientError> {
        if self.options.offline {
            return Err(ClientError::Offline(name.to_owned()));
        }
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
