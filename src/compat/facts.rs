//! What is no fault in itself, but decides how a client fares. Plain values, gathered from a whole repository on a walk, or
//! from one file of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Names;
use crate::{digest::Digest, tuf::canonical};

/// A key of the newest root or of a delegation.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct KeyFact {
    /// Its id.
    pub id: String,
    /// Key type and scheme: `ed25519/ed25519`.
    pub kind: String,
    /// Whether the id is the digest of the key.
    pub computed: bool,
    /// Whether the specification knows the kind.
    pub known: bool,
}

/// A file's size, and whether its length stands in the file that lists it, which for some clients replaces their limit.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Sized {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// The length is listed.
    pub listed: bool,
}

/// How downloads under one form of name went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Served {
    /// Verified.
    pub good: u64,
    /// Not there.
    pub missing: u64,
}

/// Forms of delegation on the way to targets, in one view.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Forms {
    /// `paths`.
    pub paths: bool,
    /// `path_hash_prefixes` with prefixes that tell targets apart, not only the empty one.
    pub prefixes: bool,
    /// The empty hash prefix, which matches everything.
    pub empty_prefix: bool,
    /// `succinct_roles`.
    pub succinct: bool,
}

impl Forms {
    /// Those of one `delegations` object.
    pub fn of(delegations: &Value) -> Self {
        let roles = delegations.get("roles").and_then(Value::as_array);
        let mut forms = Self {
            succinct: delegations.get("succinct_roles").is_some(),
            ..Self::default()
        };
        for role in roles.into_iter().flatten() {
            let list = |field: &str| role.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let prefixes = list("path_hash_prefixes");
            forms.paths |= !list("paths").is_empty();
            forms.empty_prefix |= prefixes.iter().any(|prefix| prefix == "");
            forms.prefixes |= prefixes.iter().any(|prefix| prefix != "");
        }
        forms
    }

    /// Takes over another's.
    pub fn add(&mut self, other: Self) {
        self.paths |= other.paths;
        self.prefixes |= other.prefixes;
        self.empty_prefix |= other.empty_prefix;
        self.succinct |= other.succinct;
    }

    /// Whether anything is delegated.
    pub fn any(self) -> bool {
        self.paths || self.prefixes || self.empty_prefix || self.succinct
    }
}

/// Everything that [`super::reasons`] judges by.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// Newer roots than the one given.
    pub root_steps: u64,
    /// What the server answered for the root after the newest; 404 where all is well, 0 when unknown.
    pub root_end: u16,
    /// The largest root.
    pub root: Sized,
    /// timestamp.json.
    pub timestamp: Sized,
    /// The snapshot.
    pub snapshot: Sized,
    /// The largest targets role that delegates.
    pub delegator: Sized,
    /// The largest targets role that does not.
    pub leaf: Sized,
    /// Roles the snapshot lists.
    pub listed: u64,
    /// Most targets in one role, and which.
    pub crowded: (u64, String),
    /// Forms of delegation.
    pub forms: Forms,
    /// Delegations between targets.json and the deepest role.
    pub depth: u64,
    /// Most roles that a client visits for a target it finds.
    pub visited: u64,
    /// Targets in delegated roles were seen, or not all of these roles were read.
    pub delegated_targets: bool,
    /// Keys, each once.
    pub keys: BTreeSet<KeyFact>,
    /// Hash algorithms, by how many targets have them.
    pub algorithms: BTreeMap<String, u64>,
    /// Targets without sha256, as an example.
    pub no_sha256: Option<String>,
    /// Targets with more than one hash, as an example.
    pub many_hashes: Option<String>,
    /// Names that break somebody.
    pub names: Names,
    /// `consistent_snapshot` of the newest root.
    pub consistent: bool,
    /// Downloads as `dir/H.name`.
    pub hashed_name: Served,
    /// Downloads as `H.dir/name`.
    pub hashed_folder: Served,
    /// Downloads as `dir/name`.
    pub bare: Served,
    /// A file that came with an encoding nobody asked for.
    pub encoded: Option<String>,
    /// The largest integer, and where it stands.
    pub largest: (u64, String),
    /// A listing with an empty `hashes` or a `length` of 0, as an example.
    pub empty: Option<String>,
}

impl KeyFact {
    /// What is to be known of a key that is listed under this id.
    pub fn of(id: &str, key: &Value) -> Self {
        let text = |field: &str| key.get(field).and_then(Value::as_str).unwrap_or_default();
        let kind = format!("{}/{}", text("keytype"), text("scheme"));
        Self {
            id: id.to_owned(),
            computed: canonical::to_vec(key).is_ok_and(|bytes| Digest::of(bytes).to_string() == *id),
            known: matches!(
                &*kind,
                "ed25519/ed25519" | "ecdsa/ecdsa-sha2-nistp256" | "rsa/rsassa-pss-sha256"
            ),
            kind,
        }
    }
}

