//! The walk along the chain of roots (TUF spec 5.2, 5.3).

use std::{fs::File, path::Path};

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tough::schema::RoleType;

use super::{
    Client, MAX_ROOT, Trust,
    error::{Attack, ClientError, refused},
    store::bounded,
    trusted::{Trusted, rotated},
};
use crate::{
    digest::Digest,
    tuf::{schema::Root, verify::Unverified},
};

/// Most roots that one update fetches.
const MAX_STEPS: u64 = 256;
/// Times [`Timeouts::total`](super::Timeouts) that the search for a root of a known digest may take.
const SEARCH: u32 = 5;
/// The newest root that was trusted.
const LAST: &str = "root.json";

impl Client {
    /// Makes the root in a file the one that [`Trust::Stored`] begins with; nothing is fetched. Says its version.
    ///
    /// # Errors
    /// It is no root, or not signed by its own keys. Whether it is expired shows when it is used: a newer one may follow.
    pub async fn pin(&self, file: &Path) -> Result<u64, ClientError> {
        let bytes = root_file(file)?;
        let trusted = Trusted::start(&bytes, self.options.clock.now())?;
        let version = trusted.root().version.get();
        let _lock = self.lock().await?;
        self.store.write(&history(version), &bytes)?;
        self.store.write(LAST, &bytes)?;
        Ok(version)
    }

    /// Walks from the root the caller trusts to the newest one. Roots of earlier updates are read from the store, but
    /// each is verified again by its forerunner: trust always starts at [`Trust`].
    pub(super) async fn walk_roots(&self, now: Timestamp) -> Result<Trusted, ClientError> {
        let first = self.first_root().await?;
        let mut trusted = Trusted::start(&first, now).map_err(|error| self.no_root(error))?;
        let mut last = self.last_root()?;
        self.keep_root(&mut last, &trusted, &first)?;
        let mut steps = 0;
        while let Some(version) = trusted.next_version() {
            let kept = history(version);
            if let Some(stored) = self.store.read(&kept, MAX_ROOT)?
                && trusted.next_root(&stored).is_ok()
            {
                self.keep_root(&mut last, &trusted, &stored)?;
                continue;
            }
            if steps == MAX_STEPS {
                break;
            }
            steps += 1;
            let Some(bytes) = self.fetch_root(version).await? else {
                break;
            };
            trusted.next_root(&bytes)?;
            self.store.write(&kept, &bytes)?;
            self.keep_root(&mut last, &trusted, &bytes)?;
        }

        if let Some(last) = last.filter(|last| trusted.root().version < last.version) {
            let why = format!(
                "the chain ends at version {}, but {} was trusted before (if this is another repository, remove `{}`)",
                trusted.root().version,
                last.version,
                self.store.folder().display(),
            );
            return Err(refused(LAST, Attack::Rollback, why));
        }
        trusted.check_root_expiry()?;
        Ok(trusted)
    }

    /// Keeps a root that is newer than what the store trusts (5.3.8): expired or not, what follows it is signed by it.
    fn keep_root(&self, last: &mut Option<Root>, trusted: &Trusted, bytes: &[u8]) -> Result<(), ClientError> {
        let root = trusted.root();
        if let Some(last) = last {
            if root.version == last.version && !same(root, last) {
                // What the caller trusts leads elsewhere than what was kept, which was another repository's or a mistake.
                self.forget()?;
                self.store_root(&history(root.version.get()), bytes)?;
            } else if root.version <= last.version {
                return Ok(());
            }
            // Recovery from a fast-forward attack (5.3.11). Before the new root is kept, so that a crash repeats it.
            let rotated = |role| rotated(last, root, role);
            if rotated(RoleType::Timestamp) || rotated(RoleType::Snapshot) {
                self.store.remove("timestamp.json")?;
                self.store.remove("snapshot.json")?;
            }
        } else {
            self.store_root(&history(root.version.get()), bytes)?;
        }
        self.store_root(LAST, bytes)?;
        *last = Some(root.clone());
        Ok(())
    }

