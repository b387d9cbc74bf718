//! The signed parts of roles, as canonical bytes, and the envelope around them (TUF spec 4.2 to 4.6, TAP 15).
//!
//! Canonical order puts `targets` before `version` and everything else in front, so each role is written straight into
//! its buffer from sorted rows: the cost is that of the bytes, with no tree of values between. The rules that clients
//! force on us stand in DESIGN 6: sha256 only, whole seconds, no empty objects but `targets`, no unknown fields but the
//! names of root's keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tough::schema::{
    decoded::{Decoded, Hex},
    key::Key,
};

use super::{
    canonical::{self, CanonicalError, write_str, write_u64},
    layout::Generation,
    schema::{DelegatedRole, Delegations, KEY_NAMES, SuccinctRoles},
};
use crate::{clock::whole_seconds, digest::Digest};

/// What every file says of the specification it follows.
pub const SPEC_VERSION: &str = "1.0.0";

/// Most bytes of a bin's file beside its rows.
const BIN_FRAME: u64 = 512;

/// Bytes that an envelope with one Ed25519 signature adds, or a little more.
pub const ENVELOPE: u64 = 256;

/// The keys of a role and how many must sign.
#[derive(Clone, Debug)]
pub struct RoleKeys {
    /// Public keys with their ids.
    pub keys: Vec<(Decoded<Hex>, Key)>,
    /// Signatures needed.
    pub threshold: u64,
}

/// The four top-level roles as root lists them.
#[derive(Clone, Debug)]
pub struct TopLevel {
    /// Signs root.
    pub root: RoleKeys,
    /// Signs timestamp.
    pub timestamp: RoleKeys,
    /// Signs snapshot.
    pub snapshot: RoleKeys,
    /// Signs the top-level targets.
    pub targets: RoleKeys,
    /// Key id, in hex, to what people call the key ([`KEY_NAMES`]).
    pub names: BTreeMap<String, String>,
}

/// What snapshot or timestamp say of a file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Meta {
    /// Its version.
    pub version: u64,
    /// Its length and digest, where they are pinned.
    pub pinned: Option<(u64, Digest)>,
}

impl Meta {
    /// A file pinned by its bytes.
    pub fn pinned(version: u64, file: &[u8]) -> Self {
        Self {
            version,
            pinned: Some((file.len() as u64, Digest::of(file))),
        }
    }

    /// A file known by its version alone.
    pub fn version(version: u64) -> Self {
        Self { version, pinned: None }
    }
}

/// The file as it lies in the depot: `signed`, which comes in canonical form, beside its signatures.
pub fn envelope(signed: &[u8], signatures: &[(&Decoded<Hex>, Vec<u8>)]) -> Bytes {
    let mut out = Vec::with_capacity(signed.len() + 64 + signatures.len() * 240);
    out.extend_from_slice(b"{\"signatures\":[");
    for (at, (id, signature)) in signatures.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"keyid\":");
        write_str(&mut out, &hex::encode(id));
        out.extend_from_slice(b",\"sig\":");
        write_str(&mut out, &hex::encode(signature));
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"signed\":");
    write_signed(&mut out, signed);
    out.push(b'}');
    out.into()
}

/// Writes what is signed as JSON.
///
/// Where it lists a key in PEM, its canonical form is no JSON: line ends stand raw in it, and are escaped here. Clients
/// read it and make the canonical form again.
pub fn write_signed(out: &mut Vec<u8>, signed: &[u8]) {
    // Control characters stand in strings only: there is no white space outside.
    let mut rest = signed;
    while let Some(at) = rest.iter().position(|byte| *byte < b' ') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Root (TUF spec 4.3), with consistent snapshots.
pub fn root(version: u64, expires: Timestamp, roles: &TopLevel) -> Result<Vec<u8>, CanonicalError> {
    let listed = [
        ("root", &roles.root),
        ("snapshot", &roles.snapshot),
        ("targets", &roles.targets),
        ("timestamp", &roles.timestamp),
    ];
    let mut keys = BTreeMap::new();
    for (id, key) in listed.iter().flat_map(|(_, role)| &role.keys) {
        keys.insert(hex::encode(id), serde_json::to_value(key)?);
    }
    let roles_listed: BTreeMap<_, Value> = listed
        .into_iter()
        .map(|(name, role)| (name, json!({"keyids": ids(&role.keys), "threshold": role.threshold})))
        .collect();
    let mut signed = json!({
        "_type": "root",
        "consistent_snapshot": true,
        "expires": date(expires),
        "keys": keys,
        "roles": roles_listed,
        "spec_version": SPEC_VERSION,
        "version": version,
    });
    if !roles.names.is_empty() {
        signed[KEY_NAMES] = json!(roles.names);
    }
    canonical::to_vec(&signed)
}

/// Timestamp (TUF spec 4.6).
pub fn timestamp(version: u64, expires: Timestamp, snapshot: &Meta) -> Vec<u8> {
    listing(
        "timestamp",
        version,
        expires,
        std::iter::once(("snapshot.json", snapshot)),
    )
}

/// Snapshot (TUF spec 4.4); `roles` maps role names to what is said of their files.
pub fn snapshot(version: u64, expires: Timestamp, roles: &BTreeMap<String, Meta>) -> Vec<u8> {
    let mut files: Vec<_> = roles
        .iter()
        .map(|(role, meta)| (format!("{role}.json"), meta))
        .collect();
    // Not the order of the role names: `a-b.json` stands before `a.json`.
    files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    listing(
        "snapshot",
        version,
        expires,
        files.iter().map(|(name, meta)| (name.as_str(), *meta)),
    )
}

fn listing<'a>(
    kind: &str,
    version: u64,
    expires: Timestamp,
    files: impl Iterator<Item = (&'a str, &'a Meta)>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + files.size_hint().0 * 48);
    open(&mut out, kind, None);
    write_date(&mut out, expires);
    out.extend_from_slice(b",\"meta\":{");
    for (at, (name, meta)) in files.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_str(&mut out, name);
        out.extend_from_slice(b":{");
        if let Some((length, digest)) = &meta.pinned {
            write_file(&mut out, digest, *length);
            out.push(b',');
        }
        out.extend_from_slice(b"\"version\":");
        write_u64(&mut out, meta.version);
        out.push(b'}');
    }
    out.extend_from_slice(b"},\"spec_version\":");
    write_str(&mut out, SPEC_VERSION);
    close(&mut out, version);
    out
}

