//! Delegations as the walk reads them, and where a client would look for a path. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::{
    Code, Place,
    facts::{Facts, Forms},
    finding::Findings,
    keys::{self, Signers},
};
use crate::{
    digest::Digest,
    target::bin_of,
    tuf::{layout::bin_name, pattern::matches},
};

/// Bins of a succinct delegation that are enumerated; more are counted only.
pub const MAX_BINS: u32 = 16_384;

/// What one role delegates.
#[derive(Debug)]
pub struct Delegations {
    /// Named roles, in order of priority.
    pub roles: Vec<Delegated>,
    /// Hash bins under one key set.
    pub succinct: Option<Succinct>,
    /// Name of a role to its place.
    places: HashMap<String, usize>,
    /// Hash prefix to the roles that have it, by their place.
    prefixes: HashMap<String, Vec<usize>>,
    /// Lengths of prefixes that occur.
    lengths: BTreeSet<usize>,
    /// Places of roles with patterns.
    patterns: Vec<usize>,
}

/// A named role.
#[derive(Debug)]
pub struct Delegated {
    /// Its name.
    pub name: String,
    /// Who must have signed it.
    pub signers: Signers,
    /// Nobody after it is asked.
    pub terminating: bool,
    /// Shell-style patterns of paths.
    pub paths: Vec<String>,
    /// Prefixes of SHA-256 of the path, in hex.
    pub prefixes: Vec<String>,
}

/// `succinct_roles`.
#[derive(Debug)]
pub struct Succinct {
    /// Who must have signed the bins.
    pub signers: Signers,
    /// 1 to 32.
    pub bits: u8,
    /// `PREFIX-HEX` is a bin.
    pub prefix: String,
}

impl Succinct {
    /// Name of a bin.
    pub fn name(&self, bin: u32) -> String {
        bin_name(&self.prefix, self.bits, bin)
    }

    /// How many bins there are.
    pub fn count(&self) -> u64 {
        1 << self.bits
    }

    /// Names of the bins, the first [`MAX_BINS`] of them.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let count = self.count().min(u64::from(MAX_BINS)) as u32;
        (0..count).map(|bin| self.name(bin))
    }
}

impl Delegations {
    /// Reads the `delegations` of a role; `None` when there are none to go on with.
    pub fn read(value: Option<&Value>, place: &Place, facts: &mut Facts, findings: &mut Findings) -> Option<Self> {
        let value = value?;
        let mut key_facts = Vec::new();
        let ring = keys::ring(value.get("keys"), place, &mut key_facts, findings);
        facts.keys.extend(key_facts);
        let (roles, succinct) = (value.get("roles"), value.get("succinct_roles"));
        if roles.is_some() == succinct.is_some() {
            let message = "its delegations need one of `roles` and `succinct_roles`";
            findings.error(Code::DelegationInvalid, place, message);
        }
        let empty = Vec::new();
        let listed = roles.and_then(Value::as_array).unwrap_or(&empty);
        let mut names = HashSet::new();
        let mut read = Vec::with_capacity(listed.len());
        for role in listed {
            if let Some(role) = Delegated::read(role, &ring, place, &mut facts.forms, findings) {
                if !names.insert(role.name.clone()) {
                    let message = format!("it delegates to `{}` twice: some clients refuse that", role.name);
                    findings.warning(Code::DelegationInvalid, place, message);
                }
                read.push(role);
            }
        }
        let succinct = succinct.and_then(|value| Succinct::read(value, &ring, place, findings));
        facts.forms.succinct |= succinct.is_some();
        let used = read.iter().map(|role| &role.signers);
        let used = used.chain(succinct.iter().map(|bins| &bins.signers));
        keys::unused(&ring, used, place, findings);
        let delegations = Self::index(read, succinct);
        delegations.check_cover(place, findings);
        Some(delegations)
    }

    fn index(roles: Vec<Delegated>, succinct: Option<Succinct>) -> Self {
        let mut prefixes: HashMap<String, Vec<usize>> = HashMap::new();
        let mut patterns = Vec::new();
        for (at, role) in roles.iter().enumerate() {
            for prefix in &role.prefixes {
                prefixes.entry(prefix.clone()).or_default().push(at);
            }
            if !role.paths.is_empty() {
                patterns.push(at);
            }
        }
        Self {
            places: roles
                .iter()
                .enumerate()
                .map(|(at, role)| (role.name.clone(), at))
                .collect(),
            lengths: prefixes.keys().map(String::len).collect(),
            roles,
            succinct,
            prefixes,
            patterns,
        }
    }

    /// Bins that leave a gap: paths in it can never be listed.
    fn check_cover(&self, place: &Place, findings: &mut Findings) {
        let [length] = self.lengths.iter().copied().collect::<Vec<_>>()[..] else {
            return;
        };
        let all = 16_usize.checked_pow(length as u32);
        if self.prefixes.len() > 1 && length > 0 && all.is_some_and(|all| self.prefixes.len() < all) {
            let message = format!(
                "its hash prefixes cover {} of {} parts: paths in the others can be in no bin",
                self.prefixes.len(),
                all.unwrap_or_default()
            );
            findings.warning(Code::DelegationInvalid, place, message);
        }
    }

