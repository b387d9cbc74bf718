//! The file that travels; after its publication, the record.
//!
//! One JSON object, laid out for people. `changes` are the lines a reviewer reads and `fingerprint` is the SHA-256 of the
//! canonical form of what is signed; both are computed anew at every step and must agree with the file.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CeremonyError, Draft, Entry, Kind, Moment, Published, diff, ring::Label, tally};
use crate::{
    digest::Digest,
    tuf::{canonical, json, verify::Unverified},
};

/// Most bytes of a draft: two roots at the limit of most clients (512,000 bytes), all that differs, and what stands beside
/// them.
pub const MAX_DRAFT: u64 = 4 << 20;
/// Signatures by key id.
pub type Signatures = Vec<(String, Vec<u8>)>;

/// What the file says it is.
const FORMAT: &str = "tufgate draft 1";

/// The fields of the file, in its order.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    role: Kind,
    drafted: Moment,
    changes: Vec<String>,
    fingerprint: Digest,
    signed_by: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Published>,
    proposed: Value,
    current: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Value>,
}

impl Draft {
    /// Reads a file that came by any way, and believes nothing it says of itself.
    ///
    /// # Errors
    /// [`CeremonyError::Malformed`]; [`CeremonyError::Altered`] where the changes, the fingerprint, a signature or a line
    /// of the record are not those of what the file proposes; [`CeremonyError::Rule`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        if bytes.len() as u64 > MAX_DRAFT {
            return Err(CeremonyError::Malformed(format!("it has more than {MAX_DRAFT} bytes")));
        }
        let value = json::parse(bytes).map_err(|error| CeremonyError::Malformed(error.to_string()))?;
        // serde also reads a struct from an array.
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(CeremonyError::Malformed(format!("its `format` is not `{FORMAT}`")));
        }
        let file: File = serde_json::from_value(value).map_err(|error| CeremonyError::Malformed(error.to_string()))?;
        let (signed, signatures) = opened(&file.proposed)?;
        let (current, _) = opened(&file.current)?;
        let root = match (file.role, file.root) {
            (Kind::Root, None) => file.current.clone(),
            (Kind::Targets, Some(root)) => root,
            _ => {
                return Err(CeremonyError::Malformed(
                    "a draft of targets carries a `root`, one of root none".to_owned(),
                ));
            }
        };
        // Before the rules: who reads that a rule is broken should know that it was not when the draft was made.
        unaltered(
            &file.changes,
            &diff::lines(file.role, &current, &signed),
            file.fingerprint,
            &signed,
        )?;
        let mut draft = Self::checked(file.role, root, file.current, signed, file.drafted)?;
        for (keyid, signature) in signatures {
            draft.check_signature(&keyid, &signature)?;
            draft.signatures.push((keyid, signature));
        }
        for entry in file.signed_by {
            draft.check_entry(&entry)?;
            draft.entries.push(entry);
        }
        if let Some(published) = file.published {
            draft.check_published(&published)?;
            draft.published = Some(published);
        }
        Ok(draft)
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let file = File {
            format: FORMAT.to_owned(),
            role: self.kind,
            drafted: self.drafted.clone(),
            changes: self.changes(),
            fingerprint: self.fingerprint,
            signed_by: self.entries.clone(),
            published: self.published.clone(),
            proposed: self.proposed(),
            current: self.current.clone(),
            root: (self.kind == Kind::Targets).then(|| self.root.clone()),
        };
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default().into_bytes();
        text.push(b'\n');
        text
    }

    /// The envelope of what it proposes, with the signatures so far.
    pub(super) fn proposed(&self) -> Value {
        enveloped(&self.signed, &self.signatures)
    }

    fn check_entry(&self, entry: &Entry) -> Result<(), CeremonyError> {
        check_entry(
            entry,
            &self.label(&entry.keyid),
            self.fingerprint,
            &self.signatures,
            &self.entries,
        )
    }

    fn check_published(&self, published: &Published) -> Result<(), CeremonyError> {
        let (file, bytes) = self.file()?;
        match published.file == file && published.sha256 == Digest::of(&bytes) {
            true => Ok(()),
            false => Err(CeremonyError::Altered(format!(
                "it says that `{}` was published, sha256 {}, but its signatures make `{file}`, sha256 {}",
                published.file,
                published.sha256,
                Digest::of(&bytes)
            ))),
        }
    }
}

