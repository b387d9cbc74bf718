//! The ledger at the moment of the cut, by itself and against what the depot lists.
//!
//! The order of a publication decides what may lawfully be seen between its steps: rows and reserved versions are
//! committed together, then files are written, then the timestamp is swapped, then the publication is recorded and the
//! observations it covers are dropped. Hence `published ≤ listed ≤ reserved` for every role, and a target may differ from
//! its bin as long as an observation of it stands.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    delegated::{self, RoleFile},
    ledger::{
        Damage, Fence, LedgerError, Observation, PUBLISH, Provenance, Publication, RoleRow, Row, State, Submission,
        Survey, Target,
    },
    policy::OnDrift,
    signer::{CLOCK_TOLERANCE, LEASE_SECS},
    tuf::layout::{self, Generation},
};

use super::{
    Code, Report, Severity, Subject,
    bins::{self, Stands},
    cut,
    finding::RESTORE,
    tombstones::{self, Tombstones},
    walk::Listed,
};

/// Pending work this old waits for somebody.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// The gate itself asks an unsure upstream for an hour.
const DOUBT_PATIENCE: SignedDuration = SignedDuration::from_hours(2);

/// Walks the ledger and reports.
pub(super) async fn compare(subject: Subject<'_>, survey: Survey, listed: Option<&Listed>, report: &mut Report) {
    let mut record = Record {
        subject,
        listed,
        report,
        publication: None,
        roles: BTreeMap::new(),
        waiting: Waiting::default(),
        said: None,
        stones: Tombstones::default(),
        excused: BTreeSet::new(),
        damaged_roles: BTreeSet::new(),
        chain_whole: true,
        leased: false,
        bins: Bins::of(listed),
    };
    if let Err(error) = record.walk(survey).await {
        cut::unreadable(record.report, subject.config.ledger.display(), &error);
        return;
    }
    record.waiting();
    record.versions();
    record.last_publication();
    record.tombstones();
}

struct Record<'a> {
    subject: Subject<'a>,
    listed: Option<&'a Listed>,
    report: &'a mut Report,
    publication: Option<Publication>,
    roles: BTreeMap<String, RoleRow>,
    waiting: Waiting,
    /// What the last line about a publication tells of it.
    said: Option<String>,
    stones: Tombstones,
    /// Paths whose row may differ from its bin: work is pending, or the row is known to be damaged.
    excused: BTreeSet<String>,
    damaged_roles: BTreeSet<String>,
    chain_whole: bool,
    /// A lease was seen, whole or not.
    leased: bool,
    bins: Bins,
}

/// Work that has waited too long: how much, and since when.
#[derive(Default)]
struct Waiting {
    kinds: BTreeMap<&'static str, (u64, Timestamp)>,
}

impl Waiting {
    fn add(&mut self, kind: &'static str, since: Timestamp) {
        let (number, oldest) = self.kinds.entry(kind).or_insert((0, since));
        *number += 1;
        *oldest = since.min(*oldest);
    }
}

/// The bin whose rows are being collected. Rows come in the order of their ids, so that bins come one after the other.
struct Bins {
    generation: Option<Generation>,
    count: u32,
    current: u32,
    rows: BTreeMap<String, Stands>,
}

impl Bins {
    fn of(listed: Option<&Listed>) -> Self {
        let generation = listed.and_then(|listed| listed.generation);
        let flat = listed.is_some_and(|listed| listed.version("bins") == 0);
        Self {
            generation,
            count: generation.map_or(u32::from(flat), Generation::count),
            current: 0,
            rows: BTreeMap::new(),
        }
    }

    fn bits(&self) -> u8 {
        self.generation.map_or(0, Generation::bits)
    }

    fn role(&self) -> String {
        self.generation
            .map_or("targets".to_owned(), |generation| generation.name(self.current))
    }
}

