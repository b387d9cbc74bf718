//! What others put into the depot while the signer runs, and keys that come and go with it.

use std::sync::Arc;

use tough::schema::{self, Root, Signed};

use crate::{
    delegated, keys,
    tuf::{
        layout,
        schema::{Delegations, Targets},
    },
};

use super::{
    OnlineKeys, Parts, Signer, SignerError,
    recover::{bears, parse},
    shape::{BINS, Shape, TARGETS},
    state::State,
};

impl Signer {
    /// Whether somebody put a newer root, or a newer targets.json, into the depot.
    pub(super) async fn superseded(&self, state: &State) -> Result<bool, SignerError> {
        let stands = async |role: &str, version: u64| -> Result<bool, SignerError> {
            Ok(self.parts.depot.read(&layout::file(role, version)).await?.is_some())
        };
        if stands("root", state.root + 1).await? {
            return Ok(true);
        }
        let proposed = state.custom.proposed.as_ref().map(|proposed| proposed.version);
        match (state.shape, state.listed(TARGETS).max(proposed)) {
            (Shape::Bins(_), Some(newest)) => stands(TARGETS, newest + 1).await,
            _ => Ok(false),
        }
    }

    /// Opens the keys that the configuration names now: a root that is new, or keys that fail, may be why it was changed.
    pub(super) async fn renew_keys(&mut self) -> Result<(), SignerError> {
        match self.parts.config.keys_now() {
            Ok(None) => {}
            Ok(Some(config)) => {
                self.parts.keys = OnlineKeys::open(&config).await?;
                self.parts.config = Arc::new(config);
                tracing::info!("the keys that the configuration names now are in use");
            }
            Err(error) => tracing::warn!(%error, "the configuration cannot be read again; the keys stay"),
        }
        Ok(())
    }

    /// The keys that the configuration names now, if all of them sign and the root lists them; else those in use stay. An
    /// operator asked for it, and reads in the log what became of it.
    pub(super) async fn take_keys(&mut self) {
        match self.next_keys().await {
            Ok(None) => tracing::info!("the keys that the configuration names are in use already"),
            Ok(Some(parts)) => {
                // Anything else that failed may work with these.
                (self.parts, self.state, self.doubtful) = (parts, None, false);
                tracing::info!("the keys that the configuration names now are in use");
            }
            Err(error) => tracing::error!(
                error,
                "the keys that the configuration names now are not used; the last stay"
            ),
        }
    }

    async fn next_keys(&self) -> Result<Option<Parts>, String> {
        let Some(config) = self.parts.config.keys_now().map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        config.check_files().map_err(|error| error.to_string())?;
        let keys = OnlineKeys::open(&config).await.map_err(|error| error.to_string())?;
        for key in keys.each() {
            keys::check(&**key).await.map_err(|error| error.to_string())?;
        }
        let parts = Parts {
            config: Arc::new(config),
            keys,
            ..self.parts.clone()
        };
        let mut next = Self::new(parts.clone());
        next.look().await.map_err(|error| error.to_string())?;
        Ok(Some(parts))
    }

    /// After a rotation, what lists or bears another key than ours is due: targets.json, the delegator, and with it all bins,
    /// since one publication must switch from the old key to the new.
    pub(super) async fn check_delegations(&self, state: &mut State, root: &Root) -> Result<(), SignerError> {
        let keys = &self.parts.keys;
        let (id, online) = (hex::encode(keys.bins.key_id()), keys.targets.is_some());
        // What is about to be listed, if there is such a one.
        let proposed = state.custom.proposed.as_ref().map(|proposed| proposed.version);
        if let Some(version) = proposed.or(state.listed(TARGETS))
            && let Some(file) = self.parts.depot.read(&layout::file(TARGETS, version)).await?
        {
            let targets: Signed<schema::Targets> = parse(&layout::file(TARGETS, version), &file)?;
            let accepted = root.verify_role(&targets).is_ok();
            let ours = bears(&targets, &keys.of_targets());
            let below = targets.signed.delegations.iter().flat_map(|below| &below.roles);
            let listed: Option<Vec<_>> = below
                .filter(|role| role.name == BINS)
                .map(|role| role.keyids.iter().map(hex::encode).collect())
                .next();
            let top = state.custom.top.as_ref().and_then(delegated::below);
            if let (true, Some(top)) = (online, top)
                && let Some(role) = delegated::abandoned(&top, &rekeyed(&top, &id))
            {
                return Err(SignerError::Countersigned { role });
            }
            match (online, state.shape) {
                (true, Shape::Flat) if !accepted || !ours => drop(state.expires.remove(TARGETS)),
                (true, Shape::Bins(_))
                    if !accepted || !ours || listed.as_deref() != Some(std::slice::from_ref(&id)) =>
                {
                    state.expires.remove(TARGETS);
                }
                (false, _) if !listed.is_some_and(|listed| listed.contains(&id)) => {
                    return Err(SignerError::KeyNotListed {
                        by: "targets.json",
                        role: BINS,
                        key: id,
                    });
                }
                (false, _) if !accepted => {
                    tracing::error!(
                        "the newest root's keys did not sign targets.json: clients fail until `tufgate targets publish`"
                    );
                }
                _ => {}
            }
        }
        if let (Shape::Bins(_), Some(version)) = (state.shape, state.listed(BINS))
            && let Some(file) = self.parts.depot.read(&layout::succinct("bins", version)).await?
        {
            let bins: Signed<Targets> = parse(&layout::succinct("bins", version), &file)?;
            let listed = bins.signed.delegations.and_then(|below| below.succinct_roles);
            let ours = listed.is_some_and(|listed| listed.keyids == [id.as_str()]);
            if !ours || bins.signatures.iter().all(|line| line.keyid != *keys.bins.key_id()) {
                state.expires.remove(BINS);
                for bin in 0..state.shape.count() {
                    // As if they had never been written: all in one publication, not a few a turn.
                    state.expires.remove(&state.shape.role(bin));
                    state.roles.remove(&state.shape.role(bin));
                }
            }
        }
        Ok(())
    }
}

/// What targets.json would delegate to, signed anew with another key of the bins.
fn rekeyed(top: &Delegations, id: &str) -> Delegations {
    let mut top = top.clone();
    for role in top.roles.iter_mut().flatten().filter(|role| role.name == BINS) {
        role.keyids = vec![id.to_owned()];
    }
    top
}
