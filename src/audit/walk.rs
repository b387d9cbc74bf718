//! The depot by itself: what its timestamp leads to, and everything that was listed before, each file down to its last
//! byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    depot::TIMESTAMP,
    digest::Digest,
    signer,
    tuf::layout::{self, Generation},
};

use super::{
    Code, Report, Severity, Subject, bins, bins::Stands, envelope::Envelope, finding::RENEW, signers::Signers,
};

/// The roles whose keys a root lists, but for its own.
const BELOW_ROOT: [&str; 3] = ["timestamp", "snapshot", "targets"];

/// What a listing says of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins {
    pub(super) version: u64,
    length: Option<u64>,
    sha256: Option<String>,
}

/// What the timestamp leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) timestamp: u64,
    pub(super) snapshot: u64,
    /// What the snapshot lists, by role.
    pub(super) roles: BTreeMap<String, Pins>,
    /// When the listed files expire, by role; root aside.
    pub(super) expires: BTreeMap<String, Timestamp>,
    /// The bins, where both views agree on them.
    pub(super) generation: Option<Generation>,
    /// What roles that others sign list: role, sha256 and length by path.
    pub(super) delegated: BTreeMap<String, (String, Stands)>,
}

impl Listed {
    /// The listed version of a role; 0 for none.
    pub(super) fn version(&self, role: &str) -> u64 {
        match role {
            "timestamp" => self.timestamp,
            "snapshot" => self.snapshot,
            _ => self.roles.get(role).map_or(0, |pins| pins.version),
        }
    }
}

/// What the walk leaves behind.
#[derive(Default)]
pub(super) struct Walked {
    /// The newest root's signed part.
    pub(super) root: Option<Value>,
    pub(super) listed: Option<Listed>,
    /// Roles that somebody speaks of: whose files are ours.
    pub(super) known: BTreeSet<String>,
}

