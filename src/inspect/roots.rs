//! The chain of roots: from the first version, through the one that was given, to the newest, and what comes after it.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;

use super::{
    Code, InspectError, Place,
    document::{Document, Header},
    finding::Findings,
    keys::{self, Signers},
    role::{expiry, soon},
    strict,
    walk::Walk,
    web::{self, Answer},
};
use crate::{
    compat::{KeyFact, Sized},
    tuf::schema::KEY_NAMES,
};

/// Most roots that are read after, and before, the one that was given.
const MAX_STEPS: u64 = 1_024;
/// Clients' limits on the steps of one update, smallest first.
const LIMITS: [(&str, u64); 3] = [
    // It asks for 32 newer ones, and wants to hear that the last of these is not there.
    ("sigstore-tuf", 31),
    ("python-tuf, go-tuf and tuf-js", 256),
    ("tough and php-tuf", 1_024),
];
/// Versions after a gap in which a root is still looked for.
const BEYOND: u64 = 3;
/// The roles that every root has.
const ROLES: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// A root as the walk reads it.
#[derive(Debug)]
pub struct Root {
    /// Version and expiry.
    pub header: Header,
    /// `consistent_snapshot`; absent is false.
    pub consistent: bool,
    /// Who signs which top-level role.
    pub signers: BTreeMap<&'static str, Signers>,
    /// The file.
    pub document: Document,
    /// Where it came from.
    pub place: Place,
}

impl Root {
    /// Reads a root. What is wrong with its keys is told by [`Root::check`], for the newest alone: nobody can mend the
    /// others.
    fn read(bytes: &[u8], place: &Place, findings: &mut Findings) -> Option<Self> {
        let document = Document::read(bytes, place, findings)?;
        let known = ["consistent_snapshot", "keys", "roles", KEY_NAMES];
        let header = document.header("root", &known, place, findings);
        let mut unheard = Findings::default();
        let signers = Self::signers(&document, place, &mut Vec::new(), &mut unheard);
        strict::check(&document, "root", place, findings);
        Some(Self {
            header,
            consistent: document.signed.get("consistent_snapshot") == Some(&Value::Bool(true)),
            signers,
            document,
            place: place.clone(),
        })
    }

    fn signers(
        document: &Document,
        place: &Place,
        facts: &mut Vec<KeyFact>,
        findings: &mut Findings,
    ) -> BTreeMap<&'static str, Signers> {
        let ring = keys::ring(document.signed.get("keys"), place, facts, findings);
        let roles = document.signed.get("roles").and_then(Value::as_object);
        let mut signers = BTreeMap::new();
        for name in ROLES {
            let role = roles.and_then(|roles| roles.get(name));
            if let Some(read) = keys::signers(&ring, role, name, place, findings) {
                signers.insert(name, read);
            }
        }
        for name in roles.into_iter().flatten().map(|(name, _)| name) {
            if !ROLES.contains(&&**name) {
                findings.note(Code::UnknownField, place, format_args!("it lists a role `{name}`"));
            }
        }
        keys::unused(&ring, signers.values(), place, findings);
        signers
    }

    /// Whether it is signed by its own keys and, where there is one, by its forerunner's.
    fn check_signed(&self, before: Option<&Root>, findings: &mut Findings) {
        if let Some(before) = before {
            self.check_by(before, findings);
        }
        // A role that lists its own root keys wrongly has been told of.
        let same = before.is_some_and(|before| {
            let (old, new) = (before.signers.get("root"), self.signers.get("root"));
            matches!((old, new), (Some(old), Some(new)) if old.keys() == new.keys() && old.threshold == new.threshold)
        });
        if !same {
            self.check_by(self, findings);
        }
    }

    fn check_by(&self, other: &Root, findings: &mut Findings) {
        let by = format!("root {}", other.header.version);
        if let Some(signers) = other.signers.get("root") {
            signers.check(&self.document, &by, &self.place, findings);
        }
    }
}

