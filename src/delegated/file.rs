//! A team's role file: read strictly, kept in one form.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tough::schema::decoded::Decoded;

use super::{Refusal, plain, rules};
use crate::{
    compat::{self, Client},
    digest::Digest,
    target::TargetPath,
    terminal::printable,
    tuf::{
        build, canonical, json, layout,
        schema::{DelegatedRole, Delegations, KEY_NAMES, TargetFile, Targets},
        verify::{self, Keys, Unverified},
    },
};

/// Fields of `signed` that may stand in it.
const FIELDS: [&str; 7] = [
    "_type",
    "spec_version",
    "version",
    "expires",
    "targets",
    "delegations",
    KEY_NAMES,
];

/// Most of one role.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Bytes of its file.
    pub bytes: u64,
    /// Targets it lists.
    pub targets: u64,
}

/// What a gate takes by default.
impl Default for Caps {
    fn default() -> Self {
        Self {
            bytes: 1_000_000,
            targets: 2_000,
        }
    }
}

/// A role's file.
#[derive(Clone, Debug)]
pub struct RoleFile {
    /// Its version.
    pub version: u64,
    /// Until when it is good.
    pub expires: Timestamp,
    /// What it lists: digest and length by path.
    pub targets: BTreeMap<TargetPath, (Digest, u64)>,
    /// The roles it delegates to.
    pub delegations: Option<Delegations>,
    /// The file.
    pub bytes: Bytes,
    /// The file of the succinct view, of a delegator of bins that was just submitted.
    pub succinct: Option<Box<RoleFile>>,
}

impl RoleFile {
    /// Reads what was submitted under a name. Nobody has looked at the signatures.
    pub(super) fn submitted(role: &str, envelope: &Value, caps: Caps) -> Result<Self, Refusal> {
        let malformed = |why: String| Refusal::malformed(Some(role), why);
        let large = |why: String| {
            Refusal::large(Some(role), why).hint("spread the targets over roles that this one delegates to")
        };
        let bytes = envelope.to_string();
        if bytes.len() as u64 > caps.bytes {
            return Err(large(format!("its file has more than {} bytes", caps.bytes)));
        }
        let signed = envelope.get("signed").unwrap_or(&Value::Null);
        let fields = signed.as_object().into_iter().flatten();
        if let Some((field, _)) = fields.into_iter().find(|(field, _)| !FIELDS.contains(&field.as_str())) {
            return Err(malformed(format!(
                "`signed` has a field `{field}`, which clients do not know"
            )));
        }
        let count = signed.get("targets").and_then(Value::as_object).map_or(0, Map::len);
        if count as u64 > caps.targets {
            return Err(large(format!("it lists more than {} targets", caps.targets)));
        }
        plain::check(signed).map_err(malformed)?;
        let file = Self::read(Bytes::from(bytes), signed.clone()).map_err(malformed)?;
        let size = file.bytes.len() as u64;
        // Each client reads a delegator of bins in one view or the other.
        let twofold = layout::is_twofold(role);
        let mut found = match twofold {
            true => compat::bins(size, size, &Client::BINS),
            false => compat::role(role, signed, size, &Client::BINS),
        };
        if let Some(violation) = found.pop() {
            return Err(malformed(violation.to_string()));
        }
        if let Some(below) = file.delegations.as_ref().filter(|_| !twofold) {
            rules::check_nested(role, below).map_err(malformed)?;
        }
        Ok(file)
    }

    /// Reads a file of the depot, which was accepted before.
    ///
    /// # Errors
    /// It is damaged: how.
    pub fn stored(bytes: Bytes) -> Result<Self, String> {
        let mut envelope = json::parse(&bytes).map_err(|error| error.to_string())?;
        let signed = envelope.get_mut("signed").map(Value::take).unwrap_or_default();
        Self::read(bytes, signed)
    }