    /// The roles that may speak for a path, in order, up to the first terminating one; with whether it is that.
    pub fn candidates(&self, path: &str, id: &Digest) -> Vec<(String, bool)> {
        let mut next = self.speakers(path, id);
        let end = next.iter().position(|(_, terminating)| *terminating);
        next.truncate(end.map_or(next.len(), |end| end + 1));
        next
    }

    /// All roles whose paths include this one, in order; with whether they are terminating.
    pub fn speakers(&self, path: &str, id: &Digest) -> Vec<(String, bool)> {
        if let Some(bins) = &self.succinct {
            return vec![(bins.name(bin_of(id, bins.bits)), true)];
        }
        let hex = id.to_string();
        let mut fits: BTreeSet<usize> = BTreeSet::new();
        for length in &self.lengths {
            let found = hex.get(..*length).and_then(|prefix| self.prefixes.get(prefix));
            fits.extend(found.into_iter().flatten());
        }
        let by_pattern = |at: &&usize| self.roles[**at].paths.iter().any(|pattern| matches(pattern, path));
        fits.extend(self.patterns.iter().filter(by_pattern));
        let roles = fits.into_iter().map(|at| &self.roles[at]);
        roles.map(|role| (role.name.clone(), role.terminating)).collect()
    }

    /// Names of the roles it delegates to; succinct bins beyond [`MAX_BINS`] left out.
    pub fn names(&self) -> Vec<String> {
        let named = self.roles.iter().map(|role| role.name.clone());
        named
            .chain(self.succinct.iter().flat_map(|bins| bins.names()))
            .collect()
    }

    /// Who must have signed the role of this name.
    pub fn signers(&self, name: &str) -> Option<&Signers> {
        if let Some(bins) = &self.succinct {
            return Some(&bins.signers);
        }
        self.places.get(name).map(|at| &self.roles[*at].signers)
    }
}

impl Delegated {
    fn read(
        value: &Value,
        ring: &keys::Ring,
        place: &Place,
        forms: &mut Forms,
        findings: &mut Findings,
    ) -> Option<Self> {
        let name = value.get("name").and_then(Value::as_str);
        let Some(name) = name else {
            findings.error(Code::DelegationInvalid, place, "a delegated role has no name");
            return None;
        };
        if matches!(name, "root" | "timestamp" | "snapshot" | "targets") {
            let message = format!("a delegated role is called `{name}`, as a top-level role is");
            findings.error(Code::DelegationInvalid, place, message);
            return None;
        }
        let known = [
            "name",
            "keyids",
            "threshold",
            "terminating",
            "paths",
            "path_hash_prefixes",
        ];
        for field in value.as_object().into_iter().flatten().map(|(field, _)| field) {
            if !known.contains(&&**field) {
                let message = format!("the delegated role `{name}` has a field `{field}`");
                findings.note(Code::UnknownField, place, message);
            }
        }
        let list = |field: &str| {
            let list = value.get(field)?.as_array()?;
            let text = |item: &Value| item.as_str().map(str::to_owned);
            list.iter().map(text).collect::<Option<Vec<_>>>()
        };
        let (paths, prefixes) = (list("paths"), list("path_hash_prefixes"));
        if paths.is_some() == prefixes.is_some() {
            let message = format!("the delegated role `{name}` needs one of `paths` and `path_hash_prefixes`");
            findings.error(Code::DelegationInvalid, place, message);
        }
        let terminating = value.get("terminating").and_then(Value::as_bool);
        if terminating.is_none() {
            let message = format!("the delegated role `{name}` does not say whether it is terminating");
            findings.error(Code::DelegationInvalid, place, message);
        }
        let (paths, prefixes) = (paths.unwrap_or_default(), prefixes.unwrap_or_default());
        for prefix in &prefixes {
            if prefix.len() > 64 || !prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                let message = format!("the hash prefix `{prefix}` of `{name}` is no lower-case hex");
                findings.error(Code::DelegationInvalid, place, message);
            }
        }
        forms.paths |= !paths.is_empty();
        forms.empty_prefix |= prefixes.iter().any(String::is_empty);
        forms.prefixes |= prefixes.iter().any(|prefix| !prefix.is_empty());
        Some(Self {
            signers: keys::signers(ring, Some(value), name, place, findings)?,
            name: name.to_owned(),
            terminating: terminating.unwrap_or(false),
            paths,
            prefixes,
        })
    }
}

impl Succinct {
    fn read(value: &Value, ring: &keys::Ring, place: &Place, findings: &mut Findings) -> Option<Self> {
        let bits = value.get("bit_length").and_then(Value::as_u64);
        let bits = bits.filter(|bits| (1..=32).contains(bits));
        let prefix = value.get("name_prefix").and_then(Value::as_str);
        let (Some(bits), Some(prefix)) = (bits, prefix) else {
            let message = "its `succinct_roles` needs a `bit_length` of 1 to 32 and a `name_prefix`";
            findings.error(Code::DelegationInvalid, place, message);
            return None;
        };
        Some(Self {
            signers: keys::signers(ring, Some(value), "succinct_roles", place, findings)?,
            bits: bits as u8,
            prefix: prefix.to_owned(),
        })
    }
}
