//! What a proposal must be, whoever signs it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::Value;

use super::{CeremonyError, Kind, ring::Roles};
use crate::{
    delegated,
    digest::Digest,
    tuf::{
        canonical,
        key::PublicKey,
        schema::Targets,
        verify::{self, VerifyError},
    },
};

/// Most characters of a key's name.
const NAME: usize = 64;

/// Checks a proposed `signed` object against the one it follows.
///
/// # Errors
/// [`CeremonyError::Rule`], with the first thing that clients would trip over.
pub fn check(kind: Kind, current: &Value, signed: &Value) -> Result<(), CeremonyError> {
    well_formed(kind, signed)?;
    let (was, is) = (version(current), version(signed));
    if was.checked_add(1) != Some(is) {
        let why = match is <= was {
            true => "a version that was there before is never trusted again",
            false => "clients stop at the first version that is missing",
        };
        return Err(rule(format!(
            "it has version {is}, and after {was} comes {}: {why}",
            was.saturating_add(1)
        )));
    }
    if kind == Kind::Root && signed.get("consistent_snapshot") != Some(&Value::Bool(true)) {
        return Err(rule(
            "it does not ask for consistent snapshots, which the gate always writes",
        ));
    }
    if let (Kind::Targets, Some(below)) = (kind, delegated::below(signed)) {
        delegated::check_top(&below).map_err(rule)?;
    }
    let roles = Roles::of(kind, signed);
    keys(&roles)?;
    for (name, role) in &roles.roles {
        let count = role.keyids.len() as u64;
        if role.threshold > count {
            let threshold = role.threshold;
            return Err(rule(format!(
                "a threshold of {threshold} for `{name}` cannot be met with {count} keys"
            )));
        }
        if role.threshold == 0 {
            return Err(rule(format!("a threshold of 0 for `{name}` would let anybody sign")));
        }
        if let Some(id) = role.keyids.iter().find(|id| !roles.keys.contains_key(**id)) {
            return Err(rule(format!("`{name}` lists the key {id}, which is not there")));
        }
        if let Some(id) = twice(&role.keyids) {
            return Err(rule(format!("`{name}` lists the key {id} twice")));
        }
    }
    if let Some(id) = roles.named().find(|id| !roles.keys.contains_key(id)) {
        return Err(rule(format!("it names a key {id} that it does not list")));
    }
    match roles.keys.keys().find(|id| !roles.lists(id)) {
        Some(id) => Err(rule(format!("the {} is listed, but no role has it", roles.label(id)))),
        None => Ok(()),
    }
}

fn well_formed(kind: Kind, signed: &Value) -> Result<(), CeremonyError> {
    let read = match kind {
        Kind::Root => verify::root(signed.clone()).map(|_| ()),
        Kind::Targets => verify::read::<Targets>(signed.clone(), "targets").map(|_| ()),
    };
    read.map_err(|error| match error {
        VerifyError::Keys(why) => rule(why),
        error => CeremonyError::Malformed(format!("what it proposes: {error}")),
    })
}

/// Every key is one that all clients read, under its own id, once, with a name of its own.
fn keys(roles: &Roles<'_>) -> Result<(), CeremonyError> {
    let mut names = BTreeMap::new();
    let mut keys = Vec::new();
    for (id, listed) in &roles.keys {
        let label = roles.label(id);
        let key = PublicKey::deserialize(*listed).map_err(|error| rule(error.to_string()))?;
        if key.usable().is_none() {
            return Err(rule(format!("the {label} is of a kind that clients cannot use")));
        }
        let form = canonical::to_vec(listed).map_err(|error| rule(error.to_string()))?;
        let right = Digest::of(form).to_string();
        if right != **id {
            return Err(rule(format!(
                "the {label} has another id, {right}: clients recompute it"
            )));
        }
        let name = roles
            .written_name(id)
            .ok_or_else(|| rule(format!("the {label} has no name")))?;
        check_name(name)?;
        if let Some(other) = names.insert(name, *id) {
            return Err(rule(format!("the keys {other} and {id} are both called `{name}`")));
        }
        keys.push((*id, key));
    }
    let mut seen = BTreeMap::new();
    for (id, key) in &keys {
        if let Some(other) = seen.insert(key.identity(), *id) {
            return Err(rule(format!(
                "the keys {other} and {id} are one key: it would count twice"
            )));
        }
    }
    Ok(())
}

/// Whether people can tell a key by it: letters, digits and ` ._@+-`, at most 64 characters, no blank at an end.
pub fn check_name(name: &str) -> Result<(), CeremonyError> {
    let good = |c: char| c.is_ascii_alphanumeric() || " ._@+-".contains(c);
    if name.is_empty() || name.len() > NAME || !name.chars().all(good) || name.trim() != name {
        let shown = crate::terminal::printable(name);
        return Err(rule(format!(
            "`{shown}` is no name for a key: letters, digits and ` ._@+-`, at most {NAME} characters"
        )));
    }
    // A name that reads as the id of another key would be a trap.
    match name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Err(rule("a key's name cannot look like a key id")),
        false => Ok(()),
    }
}

/// The version of a `signed` object; 0 where it has none.
pub fn version(signed: &Value) -> u64 {
    signed.get("version").and_then(Value::as_u64).unwrap_or(0)
}

/// A rule that is broken.
pub fn rule(why: impl Into<String>) -> CeremonyError {
    CeremonyError::Rule(why.into())
}

fn twice<'a>(ids: &[&'a str]) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    ids.iter().copied().find(|id| !seen.insert(*id))
}
