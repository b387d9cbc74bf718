//! What stands in ledger and depot, in numbers: the document of `/status` and of `tufgate status`.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    admin::{ends, health::Role},
    catalog::roles::Roles,
    delegated,
    depot::{Depot, DepotError, TIMESTAMP},
    ledger::{Drift, GUARD, Ledger, LedgerError, Offer, Submission},
    terminal::printable,
    tuf::layout::Generation,
};

/// Versions, counts and roles.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The timestamp that clients see; absent before the first publication.
    pub timestamp: Option<Published>,
    /// Version and end of root, timestamp, snapshot and what it lists but bins, by role.
    #[serde(default)]
    pub ends: BTreeMap<String, Published>,
    /// Version of the last published snapshot; 0 before the first.
    pub snapshot: u64,
    /// Versions of the roles, by name, bins left out.
    pub versions: BTreeMap<String, u64>,
    /// Number of bins in use; 0 before the first publication.
    pub bins: u64,
    /// Live targets.
    pub targets: u64,
    /// Observations waiting for the signer.
    pub pending: u64,
    /// Paths whose upstream bytes differ from the record.
    pub drifts: Vec<Drift>,
    /// Versions of roles that the signer has prepared and that wait for their team's signature, by role.
    #[serde(default)]
    pub offered: BTreeMap<String, u64>,
    /// Files of roles that others sign and that wait for the signer, oldest first.
    #[serde(default)]
    pub submitted: Vec<Submitted>,
    /// What was not published since it would break clients, newest first: the last few of the newest lines of the audit log.
    #[serde(default)]
    pub guarded: Vec<Guarded>,
    /// Seconds since the answering process started; absent when none answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// The answering process is about to end.
    #[serde(default)]
    pub draining: bool,
    /// The upstream did not answer the last request.
    #[serde(default)]
    pub upstream_down: bool,
    /// Roles of the answering process.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
}

/// Files of roles that others sign, handed in together and not yet taken up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Submitted {
    /// Version by role.
    pub versions: BTreeMap<String, u64>,
    /// Since when.
    pub at: Timestamp,
    /// Who handed them in.
    pub who: String,
}

/// A target or role that was not published since it would break clients.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Guarded {
    /// When.
    pub at: Timestamp,
    /// The target path; empty for a role.
    pub path: String,
    /// Whom, how, and what it was.
    pub why: String,
}

/// Lines of the audit log that are looked through, and most of them that are told.
const GUARDED: (usize, usize) = (1_000, 5);

/// A file that clients are shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Published {
    /// Its version.
    pub version: u64,
    /// Until when clients accept it.
    pub expires: Option<Timestamp>,
}

/// Ledger or depot could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The depot.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// A file of the depot is no metadata.
    #[error("the depot's `{name}` cannot be read: {source}")]
    File {
        /// The file.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Status {
    /// Reads both.
    pub async fn of(ledger: &dyn Ledger, listed: &Roles) -> Result<Self, StatusError> {
        let (targets, pending) = ledger.counts().await?;
        let mut status = Self {
            targets,
            pending,
            snapshot: ledger
                .publication()
                .await?
                .map_or(0, |publication| publication.snapshot),
            drifts: ledger.drifts().await?,
            offered: ledger.offers().await?.iter().map(offered).collect(),
            submitted: ledger.submissions().await?.into_iter().map(Submitted::from).collect(),
            guarded: Guarded::newest(ledger).await?,
            ..Self::default()
        };
        // `bins4-0` is a bin, `bins` their delegator.
        let (bins, roles): (Vec<_>, Vec<_>) = ledger
            .roles()
            .await?
            .into_iter()
            .partition(|role| role.name.contains('-'));
        let published: HashSet<_> = bins
            .iter()
            .filter(|bin| bin.published > 0)
            .map(|bin| &*bin.name)
            .collect();
        status.bins = Generation::listed(|name| published.contains(name)).map_or(0, |bins| bins.count().into());
        status.versions = roles.into_iter().map(|role| (role.name, role.published)).collect();
        status.timestamp = Published::of(listed.depot()).await?;
        status.ends = ends::of(listed).await?;
        Ok(status)
    }
}

/// The role of an offer, and the highest version in it: of the role, or of one of its bins.
fn offered(offer: &Offer) -> (String, u64) {
    let files = delegated::submission(offer.body.as_bytes()).unwrap_or_default();
    let versions = files.values().filter_map(|file| file["signed"]["version"].as_u64());
    (offer.role.clone(), versions.max().unwrap_or_default())
}

impl From<Submission> for Submitted {
    fn from(submission: Submission) -> Self {
        let Submission { versions, at, who, .. } = submission;
        Self { versions, at, who }
    }
}

impl Guarded {
    async fn newest(ledger: &dyn Ledger) -> Result<Vec<Self>, LedgerError> {
        let (lines, most) = GUARDED;
        let lines = ledger.audit_lines(lines).await?.into_iter();
        let guarded = lines.filter(|line| line.action == GUARD).take(most);
        Ok(guarded
            .map(|line| Self {
                at: line.at,
                path: line.path,
                why: line.detail,
            })
            .collect())
    }
}

