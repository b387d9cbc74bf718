//! One role as those above it delegate to it: for who signs it, before those who list it judge all roles together.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::{Caps, Refusal, RoleFile, bins, judge::within};
use crate::tuf::{
    key::PublicKey,
    layout::is_twofold,
    schema::{DelegatedRole, Delegations},
    verify::{Keys, VerifyError},
};

/// A role, who may sign it, and which paths are its own.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// All that who delegates says.
    below: Delegations,
    role: DelegatedRole,
    /// Patterns of the roles above, from `targets` on: a path must be theirs too.
    above: Vec<Vec<String>>,
}

impl Delegation {
    /// What the top-level targets say of a role.
    pub fn of(top: &Delegations, name: &str) -> Option<Self> {
        let role = top.roles.iter().flatten().find(|role| role.name == name)?;
        Some(Self {
            below: top.clone(),
            role: role.clone(),
            above: Vec::new(),
        })
    }

    /// What this role's own file says of a role below it.
    pub fn under(&self, file: &Delegations, name: &str) -> Option<Self> {
        let mut above = self.above.clone();
        above.extend(self.role.paths.clone());
        Some(Self {
            above,
            ..Self::of(file, name)?
        })
    }

    /// The role as it is listed: paths, key ids, threshold.
    pub fn role(&self) -> &DelegatedRole {
        &self.role
    }

    /// A key that may sign it.
    pub fn key(&self, id: &str) -> Option<&PublicKey> {
        let listed = self.role.keyids.iter().any(|keyid| keyid == id);
        self.below.keys.get(id).filter(|_| listed)
    }

    /// Its keys, to verify it with.
    pub fn verifier(&self) -> Result<Keys, VerifyError> {
        Keys::of_role(&self.below, &self.role)
    }

    /// Checks its next file, after the version `listed` (0: none yet). Nobody looks at the signatures.
    ///
    /// # Errors
    /// What [`judge`](super::judge()) would refuse of this file alone.
    pub fn check(&self, envelope: &Value, listed: u64, now: Timestamp) -> Result<RoleFile, Refusal> {
        let name = &*self.role.name;
        super::check_name(name).map_err(|why| Refusal::malformed(None, why))?;
        let file = RoleFile::submitted(name, envelope, Caps::default())?;
        let wanted = listed.saturating_add(1);
        if file.version != wanted {
            let found = file.version;
            return Err(Refusal::version(
                name,
                format!("it has version {found}, and after {listed} comes {wanted}"),
            )
            .hint(format!("draft version {wanted}, after a look at what stands there")));
        }
        if file.expires <= now {
            return Err(Refusal::malformed(
                Some(name),
                format!("it expired at {}", file.expires),
            ));
        }
        let own = self.role.paths.as_deref();
        let scopes: Vec<&[String]> = self.above.iter().map(Vec::as_slice).chain(own).collect();
        within(&self.role, &scopes, &file)?;
        if is_twofold(name) {
            bins::check_view(&self.below, &self.role, &file)?;
        }
        Ok(file)
    }

    /// The file as the gate keeps it, if enough have signed it.
    ///
    /// # Errors
    /// Too few good signatures.
    pub fn signed(&self, file: &RoleFile) -> Result<Bytes, Refusal> {
        file.signed_by(&self.below, &self.role)
    }

    /// Every key that may sign it, by id.
    pub fn keys(&self) -> BTreeMap<&str, &PublicKey> {
        let listed = self.role.keyids.iter();
        listed.filter_map(|id| Some((&**id, self.key(id)?))).collect()
    }
}