/// Targets, top-level or delegated (TUF spec 4.5). `rows` are path, digest and length, sorted by path.
pub fn targets<'a>(
    version: u64,
    expires: Timestamp,
    delegations: Option<&Delegations>,
    rows: impl IntoIterator<Item = (&'a str, &'a Digest, u64)>,
) -> Result<Vec<u8>, CanonicalError> {
    let rows = rows.into_iter();
    let mut out = Vec::with_capacity(256 + rows.size_hint().0 * 160);
    let delegations = delegations.map(canonical::to_vec).transpose()?;
    open(&mut out, "targets", delegations.as_deref());
    write_date(&mut out, expires);
    out.extend_from_slice(b",\"spec_version\":");
    write_str(&mut out, SPEC_VERSION);
    out.extend_from_slice(b",\"targets\":{");
    for (at, (path, digest, length)) in rows.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_str(&mut out, path);
        out.extend_from_slice(b":{");
        write_file(&mut out, digest, length);
        out.push(b'}');
    }
    out.push(b'}');
    close(&mut out, version);
    Ok(out)
}

/// Bytes a row takes in a bin's file, with its comma.
pub fn row_size(path: &str, length: u64) -> u64 {
    let escaped = path.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    let digits = length.checked_ilog10().unwrap_or(0) + 1;
    const FIXED: usize = r#","":{"hashes":{"sha256":""},"length":}"#.len() + 64;
    (FIXED + path.len() + escaped) as u64 + u64::from(digits)
}

/// Upper bound of a bin's file whose rows take `rows` bytes.
pub fn bin_size(rows: u64) -> u64 {
    BIN_FRAME + rows
}

/// What the top-level targets delegate: all paths, to `bins`.
pub fn to_bins(id: &Decoded<Hex>, key: &Key) -> Delegations {
    Delegations {
        keys: BTreeMap::from([(hex::encode(id), key.clone().into())]),
        roles: Some(vec![delegated("bins".to_owned(), id, vec![String::new()])]),
        succinct_roles: None,
        extra: BTreeMap::new(),
    }
}

/// What `bins` delegates in the view `prefixes`.
pub fn by_prefixes(generation: Generation, id: &Decoded<Hex>, key: &Key) -> Delegations {
    let roles = (0..generation.count()).map(|bin| delegated(generation.name(bin), id, generation.hash_prefixes(bin)));
    Delegations {
        keys: BTreeMap::from([(hex::encode(id), key.clone().into())]),
        roles: Some(roles.collect()),
        succinct_roles: None,
        extra: BTreeMap::new(),
    }
}

/// What `bins` delegates in the view `succinct` (TAP 15).
pub fn succinct(generation: Generation, id: &Decoded<Hex>, key: &Key) -> Delegations {
    Delegations {
        keys: BTreeMap::from([(hex::encode(id), key.clone().into())]),
        roles: None,
        succinct_roles: Some(SuccinctRoles {
            keyids: vec![hex::encode(id)],
            threshold: 1,
            bit_length: generation.bits(),
            name_prefix: generation.prefix(),
            extra: BTreeMap::new(),
        }),
        extra: BTreeMap::new(),
    }
}

/// A role under one key. Terminating: no other role speaks for a path of it, and clients need not look further.
fn delegated(name: String, id: &Decoded<Hex>, prefixes: Vec<String>) -> DelegatedRole {
    DelegatedRole {
        name,
        keyids: vec![hex::encode(id)],
        threshold: 1,
        terminating: true,
        paths: None,
        path_hash_prefixes: Some(prefixes),
        extra: BTreeMap::new(),
    }
}