impl Facts {
    /// Of a repository whose server does all that clients ask for: what the file alone cannot tell.
    pub fn served() -> Self {
        Self {
            root_end: 404,
            consistent: true,
            ..Self::default()
        }
    }

    /// Notes the `keys` of a root or of delegations.
    pub fn keys(&mut self, keys: Option<&Value>) {
        let keys = keys.and_then(Value::as_object);
        let keys = keys.into_iter().flatten();
        self.keys.extend(keys.map(|(id, key)| KeyFact::of(id, key)));
    }

    /// Notes an integer; `place` is asked for the largest only.
    pub fn integer(&mut self, value: u64, place: impl FnOnce() -> String) {
        if value > self.largest.0 {
            self.largest = (value, place());
        }
    }

    /// Notes what a targets role says of a target, but for its name.
    pub fn target(&mut self, path: &str, said: &Value) {
        if let Some(length) = said.get("length").and_then(Value::as_u64) {
            self.integer(length, || format!("the length of `{path}`"));
        }
        let empty = Map::new();
        let hashes = said.get("hashes").and_then(Value::as_object).unwrap_or(&empty);
        for algorithm in hashes.keys() {
            *self.algorithms.entry(algorithm.clone()).or_default() += 1;
        }
        let example = || Some(path.to_owned());
        if !hashes.contains_key("sha256") {
            self.no_sha256 = self.no_sha256.take().or_else(example);
        }
        if hashes.len() > 1 {
            self.many_hashes = self.many_hashes.take().or_else(example);
        }
    }

    /// Notes what timestamp or snapshot say of a file.
    pub fn listed_file(&mut self, name: &str, said: &Value) {
        if let Some(version) = said.get("version").and_then(Value::as_u64) {
            self.integer(version, || format!("the version of `{name}`"));
        }
        let empty = said.get("hashes").and_then(Value::as_object).is_some_and(Map::is_empty);
        if empty || said.get("length") == Some(&Value::from(0)) {
            self.empty = self.empty.take().or_else(|| Some(name.to_owned()));
        }
    }

    /// Notes a whole targets role, top-level or delegated, from its `signed` object; the file's size apart.
    pub fn targets_role(&mut self, role: &str, signed: &Value) {
        let empty = Map::new();
        let targets = signed.get("targets").and_then(Value::as_object).unwrap_or(&empty);
        let mut paths: Vec<&String> = targets.keys().collect();
        paths.sort_unstable();
        for pair in paths.windows(2) {
            self.names.pair(pair[0], pair[1]);
        }
        for (path, said) in targets {
            self.names.note(path);
            self.target(path, said);
        }
        self.crowd(role, targets.len() as u64);
        if let Some(version) = signed.get("version").and_then(Value::as_u64) {
            self.integer(version, || format!("the version of `{role}`"));
        }
        if let Some(delegations) = signed.get("delegations") {
            self.keys(delegations.get("keys"));
            self.forms.add(Forms::of(delegations));
        }
    }

    /// Notes how many targets a role lists.
    pub fn crowd(&mut self, role: &str, count: u64) {
        if count > self.crowded.0 {
            self.crowded = (count, role.to_owned());
        }
        self.delegated_targets |= count > 0 && role != "targets";
    }

    /// Takes over what another part of the walk learned.
    pub fn merge(&mut self, other: Facts) {
        let larger = |mine: &mut Sized, theirs: Sized| {
            if theirs.bytes > mine.bytes {
                *mine = theirs;
            }
        };
        larger(&mut self.delegator, other.delegator);
        larger(&mut self.leaf, other.leaf);
        if other.crowded.0 > self.crowded.0 {
            self.crowded = other.crowded;
        }
        self.forms.add(other.forms);
        self.visited = self.visited.max(other.visited);
        self.delegated_targets |= other.delegated_targets;
        self.keys.extend(other.keys);
        for (algorithm, count) in other.algorithms {
            *self.algorithms.entry(algorithm).or_default() += count;
        }
        let first = |mine: &mut Option<String>, theirs: Option<String>| {
            if mine.is_none() {
                *mine = theirs;
            }
        };
        first(&mut self.no_sha256, other.no_sha256);
        first(&mut self.many_hashes, other.many_hashes);
        first(&mut self.empty, other.empty);
        self.names.merge(other.names);
        if other.largest.0 > self.largest.0 {
            self.largest = other.largest;
        }
    }
}
