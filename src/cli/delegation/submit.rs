//! `submit`: to the gate, once enough have signed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::{drafts, show, site::Reach};
use crate::{
    ceremony::team::TeamDraft,
    cli::{
        CliError, block_on,
        draft::{failed, file, moment},
        print, print_json,
    },
    client::submit::{self, Accepted, SubmitError},
    clock::{Clock as _, SystemClock},
    config::Config,
    delegated::bins,
    terminal::printable,
};

/// Submit drafts that enough have signed
///
/// Several roles are taken together or not at all. No credential is asked for: the signatures speak. A draft becomes the
/// record of its submission: archive it.
#[derive(Args, Debug)]
pub struct Submit {
    /// The drafts, which become records, and copies of them that were signed apart
    #[arg(required = true)]
    drafts: Vec<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// The gate that this configuration is of
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "metadata_url"])]
    config: Option<PathBuf>,
    /// Wait until a published snapshot lists it, at most so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=30))]
    wait: Option<u64>,
    /// Send nothing: write what would be sent, for `tufgate targets publish --with`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["Reach", "config", "wait"])]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Submit {
    /// Submits.
    pub fn run(self) -> Result<(), CliError> {
        let mut drafts = drafts(&self.drafts)?;
        let mut files = BTreeMap::new();
        for (path, draft) in &drafts {
            for (role, bytes) in draft.finished(SystemClock.now()).map_err(failed)? {
                if files.insert(role.clone(), bytes).is_some() {
                    return Err(CliError::usage(format_args!(
                        "`{}` has `{role}` once more",
                        path.display()
                    )));
                }
            }
        }
        if let Some(out) = &self.out {
            file::put(out, &submit::body(&files), true)?;
            return print(format_args!("wrote `{}`", out.display()));
        }
        let to = self.url()?;
        let accepted = block_on(submit::submit(&self.reach.fetcher()?, &to, &files, self.wait))?;
        let accepted = accepted.map_err(refused)?;
        for (path, draft) in &mut drafts {
            if draft.sent().is_none() {
                draft.record(moment(), &to, accepted.snapshot).map_err(failed)?;
            }
            file::put(path, &draft.to_bytes(), false)?;
        }
        self.tell(&drafts, &files, &accepted)
    }

    /// Where to.
    fn url(&self) -> Result<String, CliError> {
        let below = |metadata: String| format!("{}/submit", metadata.trim_end_matches('/'));
        if let Some(metadata) = self.reach.metadata() {
            return Ok(below(metadata));
        }
        let Some(file) = &self.config else {
            return Err(CliError::usage("no gate is named").hint("give `--url URL` or `--config FILE`"));
        };
        let gate = Config::load(file)?.gate;
        let scheme = if gate.tls.is_some() { "https" } else { "http" };
        Ok(below(format!(
            "{scheme}://{}{}",
            reachable(gate.listen),
            gate.metadata_prefix
        )))
    }

    fn tell(
        &self,
        drafts: &[(PathBuf, TeamDraft)],
        files: &BTreeMap<String, Bytes>,
        accepted: &Accepted,
    ) -> Result<(), CliError> {
        if self.json {
            return print_json(&json!({"accepted": accepted.accepted, "snapshot": accepted.snapshot}));
        }
        for (path, draft) in drafts {
            print(show::standing(draft).trim_end())?;
            print(format_args!("archive the record `{}`", path.display()))?;
        }
        let roles: Vec<_> = files
            .keys()
            .filter(|key| !bins::viewed(key).1)
            .map(|role| format!("{role} {}", accepted.accepted.get(role).copied().unwrap_or_default()))
            .collect();
        let roles = printable(&roles.join(", "));
        match (accepted.snapshot, self.wait) {
            (Some(snapshot), _) => print(format_args!("accepted {roles}, listed in snapshot {snapshot}")),
            (None, Some(_)) => print(format_args!("accepted {roles}; no snapshot lists it yet")),
            (None, None) => print(format_args!("accepted {roles}")),
        }
    }
}

/// A listener on every address is reached on this machine's own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn refused(error: SubmitError) -> CliError {
    let refused = CliError::failed(printable(&error.to_string()));
    match &error {
        SubmitError::Refused { problem, .. } => match &problem.hint {
            Some(hint) => refused.hint(hint),
            None => refused,
        },
        SubmitError::Strange { .. } => refused.hint("is it a gate, and of a version that takes roles?"),
        SubmitError::Fetch(_) => refused,
    }
}
