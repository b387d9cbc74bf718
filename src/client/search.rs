//! The search for a target along the delegations (TUF spec 5.6.7), and the reading of the roles on its way.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Client, MAX_TARGETS, TargetFile, delegation,
    error::{Attack, ClientError, refused},
    naming,
    trusted::Trusted,
};
use crate::{
    digest::Digest,
    tuf::{hashes::Hashes, schema::Targets, verify::Keys},
};

/// Most delegated roles that are visited for one target, `targets` itself not among them.
const MAX_DELEGATIONS: usize = 32;

/// One finished refresh and the roles read since.
pub(super) struct Update {
    pub(super) trusted: Trusted,
    /// The snapshot's bytes.
    snapshot: Digest,
    /// By role and by who delegated to it, since another delegator names other keys.
    roles: HashMap<(String, String), Arc<Targets>>,
}

impl Client {
    /// Reads the top-level targets, the last step of a refresh. The caller holds the lock.
    pub(super) async fn begin_search(&self, trusted: Trusted, snapshot: Digest) -> Result<Update, ClientError> {
        let keys = trusted.targets_keys()?;
        let targets = self.role(&trusted, "targets", &keys, None).await?;
        let top = ("targets".to_owned(), "root".to_owned());
        Ok(Update {
            trusted,
            snapshot,
            roles: HashMap::from([(top, Arc::new(targets))]),
        })
    }

    /// Pre-order, depth first, each role once.
    pub(super) async fn search(&self, update: &mut Update, path: &str) -> Result<Option<TargetFile>, ClientError> {
        let mut visited = HashSet::new();
        let mut ahead = vec![("targets".to_owned(), "root".to_owned(), update.trusted.targets_keys()?)];
        while let Some((role, parent, keys)) = ahead.pop() {
            if !visited.insert(role.clone()) {
                continue;
            }
            if visited.len() > 1 + MAX_DELEGATIONS {
                tracing::warn!(client.target = path, "gave up after {MAX_DELEGATIONS} delegated roles");
                return Ok(None);
            }
            let place = (role, parent);
            let targets = match update.roles.get(&place) {
                Some(targets) => targets.clone(),
                None => {
                    let read = self.role(&update.trusted, &place.0, &keys, Some(&update.snapshot));
                    let targets = Arc::new(read.await?);
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
    ///
    /// `unlocked` is the snapshot of an update that has given its lock back: another process may have moved the store on
    /// since, and what belongs to an older snapshot must not overwrite what belongs to a newer one.
    async fn role(
        &self,
        trusted: &Trusted,
        role: &str,
        keys: &Keys,
        unlocked: Option<&Digest>,
    ) -> Result<Targets, ClientError> {
        let name = naming::stored(role);
        let listed = trusted.targets_listing(role)?.clone();
        let limit = listed.length.unwrap_or(MAX_TARGETS);
        if let Some(stored) = self.store.read(&name, limit)?
            && let Ok(targets) = trusted.targets(&stored, role, keys)
        {
            return Ok(targets);
        }
        let consistent = trusted.root().consistent_snapshot;
        let take = |bytes: &[u8]| trusted.targets(bytes, role, keys);
        let (bytes, targets) = self.versioned(consistent, role, &listed, MAX_TARGETS, take).await?;
        let _lock = match unlocked {
            None => None,
            Some(snapshot) => {
                let lock = self.lock().await?;
                if self.stored_snapshot()? != Some(*snapshot) {
                    return Ok(targets);
                }
                Some(lock)
            }
        };
        self.store.write(&name, &bytes)?;
        Ok(targets)
    }
}
