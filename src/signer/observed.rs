//! Roles whose targets the gate observes, and a team countersigns: the gate signs what the next version should list and offers
//! it; it is listed once the team has handed it in with its own signature, like every file of a role (`delegated.rs`).
//!
//! While there are few targets the role's own file lists them; then it gets bins (`delegated/bins.rs`), so that the team
//! countersigns what changed and a client reads what it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    compat::{self, Client},
    config::Tuf,
    delegated::{self, Files, RoleFile, bins},
    digest::Digest,
    ledger::{Offer, Provenance, State as Stands, Target},
    target::TargetPath,
    tuf::{
        build, canonical,
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
    /// Those of them that a role lists: observed, where that is this one.
    delegated: BTreeSet<TargetPath>,
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
            delegated: BTreeSet::new(),
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
        self.forget(&target.path);
        let breaks = compat::target(target.path.as_str(), target.length, &Client::BINS);
        if target.state != Stands::Live || !breaks.is_empty() {
            return;
        }
        self.rows.insert(target.path.clone(), (target.digest, target.length));
        if target.provenance == Provenance::Delegated {
            self.delegated.insert(target.path.clone());
        }
    }

    /// Takes note of a path that is dropped whole.
    pub(super) fn forget(&mut self, path: &TargetPath) {
        self.dirty |= self.rows.remove(path).is_some();
        self.delegated.remove(path);
    }

    /// What was observed: what only another role lists was not.
    fn said(&self, files: &Files) -> Rows {
        let rows = self.rows.iter();
        let seen = rows.filter(|(path, _)| !self.delegated.contains(*path) || self.lists(files, path));
        seen.map(|(path, row)| (path.clone(), *row)).collect()
    }

    /// Whether one of its files lists a path.
    fn lists(&self, files: &Files, path: &TargetPath) -> bool {
        let own = files.iter().filter(|(role, _)| bins::belongs(role, &self.role.name));
        own.into_iter().any(|(_, file)| file.targets.contains_key(path))
    }

    /// The files that should take the place of those that stand.
    fn drafts(&self, files: &Files, tuf: &Tuf, now: Timestamp) -> Vec<Draft> {
        let own = files.get(&self.role.name);
        let bytes = tuf.max_bin_bytes.min(bins::MAX_BYTES);
        let rows = self.said(files);
        let few = rows.len() as u64 <= tuf.grow_at && size(&rows) <= bytes;
        // Bins end a search, so that a role that does not has none.
        if !self.role.terminating || (few && own.is_none_or(|file| file.delegations.is_none())) {
            let rows = self.fitting(rows, files, tuf.max_bin_targets, bytes);
            let alone = Draft::new(&self.role.name, rows, None, tuf.bin_expiry);
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
        for (path, row) in rows {
            if let Some(bin) = parted.get_mut(bins::bin_of(&path) as usize) {
                bin.insert(path, row);
            }
        }
        for (bin, rows) in (0..).zip(parted) {
            let rows = self.fitting(rows, files, tuf.max_bin_targets, bytes);
            drafts.push(Draft::new(&bins::bin(&self.role.name, bin), rows, None, tuf.bin_expiry));
        }
        drafts.retain(|draft| moved || draft.differs(files.get(&draft.role), now));
        drafts
    }

    /// The rows that a file holds: no two whose order clients disagree on, and as many as there may be. Those that are listed
    /// come before others: nobody drives them out.
    fn fitting(&self, rows: Rows, files: &Files, most: u64, bytes: u64) -> Rows {
        let all = rows.len();
        let rows = self.in_one_order(rows, files);
        let mut kept = rows;
        if kept.len() as u64 > most || size(&kept) > bytes {
            let mut left = bytes.saturating_sub(build::bin_size(build::ENVELOPE));
            let (listed, others): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(path, _)| self.lists(files, path));
            let fits = |(path, (_, length)): &(TargetPath, (Digest, u64))| {
                let rest = left.checked_sub(build::row_size(path.as_str(), *length));
                left = rest.unwrap_or(0);
                rest.is_some()
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            kept = listed.into_iter().chain(others).take(most).take_while(fits).collect();
        }
        if kept.len() < all {
            let name = &*self.role.name;
            tracing::error!(
                role.name = name,
                "{} targets of `{name}` are not offered: there is no room, or clients disagree on the order of their names",
                all - kept.len()
            );
        }
        kept
    }

    fn in_one_order(&self, rows: Rows, files: &Files) -> Rows {
        let mut kept: Vec<(TargetPath, (Digest, u64))> = Vec::with_capacity(rows.len());
        for row in rows {
            let clash = |last: &TargetPath| !canonical::before_for_all(last.as_str(), row.0.as_str());
            while kept
                .last()
                .is_some_and(|(last, _)| clash(last) && !self.lists(files, last))
                && self.lists(files, &row.0)
            {
                kept.pop();
            }
            if !kept.last().is_some_and(|(last, _)| clash(last)) {
                kept.push(row);
            }
        }
        kept.into_iter().collect()
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
