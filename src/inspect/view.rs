//! Two ways to the same bins: `path_hash_prefixes` at the metadata URL, `succinct_roles` (TAP 15) in a folder below it.
//! Everything but the delegator is the same bytes.

use std::collections::{BTreeSet, HashSet};

use http::StatusCode;

use super::{
    Code, Place,
    delegations::{Delegated, Delegations, Succinct},
    document::Document,
    finding::Findings,
    graph::Graph,
    role::{expiry, lot, soon},
    roots::Root,
    top::{Snapshot, Timestamp},
    walk::{Walk, difference},
};
use crate::{
    compat::{Facts, Sized},
    digest::Digest,
    tuf::layout::{SUCCINCT, hash_prefixes},
};

/// Bins that are compared byte by byte; with `--all`, so many more.
const COMPARED: (usize, usize) = (8, 64);
/// Tries to see both timestamps before the next publication.
const TRIES: usize = 4;

/// What is different in the other view.
#[derive(Debug, Default)]
pub struct Twin {
    /// The facts as they are in this view.
    pub facts: Facts,
    /// Files of the first view in whose place this one has others.
    pub replaced: BTreeSet<String>,
}

impl Walk<'_> {
    /// Compares the other view, where there is one.
    pub(super) async fn twin(
        &mut self,
        root: &Root,
        timestamp: &Timestamp,
        snapshot: &Snapshot,
        graph: &Graph,
    ) -> Option<Twin> {
        if !self.twin_timestamp(timestamp).await? {
            let message = "it is not the timestamp of the other view: the views are not one repository";
            let place = Place::file(format!("{SUCCINCT}timestamp.json"));
            self.findings.error(Code::ViewDiffers, &place, message);
        }
        let root_file = self.site.name("root", Some(root.header.version));
        let mut same = vec![root_file, snapshot.file.clone()];
        let mut twin = Twin::default();
        let mut differing = Facts::default();
        let mut delegators: Vec<_> = graph.delegators().collect();
        delegators.sort_unstable_by_key(|(name, _)| *name);
        let mut bins = Vec::new();
        for (name, delegations) in delegators {
            let Some(listed) = snapshot.listed.get(name) else {
                continue;
            };
            let file = self.site.name(name, root.consistent.then_some(listed.version));
            let ours = self.seen.get(&file).copied();
            let place = Place::file(format!("{SUCCINCT}{file}"));
            let Some(answer) = self.file(&format!("{SUCCINCT}{file}")).await else {
                continue;
            };
            if ours == Some(Digest::of(&answer.body)) {
                differing.forms.paths |= delegations.roles.iter().any(|role| !role.paths.is_empty());
                let prefixes = || delegations.roles.iter().flat_map(|role| &role.prefixes);
                differing.forms.empty_prefix |= prefixes().any(String::is_empty);
                differing.forms.prefixes |= prefixes().any(|prefix| !prefix.is_empty());
                larger(&mut differing.delegator, name, answer.body.len() as u64);
                continue;
            }
            larger(&mut differing.delegator, name, answer.body.len() as u64);
            twin.replaced.insert(file);
            let findings = &mut self.findings;
            let Some(document) = Document::read(&answer.body, &place, findings) else {
                continue;
            };
            for (by, delegator) in graph.delegators() {
                if let Some(signers) = delegator.signers(name) {
                    signers.check(&document, &format!("`{by}`"), &place, findings);
                }
            }
            if name == "targets"
                && let Some(signers) = root.signers.get("targets")
            {
                signers.check(&document, "root", &place, findings);
            }
            let header = document.header("targets", &["targets", "delegations"], &place, findings);
            listed.check_version(header.version, "snapshot.json", &place, findings);
            expiry(header.expires, self.site.now, soon(name), &place, findings);
            let theirs = document.signed.get("delegations");
            let Some(theirs) = Delegations::read(theirs, &place, &mut differing, findings) else {
                findings.error(
                    Code::ViewDiffers,
                    &place,
                    "it delegates to nobody, the other view's does",
                );
                continue;
            };
            compare(delegations, &theirs, snapshot, &place, findings);
            bins.extend(
                theirs
                    .names()
                    .into_iter()
                    .filter(|bin| snapshot.listed.contains_key(bin)),
            );
        }
        let (some, more) = COMPARED;
        let options = &self.site.options;
        bins.sort_by_cached_key(|name| lot(options.seed, name));
        bins.truncate(if options.all { more } else { some });
        for bin in bins {
            if let Some(listed) = snapshot.listed.get(&bin) {
                same.push(self.site.name(&bin, root.consistent.then_some(listed.version)));
            }
        }
        for file in same {
            self.same_file(&file).await;
        }
        twin.facts = Facts {
            forms: differing.forms,
            delegator: Sized {
                listed: self.facts.delegator.listed,
                ..differing.delegator
            },
            ..self.facts.clone()
        };
        Some(twin)
    }

    /// Whether both timestamps are the same, if only after a publication between two looks; `None` without a twin.
    async fn twin_timestamp(&mut self, timestamp: &Timestamp) -> Option<bool> {
        let mut ours = timestamp.bytes.clone();
        for attempt in 0..TRIES {
            let answer = self.site.get(&format!("{SUCCINCT}timestamp.json")).await.ok()?;
            if answer.status != StatusCode::OK {
                return None;
            }
            if attempt == 0 {
                // What answers everything with a page of its own is no view.
                serde_json::from_slice::<serde_json::Value>(&answer.body).ok()?;
            }
            if answer.body == ours {
                return Some(true);
            }
            ours = self.site.get("timestamp.json").await.ok()?.body;
            if answer.body == ours {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Compares a file that was read in the first view.
    async fn same_file(&mut self, file: &str) {
        let name = format!("{SUCCINCT}{file}");
        let Some(answer) = self.file(&name).await else { return };
        let ours = match self.seen.get(file) {
            Some(ours) => *ours,
            None => match self.site.get(file).await {
                Ok(answer) => Digest::of(&answer.body),
                Err(_) => return,
            },
        };
        if ours != Digest::of(&answer.body) {
            let message = format!("it is not the file `{file}` of the other view");
            self.findings.error(Code::ViewDiffers, &Place::file(name), message);
        }
    }
}

fn larger(size: &mut Sized, name: &str, bytes: u64) {
    if bytes > size.bytes {
        *size = Sized {
            name: name.to_owned(),
            bytes,
            listed: false,
        };
    }
}

/// Compares the two delegators: the same bins, the same keys, the same paths.
fn compare(ours: &Delegations, theirs: &Delegations, snapshot: &Snapshot, place: &Place, findings: &mut Findings) {
    let Some(bins) = &theirs.succinct else {
        let message = "it differs from the other view's, and has no `succinct_roles`";
        findings.error(Code::ViewDiffers, place, message);
        return;
    };
    let mine: HashSet<String> = ours.names().into_iter().collect();
    let other: HashSet<String> = theirs.names().into_iter().collect();
    if let Some(name) = difference(&mine, &other) {
        let message = format!("`{name}` is a bin in one view only");
        findings.error(Code::ViewDiffers, place, message);
    }
    if let Some(name) = bins.names().find(|name| !snapshot.listed.contains_key(name)) {
        let message = format!("the bin `{name}` is not in the snapshot");
        findings.error(Code::RoleNotListed, place, message);
    }
    let other_keys = |role: &&Delegated| {
        role.signers.keys() != bins.signers.keys() || role.signers.threshold != bins.signers.threshold
    };
    if let Some(role) = ours.roles.iter().find(other_keys) {
        let message = format!("`{}` has other keys or another threshold in the other view", role.name);
        findings.error(Code::ViewDiffers, place, message);
    }
    let other_paths = |role: &&Delegated| {
        let listed: BTreeSet<&str> = role.prefixes.iter().map(String::as_str).collect();
        bin_of(bins, &role.name).is_some_and(|bin| {
            let expected = hash_prefixes(bins.bits, bin);
            expected.iter().map(String::as_str).collect::<BTreeSet<_>>() != listed
        })
    };
    if let Some(role) = ours.roles.iter().find(|role| !role.terminating) {
        let message = format!("`{}` lets a search go on, which ends in the other view", role.name);
        findings.error(Code::ViewDiffers, place, message);
    }
    if let Some(role) = ours.roles.iter().find(other_paths) {
        let message = format!("`{}` is for other paths in the other view", role.name);
        findings.error(Code::ViewDiffers, place, message);
    }
}

/// The number in a bin's name.
fn bin_of(bins: &Succinct, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(&*bins.prefix)?.strip_prefix('-')?;
    let bin = u32::from_str_radix(digits, 16).ok()?;
    (u64::from(bin) < bins.count() && bins.name(bin) == name).then_some(bin)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tuf::{
        layout::Generation,
        verify::testing::{id, key, keys},
    };

    fn read(seed: u8, rest: Value) -> Delegations {
        let mut value = json!({"keys": keys(&[&key(seed)])});
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        Delegations::read(
            Some(&value),
            &Place::file("x"),
            &mut Facts::default(),
            &mut Findings::default(),
        )
        .unwrap()
    }

    fn named(seed: u8, count: u32, swap: bool) -> Delegations {
        let generation = Generation::of(count).unwrap();
        let roles: Vec<_> = (0..count)
            .map(|bin| {
                let of = if swap { bin ^ 1 } else { bin };
                json!({
                    "name": generation.name(bin), "keyids": [id(&key(seed))], "threshold": 1, "terminating": true,
                    "path_hash_prefixes": generation.hash_prefixes(of),
                })
            })
            .collect();
        read(seed, json!({"roles": roles}))
    }

    fn succinct(seed: u8, count: u32) -> Delegations {
        let generation = Generation::of(count).unwrap();
        let succinct = json!({
            "keyids": [id(&key(seed))], "threshold": 1, "bit_length": generation.bits(),
            "name_prefix": generation.prefix(),
        });
        read(seed, json!({"succinct_roles": succinct}))
    }

    #[test]
    fn views_must_lead_to_the_same_bins_by_the_same_keys() {
        let told = |ours: &Delegations, theirs: &Delegations| {
            let listed = theirs.names().into_iter().map(|name| (name, Default::default()));
            let snapshot = Snapshot {
                listed: listed.collect(),
                file: String::new(),
            };
            let mut findings = Findings::default();
            compare(ours, theirs, &snapshot, &Place::file("x"), &mut findings);
            findings.codes()
        };
        for count in [2, 16, 32] {
            assert!(told(&named(1, count, false), &succinct(1, count)).is_empty(), "{count}");
        }
        assert_eq!(told(&named(1, 16, false), &succinct(1, 32)), ["view-differs"]);
        assert_eq!(told(&named(1, 16, false), &succinct(2, 16)), ["view-differs"]);
        assert_eq!(told(&named(1, 16, true), &succinct(1, 16)), ["view-differs"]);
        assert_eq!(told(&named(1, 16, false), &named(1, 16, true)), ["view-differs"]);
        let mut open = named(1, 16, false);
        open.roles.iter_mut().for_each(|role| role.terminating = false);
        assert_eq!(
            told(&open, &succinct(1, 16)),
            ["view-differs"],
            "a search goes on in one of them"
        );
    }
}
