//! All of a repository as it stands somewhere, for who has lost a part of it: new roots, the versions that were listed, and
//! the targets. Everything is verified as a client would, from a root that the caller trusts, but judged at no time: what
//! has expired still tells what clients have seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    MAX_LISTED, MAX_ROOT, MAX_SNAPSHOT, MAX_TARGETS, MAX_TIMESTAMP, delegation,
    delegation::Next,
    error::{Attack, ClientError, refused},
    fetch::Fetcher,
    naming::Base,
    trusted::Trusted,
};
use crate::{
    depot::{Depot, TIMESTAMP},
    digest::Digest,
    tuf::{
        hashes::Hashes,
        layout,
        schema::{MetaFile, Targets},
    },
};

/// Roles read at once.
const READS: usize = 16;

/// Where a repository stands.
pub enum Source {
    /// Below a URL: a mirror, a CDN, another gate.
    Web(Box<Fetcher>, Base),
    /// In a depot.
    Depot(Arc<dyn Depot>),
}

impl Source {
    /// A metadata file of at most `limit` bytes; `None` where there is none.
    async fn file(&self, role: &str, version: Option<u64>, limit: u64) -> Result<Option<Bytes>, ClientError> {
        match self {
            Self::Web(fetcher, base) => match fetcher.bytes(&base.metadata(role, version), limit).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.is_absent() => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::Depot(depot) => {
                let name = version.map_or(TIMESTAMP.to_owned(), |version| layout::file(role, version));
                stored(&**depot, name).await
            }
        }
    }

    /// The file of the succinct view of a role that has one in each.
    async fn succinct(&self, role: &str, version: u64) -> Result<Option<Bytes>, ClientError> {
        match self {
            Self::Web(fetcher, base) => {
                let url = base.succinct(role, version);
                match fetcher.bytes(&url, MAX_TARGETS).await {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.is_absent() => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Depot(depot) => stored(&**depot, layout::succinct(role, version)).await,
        }
    }

    async fn needed(&self, role: &str, version: Option<u64>, limit: u64) -> Result<Bytes, ClientError> {
        let file = self.file(role, version, limit).await?;
        file.ok_or_else(|| {
            let name = version.map_or(format!("{role}.json"), |version| layout::file(role, version));
            refused(name, Attack::MixAndMatch, "it is not there")
        })
    }
}

async fn stored(depot: &dyn Depot, name: String) -> Result<Option<Bytes>, ClientError> {
    let read = depot.read(&name).await;
    read.map_err(|error| ClientError::Local {
        path: name.into(),
        source: std::io::Error::other(error),
    })
}

/// What clients that ask there are shown.
pub struct Public {
    source: Source,
    trusted: Trusted,
    /// Roots after the one that was trusted, oldest first: version and bytes.
    pub roots: Vec<(u64, Bytes)>,
    /// Version of the timestamp.
    pub timestamp: u64,
    /// Version of the snapshot.
    pub snapshot: u64,
    /// When that snapshot expires.
    pub expires: Timestamp,
    /// Versions that the snapshot lists, by role.
    pub roles: BTreeMap<String, u64>,
}

/// What the roles that are delegated to say.
#[derive(Default)]
pub struct Contents {
    /// Files by role.
    pub files: BTreeMap<String, (u64, Bytes)>,
    /// Those of the succinct view, of the delegators of a role's own bins.
    pub succinct: BTreeMap<String, (u64, Bytes)>,
    /// Digest and length by target path and the role that lists it.
    pub targets: BTreeMap<(String, String), (Digest, u64)>,
}

impl Public {
    /// Follows the roots from `root` on, then timestamp and snapshot; `None` where nothing was published.
    pub async fn read(source: Source, root: &[u8]) -> Result<Option<Self>, ClientError> {
        let mut trusted = Trusted::start(root, Timestamp::MIN)?;
        let mut roots = Vec::new();
        while let Some(version) = trusted.next_version()
            && let Some(bytes) = source.file("root", Some(version), MAX_ROOT).await?
        {
            trusted.next_root(&bytes)?;
            roots.push((version, bytes));
        }
        let Some(bytes) = source.file("timestamp", None, MAX_TIMESTAMP).await? else {
            return Ok(None);
        };
        trusted.take_timestamp(&bytes)?;
        let listed = trusted.snapshot_listing()?.clone();
        let limit = listed.length.unwrap_or(MAX_SNAPSHOT).min(MAX_LISTED);
        let bytes = source.needed("snapshot", Some(listed.version.get()), limit).await?;
        trusted.take_snapshot(&bytes)?;
        let (timestamp, snapshot) = trusted.seen()?;
        let role =
            |(name, listed): (&String, &MetaFile)| Some((name.strip_suffix(".json")?.to_owned(), listed.version.get()));
        Ok(Some(Self {
            roots,
            timestamp: timestamp.version.get(),
            snapshot: snapshot.version.get(),
            expires: snapshot.expires,
            roles: snapshot.meta.iter().filter_map(role).collect(),
            source,
            trusted,
        }))
    }

    /// Reads every role that is delegated to, from targets.json down.
    pub async fn contents(&self) -> Result<Contents, ClientError> {
        let mut contents = Contents::default();
        let mut ahead = vec![Next {
            name: "targets".to_owned(),
            keys: self.trusted.targets_keys()?,
            terminating: false,
        }];
        let mut known = BTreeSet::from(["targets".to_owned()]);
        while !ahead.is_empty() {
            for role in ahead
                .iter()
                .filter(|role| role.name != "bins" && layout::is_twofold(&role.name))
            {
                let version = self.trusted.targets_listing(&role.name)?.version.get();
                // A mirror of one view alone has none.
                if let Some(bytes) = self.source.succinct(&role.name, version).await? {
                    self.trusted.targets(&bytes, &role.name, &role.keys)?;
                    contents.succinct.insert(role.name.clone(), (version, bytes));
                }
            }
            let level = stream::iter(std::mem::take(&mut ahead)).map(|role| self.role(role));
            let level: Vec<_> = level.buffered(READS).try_collect().await?;
            for (role, version, bytes, targets) in level {
                for (path, listed) in targets.targets {
                    let hashes = Hashes::parse(&listed.hashes).ok().and_then(|hashes| hashes.sha256());
                    let digest = hashes.ok_or_else(|| refused(&path, Attack::ArbitrarySoftware, "it has no sha256"))?;
                    contents.targets.insert((role.clone(), path), (digest, listed.length));
                }
                if let Some(below) = &targets.delegations {
                    let all = delegation::all(below)
                        .map_err(|error| refused(format!("{role}.json"), Attack::ArbitrarySoftware, error))?;
                    ahead.extend(all.into_iter().filter(|next| known.insert(next.name.clone())));
                }
                contents.files.insert(role, (version, bytes));
            }
        }
        Ok(contents)
    }

    async fn role(&self, role: Next) -> Result<(String, u64, Bytes, Targets), ClientError> {
        let listed = self.trusted.targets_listing(&role.name)?;
        let (version, limit) = (
            listed.version.get(),
            listed.length.unwrap_or(MAX_TARGETS).min(MAX_LISTED),
        );
        let bytes = self.source.needed(&role.name, Some(version), limit).await?;
        let targets = self.trusted.targets(&bytes, &role.name, &role.keys)?;
        Ok((role.name, version, bytes, targets))
    }
}
