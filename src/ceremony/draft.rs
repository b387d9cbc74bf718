//! The file that travels: what is proposed, what it follows, the signatures so far; after its publication, the record.
//!
//! One JSON object, laid out for people. `changes` are the lines a reviewer reads and `fingerprint` is the SHA-256 of the
//! canonical form of what is signed; both are computed anew at every step and must agree with the file.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tough::schema::{self, RoleType, Signed, decoded::Decoded};

use super::{
    CeremonyError, diff,
    ring::{Label, Roles},
    rules::{self, rule},
    tally::{self, Authority},
};
use crate::{
    digest::Digest,
    tuf::{
        build, canonical, json, layout,
        schema::Root,
        verify::{self, Keys, Unverified},
    },
};

/// Most bytes of a draft: two roots at the limit of most clients (512,000 bytes), and what stands beside them.
pub const MAX_DRAFT: u64 = 2 << 20;
/// What the file says it is.
const FORMAT: &str = "tufgate draft 1";
/// Most bytes of the metadata: what python-tuf, go-tuf and tuf-js take of a root.
const MAX_METADATA: usize = 512_000;

/// What is drafted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The next root: signed by thresholds of the current root's keys and of its own (TUF spec 5.3.4).
    Root,
    /// The next top-level targets, signed offline by the root's keys for them.
    Targets,
}

impl Kind {
    /// The role's name.
    pub fn role(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
        }
    }
}

/// When something was done and who says to have done it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// The user of the machine.
    pub by: String,
}

/// A line of the record: who signed what, when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The key's name.
    pub name: String,
    /// Its id.
    pub keyid: String,
    /// When.
    pub at: Timestamp,
    /// The user of the machine.
    pub by: String,
    /// SHA-256 of the canonical form of what was signed.
    pub fingerprint: Digest,
}

/// The end of a ceremony.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// When.
    pub at: Timestamp,
    /// The user of the machine.
    pub by: String,
    /// The file's name in the depot.
    pub file: String,
    /// The file's SHA-256.
    pub sha256: Digest,
}

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

/// A draft that holds together: its chain, its rules, its changes, every signature.
#[derive(Clone, Debug)]
pub struct Draft {
    kind: Kind,
    drafted: Moment,
    /// What is proposed.
    signed: Value,
    fingerprint: Digest,
    /// By key id.
    signatures: Vec<(String, Vec<u8>)>,
    entries: Vec<Entry>,
    published: Option<Published>,
    /// The envelope of what it follows.
    current: Value,
    /// The envelope of the root whose keys sign it; for a root, the one it follows.
    root: Value,
    trusted: Root,
    /// The proposed root.
    next: Option<Root>,
}

impl Draft {
    /// A draft of `signed`, after `current`, under `root`: both whole files.
    ///
    /// # Errors
    /// What [`Draft::parse`] would refuse.
    pub fn new(kind: Kind, root: &[u8], current: &[u8], signed: Value, drafted: Moment) -> Result<Self, CeremonyError> {
        let (root, current) = (envelope(root)?, envelope(current)?);
        Self::checked(kind, root, current, signed, drafted)
    }

