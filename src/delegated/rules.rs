//! What a delegation must be for every client to read it alike.

use std::collections::BTreeSet;

use super::bins;
use crate::{
    terminal::printable,
    tuf::{
        pattern,
        schema::{DelegatedRole, Delegations},
        verify::Keys,
    },
};

/// Most characters of a role's name.
const NAME: usize = 64;
/// Most patterns of one role, and most keys.
const PATTERNS: usize = 256;
const KEYS: usize = 64;
/// The role that delegates to the bins, and the start of their names.
pub(super) const BINS: &str = "bins";

/// Whether a role that others sign may be called so: `[a-z][a-z0-9._-]*`, at most 64 characters, and no name that the
/// specification or the gate gives to another role.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let long = bins::owner(name).len() > NAME || name.len() > 2 * NAME;
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || long || !name.bytes().all(good) {
        let shown = printable(name);
        return Err(format!(
            "`{shown}` is no name for a role: a small letter, then small letters, digits and `._-`, at most {NAME}"
        ));
    }
    match matches!(name, "root" | "timestamp" | "snapshot" | "targets" | "mirrors") || name.starts_with(BINS) {
        true => Err(format!("`{name}` is a name of the gate's own")),
        false => Ok(()),
    }
}

/// Checks what the top-level targets delegate to: custom roles by paths, then `bins`, which takes the rest.
///
/// # Errors
/// The first thing that a client would trip over.
pub fn check_top(below: &Delegations) -> Result<(), String> {
    let (bins, custom) = match below.roles.as_deref() {
        Some([custom @ .., bins]) if bins.name == BINS => (bins, custom),
        _ => return Err("the last role that targets delegates to is `bins`".to_owned()),
    };
    if bins.path_hash_prefixes.as_deref() != Some(&[String::new()]) || bins.paths.is_some() || !bins.terminating {
        return Err("`bins` takes all paths that are left, and ends the search".to_owned());
    }
    for role in custom {
        check_name(&role.name)?;
        check_role(below, role)?;
        if bins::owner(&role.name) != role.name {
            return Err(format!("`{}` is a name for bins of another role", role.name));
        }
        if let Some(other) = custom.iter().find(|other| extends(&role.name, &other.name)) {
            let (name, other) = (&role.name, &other.name);
            return Err(format!(
                "`{other}` may delegate to a `{name}` of its own: give this role another name"
            ));
        }
    }
    distinct(below)
}

/// Checks what a team's role delegates to.
pub(super) fn check_nested(parent: &str, below: &Delegations) -> Result<(), String> {
    let roles = below.roles.as_deref().unwrap_or_default();
    if roles.is_empty() || below.succinct_roles.is_some() {
        return Err("`delegations` hold a list of named `roles`, or are left out".to_owned());
    }
    if !below.extra.is_empty() {
        return Err("its `delegations` have fields that clients do not know".to_owned());
    }
    for role in roles {
        check_name(&role.name)?;
        if !extends(&role.name, parent) {
            return Err(format!(
                "a role that it delegates to is called `{parent}.…`, not `{}`",
                role.name
            ));
        }
        if bins::owner(&role.name) != role.name && role.name != bins::delegator(parent) {
            return Err(format!("`{}` is a name for bins", role.name));
        }
        check_role(below, role)?;
    }
    let used: BTreeSet<_> = roles.iter().flat_map(|role| &role.keyids).collect();
    if let Some(id) = below.keys.keys().find(|id| !used.contains(id)) {
        return Err(format!("the key {} is listed, but no role has it", printable(id)));
    }
    distinct(below)
}

/// Whether a name is another one, a `.`, and more.
fn extends(name: &str, parent: &str) -> bool {
    name.strip_prefix(parent)
        .is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'))
}

fn distinct(below: &Delegations) -> Result<(), String> {
    let mut names = BTreeSet::new();
    match below.roles.iter().flatten().find(|role| !names.insert(&role.name)) {
        Some(role) => Err(format!("the role `{}` stands twice", role.name)),
        None => Ok(()),
    }
}

fn check_role(below: &Delegations, role: &DelegatedRole) -> Result<(), String> {
    let name = &role.name;
    let patterns = match (&role.paths, &role.path_hash_prefixes) {
        (Some(patterns), None) if !patterns.is_empty() => patterns,
        _ => return Err(format!("`{name}` needs `paths`: one pattern at least")),
    };
    if patterns.len() > PATTERNS || role.keyids.len() > KEYS {
        return Err(format!("`{name}` has more than {PATTERNS} patterns or {KEYS} keys"));
    }
    for pattern in patterns {
        let shown = printable(pattern);
        pattern::check(pattern).map_err(|why| format!("the pattern `{shown}` of `{name}`: {why}"))?;
    }
    if !role.extra.is_empty() {
        return Err(format!("`{name}` has fields that clients do not know"));
    }
    // A threshold of 0, a key id twice.
    Keys::of_role(below, role).map_err(|error| format!("`{name}`: {error}"))?;
    let (threshold, count) = (role.threshold, role.keyids.len() as u64);
    if threshold > count {
        return Err(format!(
            "a threshold of {threshold} for `{name}` cannot be met with {count} keys"
        ));
    }
    let mut identities = BTreeSet::new();
    for id in &role.keyids {
        let shown = printable(id);
        let Some(key) = below.keys.get(id) else {
            return Err(format!("`{name}` lists the key {shown}, which is not there"));
        };
        let Some(identity) = key.identity() else {
            return Err(format!(
                "the key {shown} of `{name}` is of a kind that clients cannot use"
            ));
        };
        if key.id().as_ref() != Some(id) {
            return Err(format!(
                "the key {shown} of `{name}` has another id: clients recompute it"
            ));
        }
        if !identities.insert(identity) {
            return Err(format!("`{name}` lists one key under two ids: it would count twice"));
        }
    }
    Ok(())
}
