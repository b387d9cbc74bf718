//! Roles whose targets the gate observes, and a team countersigns: the gate signs what the next version should list and offers
//! it; it is listed once the team has handed it in with its own signature, like every file of a role (`delegated.rs`).
//!
//! While there are few targets the role's own file lists them; then it gets bins (`delegated/bins.rs`), so that the team
//! countersigns what changed and a client reads what it asks for.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    config::Tuf,
    delegated::{self, Files, RoleFile, bins},
    digest::Digest,
    ledger::{Offer, State as Stands, Target},
    target::TargetPath,
    tuf::{
        build,
        schema::{DelegatedRole, Delegations},
    },
};

use super::{
    Signer, SignerError, recover,
    seal::seal,
    state::{State, after},
};

type Rows = BTreeMap<TargetPath, (Digest, u64)>;

/// What such a role should list.
pub(super) struct Observed {
    role: DelegatedRole,
    /// With bins: what the role delegates to, first that role alone.
    way: (DelegatedRole, Delegations),
    rows: Rows,
    /// An offer is to be made, or taken back.
    dirty: bool,
    /// When it is to be made anew, since it would expire.
    due: Timestamp,
}

/// A file that should stand: what it lists, and what it delegates to under each key of a submission.
struct Draft {
    role: String,
    rows: Rows,
    below: Vec<(String, Option<Delegations>)>,
    lifetime: Duration,
}

impl Observed {
    fn new(below: &Delegations, role: &DelegatedRole, now: Timestamp) -> Self {
        Self {
            role: role.clone(),
            way: bins::way(below, role),
            rows: Rows::new(),
            dirty: true,
            due: now,
        }
    }

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

    /// The files that should take the place of those that stand.
    fn drafts(&self, files: &Files, tuf: &Tuf, now: Timestamp) -> Vec<Draft> {
        let own = files.get(&self.role.name);
        let bytes = tuf.max_bin_bytes.min(bins::MAX_BYTES);
        let few = self.rows.len() as u64 <= tuf.grow_at && size(&self.rows) <= bytes;
        if few && own.is_none_or(|file| file.delegations.is_none()) {
            let alone = Draft::new(&self.role.name, self.rows.clone(), None, tuf.bin_expiry);
            return Vec::from_iter(alone.differs(own, now).then_some(alone));
        }
        let (delegator, way) = &self.way;
        let [prefixes, succinct] = bins::views(way, delegator);
        // Other keys, or no bins so far: every file is to be signed.
        let moved = !bins::alike(own.and_then(|file| file.delegations.as_ref()), Some(way));
        let mut leads = Draft::new(&delegator.name, Rows::new(), Some(prefixes), tuf.delegator_expiry);
        leads.below.push((bins::succinct(&delegator.name), Some(succinct)));
        let mut drafts = vec![
            Draft::new(&self.role.name, Rows::new(), Some(way.clone()), tuf.delegator_expiry),
            leads,
        ];
        let mut parted = vec![Rows::new(); bins::COUNT as usize];
        for (path, row) in &self.rows {
            if let Some(bin) = parted.get_mut(bins::bin_of(path) as usize) {
                bin.insert(path.clone(), *row);
            }
        }
        for (bin, rows) in (0..).zip(parted) {
            let rows = self.fitting(rows, files, tuf.max_bin_targets, bytes);
            drafts.push(Draft::new(&bins::bin(&self.role.name, bin), rows, None, tuf.bin_expiry));
        }
        drafts.retain(|draft| moved || draft.differs(files.get(&draft.role), now));
        drafts
    }

    /// As many rows as a file holds, those that are listed before others: nobody drives them out.
    fn fitting(&self, rows: Rows, files: &Files, most: u64, bytes: u64) -> Rows {
        if rows.len() as u64 <= most && size(&rows) <= bytes {
            return rows;
        }
        let name = &*self.role.name;
        let own = files.iter().filter(|(role, _)| bins::belongs(role, name));
        let own: Vec<_> = own.map(|(_, file)| file).collect();
        let (all, mut left) = (rows.len(), bytes.saturating_sub(build::bin_size(build::ENVELOPE)));
        let (listed, others): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|(path, _)| own.iter().any(|file| file.targets.contains_key(path)));
        let fits = |(path, (_, length)): &(TargetPath, (Digest, u64))| {
            let rest = left.checked_sub(build::row_size(path.as_str(), *length));
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let kept: Rows = listed.into_iter().chain(others).take(most).take_while(fits).collect();
        tracing::error!(
            role.name = name,
            "{} targets of `{name}` have no room in their bin and are not offered",
            all - kept.len()
        );
        kept
    }
}

