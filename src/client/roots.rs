//! The walk along the chain of roots (TUF spec 5.2, 5.3).

use std::fs;

use jiff::Timestamp;
use tough::schema::RoleType;

use super::{
    Client, MAX_ROOT, Trust,
    error::{Attack, ClientError, refused},
    trusted::{Trusted, rotated},
};
use crate::{
    digest::Digest,
    tuf::{schema::Root, verify::Unverified},
};

/// Most roots that one update fetches.
const MAX_STEPS: u64 = 256;
/// What was trusted at the end of the last update.
const LAST: &str = "root.json";

impl Client {
    /// Walks from the root the caller trusts to the newest one. Roots of earlier updates are read from the store, but
    /// each is verified again by its forerunner: trust always starts at [`Trust`].
    pub(super) async fn walk_roots(&self, now: Timestamp) -> Result<Trusted, ClientError> {
        let mut newest = self.first_root().await?;
        let mut trusted = Trusted::start(&newest, now)?;
        let mut steps = 0;
        loop {
            let version = trusted.root().version.get() + 1;
            let kept = format!("roots/{version}.root.json");
            if let Some(stored) = self.store.read(&kept)?
                && trusted.next_root(&stored).is_ok()
            {
                newest = stored;
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
            newest = bytes;
        }

        if let Some(last) = self.last_root()? {
            if trusted.root().version < last.version {
                let why = format!(
                    "the chain ends at version {}, but {} was trusted before (if this is another repository, remove `{}`)",
                    trusted.root().version,
                    last.version,
                    self.store.folder().display(),
                );
                return Err(refused(LAST, Attack::Rollback, why));
            }
            // Recovery from a fast-forward attack (5.3.11). Before the new root is kept, so that a crash repeats it.
            let rotated = |role| rotated(&last, trusted.root(), role);
            if rotated(RoleType::Timestamp) || rotated(RoleType::Snapshot) {
                self.store.remove("timestamp.json")?;
                self.store.remove("snapshot.json")?;
            }
        }
        trusted.check_root_expiry()?;
        self.store.write(LAST, &newest)?;
        Ok(trusted)
    }

    async fn first_root(&self) -> Result<Vec<u8>, ClientError> {
        match &self.options.trust {
            Trust::RootFile(path) => fs::read(path).map_err(|source| ClientError::Local {
                path: path.clone(),
                source,
            }),
            Trust::RootSha256(digest) => self.root_with(digest).await,
            Trust::Stored => self.store.read(LAST)?.ok_or_else(|| {
                let folder = self.store.folder().display();
                ClientError::NoRoot(format!(
                    "`{folder}` holds none yet; give a root file or its sha256 once"
                ))
            }),
        }
    }

    /// The root with this digest, wherever it stands in the chain.
    async fn root_with(&self, digest: &Digest) -> Result<Vec<u8>, ClientError> {
        let anchor = format!("roots/{digest}.json");
        if let Some(stored) = self.store.read(&anchor)?.filter(|stored| Digest::of(stored) == *digest) {
            return Ok(stored);
        }
        for version in 1..=MAX_STEPS {
            let Some(bytes) = self.fetch_root(version).await? else {
                break;
            };
            if Digest::of(&bytes) == *digest {
                self.store.write(&anchor, &bytes)?;
                return Ok(bytes);
            }
        }
        let base = self.metadata.as_str();
        Err(ClientError::NoRoot(format!(
            "no root below `{base}` has the sha256 {digest}"
        )))
    }

    /// A version of the root; `None` where the chain ends.
    async fn fetch_root(&self, version: u64) -> Result<Option<Vec<u8>>, ClientError> {
        let url = self.metadata.metadata("root", Some(version));
        match self.metadata(&format!("{version}.root.json"), &url, MAX_ROOT).await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(ClientError::Fetch(error)) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the last update ended with. A file that cannot be read as a root is no obstacle: trust does not start here.
    fn last_root(&self) -> Result<Option<Root>, ClientError> {
        let stored = self.store.read(LAST)?;
        Ok(stored.and_then(|bytes| Unverified::parse(&bytes).ok()?.self_signed_root().ok()))
    }
}
