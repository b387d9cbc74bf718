//! Delegations as the walk reads them, and where a client would look for a path. Pure.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    Code, Place,
    facts::{Facts, Forms},
    finding::Findings,
    keys::{self, Signers},
};
use crate::{client::delegation::matches, digest::Digest, target::bin_of};

/// Visits after which a look-up ends here; every client but tough ends far earlier.
const MAX_VISITED: usize = 64;
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
        let width = usize::from(self.bits.div_ceil(4));
        format!("{}-{bin:0width$x}", self.prefix)
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
    fn candidates(&self, path: &str, id: &Digest) -> Vec<(String, bool)> {
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
        let mut next = Vec::new();
        for role in fits.into_iter().map(|at| &self.roles[at]) {
            next.push((role.name.clone(), role.terminating));
            if role.terminating {
                break;
            }
        }
        next
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

/// Who delegates to whom, as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    delegators: HashMap<String, Arc<Delegations>>,
}

impl Graph {
    /// Adds what a role delegates.
    pub fn add(&mut self, role: &str, delegations: Arc<Delegations>) {
        self.delegators.insert(role.to_owned(), delegations);
    }

    /// Every delegator.
    pub fn delegators(&self) -> impl Iterator<Item = (&String, &Arc<Delegations>)> {
        self.delegators.iter()
    }

    /// How many roles a client visits until it reads `role` for this path (TUF spec 5.6.7), `role` included; `None` when
    /// it never does. What `role` lists is taken to be listed nowhere before.
    pub fn visits(&self, path: &str, role: &str) -> Option<usize> {
        let id = Digest::of(path);
        let mut visited = HashSet::new();
        let mut ahead = vec!["targets".to_owned()];
        while let Some(name) = ahead.pop() {
            if !visited.insert(name.clone()) {
                continue;
            }
            if name == role {
                return Some(visited.len());
            }
            if visited.len() >= MAX_VISITED {
                return None;
            }
            let Some(delegations) = self.delegators.get(&name) else {
                continue;
            };
            let next = delegations.candidates(path, &id);
            if next.last().is_some_and(|(_, terminating)| *terminating) {
                ahead.clear();
            }
            ahead.extend(next.into_iter().rev().map(|(name, _)| name));
        }
        None
    }

    /// A circle of delegations, by its names; `None` when there is none.
    pub fn cycle(&self) -> Option<Vec<String>> {
        let mut done = HashSet::new();
        let mut starts: Vec<_> = self.delegators.keys().collect();
        starts.sort_unstable();
        for start in starts {
            // A path from `start`, with the names still to be tried below each of its roles.
            let mut path = vec![(start.clone(), self.children(start))];
            while let Some((_, children)) = path.last_mut() {
                let Some(next) = children.pop() else {
                    if let Some((name, _)) = path.pop() {
                        done.insert(name);
                    }
                    continue;
                };
                if let Some(at) = path.iter().position(|(name, _)| *name == next) {
                    let mut circle: Vec<_> = path[at..].iter().map(|(name, _)| name.clone()).collect();
                    circle.push(next);
                    return Some(circle);
                }
                if !done.contains(&next) {
                    let children = self.children(&next);
                    path.push((next, children));
                }
            }
        }
        None
    }