impl Walk<'_> {
    /// Reads every root there is; the newest is what the rest of the walk begins with. `None` where nobody answers.
    pub async fn roots(&mut self) -> Result<Option<Root>, InspectError> {
        let bytes = self.site.options.root.clone();
        let place = Place::file("the given root");
        let mut told = Findings::default();
        let Some(given) = Root::read(&bytes, &place, &mut told) else {
            let why = told.finish().0.into_iter().map(|finding| finding.message).next();
            return Err(InspectError::Root(why.unwrap_or_default()));
        };
        if given.header.version == 0 || given.signers.len() < ROLES.len() {
            return Err(InspectError::Root("it is no root of a TUF repository".to_owned()));
        }
        self.findings.merge(told);
        given.check_signed(None, &mut self.findings);
        self.facts.root = sized(&given);
        if !self.earlier(&given).await {
            return Ok(None);
        }
        let start = given.header.version;
        let newest = self.later(given).await;
        self.facts.root_steps = newest.header.version.saturating_sub(start);
        self.check_newest(&newest).await;
        Ok(Some(newest))
    }

    /// The roots up to the one that was given, which clients with an older one need. `false` where there is no server
    /// at all, which is then the only finding.
    async fn earlier(&mut self, given: &Root) -> bool {
        let version = given.header.version;
        let mut first = true;
        let mut before: Option<Root> = None;
        for number in version.saturating_sub(MAX_STEPS).max(1)..=version {
            let name = self.site.name("root", Some(number));
            let place = Place::file(&name);
            let answer = match self.site.get(&name).await {
                Ok(answer) if answer.status == StatusCode::OK => answer,
                Err(error) if first && web::is_silent(&error) && self.is_silent().await => {
                    self.findings = Findings::default();
                    let place = Place::file(self.site.metadata.as_str());
                    let message = format_args!("the server does not answer: {error}");
                    self.findings.error(Code::Unreachable, &place, message);
                    return false;
                }
                other => {
                    first = false;
                    let why = web::why_missing(&other);
                    let message = format!("{why}: clients that hold an older root cannot update");
                    self.findings.error(Code::RootMissing, &place, message);
                    before = None;
                    continue;
                }
            };
            first = false;
            let Some(root) = self.take_root(&answer, &name, number) else {
                before = None;
                continue;
            };
            if number == version {
                if root.document.canonical != given.document.canonical {
                    let message = "it is another root than the given one of the same version: the given root is not this \
                                   repository's";
                    self.findings.error(Code::RootDiffers, &place, message);
                } else if let Some(before) = &before {
                    root.check_by(before, &mut self.findings);
                }
            } else {
                root.check_signed(before.as_ref(), &mut self.findings);
            }
            before = Some(root);
        }
        true
    }

    /// Whether the timestamp does not come either: one broken connection is a fault, two are no server.
    async fn is_silent(&self) -> bool {
        let answer = self.site.get("timestamp.json").await;
        answer.is_err_and(|error| web::is_silent(&error))
    }

    /// The roots after the one that was given.
    async fn later(&mut self, given: Root) -> Root {
        let mut newest = given;
        for _ in 0..MAX_STEPS {
            let number = newest.header.version + 1;
            let name = self.site.name("root", Some(number));
            let answer = self.site.get(&name).await;
            if let Ok(answer) = &answer
                && is_root(answer)
            {
                let Some(root) = self.take_root(answer, &name, number) else {
                    return newest;
                };
                root.check_signed(Some(&newest), &mut self.findings);
                newest = Root {
                    // Told above; the walk must go on.
                    header: Header {
                        version: number,
                        ..root.header
                    },
                    ..root
                };
                continue;
            }
            match self.beyond(number).await {
                Some((found, root)) => {
                    let message = format!(
                        "it is not there, but version {found} is: clients end at version {}",
                        number - 1
                    );
                    self.findings.error(Code::RootMissing, &Place::file(name), message);
                    root.check_by(&newest, &mut self.findings);
                    newest = root;
                }
                None => {
                    self.check_end(answer, &name);
                    return newest;
                }
            }
        }
        let message = format!("there are more than {MAX_STEPS} newer roots: the others are not looked at");
        self.findings.error(Code::RootChainLong, &newest.place, message);
        newest
    }

    /// A root behind a gap.
    async fn beyond(&mut self, missing: u64) -> Option<(u64, Root)> {
        for number in missing + 1..=missing + BEYOND {
            let name = self.site.name("root", Some(number));
            if let Ok(answer) = self.site.get(&name).await
                && is_root(&answer)
            {
                return Some((number, self.take_root(&answer, &name, number)?));
            }
        }
        None
    }

    fn take_root(&mut self, answer: &Answer, name: &str, number: u64) -> Option<Root> {
        let place = Place::file(name);
        if web::check_encoding(&answer.headers, &place, &mut self.findings) {
            self.facts.encoded.get_or_insert_with(|| name.to_owned());
        }
        self.seen
            .insert(name.to_owned(), crate::digest::Digest::of(&answer.body));
        let root = Root::read(&answer.body, &place, &mut self.findings)?;
        self.counts.roots += 1;
        self.progress();
        if root.header.version != number {
            let message = format!("it has version {}, not {number}", root.header.version);
            self.findings.error(Code::VersionMismatch, &place, message);
        }
        if root.document.length > self.facts.root.bytes {
            self.facts.root = sized(&root);
        }
        Some(root)
    }

    /// What is answered for the version after the newest: clients find the end of the chain by it.
    fn check_end(&mut self, answer: Result<Answer, crate::client::fetch::FetchError>, name: &str) {
        let place = Place::file(name);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.findings.error(Code::Unreachable, &place, error);
                return;
            }
        };
        let status = answer.status.as_u16();
        self.facts.root_end = status;
        let message = match status {
            404 => {
                let age = web::cached_for(&answer.headers, self.site.now).unwrap_or(0);
                if age > 60 {
                    let message = format!(
                        "there is no such root yet, and caches may keep that for {age} s: clients will miss it"
                    );
                    self.findings.warning(Code::RootEndCached, &place, message);
                }
                return;
            }
            403 | 410 => {
                let message = format!(
                    "there is no such root, and the answer is {status} instead of 404: some clients take it for a failure"
                );
                self.findings.warning(Code::RootEndNot404, &place, message);
                return;
            }
            200 => "there is no such root, and something else is answered with 200".to_owned(),
            300..=399 => format!("there is no such root, and the answer is a redirect ({status})"),
            _ => format!("there is no such root, and the answer is {status} instead of 404"),
        };
        self.findings.error(Code::RootEndNot404, &place, message);
    }

    async fn check_newest(&mut self, root: &Root) {
        let mut key_facts = Vec::new();
        Root::signers(&root.document, &root.place, &mut key_facts, &mut self.findings);
        self.facts.keys.extend(key_facts);
        let now = self.site.now;
        expiry(root.header.expires, now, soon("root"), &root.place, &mut self.findings);
        if !root.consistent {
            let message = "it does not ask for consistent snapshots: clients can meet files of two publications";
            self.findings.note(Code::MetadataField, &root.place, message);
        }
        for (who, limit) in LIMITS {
            if self.facts.root_steps > limit {
                let steps = self.facts.root_steps;
                let message = format!("{steps} roots follow the given one: {who} take {limit} in one update");
                self.findings.warning(Code::RootChainLong, &root.place, message);
            }
        }
        let alias = self.site.get("root.json").await;
        if let Ok(answer) = alias
            && is_root(&answer)
            && let Some(alias) = Document::read(&answer.body, &root.place, &mut Findings::default())
        {
            let place = Place::file("root.json");
            if alias.canonical != root.document.canonical {
                let version = alias.signed.get("version").and_then(Value::as_u64).unwrap_or(0);
                let newest = root.header.version;
                match version == newest {
                    true => {
                        let message = format!("it is another root of version {version} than {}", root.place);
                        self.findings.error(Code::RootDiffers, &place, message);
                    }
                    false => {
                        let message = format!("it is version {version}, but the newest root is {newest}");
                        self.findings.warning(Code::RootAliasStale, &place, message);
                    }
                }
            }
            web::check_moving(&answer.headers, None, now, &place, &mut self.findings);
        }
    }
}

/// Whether an answer is a root at all, right or wrong.
fn is_root(answer: &Answer) -> bool {
    if answer.status != StatusCode::OK {
        return false;
    }
    // Not the strict reader: a root with a fault in its JSON is a root with a fault.
    let value = serde_json::from_slice::<Value>(&answer.body);
    value.is_ok_and(|value| value["signed"]["_type"] == "root")
}

fn sized(root: &Root) -> Sized {
    Sized {
        name: format!("{}.root.json", root.header.version),
        bytes: root.document.length,
        listed: false,
    }
}