/// A walk over every file. `files` are versions by role.
pub(super) struct Walk<'a> {
    subject: Subject<'a>,
    pub(super) report: &'a mut Report,
    files: &'a BTreeMap<String, Vec<u64>>,
    /// Who must sign a role that is listed now.
    force: BTreeMap<String, Signers>,
    /// Who may have signed it, now or when it was listed.
    ever: BTreeMap<String, Signers>,
    expires: BTreeMap<String, Timestamp>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(subject: Subject<'a>, report: &'a mut Report, files: &'a BTreeMap<String, Vec<u64>>) -> Self {
        Self {
            subject,
            report,
            files,
            force: BTreeMap::new(),
            ever: BTreeMap::new(),
            expires: BTreeMap::new(),
        }
    }

    /// Walks everything.
    pub(super) async fn run(&mut self, timestamp: Option<Bytes>) -> Walked {
        let root = self.roots().await;
        let mut listed = self.listing(timestamp).await;
        let (generation, delegated) = self.roles(listed.as_ref()).await;
        if let Some(listed) = &mut listed {
            listed.generation = generation;
            listed.delegated = delegated;
            listed.expires = std::mem::take(&mut self.expires);
        }
        Walked {
            root,
            listed,
            // Those that every gate has are known even when the root cannot be read.
            known: ["root", "snapshot", "targets", "bins"]
                .map(str::to_owned)
                .into_iter()
                .chain(self.ever.keys().cloned())
                .collect(),
        }
    }

    /// The chain of roots, from the first on; the newest.
    async fn roots(&mut self) -> Option<Value> {
        let versions = self.files.get("root").map(Vec::as_slice).unwrap_or_default();
        if versions.first() != Some(&1) {
            self.error(Code::RootChain, &layout::file("root", 1), "the first root is missing");
        }
        let mut newest: Option<(u64, Value)> = None;
        for version in versions {
            let name = layout::file("root", *version);
            if let Some((before, _)) = &newest
                && before + 1 != *version
            {
                let gap = format!("no root stands between version {before} and this one");
                self.error(Code::RootChain, &name, gap);
            }
            let bytes = self.read(&name).await?;
            let Some(file) = self.form(&name, "root", bytes) else {
                continue;
            };
            self.identity(&file, &name, "root", *version);
            let own = Signers::of_root(&file.signed, "root").unwrap_or_default();
            let before = newest.as_ref().and_then(|(_, root)| Signers::of_root(root, "root"));
            let mut either = own.clone();
            before.iter().for_each(|before| either.join(before));
            let judged = either.made_all(&file).and_then(|()| own.made_enough(&file));
            if let Err(why) = judged {
                self.error(Code::Signature, &name, why);
            }
            if let Some(Err(why)) = before.map(|before| before.made_enough(&file)) {
                self.error(
                    Code::RootChain,
                    &name,
                    format!("the root before it does not vouch for it: {why}"),
                );
            }
            self.ever.entry("root".to_owned()).or_default().join(&own);
            for role in BELOW_ROOT {
                if let Some(signers) = Signers::of_root(&file.signed, role) {
                    self.ever.entry(role.to_owned()).or_default().join(&signers);
                    self.force.insert(role.to_owned(), signers);
                } else {
                    self.error(Code::RootChain, &name, format!("it lists no keys for `{role}`"));
                }
            }
            newest = Some((*version, file.signed));
        }
        newest.map(|(_, root)| root)
    }

    /// Timestamp and snapshot.
    async fn listing(&mut self, timestamp: Option<Bytes>) -> Option<Listed> {
        let stamp = self.judge(TIMESTAMP, "timestamp", None, timestamp?, Some(&Pins::default()))?;
        let mut named = pins(&stamp.signed);
        let Some(snapshot) = named.remove("snapshot") else {
            self.error(Code::Form, TIMESTAMP, "it names no snapshot");
            return None;
        };
        let name = layout::file("snapshot", snapshot.version);
        let file = self
            .examine(&name, "snapshot", snapshot.version, Some(&snapshot))
            .await?;
        let roles = pins(&file.signed);
        let config = self.subject.config;
        if let Err(why) = signer::check_layout(&config.tuf, |role| roles.contains_key(role)) {
            self.error(Code::Layout, &name, why);
        }
        Some(Listed {
            timestamp: stamp.version(),
            snapshot: snapshot.version,
            roles,
            ..Listed::default()
        })
    }

    /// Every version of every role that is delegated to, delegators before what they delegate to.
    async fn roles(&mut self, listed: Option<&Listed>) -> (Option<Generation>, BTreeMap<String, (String, Stands)>) {
        let mut generation = None;
        let mut delegated = BTreeMap::new();
        let mut queue: VecDeque<String> = ["snapshot", "targets"].map(str::to_owned).into();
        let mut done = BTreeSet::new();
        while let Some(role) = queue.pop_front() {
            if !done.insert(role.clone()) {
                continue;
            }
            let pins = listed.and_then(|listed| listed.roles.get(&role));
            let current = listed.map_or(0, |listed| listed.version(&role));
            let standing = self.files.get(&role).map(Vec::as_slice).unwrap_or_default();
            let old = standing.iter().copied().filter(|version| *version != current);
            for version in pins.map(|pins| pins.version).into_iter().chain(old) {
                let pins = pins.filter(|pins| pins.version == version);
                let file = self.examine(&layout::file(&role, version), &role, version, pins).await;
                let mut views: Vec<_> = file.into_iter().collect();
                if layout::is_twofold(&role) {
                    let name = layout::succinct(&role, version);
                    views.extend(self.examine(&name, &role, version, pins).await);
                    if let ([prefixes, succinct], Some(_)) = (&*views, pins) {
                        match bins::generation(&role, &prefixes.signed, &succinct.signed) {
                            Ok(agreed) if role == "bins" => generation = Some(agreed),
                            Ok(_) => {}
                            Err(why) => self.error(Code::Delegation, &name, why),
                        }
                    }
                }
                if pins.is_some() && self.force.contains_key(&role) && crate::delegated::check_name(&role).is_ok() {
                    for file in &views {
                        delegated.extend(bins::listed(&file.signed).map(|(path, row)| (path, (role.clone(), row))));
                    }
                }
                for (child, signers) in views.iter().flat_map(|file| Signers::delegated(&file.signed)) {
                    // What nobody leads to any more leads nowhere: its name alone stays.
                    if pins.is_some() && self.force.contains_key(&role) {
                        if listed.is_some_and(|listed| listed.version(&child) == 0) && !done.contains(&child) {
                            let unlisted = format!("it delegates to `{child}`, which the snapshot does not list");
                            self.error(Code::Delegation, &layout::file(&role, version), unlisted);
                        }
                        self.force.insert(child.clone(), signers.clone());
                    }
                    self.ever.entry(child.clone()).or_default().join(&signers);
                    queue.push_back(child);
                }
            }
        }
        let reached = |role: &&String| !done.contains(*role);
        let lost: Vec<_> = listed
            .into_iter()
            .flat_map(|listed| listed.roles.keys())
            .filter(reached)
            .collect();
        if let (Some(first), Some(listed)) = (lost.first(), listed) {
            let name = layout::file("snapshot", listed.snapshot);
            let message = format!(
                "nothing readable delegates to `{first}`, which it lists ({} such roles)",
                lost.len()
            );
            self.error(Code::Delegation, &name, message);
        }
        (generation, delegated)
    }

    /// Reads and judges a file; without `pins` it is not listed, and may be gone.
    async fn examine(&mut self, name: &str, role: &str, version: u64, pins: Option<&Pins>) -> Option<Envelope> {
        match self.read(name).await {
            Some(bytes) => self.judge(name, role, Some(version), bytes, pins),
            None if pins.is_some() => {
                self.error(Code::Missing, name, "it is listed, and not there");
                None
            }
            None => None,
        }
    }

    async fn read(&mut self, name: &str) -> Option<Bytes> {
        match self.subject.depot.read(name).await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.error(Code::Unreadable, name, error);
                None
            }
        }
    }

    /// Judges a file. `version` is what its name says; `pins` what lists it.
    pub(super) fn judge(
        &mut self,
        name: &str,
        role: &str,
        version: Option<u64>,
        bytes: Bytes,
        pins: Option<&Pins>,
    ) -> Option<Envelope> {
        if let Some(length) = pins.and_then(|pins| pins.length)
            && length != bytes.len() as u64
        {
            let message = format!("it has {} bytes, listed are {length}", bytes.len());
            self.error(Code::Pinned, name, message);
        }
        if let Some(sha256) = pins.and_then(|pins| pins.sha256.as_ref())
            && *sha256 != Digest::of(&bytes).to_string()
        {
            self.error(Code::Pinned, name, format!("its sha256 is not the listed {sha256}"));
        }
        let file = self.form(name, role, bytes)?;
        self.identity(&file, name, role, version.unwrap_or(file.version()));
        // Where nobody is known to sign it, the file that should say so was reported already.
        let signers = self.ever.get(role);
        let rotated = self.subject.config.keys.rotated(role);
        let mut judged = signers.map_or(Ok(()), |signers| match rotated {
            true => signers.made_all_known(&file),
            false => signers.made_all(&file),
        });
        if let (Ok(()), Some(_), Some(signers)) = (&judged, pins, self.force.get(role)) {
            judged = signers.made_enough(&file);
        }
        if let Err(why) = judged {
            self.error(Code::Signature, name, why);
        }
        if pins.is_some() {
            match file.text("expires").parse() {
                Ok(expires) => drop(self.expires.insert(role.to_owned(), expires)),
                Err(_) => self.error(Code::Form, name, "`expires` is no date"),
            }
        }
        Some(file)
    }

    fn form(&mut self, name: &str, role: &str, bytes: Bytes) -> Option<Envelope> {
        self.report.checked.files += 1;
        match Envelope::read(bytes) {
            Ok(file) => {
                if !file.exact {
                    // These may be made elsewhere, by tools that set white space.
                    let ours = role != "root" && (role != "targets" || self.subject.config.keys.targets.is_some());
                    let severity = if ours { Severity::Error } else { Severity::Warning };
                    let place = self.place(name);
                    let message = "it is not in the one form the gate writes, so that a byte could change unseen";
                    match name == TIMESTAMP {
                        true => self.report.advise(Code::Form, severity, place, message, RENEW),
                        false => self.report.add(Code::Form, severity, place, message),
                    }
                }
                Some(file)
            }
            Err(why) => {
                self.error(Code::Form, name, why);
                None
            }
        }
    }

    fn identity(&mut self, file: &Envelope, name: &str, role: &str, version: u64) {
        let kind = match role {
            "root" | "timestamp" | "snapshot" => role,
            _ => "targets",
        };
        if file.text("_type") != kind {
            self.error(Code::Version, name, format!("its `_type` is `{}`", file.text("_type")));
        }
        if file.version() != version || version == 0 {
            self.error(Code::Version, name, format!("it holds version {}", file.version()));
        }
    }

    fn place(&self, name: &str) -> String {
        self.subject.config.depot.join(name).display().to_string()
    }

    fn error(&mut self, code: Code, name: &str, message: impl std::fmt::Display) {
        let place = self.place(name);
        let unfit = matches!(code, Code::Form | Code::Pinned | Code::Signature | Code::Version);
        match name == TIMESTAMP && unfit {
            true => self.report.advise(code, Severity::Error, place, message, RENEW),
            false => self.report.error(code, place, message),
        }
    }
}

/// The `meta` of timestamp or snapshot, by role.
fn pins(signed: &Value) -> BTreeMap<String, Pins> {
    let meta = signed.get("meta").and_then(Value::as_object);
    let pinned = |(file, meta): (&String, &Value)| {
        let pins = Pins {
            version: meta.get("version")?.as_u64()?,
            length: meta.get("length").and_then(Value::as_u64),
            sha256: meta
                .get("hashes")
                .and_then(|hashes| hashes.get("sha256")?.as_str())
                .map(str::to_owned),
        };
        Some((file.strip_suffix(".json")?.to_owned(), pins))
    };
    meta.into_iter().flatten().filter_map(pinned).collect()
}
