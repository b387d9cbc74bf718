//! What `/metadata` serves now: one atomic pointer to the current timestamp and what it names, a bounded cache behind it.
//!
//! The catalog reads the depot and the ledger's last publication, and writes neither. It checks no signature: it serves
//! what the signer published, and clients verify. It never goes back to an older timestamp.

mod current;
pub mod document;
pub mod name;
pub mod respond;
pub mod roles;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, watch};

use self::{
    current::{Current, newest_root},
    document::{Class, Document},
    name::Wanted,
};
use crate::{
    depot::{Depot, DepotError, TIMESTAMP},
    ledger::{Ledger, LedgerError, Publication, Seq},
};

/// Bytes of versioned files, with their encodings, kept in memory beside those the current timestamp names.
const CACHE_BYTES: u64 = 64 << 20;
/// How often one refresh follows a signer that publishes meanwhile, before the next refresh has to.
const CHASES: usize = 4;

/// Why the catalog could not be brought up to date, or a file not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// A published file cannot be read as metadata.
    #[error("`{name}` in the depot is not the metadata it should be: {detail}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// The depot failed.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file that the timestamp or snapshot names is not there.
    #[error("`{name}` is published but not in the depot")]
    Missing {
        /// The file.
        name: String,
    },
    /// The depot's timestamp is older than the one served; the newer stays.
    #[error("the depot's timestamp has version {found}, but version {served} was served already")]
    Rollback {
        /// In the depot.
        found: u64,
        /// Served until now.
        served: u64,
    },
}

/// What is published; all zero before the first publication.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Published {
    /// Version of the snapshot served.
    pub snapshot: u64,
    /// Version of the timestamp served.
    pub timestamp: u64,
    /// All observations up to and with this one are in that snapshot.
    pub upto: Seq,
}

type LastPublication =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Option<Publication>, LedgerError>> + Send>> + Send + Sync>;

/// What `/metadata` serves now.
pub struct Catalog {
    depot: Arc<dyn Depot>,
    roles: roles::Roles,
    last_publication: LastPublication,
    current: ArcSwapOption<Current>,
    versioned: moka::sync::Cache<String, Arc<Document>>,
    published: watch::Sender<Published>,
    refreshing: Mutex<()>,
}

impl Catalog {
    /// A catalog that serves nothing before its first [`refresh`](Self::refresh).
    pub fn new(depot: Arc<dyn Depot>, ledger: Arc<dyn Ledger>) -> Self {
        let last_publication: LastPublication = Box::new(move || {
            let ledger = ledger.clone();
            Box::pin(async move { ledger.publication().await })
        });
        Self::over(depot, last_publication)
    }

    fn over(depot: Arc<dyn Depot>, last_publication: LastPublication) -> Self {
        Self {
            roles: roles::Roles::new(depot.clone()),
            depot,
            last_publication,
            current: ArcSwapOption::empty(),
            versioned: moka::sync::Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(|name: &String, document: &Arc<Document>| {
                    u32::try_from(name.len() + document.weight()).unwrap_or(u32::MAX)
                })
                .build(),
            published: watch::Sender::new(Published::default()),
            refreshing: Mutex::new(()),
        }
    }

    /// Looks for a newer timestamp, root or publication and serves it; `true` when something changed.
    ///
    /// # Errors
    /// What was served before stays served.
    pub async fn refresh(&self) -> Result<bool, CatalogError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let mut changed = false;
        for _ in 0..CHASES {
            let step = self.step().await?;
            changed |= step.changed;
            if !step.behind {
                break;
            }
        }
        Ok(changed)
    }

    /// A file that is in memory.
    pub fn at_hand(&self, name: &str) -> Option<Arc<Document>> {
        let current = self.current.load();
        match (name::wanted(name)?, current.as_deref()) {
            (Wanted::Timestamp, current) => Some(current?.timestamp.clone()),
            (Wanted::NewestRoot, current) => Some(current?.root.as_ref()?.alias.clone()),
            (Wanted::Stored(stored), current) => {
                let pinned = current.and_then(|current| current.pinned.get(&*stored).cloned());
                pinned.or_else(|| self.versioned.get(&*stored))
            }
        }
    }

    /// The document below `/metadata/` with this name; `None` is a 404. A name that cannot be one costs no input.
    pub async fn document(&self, name: &str) -> Result<Option<Arc<Document>>, CatalogError> {
        if let Some(document) = self.at_hand(name) {
            return Ok(Some(document));
        }
        let Some(Wanted::Stored(stored)) = name::wanted(name) else {
            return Ok(None);
        };
        // What is not there is asked again each time: the next root and the next version must show at once.
        let Some(body) = self.depot.read(&stored).await? else {
            return Ok(None);
        };
        let document = Arc::new(Document::new(body, Class::Immutable));
        self.versioned.insert(stored.into_owned(), document.clone());
        Ok(Some(document))
    }

    /// The roles that others sign, as the depot lists them.
    pub fn roles(&self) -> &roles::Roles {
        &self.roles
    }

    /// What is served at this moment.
    pub fn published(&self) -> Published {
        *self.published.borrow()
    }

    /// Follows publications.
    pub fn subscribe(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Waits until an observation is in the snapshot served, at most `limit`; `false` when it is not.
    pub async fn wait_for(&self, seq: Seq, limit: Duration) -> bool {
        let mut published = self.subscribe();
        let signed = published.wait_for(|published| published.upto >= seq);
        matches!(tokio::time::timeout(limit, signed).await, Ok(Ok(_)))
    }

    async fn step(&self) -> Result<Step, CatalogError> {
        let old = self.current.load_full();
        let Some(bytes) = self.depot.read(TIMESTAMP).await? else {
            return match old {
                Some(_) => Err(CatalogError::Missing { name: TIMESTAMP.into() }),
                None => Ok(Step::default()),
            };
        };
        // Roots are published before the timestamps that need them, so they are looked for after the timestamp.
        let known = old.as_deref().and_then(|old| old.root.clone());
        let root = newest_root(&*self.depot, known).await?;
        let same = old.as_deref().filter(|old| old.timestamp.body() == &bytes);
        let new_root =
            root.as_ref().map(|root| root.version) != old.as_deref().and_then(|old| Some(old.root.as_ref()?.version));
        if same.is_some_and(|old| old.settled) && !new_root {
            return Ok(Step::default());
        }

        let mut next = match same {
            Some(same) => Current {
                timestamp: same.timestamp.clone(),
                pinned: same.pinned.clone(),
                root,
                ..*same
            },
            None => Current::load(&*self.depot, bytes, root, old.as_deref()).await?,
        };
        let mut behind = false;
        if !next.settled
            && let Some(last) = (self.last_publication)().await?
        {
            behind = last.timestamp > next.published.timestamp;
            next.settled = last.timestamp == next.published.timestamp;
            if !behind {
                // An older publication's observations are in this snapshot too; the rest show once the ledger has it.
                next.published.upto = next.published.upto.max(last.upto);
            }
        }
        let published = next.published;
        let before = old.map(|old| old.published);
        self.current.store(Some(Arc::new(next)));
        self.published
            .send_if_modified(|seen| std::mem::replace(seen, published) != published);
        Ok(Step {
            changed: new_root || before != Some(published),
            behind,
        })
    }
}

/// What one step of a refresh found.
#[derive(Default)]
struct Step {
    changed: bool,
    /// The ledger knows of a newer timestamp than was read.
    behind: bool,
}

#[cfg(test)]
mod tests;
