//! What a walk learned that is no fault in itself, but decides how a client fares. Plain values.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

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

/// Example names that break a client.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Names {
    /// Not in NFC: tough.
    pub not_nfc: Option<String>,
    /// Sorted otherwise by UTF-16 unit: tuf-js.
    pub utf16_order: Option<String>,
    /// Sorted otherwise once escaped and quoted: tough.
    pub quoted_order: Option<String>,
    /// What Windows or a URL reader stumbles over: rust-tuf refuses the whole file.
    pub unsafe_path: Option<String>,
    /// Non-ASCII: php-tuf verifies another text.
    pub non_ascii: Option<String>,
    /// `__proto__`: tuf-js.
    pub proto: Option<String>,
    /// A first segment with `:`: tough may read a hash before it as a URL scheme.
    pub colon: Option<String>,
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
    /// Whether anything is delegated.
    pub fn any(self) -> bool {
        self.paths || self.prefixes || self.empty_prefix || self.succinct
    }
}

/// Everything that [`super::clients`] judges by.
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
    /// A float, duplicate key or number that readers differ in, as an example.
    pub odd_json: Option<String>,
}

impl Facts {
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
        self.forms.paths |= other.forms.paths;
        self.forms.prefixes |= other.forms.prefixes;
        self.forms.empty_prefix |= other.forms.empty_prefix;
        self.forms.succinct |= other.forms.succinct;
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
        first(&mut self.names.not_nfc, other.names.not_nfc);
        first(&mut self.names.utf16_order, other.names.utf16_order);
        first(&mut self.names.quoted_order, other.names.quoted_order);
        first(&mut self.names.unsafe_path, other.names.unsafe_path);
        first(&mut self.names.non_ascii, other.names.non_ascii);
        first(&mut self.names.proto, other.names.proto);
        first(&mut self.names.colon, other.names.colon);
    }
}
