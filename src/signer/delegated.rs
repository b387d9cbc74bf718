//! Roles that others sign: what is listed of them, what was handed in, and a targets.json that somebody put into the depot.
//!
//! The signer believes no proxy: it judges every file again, against what root's keys signed. What it takes up becomes part of
//! one publication: the file is written first, then the snapshot pins it, and the targets it lists become the role's in the
//! ledger.

use std::{collections::BTreeMap, ops::RangeInclusive};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tough::schema::{self, Root, Signed};

use crate::{
    delegated::{self, Caps, Files, Next, Refusal, Said, Standing, Submitted},
    depot::Stored,
    intake,
    ledger::{Act, AuditLine, Observation, Provenance, Seq, Submission},
    tuf::{layout, schema::Delegations},
};

use super::{
    Signer, SignerError,
    observed::Observed,
    recover::{damaged, parse, versions},
    shape::{Shape, TARGETS},
    state::State,
};

/// What is known of roles that others sign.
#[derive(Default)]
pub(super) struct Custom {
    /// The `signed` object of the listed targets.json.
    pub(super) top: Option<Value>,
    /// Every role's file, as listed.
    pub(super) files: Files,
    /// A newer targets.json that root's keys signed, not listed yet.
    pub(super) proposed: Option<Proposed>,
    /// What the gate observes for roles that are countersigned; `None` until it was looked for.
    pub(super) observed: Option<BTreeMap<String, Observed>>,
}

/// A targets.json in the depot that is newer than the listed one.
#[derive(Clone)]
pub(super) struct Proposed {
    pub(super) version: u64,
    pub(super) expires: Timestamp,
    pub(super) bytes: Bytes,
    pub(super) signed: Value,
    /// It was said before that it waits.
    held: bool,
}

/// What a publication takes up.
#[derive(Default)]
pub(super) struct Taken {
    /// The new targets.json.
    pub(super) targets: Option<Proposed>,
    /// All roles as they will be.
    pub(super) files: Files,
    /// The roles that have a new file.
    pub(super) fresh: Vec<String>,
    /// What changes for paths.
    pub(super) acts: Vec<Observation>,
    /// The submissions that it ends.
    pub(super) ended: Vec<u64>,
    /// What the audit chain is told of them.
    pub(super) audit: Vec<AuditLine>,
}

impl Taken {
    /// Whether a file is to be listed, or one is to be listed no more.
    pub(super) fn lists(&self) -> bool {
        self.targets.is_some() || !self.fresh.is_empty()
    }
}

impl Signer {
    /// Reads the roles that are listed, and what newer targets.json stands in the depot.
    pub(super) async fn read_custom(
        &self,
        state: &mut State,
        files: &[Stored],
        roots: &[Root],
    ) -> Result<(), SignerError> {
        let online = self.parts.keys.targets.is_some();
        if state.shape == Shape::Flat {
            return Ok(());
        }
        let listed = state.listed(TARGETS);
        if let Some(version) = listed
            && let Some(bytes) = self.parts.depot.read(&layout::file(TARGETS, version)).await?
        {
            let mut envelope: Value = parse(&layout::file(TARGETS, version), &bytes)?;
            state.custom.top = envelope.get_mut("signed").map(Value::take);
        }
        let below = state.custom.top.as_ref().and_then(delegated::below);
        let mut standing = Standing::below(below.as_ref());
        while let Some(role) = standing.next() {
            let name = layout::file(&role, state.listed(&role).unwrap_or(0));
            let bytes = self.parts.depot.read(&name).await?;
            if bytes.is_none() {
                tracing::error!(
                    "`{name}` is gone from the depot: those who sign `{role}` must submit its next version"
                );
            }
            if let Err(why) = standing.read(role, bytes) {
                tracing::error!("`{name}` in the depot is damaged, until its next version is submitted: {why}");
            }
        }
        state.custom.files = standing.files();
        let newest = versions(files, TARGETS).into_iter().next_back();
        let Some(version) = newest.filter(|version| Some(*version) > listed) else {
            return match (online, listed) {
                (false, None) => Err(SignerError::NoTargets),
                _ => Ok(()),
            };
        };
        let name = layout::file(TARGETS, version);
        let bytes = self.file(TARGETS, version).await?;
        let targets: Signed<schema::Targets> = parse(&name, &bytes)?;
        let signed = roots.first().is_some_and(|root| root.verify_role(&targets).is_ok());
        if !signed || targets.signed.version.get() != version {
            // Our own, of before a rotation and a crash.
            if online {
                return Ok(());
            }
            return Err(damaged(
                &name,
                "the root's targets keys did not sign it under this version",
            ));
        }
        let mut envelope: Value = parse(&name, &bytes)?;
        state.custom.proposed = Some(Proposed {
            version,
            expires: targets.signed.expires,
            bytes,
            signed: envelope.get_mut("signed").map(Value::take).unwrap_or_default(),
            held: false,
        });
        Ok(())
    }