impl Record<'_> {
    async fn walk(&mut self, mut survey: Survey) -> Result<(), LedgerError> {
        while let Some(row) = survey.next().await? {
            match row {
                Row::Publication(publication) => self.publication = Some(publication),
                Row::Lease { holder, fence, until } => {
                    self.leased = true;
                    self.lease(&holder, fence, until);
                }
                Row::Role(role) => {
                    self.report.checked.roles += 1;
                    self.roles.insert(role.name.clone(), role);
                }
                Row::Observation(seen) => self.observation(&seen),
                Row::Reservation(open) if open.doubtful => self.wait(DOUBT_PATIENCE, "doubtful uploads", open.at),
                Row::Reservation(open) => self.wait(DOUBT_PATIENCE, "uploads without an end", open.at),
                Row::Submission(waits) => self.submission(&waits),
                Row::Intent(intent) => self.wait(DOUBT_PATIENCE, "paths to be re-read", intent.at),
                Row::Drift(drift) => {
                    let message = format!(
                        "recorded sha256 {}, the upstream has {}",
                        drift.recorded, drift.observed
                    );
                    let place = self.place("drift", drift.path.as_str());
                    let rule = self.subject.config.policy.tracked(drift.path.as_str());
                    match rule.map(|rule| rule.on_drift) {
                        Some(OnDrift::Block) => {
                            let message = format!("{message}: readers get 502");
                            self.report.warning(Code::Drift, place, message);
                        }
                        _ => self.report.note(Code::Drift, place, message),
                    }
                }
                Row::Audit(line) => {
                    self.report.checked.audit_lines += 1;
                    if line.action == PUBLISH {
                        self.said = Some(line.detail.clone());
                    }
                    self.stones.line(&line);
                }
                Row::Target(target) => {
                    match target.state {
                        State::Live => self.report.checked.targets += 1,
                        State::Deleted | State::Retracted => self.report.checked.withdrawn += 1,
                    }
                    if let Some(why) = self.stones.row(&target).filter(|_| self.chain_whole) {
                        let place = self.place("target", target.path.as_str());
                        self.report.error(Code::Tombstone, place, why);
                    }
                    let bin = target.path.bin(self.bins.bits());
                    self.bins_before(bin).await;
                    if !self.delegated(&target) {
                        self.bins.rows.insert(target.path.to_string(), Stands::from(&target));
                    }
                }
                Row::Damaged(damage) => self.damaged(damage),
            }
        }
        self.bins_before(self.bins.count).await;
        Ok(())
    }

    /// Its rows may be written, and its files not listed yet.
    fn submission(&mut self, waits: &Submission) {
        let files = delegated::submission(waits.body.as_bytes()).unwrap_or_default();
        for file in files
            .values()
            .filter_map(|file| RoleFile::stored(file.to_string().into()).ok())
        {
            self.excused.extend(file.targets.keys().map(ToString::to_string));
        }
        self.wait(DOUBT_PATIENCE, "files of roles for the signer", waits.at);
    }

    /// Whether a row is one of a role that others sign, and none of the bins'; told where the two differ.
    fn delegated(&mut self, target: &Target) -> bool {
        let path = target.path.as_str();
        let listed = self.listed.and_then(|listed| listed.delegated.get(path));
        let own = target.provenance == Provenance::Delegated;
        let row = Stands::from(target);
        let message = match listed {
            // Still signed, and no reader gets it.
            Some((role, _)) if row.state != State::Live => {
                let (place, gone) = (self.place("target", path), tombstones::word(row.state));
                let message = format!("it is {gone} here, and the role `{role}` lists it");
                self.report.note(Code::Withdrawn, place, message);
                return own;
            }
            Some((_, said)) if own && *said == row => None,
            Some((role, _)) => Some(format!("the role `{role}` lists it otherwise than it is recorded")),
            None if own && row.state == State::Live => Some("recorded as a role's, and no role lists it".to_owned()),
            None => None,
        };
        if let Some(message) = message.filter(|_| !self.excused.contains(path)) {
            let place = self.place("target", path);
            self.report.error(Code::BinDiffers, place, message);
        }
        own
    }

    fn damaged(&mut self, damage: Damage) {
        let Damage { table, row, detail } = damage;
        let code = match table.as_str() {
            "audit" => {
                self.report.checked.audit_lines += 1;
                self.chain_whole = false;
                Code::AuditChain
            }
            "target" => {
                self.report.checked.targets += 1;
                self.excused.insert(row.clone());
                Code::Row
            }
            "role" => {
                self.report.checked.roles += 1;
                self.damaged_roles.insert(row.clone());
                Code::Row
            }
            "lease" => {
                self.leased = true;
                Code::Row
            }
            _ => Code::Row,
        };
        let place = self.place(&table, &row);
        self.report.error(code, place, detail);
    }

    fn observation(&mut self, seen: &Observation) {
        self.excused.insert(seen.path.to_string());
        if let Some(last) = self.publication.as_ref().filter(|last| seen.seq <= last.upto) {
            let place = self.place("observation", &seen.seq.to_string());
            let message = format!(
                "the last publication covered everything up to {}, but it is still there",
                last.upto
            );
            self.report.error(Code::Publication, place, message);
        }
        self.wait(PATIENCE, "observations that are not signed", seen.at);
    }

    fn wait(&mut self, patience: SignedDuration, kind: &'static str, since: Timestamp) {
        if self.subject.now.duration_since(since) > patience {
            self.waiting.add(kind, since);
        }
    }

    fn waiting(&mut self) {
        for (kind, (number, oldest)) in std::mem::take(&mut self.waiting).kinds {
            let place = self.subject.config.ledger.display();
            let message = format!("{number} {kind} wait, the oldest since {oldest:.0}");
            self.report.warning(Code::Pending, place, message);
        }
    }

    fn lease(&mut self, holder: &str, fence: Fence, until: Option<Timestamp>) {
        let longest = SignedDuration::from_secs(i64::from(LEASE_SECS) + CLOCK_TOLERANCE);
        if let Some(until) = until.filter(|until| until.duration_since(self.subject.now) > longest) {
            let place = self.place("lease", &fence.0.to_string());
            let message = format!("`{holder}` holds it until {until:.0}: no other signer can follow");
            self.report.warning(Code::Lease, place, message);
        }
    }

    /// Compares all bins below `next` whose rows are complete now.
    async fn bins_before(&mut self, next: u32) {
        while self.bins.current < next.min(self.bins.count) {
            let role = self.bins.role();
            let rows = std::mem::take(&mut self.bins.rows);
            self.bins.current += 1;
            let Some(version) = self
                .listed
                .map(|listed| listed.version(&role))
                .filter(|version| *version > 0)
            else {
                continue;
            };
            let name = layout::file(&role, version);
            // What cannot be read or is no metadata was reported when the depot was walked.
            let Ok(Some(bytes)) = self.subject.depot.read(&name).await else {
                continue;
            };
            let Ok(file) = serde_json::from_slice::<Value>(&bytes) else {
                continue;
            };
            let signed = file.get("signed").unwrap_or(&Value::Null);
            for (path, message) in bins::differences(signed, &rows, &self.excused) {
                let place = self.place("target", &path);
                let message = format!("{message} (bin {name})");
                self.report.error(Code::BinDiffers, place, message);
            }
        }
    }

    /// Role rows against what is listed.
    fn versions(&mut self) {
        let none = Listed::default();
        let listed = self.listed.unwrap_or(&none);
        // Without a listing that can be read there is nothing to compare with, unless there is no timestamp at all.
        if self.listed.is_none() && self.publication.is_some() {
            let place = self.subject.config.depot.display();
            let message = "the ledger has published, but the depot's timestamp leads nowhere";
            self.report
                .advise(Code::DepotBehind, Severity::Error, place, message, RESTORE);
            return;
        }
        let mut names: BTreeSet<&str> = listed.roles.keys().map(String::as_str).collect();
        names.extend(self.roles.keys().map(String::as_str));
        names.extend(self.listed.iter().flat_map(|_| ["timestamp", "snapshot"]));
        let offline = self.subject.config.keys.targets.is_none();
        let mut unrecorded = Vec::new();
        for name in names {
            // Its versions are handed out elsewhere, or its row was reported as damaged.
            if (name == "targets" && offline) || self.damaged_roles.contains(name) {
                continue;
            }
            let empty = RoleRow {
                name: name.to_owned(),
                reserved: 0,
                published: 0,
                expires: None,
            };
            let row = self.roles.get(name).unwrap_or(&empty);
            let version = listed.version(name);
            let place = format!("{}: role {name}", self.subject.config.ledger.display());
            let (published, reserved) = (row.published, row.reserved);
            if version < published {
                let message = format!("version {published} was published, the depot lists {version}");
                self.report.error(Code::DepotBehind, place, message);
            } else if version > reserved {
                let message = format!("the depot lists version {version}, but no more than {reserved} were handed out");
                self.report.error(Code::LedgerBehind, place, message);
            } else if version > published {
                unrecorded.push(name);
            } else if let (Some(end), Some(told)) = (listed.expires.get(name), row.expires)
                && told > *end
            {
                // An earlier date stands there after the signer caught up with a publication it had not recorded.
                let message = format!("version {version} expires before the row says");
                self.report.error(Code::Role, place, message);
            }
        }
        if let Some(first) = unrecorded.first() {
            let message = format!(
                "a publication was swapped in and is not recorded yet ({} roles, `{first}` among them); the signer does \
                 that when it goes on",
                unrecorded.len()
            );
            self.report
                .note(Code::Publication, self.subject.config.ledger.display(), message);
            // Nothing that follows can fit.
            self.publication = None;
        }
    }

    fn last_publication(&mut self) {
        let Some(last) = &self.publication else { return };
        if !self.leased {
            let place = format!("{}: lease", self.subject.config.ledger.display());
            let message = "a signer published, but the ledger knows no lease: fencing numbers would begin again";
            let hint = "stop the gate and restore the ledger from a backup";
            self.report.advise(Code::Lease, Severity::Error, place, message, hint);
        }
        let place = format!("{}: publication", self.subject.config.ledger.display());
        if let Some(listed) = self.listed {
            let depot = format!("snapshot {}, timestamp {}", listed.snapshot, listed.timestamp);
            let message = format!("the last one is {}, the depot has {depot}", last.versions());
            if last.snapshot > listed.snapshot || last.timestamp > listed.timestamp {
                self.report.error(Code::Publication, &place, message);
            } else if depot != last.versions() {
                self.report.note(Code::Publication, &place, message);
            }
        }
        // Ledgers of earlier releases have no such lines until they publish again.
        if let Some(said) = self
            .said
            .as_ref()
            .filter(|said| self.chain_whole && **said != last.versions())
        {
            let message = format!("the last one is {}, the audit chain's last is {said}", last.versions());
            self.report.error(Code::Publication, &place, message);
        }
        let ahead = last.at.duration_since(self.subject.now).as_secs();
        if ahead > CLOCK_TOLERANCE {
            let message = format!("the last one is dated {ahead} s from now; the signer will not sign before");
            self.report.warning(Code::Clock, &place, message);
        }
    }

    fn tombstones(&mut self) {
        if !self.chain_whole {
            return;
        }
        for (path, why) in std::mem::take(&mut self.stones).missing() {
            if !self.excused.contains(&path) {
                let place = self.place("target", &path);
                self.report.error(Code::Tombstone, place, why);
            }
        }
    }

    fn place(&self, table: &str, row: &str) -> String {
        let ledger = self.subject.config.ledger.display();
        match row {
            "" => format!("{ledger}: {table}"),
            _ => format!("{ledger}: {table} {row}"),
        }
    }
}