    fn checked(kind: Kind, root: Value, current: Value, signed: Value, drafted: Moment) -> Result<Self, CeremonyError> {
        let unverified = |file: &Value| Unverified::parse(file.to_string().as_bytes());
        let trusted = unverified(&root).and_then(Unverified::self_signed_root);
        let trusted = trusted.map_err(|error| CeremonyError::Malformed(format!("the root it carries: {error}")))?;
        if kind == Kind::Targets {
            let keys = Keys::of_root(&trusted, RoleType::Targets).map_err(tally::judged)?;
            let current =
                unverified(&current).and_then(|file| file.verify::<crate::tuf::schema::Targets>(&keys, "targets"));
            current.map_err(|error| CeremonyError::Malformed(format!("the targets it follows: {error}")))?;
        }
        rules::check(kind, &current["signed"], &signed)?;
        let next = match kind {
            Kind::Root => Some(verify::root(signed.clone()).map_err(tally::judged)?),
            Kind::Targets => None,
        };
        let canonical = canonical::to_vec(&signed).map_err(|error| rule(error.to_string()))?;
        if canonical.len() > MAX_METADATA {
            return Err(rule(format!(
                "it has more than {MAX_METADATA} bytes, which clients refuse"
            )));
        }
        Ok(Self {
            kind,
            drafted,
            fingerprint: Digest::of(canonical),
            signed,
            signatures: Vec::new(),
            entries: Vec::new(),
            published: None,
            current,
            root,
            trusted,
            next,
        })
    }

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
        let signatures: Vec<_> = self
            .signatures
            .iter()
            .map(|(keyid, signature)| json!({"keyid": keyid, "sig": hex::encode(signature)}))
            .collect();
        let file = File {
            format: FORMAT.to_owned(),
            role: self.kind,
            drafted: self.drafted.clone(),
            changes: self.changes(),
            fingerprint: self.fingerprint,
            signed_by: self.entries.clone(),
            published: self.published.clone(),
            proposed: json!({"signatures": signatures, "signed": self.signed}),
            current: self.current.clone(),
            root: (self.kind == Kind::Targets).then(|| self.root.clone()),
        };
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default().into_bytes();
        text.push(b'\n');
        text
    }

    /// What is drafted.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version it proposes.
    pub fn version(&self) -> u64 {
        rules::version(&self.signed)
    }

    /// Until when what it proposes is good.
    pub fn expires(&self) -> Timestamp {
        let text = self.signed["expires"].as_str().unwrap_or_default();
        text.parse().unwrap_or(Timestamp::MAX)
    }

    /// SHA-256 of the canonical form of what is signed.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Who made it, and when.
    pub fn drafted(&self) -> &Moment {
        &self.drafted
    }

    /// Every change, one a line.
    pub fn changes(&self) -> Vec<String> {
        diff::lines(self.kind, &self.current["signed"], &self.signed)
    }

    /// Who signed, and when, as they say.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How it ended, if it did.
    pub fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// The `signed` object it proposes, for tools that verify with it.
    pub fn next_root(&self) -> Option<&Root> {
        self.next.as_ref()
    }

    /// Version and SHA-256 of the root that its reviewer must trust; the digest is that of the file as the gate writes it.
    pub fn trusts(&self) -> (u64, Digest) {
        (self.trusted.version.get(), canonical_digest(&self.root))
    }

    /// Whether it stands on this root.
    ///
    /// # Errors
    /// [`CeremonyError::Stale`], [`CeremonyError::Malformed`] for a file that is no metadata.
    pub fn stands_on(&self, root: &[u8]) -> Result<(), CeremonyError> {
        let Some(version) = other(&self.root, root)? else {
            return Ok(());
        };
        let ours = self.trusted.version;
        Err(CeremonyError::Stale(match version == ours.get() {
            true => format!("it stands on another root of version {ours} than the one that is trusted"),
            false => format!("it stands on root {ours}, and the one that is trusted is version {version}"),
        }))
    }

    /// Whether it stands on this root and follows this file.
    ///
    /// # Errors
    /// [`CeremonyError::Stale`], [`CeremonyError::Malformed`] for files that are no metadata.
    pub fn follows(&self, root: &[u8], current: &[u8]) -> Result<(), CeremonyError> {
        self.stands_on(root)?;
        if let Some(version) = other(&self.current, current)? {
            let (role, ours) = (self.kind.role(), rules::version(&self.current["signed"]));
            return Err(CeremonyError::Stale(format!(
                "it follows another {role} {ours} than version {version} that is there"
            )));
        }
        Ok(())
    }

    /// The thresholds it must meet, and who has signed for each.
    pub fn authorities(&self) -> Vec<Authority> {
        let current = &self.root["signed"];
        match self.kind {
            Kind::Root => [current, &self.signed]
                .map(|root| Authority::of(root, RoleType::Root, &self.signatures))
                .into(),
            Kind::Targets => vec![Authority::of(current, RoleType::Targets, &self.signatures)],
        }
    }

    /// Name and id of a key that may sign.
    pub fn label(&self, keyid: &str) -> Label {
        let new = Roles::of(Kind::Root, &self.signed).label(keyid);
        match (self.kind, &new.name) {
            (Kind::Root, Some(_)) => new,
            _ => Roles::of(Kind::Root, &self.root["signed"]).label(keyid),
        }
    }

    /// The bytes that a key signs.
    pub fn message(&self) -> Result<Vec<u8>, CeremonyError> {
        canonical::to_vec(&self.signed).map_err(|error| rule(error.to_string()))
    }

    /// Whether a key may sign, and has.
    ///
    /// # Errors
    /// [`CeremonyError::NotASigner`].
    pub fn has_signed(&self, keyid: &str) -> Result<bool, CeremonyError> {
        let authorities = self.authorities();
        let mut signers = authorities.iter().flat_map(|authority| &authority.signers);
        if !signers.clone().any(|signer| signer.key.keyid == keyid) {
            return Err(CeremonyError::NotASigner {
                key: keyid.to_owned(),
                signers: self.signers(),
            });
        }
        Ok(signers.any(|signer| signer.key.keyid == keyid && signer.signed))
    }

    /// Adds a signature and its line of the record; `false` if the key had signed.
    pub fn add_signature(&mut self, keyid: &str, signature: Vec<u8>, moment: Moment) -> Result<bool, CeremonyError> {
        if self.published.is_some() {
            return Err(rule("it is published already"));
        }
        if self.has_signed(keyid)? {
            return Ok(false);
        }
        self.check_signature(keyid, &signature)?;
        self.signatures.push((keyid.to_owned(), signature));
        self.entries.push(Entry {
            name: self.label(keyid).name.unwrap_or_default(),
            keyid: keyid.to_owned(),
            at: moment.at,
            by: moment.by,
            fingerprint: self.fingerprint,
        });
        Ok(true)
    }

    /// The signatures of a metadata file, made by any tool, over what this draft proposes.
    ///
    /// # Errors
    /// [`CeremonyError::Altered`] where the file says something else.
    pub fn signatures_in(&self, file: &[u8]) -> Result<Vec<(String, Vec<u8>)>, CeremonyError> {
        let (signed, signatures) = opened(&envelope(file)?)?;
        if canonical_digest(&signed) != self.fingerprint {
            let changed = diff::lines(self.kind, &self.signed, &signed).join("; ");
            return Err(CeremonyError::Altered(format!(
                "what was signed is something else: {changed}"
            )));
        }
        Ok(signatures)
    }

    /// Takes over the signatures of another copy of the same draft.
    pub fn unite(&mut self, other: Self) -> Result<(), CeremonyError> {
        if other.fingerprint != self.fingerprint || canonical_digest(&other.root) != canonical_digest(&self.root) {
            return Err(CeremonyError::Different(self.fingerprint, other.fingerprint));
        }
        for signature in other.signatures {
            if self.signatures.iter().all(|(keyid, _)| *keyid != signature.0) {
                self.signatures.push(signature);
            }
        }
        for entry in other.entries {
            if self.entries.iter().all(|known| known.keyid != entry.keyid) {
                self.entries.push(entry);
            }
        }
        self.published = self.published.take().or(other.published);
        Ok(())
    }

    /// The file to publish, once enough have signed: its name and its bytes. Verified as clients do it, by our own code and
    /// by tough.
    ///
    /// # Errors
    /// [`CeremonyError::Missing`], [`CeremonyError::Expired`].
    pub fn finished(&self, now: Timestamp) -> Result<(String, Bytes), CeremonyError> {
        self.check_expiry(now)?;
        self.file()
    }

    /// Whether what it proposes is still good.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), CeremonyError> {
        match self.expires() > now {
            true => Ok(()),
            false => Err(CeremonyError::Expired(self.expires())),
        }
    }

    /// Whether enough have signed.
    ///
    /// # Errors
    /// [`CeremonyError::Missing`].
    pub fn complete(&self) -> Result<(), CeremonyError> {
        let short: Vec<_> = self
            .authorities()
            .into_iter()
            .filter(|authority| !authority.met())
            .collect();
        if !short.is_empty() {
            let lines: Vec<_> = short
                .iter()
                .map(|authority| {
                    let missing = authority.signers.iter().filter(|signer| !signer.signed);
                    let names: Vec<_> = missing.map(|signer| signer.key.to_string()).collect();
                    let (count, root) = (authority.missing(), authority.root);
                    format!("{count} more of root {root}'s signers must sign: {}", names.join(", "))
                })
                .collect();
            return Err(CeremonyError::Missing(lines.join("; ")));
        }
        Ok(())
    }

    fn file(&self) -> Result<(String, Bytes), CeremonyError> {
        self.complete()?;
        let mut signatures = Vec::new();
        for (keyid, signature) in &self.signatures {
            let id = hex::decode(keyid).map_err(|_| rule(format!("`{keyid}` is no key id that clients read")))?;
            signatures.push((Decoded::from(id), signature.clone()));
        }
        // One file for one set of signatures, in whatever order they came.
        signatures.sort();
        let by_id: Vec<_> = signatures
            .iter()
            .map(|(id, signature)| (id, signature.clone()))
            .collect();
        let bytes = build::envelope(&self.message()?, &by_id);
        self.check_file(&bytes)?;
        Ok((layout::file(self.kind.role(), self.version()), bytes))
    }

    /// Checks the file as clients will.
    fn check_file(&self, bytes: &[u8]) -> Result<(), CeremonyError> {
        let kind = match self.kind {
            Kind::Root => RoleType::Root,
            Kind::Targets => RoleType::Targets,
        };
        let check = |root: &Root| Unverified::parse(bytes)?.check(&Keys::of_root(root, kind)?);
        check(&self.trusted).map_err(tally::judged)?;
        if let Some(next) = &self.next {
            check(next).map_err(tally::judged)?;
        }
        let tough = |error: &dyn std::fmt::Display| rule(format!("tough refuses it: {error}"));
        let root: Signed<schema::Root> = serde_json::from_value(self.root.clone()).map_err(|error| tough(&error))?;
        match self.kind {
            Kind::Root => {
                let next: Signed<schema::Root> = serde_json::from_slice(bytes).map_err(|error| tough(&error))?;
                root.signed.verify_role(&next).map_err(|error| tough(&error))?;
                next.signed.verify_role(&next).map_err(|error| tough(&error))
            }
            Kind::Targets => {
                let next: Signed<schema::Targets> = serde_json::from_slice(bytes).map_err(|error| tough(&error))?;
                root.signed.verify_role(&next).map_err(|error| tough(&error))
            }
        }
    }

    /// Makes it the record of what was published.
    pub fn publish(&mut self, moment: Moment) -> Result<(), CeremonyError> {
        let (file, bytes) = self.file()?;
        self.published = Some(Published {
            at: moment.at,
            by: moment.by,
            file,
            sha256: Digest::of(&bytes),
        });
        Ok(())
    }

    fn signers(&self) -> String {
        let authorities = self.authorities();
        let all: BTreeSet<_> = authorities
            .iter()
            .flat_map(|authority| authority.signers.iter().map(|signer| signer.key.clone()))
            .collect();
        all.iter().map(Label::to_string).collect::<Vec<_>>().join(", ")
    }

    fn check_signature(&self, keyid: &str, signature: &[u8]) -> Result<(), CeremonyError> {
        let role = match self.kind {
            Kind::Root => RoleType::Root,
            Kind::Targets => RoleType::Targets,
        };
        let mut roots = vec![(&self.trusted, role)];
        roots.extend(self.next.iter().map(|next| (next, role)));
        tally::check_signature(&roots, &self.signers(), &self.signed, keyid, signature).map_err(|error| match error {
            CeremonyError::Altered(_) => CeremonyError::Altered(format!(
                "the signature of {} was not made over what it says now",
                self.label(keyid)
            )),
            error => error,
        })
    }

    fn check_entry(&self, entry: &Entry) -> Result<(), CeremonyError> {
        let label = self.label(&entry.keyid);
        let altered = |what: &str| Err(CeremonyError::Altered(format!("the record of {label} {what}")));
        if self.signatures.iter().all(|(keyid, _)| *keyid != entry.keyid) {
            return altered("has no signature beside it");
        }
        if self.entries.iter().any(|known| known.keyid == entry.keyid) {
            return altered("stands twice");
        }
        if label.name.as_deref().unwrap_or_default() != entry.name {
            return altered(&format!("has another name, `{}`", entry.name));
        }
        match entry.fingerprint == self.fingerprint {
            true => Ok(()),
            false => altered(&format!("is of what has the fingerprint {}", entry.fingerprint)),
        }
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

/// Whether the changes that a file tells are those it proposes.
fn unaltered(told: &[String], changes: &[String], fingerprint: Digest, signed: &Value) -> Result<(), CeremonyError> {
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

/// The version of a file that says something else than ours.
fn other(ours: &Value, theirs: &[u8]) -> Result<Option<u64>, CeremonyError> {
    let theirs = &envelope(theirs)?["signed"];
    let same = canonical_digest(&ours["signed"]) == canonical_digest(theirs);
    Ok((!same).then(|| rules::version(theirs)))
}

/// A metadata file as strict JSON.
pub fn envelope(bytes: &[u8]) -> Result<Value, CeremonyError> {
    Unverified::parse(bytes).map_err(tally::judged)?;
    json::parse(bytes).map_err(|error| CeremonyError::Malformed(error.to_string()))
}

/// The `signed` object of an envelope, and its signatures, each key once.
fn opened(file: &Value) -> Result<(Value, Vec<(String, Vec<u8>)>), CeremonyError> {
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
fn canonical_digest(value: &Value) -> Digest {
    Digest::of(canonical::to_vec(value).unwrap_or_default())
}