impl Published {
    /// The timestamp that clients see; `None` before the first publication.
    pub async fn of(depot: &dyn Depot) -> Result<Option<Self>, StatusError> {
        let Some(bytes) = depot.read(TIMESTAMP).await? else {
            return Ok(None);
        };
        let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|source| StatusError::File {
            name: TIMESTAMP.to_owned(),
            source,
        })?;
        Ok(Some(envelope.signed))
    }
}

/// Why clients would refuse the metadata at `now`, in words.
pub fn stale(timestamp: Option<Published>, now: Timestamp) -> Option<String> {
    match timestamp {
        None => Some("nothing has been published yet".to_owned()),
        Some(Published {
            version,
            expires: Some(expires),
        }) if expires <= now => Some(format!("version {version} of the timestamp expired at {expires}")),
        Some(_) => None,
    }
}

/// What is read of a signed file; its signature is the clients' business.
#[derive(Deserialize)]
struct Envelope {
    signed: Published,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uptime {
            Some(seconds) => writeln!(
                f,
                "gate       up for {seconds} s{}",
                if self.draining { ", draining" } else { "" }
            )?,
            None => writeln!(f, "gate       not running")?,
        }
        if self.upstream_down {
            writeln!(f, "upstream   does not answer")?;
        }
        for (role, state) in &self.roles {
            match state {
                Role::Up => {}
                Role::Starting => writeln!(f, "{role:<10} starting")?,
                Role::Down { error } => writeln!(f, "{role:<10} down: {error}")?,
            }
        }
        if let Some(Published { version, expires }) = self.ends.get(ends::ROOT) {
            write!(f, "root       version {version}")?;
            expires.map_or(Ok(()), |at| write!(f, ", expires {at}"))?;
            match *version > ends::FEWEST_STEPS {
                true => writeln!(
                    f,
                    "; a long chain: some clients follow {} roots in one update",
                    ends::FEWEST_STEPS
                )?,
                false => writeln!(f)?,
            }
        }
        match self.timestamp {
            Some(Published { version, expires }) => {
                write!(f, "timestamp  version {version}")?;
                expires.map_or(Ok(()), |at| write!(f, ", expires {at}"))?;
                writeln!(f)?;
            }
            None if self.snapshot > 0 => writeln!(
                f,
                "timestamp  none in the depot, although the ledger has published: `tufgate audit` tells what is missing"
            )?,
            None => writeln!(f, "timestamp  none published yet")?,
        }
        writeln!(f, "snapshot   version {}, {} bins", self.snapshot, self.bins)?;
        writeln!(
            f,
            "targets    {} live, {} observations pending",
            self.targets, self.pending
        )?;
        for (role, Published { version, expires }) in &self.ends {
            if let Some(at) = expires.filter(|_| ![ends::ROOT, "timestamp", "snapshot"].contains(&role.as_str())) {
                writeln!(f, "expires    {role} {version} at {at}")?;
            }
        }
        for (role, version) in &self.offered {
            writeln!(
                f,
                "offered    {role} {version} waits for its team: `tufgate delegation draft --observed {role}`"
            )?;
        }
        for Submitted { versions, at, who } in &self.submitted {
            let files: Vec<_> = versions
                .iter()
                .map(|(role, version)| format!("{role} {version}"))
                .collect();
            let (files, who) = (files.join(", "), printable(who));
            writeln!(f, "submitted  {files} by {who} at {at}, waits for the signer")?;
        }
        write!(f, "drifts     {}", self.drifts.len())?;
        for guarded in &self.guarded {
            write!(f, "\nguarded    {} {}", guarded.at, printable(&guarded.why))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{depot::memory::MemoryDepot, ledger::memory::MemoryLedger};

    #[tokio::test]
    async fn what_waits_for_a_team_or_for_the_signer_is_told() {
        let (ledger, depot) = (
            MemoryLedger::new(),
            Roles::new(std::sync::Arc::new(MemoryDepot::default())),
        );
        let at: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let fence = ledger.lease("signer", 15, at).await.unwrap().unwrap();
        let body = r#"{"roles": {"docs": {"signatures": [], "signed": {"version": 3}}}}"#.to_owned();
        let role = "docs".to_owned();
        ledger.offer(fence, Offer { role, body }).await.unwrap();
        let submission = Submission {
            id: 0,
            versions: BTreeMap::from([("team-a".to_owned(), 1)]),
            body: "{}".to_owned(),
            who: "10.0.0.1".to_owned(),
            at,
        };
        ledger.submit(submission, Vec::new()).await.unwrap();
        let status = Status::of(&ledger, &depot).await.unwrap();
        let text = status.to_string();
        for line in [
            "offered    docs 3 waits for its team: `tufgate delegation draft --observed docs`",
            "submitted  team-a 1 by 10.0.0.1 at 2030-01-01T00:00:00Z, waits for the signer",
        ] {
            assert!(text.lines().any(|told| told == line), "{text}");
        }
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["offered"]["docs"], 3);
        assert_eq!(json["submitted"][0]["versions"]["team-a"], 1);
    }

    #[test]
    fn metadata_is_stale_before_the_first_and_after_the_last_second() {
        let expires: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let second = jiff::SignedDuration::from_secs(1);
        let seventh = Some(Published {
            version: 7,
            expires: Some(expires),
        });
        assert!(stale(None, expires).is_some());
        assert_eq!(stale(seventh, expires - second), None);
        assert!(stale(seventh, expires).unwrap().contains("version 7"));
    }
}
