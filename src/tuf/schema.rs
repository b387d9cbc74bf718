//! Metadata as the gate's client reads it, and targets as the gate writes it. tough's `schema` serves for keys and
//! signatures. Roles are our own types, since tough parses one of the two forms of delegations, wants key ids to be
//! hashes and a sha256 beside each length, and refuses a file that lists a key type it does not know.

use std::{collections::BTreeMap, num::NonZeroU64};

use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::key::PublicKey;

/// Field of root and of offline targets: key id to the name that people know the key by.
///
/// Beside the keys, not in them: tough and go-tuf take a key's id from all of its fields, python-tuf from three, so that a
/// name in the key would change the id for some and not for others. Every client keeps unknown fields of `signed`.
pub const KEY_NAMES: &str = "x-tufgate-key-names";

/// `root.json` (TUF spec 4.3). Key ids are any text, as TAP 12 has it; an id means what its root lists under it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Root {
    /// `1.0.0` in what the gate writes.
    pub spec_version: String,
    /// Whether files are asked for by version and hash; `false` where it is missing.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// Each root has the version after its forerunner's.
    pub version: NonZeroU64,
    /// Whole seconds, UTC.
    #[serde(deserialize_with = "date")]
    pub expires: Timestamp,
    /// Key id to key.
    pub keys: BTreeMap<String, PublicKey>,
    /// Role name to its keys; roles beside the four of the specification are kept.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Fields unknown to us; signatures cover them.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Who signs a top-level role.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RoleKeys {
    /// Ids of its keys.
    pub keyids: Vec<String>,
    /// Signatures needed.
    pub threshold: u64,
    /// Fields unknown to us.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// `timestamp.json` or `snapshot.json`: both list other files (TUF spec 4.4, 4.6).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Listing {
    /// `1.0.0` in what the gate writes.
    pub spec_version: String,
    /// Greater than 0.
    pub version: NonZeroU64,
    /// Whole seconds, UTC.
    #[serde(deserialize_with = "date")]
    pub expires: Timestamp,
    /// File name (`targets.json`, never with a version) to what is said of it.
    pub meta: BTreeMap<String, MetaFile>,
    /// Fields unknown to us; signatures cover them.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// What is said of a listed metadata file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MetaFile {
    /// Its version.
    pub version: NonZeroU64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Algorithm to hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<BTreeMap<String, String>>,
    /// Fields unknown to us.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// `targets.json` or a delegated role (TUF spec 4.5).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Targets {
    /// Always `targets`.
    #[serde(rename = "_type")]
    pub kind: TargetsKind,
    /// `1.0.0` in what the gate writes.
    pub spec_version: String,
    /// Greater than 0.
    pub version: u64,
    /// Whole seconds, UTC.
    #[serde(deserialize_with = "date")]
    pub expires: Timestamp,
    /// Target path to file.
    pub targets: BTreeMap<String, TargetFile>,
    /// Roles that speak for parts of the name space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Fields unknown to us; signatures cover them.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The value of `_type`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TargetsKind {
    /// The only one.
    #[serde(rename = "targets")]
    Targets,
}

/// What metadata says of one target.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TargetFile {
    /// Length in bytes.
    pub length: u64,
    /// Algorithm to lower-case hex; the gate writes `sha256` only.
    pub hashes: BTreeMap<String, String>,
    /// Application data, never written by the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Fields unknown to us.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Delegations: `roles` or `succinct_roles`, never both (TUF spec 4.5, TAP 15).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Delegations {
    /// Key id to key.
    pub keys: BTreeMap<String, PublicKey>,
    /// Named roles, in order of priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<DelegatedRole>>,
    /// Hash bins under one key set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succinct_roles: Option<SuccinctRoles>,
    /// Fields unknown to us.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// One named delegated role; `paths` or `path_hash_prefixes`, never both.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DelegatedRole {
    /// Its name; its file is `VERSION.NAME.json`.
    pub name: String,
    /// Ids of its keys.
    pub keyids: Vec<String>,
    /// Signatures needed.
    pub threshold: u64,
    /// Stop the search here.
    pub terminating: bool,
    /// Shell-style patterns; `*` and `?` stop at `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Hex prefixes of SHA-256 of the target path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
    /// Fields unknown to us.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Hash bins (TAP 15).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SuccinctRoles {
    /// Ids of the bins' keys.
    pub keyids: Vec<String>,
    /// Signatures needed.
    pub threshold: u64,
    /// 1 to 32; `2^bit_length` bins.
    pub bit_length: u8,
    /// Bins are called `PREFIX-HEX`.
    pub name_prefix: String,
    /// Fields unknown to us.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Reads a date as metadata writes it, `YYYY-MM-DDTHH:MM:SSZ` (TUF spec 4.2): of the many forms of ISO 8601 this one, so
/// that every client sees the same moment or none.
fn date<'de, D: Deserializer<'de>>(reader: D) -> Result<Timestamp, D::Error> {
    let written = String::deserialize(reader)?;
    let civil = written.strip_suffix('Z').and_then(|date| date.parse::<DateTime>().ok());
    match civil {
        Some(date) if date.subsec_nanosecond() == 0 && format!("{date}Z") == written => {
            // The last day of the year 9999, which some take for `never`, is beyond what a time stamp holds.
            Ok(Offset::UTC.to_timestamp(date).unwrap_or(Timestamp::MAX))
        }
        _ => Err(D::Error::custom(
            "a date that is not of the form `YYYY-MM-DDTHH:MM:SSZ`",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn dates_have_one_form() {
        let read = |expires: &str| {
            let listing = json!({"spec_version": "1.0.0", "version": 1, "expires": expires, "meta": {}});
            serde_json::from_value::<Listing>(listing).map(|listing| listing.expires)
        };
        assert_eq!(read("2100-01-01T00:00:00Z").unwrap().as_second(), 4_102_444_800);
        assert!(read("9999-12-31T23:59:59Z").is_ok());
        for bad in [
            "2100-01-01T00:00:00.5Z",
            "2100-01-01T00:00:00.000Z",
            "2100-01-01T00:00:00+00:00",
            "2100-01-01T01:00:00+01:00",
            "2100-01-01t00:00:00z",
            "2100-01-01 00:00:00Z",
            "2100-01-01T00:00Z",
            "20991231T235959Z",
            "2100-02-30T00:00:00Z",
            "2099-12-31T23:59:60Z",
            "2099-12-31T24:00:00Z",
            "2100-01-01",
            " 2100-01-01T00:00:00Z",
            "",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