/// An envelope as JSON, with whatever signatures there are.
pub(super) fn enveloped(signed: &Value, signatures: &Signatures) -> Value {
    let line = |(keyid, signature): &(String, Vec<u8>)| json!({"keyid": keyid, "sig": hex::encode(signature)});
    let lines: Vec<_> = signatures.iter().map(line).collect();
    json!({"signatures": lines, "signed": signed})
}

/// Whether a line of the record is that of one of the signatures on what has this fingerprint, after the lines `known`.
pub(super) fn check_entry(
    entry: &Entry,
    label: &Label,
    fingerprint: Digest,
    signatures: &Signatures,
    known: &[Entry],
) -> Result<(), CeremonyError> {
    let altered = |what: &str| Err(CeremonyError::Altered(format!("the record of {label} {what}")));
    if signatures.iter().all(|(keyid, _)| *keyid != entry.keyid) {
        return altered("has no signature beside it");
    }
    if known.iter().any(|known| known.keyid == entry.keyid) {
        return altered("stands twice");
    }
    if label.name.as_deref().unwrap_or_default() != entry.name {
        return altered(&format!("has another name, `{}`", entry.name));
    }
    match entry.fingerprint == fingerprint {
        true => Ok(()),
        false => altered(&format!("is of what has the fingerprint {}", entry.fingerprint)),
    }
}

/// Whether the changes that a file tells are those it proposes.
pub(super) fn unaltered(
    told: &[String],
    changes: &[String],
    fingerprint: Digest,
    signed: &Value,
) -> Result<(), CeremonyError> {
    let only = |lines: &[String], others: &[String]| -> Vec<String> {
        lines.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    let (hidden, gone) = (only(changes, told), only(told, changes));
    let mut what = Vec::new();
    if !hidden.is_empty() {
        what.push(format!(
            "it proposes what its changes do not tell: {}",
            hidden.join("; ")
        ));
    }
    if !gone.is_empty() {
        what.push(format!(
            "it does not propose what its changes tell: {}",
            gone.join("; ")
        ));
    }
    if what.is_empty() && told != changes {
        what.push("its changes stand in another order".to_owned());
    }
    let now = canonical_digest(signed);
    if what.is_empty() && fingerprint != now {
        what.push(format!("its fingerprint is {now}, and it says {fingerprint}"));
    }
    match what.is_empty() {
        true => Ok(()),
        false => Err(CeremonyError::Altered(what.join("; "))),
    }
}

/// A metadata file as strict JSON.
pub fn envelope(bytes: &[u8]) -> Result<Value, CeremonyError> {
    Unverified::parse(bytes).map_err(tally::judged)?;
    json::parse(bytes).map_err(|error| CeremonyError::Malformed(error.to_string()))
}

/// The `signed` object of an envelope, and its signatures, each key once.
pub fn opened(file: &Value) -> Result<(Value, Signatures), CeremonyError> {
    Unverified::parse(file.to_string().as_bytes()).map_err(tally::judged)?;
    let lines = file["signatures"].as_array();
    let signature = |line: &Value| {
        let text = |field: &str| line.get(field).and_then(Value::as_str);
        let keyid = text("keyid").unwrap_or_default();
        match hex::decode(text("sig").unwrap_or_default()) {
            Ok(signature) => Ok((keyid.to_owned(), signature)),
            Err(_) => Err(CeremonyError::Malformed(format!(
                "the signature of key {keyid} is no hex"
            ))),
        }
    };
    let signatures = lines.into_iter().flatten().map(signature).collect::<Result<_, _>>()?;
    Ok((file["signed"].clone(), signatures))
}

/// SHA-256 of a value's canonical form; the strict reader lets none in that has no such form.
pub fn canonical_digest(value: &Value) -> Digest {
    Digest::of(canonical::to_vec(value).unwrap_or_default())
}
