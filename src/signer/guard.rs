//! The last look before a publication: whom it would break (DESIGN 6). A target whose row would break a client is set aside
//! by `batch`; a top-level role is not published here, and the last one stays.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    compat::{self, File, Violation},
    ledger::{AuditLine, GUARD},
    tuf::{
        build::{self, Meta},
        layout::Generation,
    },
};

use super::{
    Signer, SignerError,
    shape::{SNAPSHOT, TARGETS},
    state::State,
};

/// The metric's label for a target.
pub(super) const TARGET: &str = "target";
/// The metric's label for a role.
pub(super) const ROLE: &str = "role";

/// An error of the first thing that was found.
pub(super) fn refuse(found: Vec<Violation>) -> Result<(), SignerError> {
    match found.into_iter().next() {
        Some(violation) => Err(SignerError::Guarded(violation.into())),
        None => Ok(()),
    }
}

impl Signer {
    /// Says once what was stopped, and for whose sake.
    pub(super) fn tell(&self, what: &'static str, violation: &Violation) {
        for client in &violation.clients {
            let labels = [what, client.key()];
            self.parts.metrics.guarded_total.with_label_values(&labels).inc();
        }
        tracing::warn!(
            guard.rule = violation.rule,
            guard.clients = violation.whom(),
            "not published, since it would break clients: {violation}"
        );
    }

    /// What a targets.json signed here would break.
    pub(super) fn targets_break(&self, file: &Bytes) -> Vec<Violation> {
        let envelope: Value = serde_json::from_slice(file).unwrap_or_default();
        compat::role(
            TARGETS,
            &envelope["signed"],
            file.len() as u64,
            &self.parts.config.tuf.clients,
        )
    }

    /// Whether a new version of a top-level role may take the last one's place. Where there is no last one, nothing can be
    /// published: an error.
    pub(super) async fn may_replace(
        &self,
        role: &str,
        found: Vec<Violation>,
        state: &State,
        now: Timestamp,
    ) -> Result<bool, SignerError> {
        if !state.roles.contains_key(role) {
            refuse(found)?;
            return Ok(true);
        }
        for violation in &found {
            self.tell(ROLE, violation);
            self.note(violation, now).await?;
        }
        Ok(found.is_empty())
    }

    /// Whether a snapshot may be published; its length stands in the timestamp.
    pub(super) fn may_list(&self, file: &Bytes) -> Result<(), SignerError> {
        let clients = &self.parts.config.tuf.clients;
        refuse(compat::size(File::Snapshot, SNAPSHOT, file.len() as u64, true, clients))
    }

    /// What bins of the next generation would break: their delegator's size, and the snapshot's with all their names.
    pub(super) fn growth_breaks(&self, state: &State, to: Generation) -> Vec<Violation> {
        let clients = &self.parts.config.tuf.clients;
        let (id, public) = (self.parts.keys.bins.key_id(), self.parts.keys.bins.public());
        let size = |below| {
            let signed = build::targets(state.stamp, Timestamp::UNIX_EPOCH, Some(&below), []);
            signed.map_or(0, |signed| signed.len() as u64 + build::ENVELOPE)
        };
        let delegators = [build::by_prefixes(to, id, public), build::succinct(to, id, public)];
        let [prefixes, succinct] = delegators.map(size);
        let mut roles = state.roles.clone();
        roles.extend((0..to.count()).map(|bin| (to.name(bin), Meta::version(1))));
        let snapshot = build::snapshot(state.stamp, Timestamp::UNIX_EPOCH, &roles).len() as u64 + build::ENVELOPE;
        let mut found = compat::bins(prefixes, succinct, clients);
        found.extend(compat::size(File::Snapshot, SNAPSHOT, snapshot, true, clients));
        found
    }

    /// Writes down what was not published; `status` and the audit log tell it.
    pub(super) async fn note(&self, violation: &Violation, now: Timestamp) -> Result<(), SignerError> {
        let line = AuditLine {
            at: now,
            who: "gate".to_owned(),
            action: GUARD.to_owned(),
            path: String::new(),
            detail: violation.to_string(),
        };
        Ok(self.parts.ledger.audit(line).await?)
    }
}
