//! Timestamp and snapshot, and what they list.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha512};

use super::{
    Code, Place,
    document::{Document, Header},
    finding::Findings,
    role::{expiry, soon},
    roots::Root,
    strict,
    walk::Walk,
    web,
};
use crate::{compat::Sized, digest::Digest};

/// A timestamp that is good for longer than this hides a freeze.
const FAR: i64 = 32 * 86_400;
/// Limits of python-tuf, go-tuf and tuf-js, which most others share.
const MAX_TIMESTAMP: u64 = 16_384;

/// What is said of a file.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Listed {
    /// Its version; 0 when it is not said.
    pub version: u64,
    /// Its length, where it is said.
    pub length: Option<u64>,
    /// Algorithm to hex, where they are said.
    pub hashes: BTreeMap<String, String>,
}

impl Listed {
    fn read(value: &Value, name: &str, place: &Place, findings: &mut Findings) -> Self {
        let version = value.get("version").and_then(Value::as_u64).unwrap_or(0);
        if version == 0 {
            let message = format!("it lists no version greater than 0 of `{name}`");
            findings.error(Code::ListingInvalid, place, message);
        }
        let hashes = value.get("hashes").and_then(Value::as_object);
        if hashes.is_some_and(serde_json::Map::is_empty) {
            let message = format!("it lists an empty `hashes` for `{name}`: go-tuf refuses it");
            findings.warning(Code::ListingInvalid, place, message);
        }
        let text = |(name, hash): (&String, &Value)| Some((name.clone(), hash.as_str()?.to_owned()));
        Self {
            version,
            length: value.get("length").and_then(Value::as_u64),
            hashes: hashes.into_iter().flatten().filter_map(text).collect(),
        }
    }

    /// Compares length and hashes; `by` is the file that lists it.
    pub fn check(&self, bytes: &[u8], by: &str, place: &Place, findings: &mut Findings) {
        if let Some(length) = self.length.filter(|length| *length != bytes.len() as u64) {
            let message = format!("it has {} bytes, but {by} lists {length}", bytes.len());
            findings.error(Code::LengthMismatch, place, message);
        }
        for (algorithm, hash) in &self.hashes {
            if digest(algorithm, bytes).is_some_and(|digest| digest != *hash) {
                let message = format!("its {algorithm} is not the one {by} lists");
                findings.error(Code::HashMismatch, place, message);
            }
        }
    }

    /// Compares the version.
    pub fn check_version(&self, version: u64, by: &str, place: &Place, findings: &mut Findings) {
        if version != self.version && self.version > 0 {
            let message = format!("it has version {version}, but {by} lists {}", self.version);
            findings.error(Code::VersionMismatch, place, message);
        }
    }
}

/// The hash in lower-case hex; `None` for an algorithm that is not known here.
fn digest(algorithm: &str, bytes: &[u8]) -> Option<String> {
    match algorithm {
        "sha256" => Some(Digest::of(bytes).to_string()),
        "sha512" => Some(hex::encode(Sha512::digest(bytes))),
        _ => None,
    }
}

/// The timestamp that the walk began with.
#[derive(Debug)]
pub struct Timestamp {
    /// The file.
    pub bytes: Bytes,
    /// Its version and expiry.
    pub header: Header,
    /// What it says of the snapshot.
    pub snapshot: Listed,
}

impl Timestamp {
    /// Reads a timestamp; `None` when it lists no snapshot to go on with.
    pub fn read(bytes: Bytes, root: &Root, place: &Place, findings: &mut Findings) -> Option<Self> {
        let document = Document::read(&bytes, place, findings)?;
        if let Some(signers) = root.signers.get("timestamp") {
            signers.check(&document, "root", place, findings);
        }
        let header = document.header("timestamp", &["meta"], place, findings);
        let meta = document.signed.get("meta").and_then(Value::as_object);
        for name in meta.into_iter().flatten().map(|(name, _)| name) {
            if name != "snapshot.json" {
                findings.warning(Code::ListingInvalid, place, format_args!("it lists `{name}`"));
            }
        }
        let Some(listed) = meta.and_then(|meta| meta.get("snapshot.json")) else {
            findings.error(Code::ListingInvalid, place, "it does not list `snapshot.json`");
            return None;
        };
        let snapshot = Listed::read(listed, "snapshot.json", place, findings);
        strict::check(&document, "timestamp", place, findings);
        Some(Self {
            bytes,
            header,
            snapshot,
        })
    }
}

/// The snapshot.
#[derive(Debug)]
pub struct Snapshot {
    /// Role name to what is said of its file.
    pub listed: BTreeMap<String, Listed>,
    /// Its file.
    pub file: String,
}