    /// What of the depot's newest targets.json and of the submissions can be listed now; `None` when there is nothing of
    /// either. `upto`: all observations up to this one are applied in the same turn.
    pub(super) async fn take_up(
        &self,
        state: &mut State,
        upto: Seq,
        now: Timestamp,
    ) -> Result<Option<Taken>, SignerError> {
        let mut waiting = self.parts.ledger.submissions().await?;
        if state.shape == Shape::Flat || (waiting.is_empty() && state.custom.proposed.is_none()) {
            return Ok(None);
        }
        let mut desk = Desk {
            caps: Caps {
                bytes: self.parts.config.tuf.max_bin_bytes,
                targets: self.parts.config.tuf.max_bin_targets,
            },
            reserved: BTreeMap::new(),
            listed: state
                .roles
                .iter()
                .map(|(role, meta)| (role.clone(), meta.version))
                .collect(),
            now,
        };
        for row in self.parts.ledger.roles().await? {
            desk.reserved.insert(row.name, row.reserved);
        }
        let mut taken = Taken {
            files: state.custom.files.clone(),
            ..Taken::default()
        };
        let mut top = state.custom.top.as_ref().and_then(delegated::below);
        if let Some(proposed) = &state.custom.proposed {
            let below = delegated::below(&proposed.signed);
            let alone = Submitted::new();
            let tried: Vec<_> = std::iter::once((None, Ok(alone)))
                .chain(waiting.iter().map(|waits| (Some(waits.id), submitted(waits))))
                .collect();
            let lost = top.as_ref().zip(below.as_ref());
            let lost = lost.and_then(|(top, below)| delegated::abandoned(top, below));
            let mut why = lost.as_deref().map(abandons);
            for (id, submitted) in tried {
                let Some(below) = below.as_ref().filter(|_| lost.is_none()) else {
                    break;
                };
                let Ok(submitted) = submitted else { continue };
                match self.judge(&desk, below, &taken.files, &submitted).await? {
                    Ok(next) => {
                        taken.targets = Some(proposed.clone());
                        taken.take(next, &mut desk);
                        taken.ended.extend(id);
                        waiting.retain(|waits| Some(waits.id) != id);
                        break;
                    }
                    Err(refusal) => why = why.or(Some(refusal)),
                }
            }
            match (&taken.targets, why) {
                (Some(_), _) => top = below,
                (None, Some(why)) if !proposed.held => {
                    let version = proposed.version;
                    tracing::error!("targets {version} is not listed until all its roles have good files: {why}");
                }
                _ => {}
            }
        }
        if taken.targets.is_none()
            && let Some(proposed) = &mut state.custom.proposed
        {
            proposed.held = true;
        }
        // While a newer targets.json waits: who signs for its new keys must not be overtaken by who holds the old ones.
        let held = state.custom.proposed.as_ref().filter(|_| taken.targets.is_none());
        let held = held.and_then(|proposed| delegated::below(&proposed.signed));
        for waits in waiting {
            let judged = match (&top, submitted(&waits)) {
                (Some(top), Ok(submitted)) => match held
                    .as_ref()
                    .map_or(Ok(()), |held| delegated::held(top, held, &submitted, desk.caps))
                {
                    Ok(()) => self.judge(&desk, top, &taken.files, &submitted).await?,
                    Err(refusal) => Err(refusal),
                },
                (None, _) => continue,
                (_, Err(refusal)) => Err(refusal),
            };
            match judged {
                Ok(next) => {
                    for role in &next.fresh {
                        let version = next.files.get(role).map_or(0, |file| file.version);
                        taken
                            .audit
                            .push(line(&waits, "delegate", format!("role {role}, version {version}")));
                    }
                    taken.take(next, &mut desk);
                    taken.ended.push(waits.id);
                }
                // It may belong to a targets.json that was put there a moment ago.
                Err(_) if self.superseded(state).await? => {}
                Err(refusal) => {
                    tracing::warn!(submission.by = waits.who, "a submission is refused: {refusal}");
                    taken
                        .audit
                        .push(line(&waits, "refuse", format!("a submission: {refusal}")));
                    taken.ended.push(waits.id);
                }
            }
        }
        taken.acts = acts(&state.custom.files, &taken.files, upto, now);
        let nothing = taken.targets.is_none() && taken.fresh.is_empty() && taken.ended.is_empty();
        Ok((!nothing).then_some(taken))
    }