/// Bytes of a file of these rows, or some more.
fn size(rows: &Rows) -> u64 {
    let rows = rows
        .iter()
        .map(|(path, (_, length))| build::row_size(path.as_str(), *length));
    build::bin_size(build::ENVELOPE + rows.sum::<u64>())
}

impl Draft {
    fn new(role: &str, rows: Rows, below: Option<Delegations>, lifetime: Duration) -> Self {
        Self {
            role: role.to_owned(),
            rows,
            below: vec![(role.to_owned(), below)],
            lifetime,
        }
    }

    /// Whether it says something else than what stands, or that expires before long.
    fn differs(&self, stands: Option<&std::sync::Arc<RoleFile>>, now: Timestamp) -> bool {
        let below = self.below.first().and_then(|(_, below)| below.as_ref());
        stands.is_none_or(|file| {
            file.targets != self.rows
                || file.expires <= after(now, self.lifetime / 2)
                || !bins::alike(file.delegations.as_ref(), below)
        })
    }
}

impl Signer {
    /// Offers what observed roles should list and do not.
    pub(super) async fn offer(&self, state: &mut State, now: Timestamp) -> Result<(), SignerError> {
        if state.custom.observed.is_none() {
            state.custom.observed = Some(self.observe(state, now).await?);
        }
        let tuf = &self.parts.config.tuf;
        let Some(observed) = &mut state.custom.observed else {
            return Ok(());
        };
        for (name, role) in observed.iter_mut().filter(|(_, role)| role.dirty || role.due <= now) {
            let mut files = Map::new();
            for draft in role.drafts(&state.custom.files, tuf, now) {
                let version = state.roles.get(&draft.role).map_or(0, |meta| meta.version) + 1;
                self.sealed(draft, version, now, &mut files).await?;
            }
            let (body, due) = match files.is_empty() {
                true => (String::new(), tuf.bin_expiry / 4),
                false => {
                    tracing::info!(
                        role.name = name,
                        role.files = files.len(),
                        "a version of `{name}` waits for its team"
                    );
                    (json!({"roles": files}).to_string(), tuf.bin_expiry / 2)
                }
            };
            let offer = Offer {
                role: name.clone(),
                body,
            };
            self.parts.ledger.offer(state.fence, offer).await?;
            role.due = after(now, due);
            role.dirty = false;
        }
        Ok(())
    }

    /// Signs a file, in each view if there are two.
    async fn sealed(
        &self,
        draft: Draft,
        version: u64,
        now: Timestamp,
        files: &mut Map<String, Value>,
    ) -> Result<(), SignerError> {
        let expires = after(now, draft.lifetime);
        for (key, below) in draft.below {
            let rows = draft.rows.clone();
            let file = seal(vec![self.parts.keys.bins.clone()], move || {
                let rows = rows
                    .iter()
                    .map(|(path, (digest, length))| (path.as_str(), digest, *length));
                build::targets(version, expires, below.as_ref(), rows)
            });
            let file = recover::parse(&key, &file.await?)?;
            files.insert(key, file);
        }
        Ok(())
    }

    /// All that is recorded for such roles: a walk over everything, where there are any.
    async fn observe(&self, state: &State, now: Timestamp) -> Result<BTreeMap<String, Observed>, SignerError> {
        let below = state.custom.top.as_ref().and_then(delegated::below);
        let own = hex::encode(self.parts.keys.bins.key_id());
        let mut observed = BTreeMap::new();
        if let Some(below) = &below {
            for role in delegated::observed(below, &own) {
                observed.insert(role.name.clone(), Observed::new(below, role, now));
            }
        }
        if !observed.is_empty() {
            let mut each = |target: &Target| observed.values_mut().for_each(|role| role.see(target));
            self.parts.ledger.each_target(&mut each).await?;
        }
        Ok(observed)
    }
}