    /// The delegators that a role delegates to: others are the end of no circle.
    fn children(&self, role: &str) -> Vec<String> {
        let names = self.delegators.get(role).map(|delegations| delegations.names());
        let mut names = names.unwrap_or_default();
        names.retain(|name| self.delegators.contains_key(name) || name == "targets");
        names
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tuf::{
        layout::Generation,
        verify::testing::{id, key, keys},
    };

    fn read(rest: Value) -> (Option<Delegations>, Vec<&'static str>) {
        let mut value = json!({"keys": keys(&[&key(1)])});
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let (mut facts, mut findings) = (Facts::default(), Findings::default());
        let read = Delegations::read(Some(&value), &Place::file("x"), &mut facts, &mut findings);
        (read, findings.codes())
    }

    fn role(name: &str, terminating: bool, what: &str, patterns: &[&str]) -> Value {
        json!({"name": name, "keyids": [id(&key(1))], "threshold": 1, "terminating": terminating, what: patterns})
    }

    fn graph(of: &[(&str, Value)]) -> Graph {
        let mut graph = Graph::default();
        for (name, roles) in of {
            graph.add(name, Arc::new(read(json!({"roles": roles})).0.unwrap()));
        }
        graph
    }

    #[test]
    fn a_client_visits_roles_in_order_until_a_terminating_one() {
        let graph = graph(&[
            (
                "targets",
                json!([
                    role("a", false, "paths", &["x/*"]),
                    role("b", true, "paths", &["x/1", "y"]),
                    role("c", false, "path_hash_prefixes", &[""])
                ]),
            ),
            ("a", json!([role("d", false, "paths", &["x/*"])])),
        ]);
        assert_eq!(graph.visits("x/1", "targets"), Some(1));
        assert_eq!(graph.visits("x/1", "a"), Some(2));
        assert_eq!(graph.visits("x/1", "d"), Some(3));
        assert_eq!(graph.visits("x/1", "b"), Some(4));
        assert_eq!(graph.visits("x/1", "c"), None, "b ends the search");
        assert_eq!(graph.visits("x/2", "c"), Some(4));
        assert_eq!(graph.visits("z", "c"), Some(2));
        assert_eq!(graph.visits("z", "a"), None);
    }

    #[test]
    fn both_forms_of_bins_lead_to_the_same_bin() {
        let generation = Generation::of(32).unwrap();
        let named: Vec<_> = (0..32)
            .map(|bin| {
                let prefixes = generation.hash_prefixes(bin);
                let prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
                role(&generation.name(bin), true, "path_hash_prefixes", &prefixes)
            })
            .collect();
        let succinct = json!({
            "keyids": [id(&key(1))], "threshold": 1, "bit_length": 5, "name_prefix": "bins5",
        });
        let (named, none) = read(json!({"roles": named}));
        let (succinct, neither) = read(json!({"succinct_roles": succinct}));
        assert!(none.is_empty() && neither.is_empty());
        let (named, succinct) = (named.unwrap(), succinct.unwrap());
        for number in 0..200 {
            let path = format!("some/path-{number}");
            let id = Digest::of(&path);
            assert_eq!(named.candidates(&path, &id), succinct.candidates(&path, &id));
        }
    }

    #[test]
    fn circles_are_found() {
        let to = |name: &str| json!([role(name, false, "paths", &["*"])]);
        let circle = graph(&[("targets", to("a")), ("a", to("b")), ("b", to("a"))]);
        assert_eq!(circle.cycle().unwrap().len(), 3);
        assert_eq!(circle.visits("x", "b"), Some(3), "each role is visited once");
        assert!(
            graph(&[("targets", to("a")), ("a", to("b")), ("b", to("c"))])
                .cycle()
                .is_none()
        );
    }

    #[test]
    fn delegations_that_contradict_themselves_are_told() {
        for bad in [
            json!({}),
            json!({"roles": [role("timestamp", true, "paths", &["*"])]}),
            json!({"roles": [role("a", true, "other", &["*"])]}),
            json!({"roles": [role("a", true, "path_hash_prefixes", &["AB"])]}),
            json!({"roles": [role("a", true, "path_hash_prefixes", &["0", "1"])]}),
            json!({"roles": [role("a", true, "paths", &["0"]), role("a", true, "paths", &["1"])]}),
            json!({"roles": [{"keyids": [], "threshold": 1}]}),
            json!({"succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 33, "name_prefix": "b"}}),
        ] {
            assert!(read(bad.clone()).1.contains(&"delegation-invalid"), "{bad}");
        }
    }
}