    /// By the files, then by what the ledger has at their paths.
    async fn judge(
        &self,
        desk: &Desk,
        top: &Delegations,
        files: &Files,
        submitted: &Submitted,
    ) -> Result<Result<Next, Refusal>, SignerError> {
        match desk.judge(top, files, submitted) {
            Ok(next) => {
                let (ledger, policy) = (&*self.parts.ledger, &self.parts.config.policy);
                let claims = intake::claims(ledger, policy, top, files, &next).await?;
                Ok(claims.map(|_| next))
            }
            refused => Ok(refused),
        }
    }
}

impl Taken {
    fn take(&mut self, next: Next, desk: &mut Desk) {
        for role in &next.fresh {
            if let Some(file) = next.files.get(role) {
                desk.listed.insert(role.clone(), file.version);
                let reserved = desk.reserved.entry(role.clone()).or_default();
                *reserved = file.version.max(*reserved);
            }
        }
        self.fresh
            .retain(|role| next.files.contains_key(role) && !next.fresh.contains(role));
        self.fresh.extend(next.fresh);
        self.files = next.files;
    }
}

/// What files are judged by.
struct Desk {
    caps: Caps,
    /// Highest versions ever handed out or written, by role.
    reserved: BTreeMap<String, u64>,
    listed: BTreeMap<String, u64>,
    now: Timestamp,
}

impl Desk {
    fn judge(&self, top: &Delegations, files: &Files, submitted: &Submitted) -> Result<Next, Refusal> {
        let of = |versions: &BTreeMap<String, u64>, role: &str| versions.get(role).copied().unwrap_or(0);
        // What a turn reserved that did not end is taken up again.
        let next = |role: &str| -> RangeInclusive<u64> {
            let listed = of(&self.listed, role);
            listed + 1..=of(&self.reserved, role).max(listed) + 1
        };
        delegated::judge(top, files, submitted, &next, self.caps, self.now)
    }
}

/// Why a targets.json cannot be listed that would leave an observed role to its team.
pub(super) fn abandons(role: &str) -> Refusal {
    let why = "it is countersigned with the bins' key, and lists the old one of two";
    Refusal::unsigned(role, why).hint(format!(
        "list the new key for it beside the old one first, `--add-key {role}:NAME=FILE`, or end it, `--remove-role {role}`"
    ))
}

fn submitted(waits: &Submission) -> Result<Submitted, Refusal> {
    delegated::submission(waits.body.as_bytes())
}

fn line(waits: &Submission, action: &str, detail: String) -> AuditLine {
    AuditLine {
        at: waits.at,
        who: waits.who.clone(),
        action: action.to_owned(),
        path: String::new(),
        detail,
    }
}

/// What changes between two sets of roles, as the ledger is told it.
pub(super) fn acts(old: &Files, new: &Files, seq: Seq, at: Timestamp) -> Vec<Observation> {
    let changes = delegated::changes(old, new).into_iter();
    let acts = changes.map(|(path, said)| Observation {
        seq,
        path,
        act: match said {
            Said::Lists(digest, length) => Act::Record {
                digest,
                length,
                provenance: Provenance::Delegated,
            },
            Said::Drops => Act::Delete,
        },
        who: "signer".to_owned(),
        at,
    });
    acts.collect()
}