    fn read(bytes: Bytes, signed: Value) -> Result<Self, String> {
        let read: Targets = verify::read(signed, "targets").map_err(|error| error.to_string())?;
        if read.version == 0 || i64::try_from(read.version).is_err() {
            return Err(format!("{} is no version", read.version));
        }
        let mut targets = BTreeMap::new();
        let mut before: Option<&str> = None;
        for (name, file) in &read.targets {
            let shown = printable(name);
            let path =
                TargetPath::new(name).map_err(|why| format!("the target `{shown}` has no canonical form: {why}"))?;
            if let Some(before) = before.filter(|before| !canonical::before_for_all(before, name)) {
                return Err(format!(
                    "clients disagree on which of `{before}` and `{shown}` comes first"
                ));
            }
            before = Some(name);
            targets.insert(path, row(file).map_err(|why| format!("the target `{shown}`: {why}"))?);
        }
        Ok(Self {
            version: read.version,
            expires: read.expires,
            targets,
            delegations: read.delegations,
            bytes,
            succinct: None,
        })
    }

    /// Whether a good signature by this key stands in it.
    pub fn bears(&self, id: &str) -> bool {
        let envelope: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        let mut lines = envelope["signatures"].as_array().into_iter().flatten();
        lines.any(|line| line["keyid"] == id)
    }

    /// Whether enough of those that a delegation names signed it; then the file as the gate writes it: canonical, with the
    /// good signatures by these keys and no others.
    pub(super) fn signed_by(&self, below: &Delegations, role: &DelegatedRole) -> Result<Bytes, Refusal> {
        let name = &*role.name;
        let malformed = |why: &dyn std::fmt::Display| Refusal::malformed(Some(name), why.to_string());
        let keys = Keys::of_role(below, role).map_err(|error| malformed(&error))?;
        Unverified::parse(&self.bytes)
            .and_then(|file| file.check(&keys))
            .map_err(|error| {
                let (threshold, ids) = (role.threshold, role.keyids.join(", "));
                Refusal::unsigned(name, error.to_string())
                    .hint(format!("{threshold} of these keys must sign it: {ids}"))
            })?;
        let envelope: Value = serde_json::from_slice(&self.bytes).map_err(|error| malformed(&error))?;
        let signed = &envelope["signed"];
        let form = canonical::to_vec(signed).map_err(|error| malformed(&error))?;
        let mut signatures = BTreeMap::new();
        for line in envelope["signatures"].as_array().into_iter().flatten() {
            let text = |field: &str| line[field].as_str().unwrap_or_default();
            let key = role.keyids.iter().find(|id| *id == text("keyid"));
            let key = key.and_then(|id| below.keys.get(id));
            if let (Some(key), Ok(id), Ok(sig)) = (key, hex::decode(text("keyid")), hex::decode(text("sig")))
                && verify::verifies(key, signed, &sig) == Some(true)
            {
                signatures.insert(Decoded::from(id), sig);
            }
        }
        let lines: Vec<_> = signatures.iter().map(|(id, sig)| (id, sig.clone())).collect();
        Ok(build::envelope(&form, &lines))
    }
}

/// Digest and length of a target that says no more than every client reads.
fn row(file: &TargetFile) -> Result<(Digest, u64), &'static str> {
    let sha256 = file.hashes.get("sha256").filter(|_| file.hashes.len() == 1);
    let sha256 = sha256.ok_or("its `hashes` hold sha256 and nothing else")?;
    let digest: Digest = sha256.parse().map_err(|_| "its sha256 is not 64 hex digits")?;
    if digest.to_string() != *sha256 {
        return Err("its sha256 is not in small letters");
    }
    if i64::try_from(file.length).is_err() {
        return Err("its length is none");
    }
    if !file.extra.is_empty() {
        return Err("it has fields that clients do not know");
    }
    let empty = |custom: &Value| custom.as_object().is_none_or(Map::is_empty);
    match file.custom.as_ref().is_some_and(empty) {
        true => Err("`custom` is an object that holds something, or is left out: tough drops an empty one"),
        false => Ok((digest, file.length)),
    }
}
