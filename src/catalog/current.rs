//! What one timestamp names, read from the depot.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;

use super::{
    CatalogError, Published,
    document::{Class, Document},
};
use crate::{
    depot::{Depot, TIMESTAMP},
    tuf::layout,
};

/// What one timestamp names.
pub(super) struct Current {
    pub(super) timestamp: Arc<Document>,
    pub(super) root: Option<NewestRoot>,
    /// Snapshot, targets and delegators, by depot name.
    pub(super) pinned: HashMap<String, Arc<Document>>,
    pub(super) published: Published,
    /// The ledger has confirmed `published.upto` for this very timestamp.
    pub(super) settled: bool,
}

/// The end of the chain of roots, as `root.json`.
#[derive(Clone)]
pub(super) struct NewestRoot {
    pub(super) version: u64,
    pub(super) alias: Arc<Document>,
}

impl Current {
    /// Reads what a new timestamp names.
    pub(super) async fn load(
        depot: &dyn Depot,
        bytes: Bytes,
        root: Option<NewestRoot>,
        old: Option<&Self>,
    ) -> Result<Self, CatalogError> {
        let timestamp: Listing = read_listing(TIMESTAMP, &bytes)?;
        let served = old.map_or(0, |old| old.published.timestamp);
        if timestamp.version < served {
            return Err(CatalogError::Rollback {
                found: timestamp.version,
                served,
            });
        }
        let mut pinned = HashMap::new();
        let snapshot_version = timestamp.version_of(TIMESTAMP, "snapshot.json")?;
        let snapshot_name = layout::file("snapshot", snapshot_version);
        let snapshot = pin(depot, &mut pinned, old, snapshot_name.clone()).await?;
        let snapshot: Listing = read_listing(&snapshot_name, snapshot.body())?;
        let targets = snapshot.version_of(&snapshot_name, "targets.json")?;
        pin(depot, &mut pinned, old, layout::file("targets", targets)).await?;
        // A flat layout has no delegator.
        if let Ok(bins) = snapshot.version_of(&snapshot_name, "bins.json") {
            pin(depot, &mut pinned, old, layout::file("bins", bins)).await?;
            pin(depot, &mut pinned, old, layout::succinct("bins", bins)).await?;
        }
        if let Some(root) = &root {
            let alias = Arc::new(root.alias.with_class(Class::Immutable));
            pinned.insert(layout::file("root", root.version), alias);
        }
        Ok(Self {
            timestamp: Arc::new(Document::new(bytes, Class::Moving)),
            root,
            pinned,
            published: Published {
                snapshot: snapshot_version,
                timestamp: timestamp.version,
                upto: old.map_or(0, |old| old.published.upto),
            },
            settled: false,
        })
    }
}

/// Puts a file among those served from memory, taking it over from the last pointer where it is the same.
async fn pin(
    depot: &dyn Depot,
    pinned: &mut HashMap<String, Arc<Document>>,
    old: Option<&Current>,
    name: String,
) -> Result<Arc<Document>, CatalogError> {
    let document = match old.and_then(|old| old.pinned.get(&name)) {
        Some(document) => document.clone(),
        None => match depot.read(&name).await? {
            Some(body) => Arc::new(Document::new(body, Class::Immutable)),
            None => return Err(CatalogError::Missing { name }),
        },
    };
    pinned.insert(name, document.clone());
    Ok(document)
}

/// Walks from the last known root to the newest.
pub(super) async fn newest_root(
    depot: &dyn Depot,
    mut newest: Option<NewestRoot>,
) -> Result<Option<NewestRoot>, CatalogError> {
    loop {
        let version = newest.as_ref().map_or(0, |root| root.version) + 1;
        let Some(body) = depot.read(&layout::file("root", version)).await? else {
            return Ok(newest);
        };
        let alias = Arc::new(Document::new(body, Class::Moving));
        newest = Some(NewestRoot { version, alias });
    }
}

/// The part of timestamp and snapshot that the catalog reads.
#[derive(Deserialize)]
struct Listing {
    version: u64,
    meta: HashMap<String, Listed>,
}

#[derive(Deserialize)]
struct Listed {
    version: u64,
}

impl Listing {
    fn version_of(&self, name: &str, listed: &str) -> Result<u64, CatalogError> {
        match self.meta.get(listed) {
            Some(listed) => Ok(listed.version),
            None => Err(CatalogError::Damaged {
                name: name.to_owned(),
                detail: format!("it does not list `{listed}`"),
            }),
        }
    }
}

fn read_listing(name: &str, bytes: &[u8]) -> Result<Listing, CatalogError> {
    #[derive(Deserialize)]
    struct Envelope {
        signed: Listing,
    }
    match serde_json::from_slice(bytes) {
        Ok(Envelope { signed }) => Ok(signed),
        Err(error) => Err(CatalogError::Damaged {
            name: name.to_owned(),
            detail: error.to_string(),
        }),
    }
}