fn ids(keys: &[(Decoded<Hex>, Key)]) -> Vec<String> {
    keys.iter().map(|(id, _)| hex::encode(id)).collect()
}

fn date(at: Timestamp) -> String {
    whole_seconds(at).to_string()
}

fn write_date(out: &mut Vec<u8>, at: Timestamp) {
    write_str(out, &date(at));
}

/// Opens a role up to the value of `expires`.
fn open(out: &mut Vec<u8>, kind: &str, delegations: Option<&[u8]>) {
    out.extend_from_slice(b"{\"_type\":");
    write_str(out, kind);
    if let Some(delegations) = delegations {
        out.extend_from_slice(b",\"delegations\":");
        out.extend_from_slice(delegations);
    }
    out.extend_from_slice(b",\"expires\":");
}

fn close(out: &mut Vec<u8>, version: u64) {
    out.extend_from_slice(b",\"version\":");
    write_u64(out, version);
    out.push(b'}');
}

/// `"hashes":{"sha256":"…"},"length":N`
fn write_file(out: &mut Vec<u8>, digest: &Digest, length: u64) {
    let mut hex = [0; 64];
    // The buffer has twice the digest's length, the only thing this could fail on.
    let _ = hex::encode_to_slice(digest.as_bytes(), &mut hex);
    out.extend_from_slice(b"\"hashes\":{\"sha256\":\"");
    out.extend_from_slice(&hex);
    out.extend_from_slice(b"\"},\"length\":");
    write_u64(out, length);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        keys::{SigningKey, memory::MemoryKey},
        tuf::schema::Targets,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn recoded(signed: &[u8]) -> Vec<u8> {
        canonical::to_vec(&serde_json::from_slice::<Value>(signed).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn streamed_bins_are_canonical(
            rows in prop::collection::btree_map("[ -\\[\\]-~é😀]{1,12}", any::<(u8, u64)>(), 0..12),
            version in 1_u64..,
        ) {
            let rows: Vec<_> = rows.iter().map(|(path, (seed, length))| (path, Digest([*seed; 32]), *length)).collect();
            let signed = targets(version, at(1), None, rows.iter().map(|(p, d, l)| (p.as_str(), d, *l))).unwrap();
            prop_assert_eq!(&recoded(&signed), &signed);
            let read: Targets = serde_json::from_slice(&signed).unwrap();
            prop_assert_eq!(read.targets.len(), rows.len());
            prop_assert_eq!(canonical::to_vec(&read).unwrap(), signed.clone());
            let file = envelope(&signed, &[(MemoryKey::from_seed(1).key_id(), vec![0; 64])]);
            let size = bin_size(rows.iter().map(|(path, _, length)| row_size(path, *length)).sum());
            prop_assert!(file.len() as u64 <= size && size <= file.len() as u64 + BIN_FRAME, "{} {size}", file.len());
        }
    }

    #[test]
    fn listings_are_canonical_and_sorted_by_file_name() {
        let roles = BTreeMap::from([
            ("a".to_owned(), Meta::version(3)),
            ("a-b".to_owned(), Meta::version(2)),
            ("targets".to_owned(), Meta::pinned(1, b"x")),
        ]);
        let signed = snapshot(7, at(0), &roles);
        assert_eq!(recoded(&signed), signed);
        let text = String::from_utf8(signed).unwrap();
        let expected = format!(
            "{{\"_type\":\"snapshot\",\"expires\":\"1970-01-01T00:00:00Z\",\"meta\":{{\"a-b.json\":{{\"version\":2}},\
             \"a.json\":{{\"version\":3}},\"targets.json\":{{\"hashes\":{{\"sha256\":\"{}\"}},\"length\":1,\
             \"version\":1}}}},\"spec_version\":\"1.0.0\",\"version\":7}}",
            Digest::of(b"x")
        );
        assert_eq!(text, expected);
        let signed = timestamp(1, at(0), &Meta::pinned(7, b"y"));
        assert_eq!(recoded(&signed), signed);
    }

    #[test]
    fn both_views_delegate_to_the_same_bins() {
        let key = MemoryKey::from_seed(1);
        let generation = Generation::of(32).unwrap();
        let named = by_prefixes(generation, key.key_id(), key.public());
        let short = succinct(generation, key.key_id(), key.public()).succinct_roles.unwrap();
        let roles = named.roles.as_ref().unwrap();
        assert_eq!(roles.len(), 1 << short.bit_length);
        assert_eq!(roles[31].name, format!("{}-1f", short.name_prefix));
        assert_eq!(roles[31].path_hash_prefixes.as_deref().unwrap().last().unwrap(), "ff");
        let signed = targets(1, at(0), Some(&named), []).unwrap();
        assert_eq!(recoded(&signed), signed);
    }
}
