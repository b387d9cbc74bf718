//! `status`: who has signed, who is missing; with a gate, whether the draft still follows what stands there.

use std::path::PathBuf;

use clap::Args;

use super::{drafts, export, show, site::Site};
use crate::{
    ceremony::{
        CeremonyError,
        team::{Chain, TeamDraft},
    },
    cli::{CliError, draft::failed, print, print_json},
    terminal::printable,
};

/// Show who has signed a draft and who is missing; check the record of a submission
///
/// Exit code 0: enough have signed; 1: some are missing, or the gate has moved on; 65: the file was altered.
#[derive(Args, Debug)]
pub struct Status {
    /// The draft, or copies of it that were signed apart
    #[arg(required = true)]
    drafts: Vec<PathBuf>,
    /// With a gate: also whether its newest metadata still asks for these keys and for this version
    #[command(flatten)]
    site: Site,
    /// Write the plain TUF metadata with the signatures so far, for other tools
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints it.
    pub fn run(self) -> Result<(), CliError> {
        let mut united = drafts(&self.drafts)?.into_iter();
        let (Some((_, draft)), None) = (united.next(), united.next()) else {
            return Err(CliError::usage("these are drafts of different roles").hint("ask for each alone"));
        };
        if let Some(to) = &self.metadata {
            export(&draft, to)?;
        }
        let moved = match self.site.reach.metadata() {
            Some(_) if draft.sent().is_none() => self.moved(&draft)?,
            _ => Vec::new(),
        };
        match self.json {
            true => {
                let mut shown = show::json(&draft);
                shown["moved"] = moved.clone().into();
                print_json(&shown)?;
            }
            false => {
                let lines: String = moved.iter().map(|line| format!("\n{}", printable(line))).collect();
                let (review, standing) = (show::review(&draft), show::standing(&draft));
                print(format_args!("{review}{}{lines}", standing.trim_end()))?;
            }
        }
        let parts = draft.parts().iter().map(|part| part.authority());
        let short: Vec<_> = parts
            .filter(|authority| !authority.met())
            .map(|short| short.shortage())
            .collect();
        if !short.is_empty() {
            return Err(failed(CeremonyError::Missing(short.join("; "))));
        }
        match moved.is_empty() {
            true => Ok(()),
            false => Err(CliError::failed("the gate has moved on since this was drafted")
                .hint("`tufgate delegation draft` makes a draft of what comes next there")),
        }
    }

    /// What has changed at the gate since the draft was made.
    fn moved(&self, draft: &TeamDraft) -> Result<Vec<String>, CliError> {
        let mut client = self.site.client()?;
        let mut moved = Vec::new();
        // What is drafted below another role of the draft follows with that.
        for part in draft.parts().iter().filter(|part| !draft.leads_to(part)) {
            let role = part.name();
            let found = self.site.chain(&mut client, role)?;
            let chain = Chain::new(&found.root, &found.above).map_err(failed)?;
            let now = part.under(&chain).map_err(failed)?;
            let keys = |authority: &crate::ceremony::Authority| {
                let ids = authority.signers.iter().map(|signer| signer.key.keyid.clone());
                (authority.threshold, ids.collect::<std::collections::BTreeSet<_>>())
            };
            if keys(&now) != keys(&part.authority()) {
                moved.push(format!("{role}: {now}"));
            }
            let listed = found.current.as_deref().map(|file| part.follows(file)).transpose();
            match listed.map_err(failed)? {
                Some(None) => {}
                None if part.version() == 1 => {}
                None => moved.push(format!("{role}: it has no file there")),
                Some(Some(version)) => moved.push(format!("{role}: version {version} is listed there")),
            }
        }
        Ok(moved)
    }
}
