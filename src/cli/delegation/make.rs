//! `draft`: the next version of a team's role, or what a gate prepared for the team's signature.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;

use super::{draft, edit::Edits, export, show, site::Site};
use crate::{
    ceremony::{
        Draft, Kind,
        team::{Chain, MAX_TEAM_DRAFT, TeamDraft, TeamProposal},
    },
    cli::{
        CliError, block_on,
        draft::{edit::Expiry, failed, file, moment},
        print, print_json, say,
    },
    client::{self, Client},
    clock::{Clock as _, SystemClock},
    delegated::bins,
    terminal::printable,
    tuf::json,
};

/// Draft the next version of a role, for review and signatures
///
/// It follows the version that the gate lists now, fetched and verified from the root on. Without changes it is a renewal.
#[derive(Args, Debug)]
pub struct Make {
    /// The role
    #[arg(long, value_name = "NAME", required_unless_present = "observed")]
    role: Option<String>,
    /// The role whose targets the gate observes: what it has prepared waits for the team's signature
    #[arg(long, value_name = "NAME", conflicts_with_all = ["role", "Edits", "delegated_by", "from", "expires"])]
    observed: Option<String>,
    #[command(flatten)]
    site: Site,
    /// Ask no gate: the role is delegated by this draft of targets, draft of the role above, or targets.json (with --root)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "metadata_url"])]
    delegated_by: Option<PathBuf>,
    /// With --delegated-by, the role's current file, if it has one
    #[arg(long, value_name = "FILE", requires = "delegated_by")]
    from: Option<PathBuf>,
    #[command(flatten)]
    edits: Edits,
    /// When it expires: days from now, or a date
    #[arg(long, value_name = "90d|DATE", default_value = "90d", value_parser = Expiry::parse)]
    expires: Expiry,
    /// The draft; `N.ROLE.draft.json` if it is not given, N being the highest version in it
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also write the plain TUF metadata, for other tools to sign
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Make {
    /// Drafts.
    pub fn run(self) -> Result<(), CliError> {
        let made = match (&self.observed, &self.role) {
            (Some(role), _) => self.prepared(role)?,
            (None, Some(role)) => self.next(role)?,
            (None, None) => return Err(CliError::usage("no role is named").hint("give `--role NAME`")),
        };
        made.check_expiry(SystemClock.now()).map_err(failed)?;
        say(show::review(&made).trim_end());
        let out = self.out.clone().unwrap_or_else(|| {
            let version = made.parts().iter().map(|part| part.version()).max().unwrap_or_default();
            let role = self.observed.as_deref().or(self.role.as_deref()).unwrap_or("roles");
            format!("{version}.{role}.draft.json").into()
        });
        file::put(&out, &made.to_bytes(), true)?;
        if let Some(to) = &self.metadata {
            export(&made, to)?;
        }
        self.tell(&made, &out)
    }

    /// The next version.
    fn next(&self, role: &str) -> Result<TeamDraft, CliError> {
        let (chain, current) = match &self.delegated_by {
            Some(by) => {
                let from = self.from.as_deref().map(|from| file::read_up_to(from, MAX_TEAM_DRAFT));
                (self.planned(by)?, from.transpose()?)
            }
            None => {
                let mut client = self.site.client()?;
                let found = self.site.chain(&mut client, role)?;
                (Chain::new(&found.root, &found.above).map_err(failed)?, found.current)
            }
        };
        let expires = self.expires.from(SystemClock.now());
        let mut proposal = TeamProposal::after(role, current.as_deref(), expires).map_err(failed)?;
        self.edits.apply(&mut proposal)?;
        TeamDraft::new(chain, role, current.as_deref(), proposal.into_signed(), moment()).map_err(failed)
    }

    /// On whose word the role will be, from a file.
    fn planned(&self, by: &Path) -> Result<Chain, CliError> {
        let bytes = file::read_up_to(by, MAX_TEAM_DRAFT)?;
        let format = json::parse(&bytes).ok();
        let format = format
            .as_ref()
            .and_then(|file| file.get("format"))
            .and_then(Value::as_str);
        let chain = match format {
            Some(format) if format.starts_with("tufgate delegation") => Chain::below_team(&draft(by)?),
            Some(_) => {
                let draft: Draft = file::draft(by, Kind::Targets)?;
                Chain::below_targets(&draft)
            }
            None => {
                let Some(root) = &self.site.root else {
                    let missing = format!("`{}` is no draft, and a targets.json needs its root", by.display());
                    return Err(CliError::usage(missing).hint("give `--root FILE`"));
                };
                Chain::new(&file::read(root)?, &[("targets".to_owned(), bytes)])
            }
        };
        chain.map_err(failed)
    }

    /// What the gate has signed and the team has not.
    fn prepared(&self, role: &str) -> Result<TeamDraft, CliError> {
        let mut client = self.site.client()?;
        let found = self.site.chain(&mut client, role)?;
        let waiting = waiting(&client, role)?;
        if let Some(other) = waiting.keys().find(|key| !bins::belongs(bins::viewed(key).0, role)) {
            let (other, role) = (printable(other), printable(role));
            return Err(CliError::failed(format_args!(
                "what waits for `{role}` holds a file of `{other}`, which is none of its own"
            )));
        }
        // What waits need not begin with the role itself: bins stand on what leads to them now.
        let mut chain = Chain::new(&found.root, &found.above).map_err(failed)?;
        let whole = waiting.contains_key(role);
        let delegator = bins::delegator(role);
        let stand = |name: &&str| !whole && !waiting.contains_key(*name);
        for name in [role, &delegator].into_iter().filter(stand) {
            let Some(own) = self.site.chain(&mut client, name)?.current else {
                return Err(CliError::failed(format_args!("`{}` has no file yet", printable(name))));
            };
            chain = chain.down(name, &own).map_err(failed)?;
        }
        let mut files = BTreeMap::new();
        for (key, file) in waiting {
            let (name, _) = bins::viewed(&key);
            let current = self.site.found(&mut client, name)?.and_then(|found| found.current);
            files.insert(key, (file, current));
        }
        TeamDraft::prepared(chain, &files, moment()).map_err(failed)
    }

    fn tell(&self, draft: &TeamDraft, out: &Path) -> Result<(), CliError> {
        if self.json {
            let mut shown = show::json(draft);
            shown["draft"] = out.display().to_string().into();
            return print_json(&shown);
        }
        let out = out.display();
        print(format_args!(
            "{}wrote `{out}`; each signer: tufgate delegation sign {out} --key FILE",
            show::standing(draft)
        ))
    }
}

/// Files that wait for the team's signature, by role.
fn waiting(client: &Client, role: &str) -> Result<BTreeMap<String, Vec<u8>>, CliError> {
    let name = format!("pending/{role}");
    let body = block_on(client.beside(&name, MAX_TEAM_DRAFT))?.map_err(|error| match &error {
        client::ClientError::Fetch(fetch) if fetch.is_absent() => CliError::failed(format_args!(
            "nothing of `{}` waits for a signature there",
            printable(role)
        )),
        _ => error.into(),
    })?;
    let strange = |why: String| CliError::failed(format_args!("`{}`: {}", client.beside_url(&name), printable(&why)));
    let body = json::parse(&body).map_err(|error| strange(error.to_string()))?;
    let Some(roles) = body.get("roles").and_then(Value::as_object) else {
        return Err(strange("it has no `roles`".to_owned()));
    };
    Ok(roles
        .iter()
        .map(|(name, file)| (name.clone(), file.to_string().into_bytes()))
        .collect())
}