impl Walk<'_> {
    /// Reads the timestamp.
    pub async fn timestamp(&mut self, root: &Root) -> Option<Timestamp> {
        const NAME: &str = "timestamp.json";
        let place = Place::file(NAME);
        let answer = self.file(NAME).await?;
        let length = answer.body.len() as u64;
        self.facts.timestamp = Sized {
            name: NAME.to_owned(),
            bytes: length,
            listed: false,
        };
        if length > MAX_TIMESTAMP {
            let message = format!("it has {length} bytes: most clients read {MAX_TIMESTAMP}");
            self.findings.error(Code::SizeLimit, &place, message);
        }
        let read = Timestamp::read(answer.body, root, &place, &mut self.findings)?;
        let (now, expires) = (self.site.now, read.header.expires);
        expiry(expires, now, soon("timestamp"), &place, &mut self.findings);
        if expires.is_some_and(|expires| expires.as_second() - now.as_second() > FAR) {
            let message = "it is good for over a month: whoever holds it back goes unnoticed for as long";
            self.findings.note(Code::ExpiresFar, &place, message);
        }
        web::check_moving(&answer.headers, expires, now, &place, &mut self.findings);
        Some(read)
    }

    /// Reads the snapshot that the timestamp lists.
    pub async fn snapshot(&mut self, root: &Root, timestamp: &Timestamp) -> Option<Snapshot> {
        const BY: &str = "timestamp.json";
        let listed = &timestamp.snapshot;
        let name = self.site.name("snapshot", root.consistent.then_some(listed.version));
        let place = Place::file(&name);
        let answer = self.fixed_file(&name).await?;
        let length = answer.body.len() as u64;
        self.facts.snapshot = Sized {
            name: name.clone(),
            bytes: length,
            listed: listed.length.is_some(),
        };
        let findings = &mut self.findings;
        check_size(
            &self.facts.snapshot,
            &[("most clients", 2_000_000), ("tough", 1 << 20)],
            &place,
            findings,
        );
        listed.check(&answer.body, BY, &place, findings);
        let document = Document::read(&answer.body, &place, findings)?;
        if let Some(signers) = root.signers.get("snapshot") {
            signers.check(&document, "root", &place, findings);
        }
        let header = document.header("snapshot", &["meta"], &place, findings);
        listed.check_version(header.version, BY, &place, findings);
        expiry(header.expires, self.site.now, soon("snapshot"), &place, findings);
        let listed = self.read_listing(document.signed.get("meta"), &place)?;
        strict::check(&document, "snapshot", &place, &mut self.findings);
        self.facts.listed = listed.len() as u64;
        self.counts.listed = self.facts.listed;
        self.progress();
        Some(Snapshot { listed, file: name })
    }

    fn read_listing(&mut self, meta: Option<&Value>, place: &Place) -> Option<BTreeMap<String, Listed>> {
        let Some(meta) = meta.and_then(Value::as_object) else {
            self.findings
                .error(Code::MetadataField, place, "it has no `meta` object");
            return None;
        };
        let mut listed = BTreeMap::new();
        for (name, said) in meta {
            match name.strip_suffix(".json") {
                Some("root" | "timestamp" | "snapshot") | None => {
                    let message = format!("it lists `{name}`, which is no targets role");
                    self.findings.warning(Code::ListingInvalid, place, message);
                }
                Some(role) => {
                    let said = Listed::read(said, name, place, &mut self.findings);
                    listed.insert(role.to_owned(), said);
                }
            }
        }
        if !listed.contains_key("targets") {
            let message = "it does not list `targets.json`";
            self.findings.error(Code::ListingInvalid, place, message);
        }
        Some(listed)
    }
}

/// Tells of clients that will not read so large a file.
pub fn check_size(file: &Sized, limits: &[(&str, u64)], place: &Place, findings: &mut Findings) {
    for (who, limit) in limits {
        // A listed length replaces the limit for nearly all.
        if file.bytes > *limit && !file.listed {
            let message = format!(
                "it has {} bytes: {who} read {limit} of a file of unlisted length",
                file.bytes
            );
            findings.warning(Code::SizeLimit, place, message);
        }
    }
    if file.listed && limits.iter().any(|(_, limit)| file.bytes > *limit) {
        let message = format!(
            "it has {} bytes: clients that do not go by its listed length refuse it",
            file.bytes
        );
        findings.warning(Code::SizeLimit, place, message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_compared_with_what_is_listed() {
        let place = Place::file("x");
        let told = |listed: Value, bytes: &[u8], version: u64| {
            let mut findings = Findings::default();
            let listed = Listed::read(&listed, "x", &place, &mut findings);
            listed.check(bytes, "y", &place, &mut findings);
            listed.check_version(version, "y", &place, &mut findings);
            findings.codes()
        };
        let none: [&str; 0] = [];
        let sha512 = hex::encode(Sha512::digest(b"abc"));
        let both = json!({"version": 2, "length": 3, "hashes": {"sha256": Digest::of("abc"), "sha512": sha512}});
        assert_eq!(told(both.clone(), b"abc", 2), none);
        assert_eq!(told(both.clone(), b"xyz", 2), ["hash-mismatch", "hash-mismatch"]);
        assert_eq!(told(both, b"abc", 3), ["version-mismatch"]);
        assert_eq!(told(json!({"version": 1, "length": 2}), b"abc", 1), ["length-mismatch"]);
        assert_eq!(
            told(json!({"version": 1, "hashes": {}}), b"abc", 1),
            ["listing-invalid"]
        );
        assert_eq!(told(json!({"version": -1}), b"abc", 1), ["listing-invalid"]);
        assert_eq!(told(json!({"version": 1, "hashes": {"md5": "x"}}), b"abc", 1), none);
    }
}