    /// Forgets what was trusted under another root.
    fn forget(&self) -> Result<(), ClientError> {
        for name in ["timestamp.json", "snapshot.json", "targets.json"] {
            self.store.remove(name)?;
        }
        Ok(())
    }

    fn store_root(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        // Offline, a root file may be newer than a store that cannot be written.
        match self.store.write(name, bytes) {
            Err(_) if self.options.offline => Ok(()),
            written => written,
        }
    }

    async fn first_root(&self) -> Result<Vec<u8>, ClientError> {
        match &self.options.trust {
            Trust::RootFile(path) => root_file(path),
            Trust::RootSha256(digest) => self.root_with(digest).await,
            Trust::Stored => self.store.read(LAST, MAX_ROOT)?.ok_or_else(|| {
                let folder = self.store.folder().display();
                ClientError::NoRoot(format!(
                    "`{folder}` holds none yet; give a root file or its sha256 once"
                ))
            }),
        }
    }

    /// The caller's own file is no attack.
    fn no_root(&self, error: ClientError) -> ClientError {
        let kept = self.store.folder().join(LAST);
        match (&self.options.trust, error) {
            (Trust::RootFile(path), ClientError::Refused { why, .. }) => {
                ClientError::NoRoot(format!("`{}` is no root metadata: {why}", path.display()))
            }
            (Trust::Stored, ClientError::Refused { why, .. }) => {
                ClientError::NoRoot(format!("`{}` is damaged: {why}", kept.display()))
            }
            (_, error) => error,
        }
    }

    /// The root with this digest, wherever it stands in the chain.
    async fn root_with(&self, digest: &Digest) -> Result<Vec<u8>, ClientError> {
        let anchor = format!("root_history/{digest}.json");
        let stored = self.store.read(&anchor, MAX_ROOT)?;
        if let Some(stored) = stored.filter(|stored| Digest::of(stored) == *digest) {
            return Ok(stored);
        }
        // Nothing is trusted yet, so nothing but time bounds what a server may send.
        let end = Instant::now() + SEARCH * self.options.timeouts.total;
        for version in 1..=MAX_STEPS {
            let Ok(fetched) = timeout_at(end, self.fetch_root(version)).await else {
                break;
            };
            let Some(bytes) = fetched? else {
                break;
            };
            if Digest::of(&bytes) == *digest {
                self.store.write(&anchor, &bytes)?;
                return Ok(bytes);
            }
        }
        let place = match self.options.offline {
            true => self.store.folder().display().to_string(),
            false => self.metadata.current().as_str().to_owned(),
        };
        Err(ClientError::NoRoot(format!(
            "no root below `{place}` has the sha256 {digest}"
        )))
    }

    /// A version of the root; `None` where the chain ends, and always when offline.
    async fn fetch_root(&self, version: u64) -> Result<Option<Vec<u8>>, ClientError> {
        if self.options.offline {
            return Ok(None);
        }
        let url = self.metadata.current().metadata("root", Some(version));
        match self.metadata(&format!("{version}.root.json"), &url, MAX_ROOT).await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(ClientError::Fetch(error)) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the last update ended with. A file that cannot be read as a root is no obstacle: trust does not start here.
    fn last_root(&self) -> Result<Option<Root>, ClientError> {
        let stored = self.store.read(LAST, MAX_ROOT)?;
        Ok(stored.and_then(|bytes| Unverified::parse(&bytes).ok()?.self_signed_root().ok()))
    }
}

/// Whether two roots say the same, whoever signed them.
fn same(one: &Root, other: &Root) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn root_file(path: &Path) -> Result<Vec<u8>, ClientError> {
    let read = File::open(path).and_then(|file| bounded(file, MAX_ROOT));
    let bytes = read.map_err(|source| ClientError::Local {
        path: path.to_owned(),
        source,
    })?;
    bytes.ok_or_else(|| {
        let why = format!("it has more than {MAX_ROOT} bytes");
        refused(path.display().to_string(), Attack::EndlessData, why)
    })
}

/// Where a version of the root is kept, as python-tuf names it.
fn history(version: u64) -> String {
    format!("root_history/{version}.root.json")
}
