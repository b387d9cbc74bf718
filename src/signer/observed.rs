//! Roles whose targets the gate observes, and a team countersigns: the gate signs what the next version should list and offers
//! it; it is listed once the team has handed it in with its own signature, like every file of a role (`delegated.rs`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    delegated,
    digest::Digest,
    ledger::{Offer, State as Stands, Target},
    target::TargetPath,
    tuf::{build, schema::DelegatedRole},
};

use super::{
    Signer, SignerError, recover,
    seal::seal,
    state::{State, after},
};

/// What such a role should list.
pub(super) struct Observed {
    role: DelegatedRole,
    rows: BTreeMap<TargetPath, (Digest, u64)>,
    /// An offer is to be made, or taken back.
    dirty: bool,
    /// When it is to be made anew, since it would expire.
    due: Timestamp,
}

impl Observed {
    /// Something else of it may be listed now.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Takes note of a target.
    pub(super) fn see(&mut self, target: &Target) {
        if !delegated::speaks_for(&self.role, &target.path) {
            return;
        }
        self.dirty = true;
        if target.state == Stands::Live {
            self.rows.insert(target.path.clone(), (target.digest, target.length));
        } else {
            self.rows.remove(&target.path);
        }
    }

    /// Takes note of a path that is dropped whole.
    pub(super) fn forget(&mut self, path: &TargetPath) {
        self.dirty |= self.rows.remove(path).is_some();
    }
}

impl Signer {
    /// Offers what observed roles should list and do not.
    pub(super) async fn offer(&self, state: &mut State, now: Timestamp) -> Result<(), SignerError> {
        if state.custom.observed.is_none() {
            state.custom.observed = Some(self.observe(state, now).await?);
        }
        let tuf = &self.parts.config.tuf;
        let half = after(now, tuf.bin_expiry / 2);
        let listed: BTreeMap<_, _> = state
            .roles
            .iter()
            .map(|(role, meta)| (role.clone(), meta.version))
            .collect();
        let Some(observed) = &mut state.custom.observed else {
            return Ok(());
        };
        for (name, role) in observed.iter_mut().filter(|(_, role)| role.dirty || role.due <= now) {
            let stands = state.custom.files.get(name);
            if let Some(file) = stands.filter(|file| file.targets == role.rows && file.expires > half) {
                role.due = after(now, tuf.bin_expiry / 4).min(file.expires);
                self.offered(state.fence, name, String::new()).await?;
            } else if role.rows.len() as u64 > tuf.max_bin_targets {
                let (count, most) = (role.rows.len(), tuf.max_bin_targets);
                tracing::error!(
                    role.name = name,
                    "`{name}` would list {count} targets, and may {most}: nothing is offered"
                );
                role.due = half;
            } else {
                let (version, expires) = (listed.get(name).unwrap_or(&0) + 1, after(now, tuf.bin_expiry));
                let rows = role.rows.clone();
                let file = seal(vec![self.parts.keys.bins.clone()], move || {
                    let rows = rows
                        .iter()
                        .map(|(path, (digest, length))| (path.as_str(), digest, *length));
                    build::targets(version, expires, None, rows)
                });
                let file: Value = recover::parse(name, &file.await?)?;
                self.offered(state.fence, name, json!({"roles": {name: file}}).to_string())
                    .await?;
                tracing::info!(
                    role.name = name,
                    role.version = version,
                    "a version of `{name}` waits for its team"
                );
                role.due = half;
            }
            role.dirty = false;
        }
        Ok(())
    }

    async fn offered(&self, fence: crate::ledger::Fence, role: &str, body: String) -> Result<(), SignerError> {
        let role = role.to_owned();
        Ok(self.parts.ledger.offer(fence, Offer { role, body }).await?)
    }

    /// All that is recorded for such roles: a walk over everything, where there are any.
    async fn observe(&self, state: &State, now: Timestamp) -> Result<BTreeMap<String, Observed>, SignerError> {
        let below = state.custom.top.as_ref().and_then(delegated::below);
        let bins = hex::encode(self.parts.keys.bins.key_id());
        let roles = below.iter().flat_map(|below| delegated::observed(below, &bins));
        let mut observed: BTreeMap<_, _> = roles
            .map(|role| {
                let observed = Observed {
                    role: role.clone(),
                    rows: BTreeMap::new(),
                    dirty: true,
                    due: now,
                };
                (role.name.clone(), observed)
            })
            .collect();
        if !observed.is_empty() {
            let mut each = |target: &Target| observed.values_mut().for_each(|role| role.see(target));
            self.parts.ledger.each_target(&mut each).await?;
        }
        Ok(observed)
    }
}
