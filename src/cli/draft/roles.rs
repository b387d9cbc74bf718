//! The roles that a draft of targets delegates to: none may be led to that has no good file, so those files come with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{file, publish::stored};
use crate::{
    catalog::roles::Roles as Listed,
    ceremony::{Draft, Kind},
    cli::{CliError, operator},
    clock::{Clock as _, SystemClock},
    config::Config,
    delegated::{self, Caps, Refusal, Submitted},
    intake,
    ledger::{Claim, Submission, Submitted as Answer},
    server::Store,
    tuf::json,
};

/// Files that are given with a draft.
pub struct Roles(Submitted);

/// What follows once the draft is published.
pub struct Ready {
    store: Store,
    submission: Submission,
    claims: Vec<Claim>,
}

impl Roles {
    /// Reads them.
    pub fn read(files: &[PathBuf], kind: Kind) -> Result<Self, CliError> {
        let mut all = Submitted::new();
        if kind != Kind::Targets && !files.is_empty() {
            return Err(CliError::usage("`--with` is for targets, which delegate to roles"));
        }
        for path in files {
            for (role, envelope) in submission(path)? {
                if all.insert(role.clone(), envelope).is_some() {
                    return Err(CliError::usage(format_args!(
                        "two files are given for the role `{role}`"
                    )));
                }
            }
        }
        Ok(Self(all))
    }

    /// Whether every role has a good file, those that are given in place of those that stand; what to submit then.
    pub async fn ready(&self, draft: &Draft, config: &Config) -> Result<Option<Ready>, CliError> {
        let Some(below) = draft.delegations() else {
            return Ok(None);
        };
        if self.0.is_empty() && delegated::custom(&below).next().is_none() {
            return Ok(None);
        }
        let store = Store::existing(config)?;
        let mut reserved = BTreeMap::new();
        for row in store.ledger.roles().await.map_err(operator::failed)? {
            reserved.insert(row.name, row.reserved);
        }
        let listed = Listed::new(store.depot.clone()).newest().await.map_err(stored)?;
        if let Some(role) = listed.top.as_ref().and_then(|top| delegated::abandoned(top, &below)) {
            let why = format!(
                "`{role}` would keep the bins' old key and not list the new one: the gate would observe it no more"
            );
            return Err(CliError::failed(why).hint(format!("`--add-key {role}:NAME=FILE` or `--remove-role {role}`")));
        }
        let (standing, listed) = (&listed.files, &listed.versions);
        let following = |role: &str| {
            let known = |versions: &BTreeMap<String, u64>| versions.get(role).copied().unwrap_or(0);
            known(listed) + 1..=known(&reserved).max(known(listed)) + 1
        };
        let caps = Caps {
            bytes: config.tuf.max_bin_bytes,
            targets: config.tuf.max_bin_targets,
        };
        let now = SystemClock.now();
        let next = delegated::judge(&below, standing, &self.0, &following, caps, now).map_err(|refusal| {
            let hint = "give the role's file, signed by the keys that the draft lists for it, with `--with FILE`";
            let own = refusal.hint.clone();
            refused(refusal).hint(own.map_or(hint.to_owned(), |own| format!("{own}; {hint}")))
        })?;
        let claims = intake::claims(&*store.ledger, &config.policy, &below, standing, &next).await;
        let claims = claims.map_err(operator::failed)?.map_err(refused)?;
        let version = |role: &String| Some((role.clone(), next.files.get(role)?.version));
        let submission = Submission {
            id: 0,
            versions: next.fresh.iter().filter_map(version).collect(),
            body: serde_json::json!({"roles": self.0}).to_string(),
            who: operator::who(),
            at: now,
        };
        Ok((!next.fresh.is_empty()).then_some(Ready {
            store,
            submission,
            claims,
        }))
    }

    /// Hands them to the signer.
    pub async fn submit(&self, ready: Option<Ready>) -> Result<(), CliError> {
        let Some(ready) = ready else {
            return Ok(());
        };
        let submitted = ready.store.ledger.submit(ready.submission, ready.claims).await;
        match submitted.map_err(operator::failed)? {
            Answer::Waits(_) => Ok(()),
            Answer::Taken { role, wanted } => Err(CliError::failed(format_args!(
                "role `{role}`: version {wanted} is the next one now"
            ))
            .hint(
                "publish again, with that version if it is asked for: targets.json waits, and what its keys did not sign \
                 is not taken any more",
            )),
            Answer::Conflict { path, conflict } => Err(refused(intake::stands(&path, conflict))),
            Answer::Full => Err(CliError::failed("too much waits for the signer already").hint("publish again later")),
        }
    }
}

/// What `delegation submit --out` wrote; the draft itself is easily given in its place.
fn submission(path: &Path) -> Result<Submitted, CliError> {
    let bytes = file::read(path)?;
    delegated::submission(&bytes).map_err(|refusal| {
        let draft = json::parse(&bytes).is_ok_and(|file| file.get("format").is_some());
        let why = match draft {
            true => "it is a draft, not what was made of it to submit".to_owned(),
            false => refused(refusal).message,
        };
        CliError::failed(format_args!("`{}`: {why}", path.display()))
            .hint("write it with `tufgate delegation submit --out FILE`")
    })
}

fn refused(refusal: Refusal) -> CliError {
    let failed = CliError::failed(&refusal);
    match refusal.hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
