//! `draft`: the next version, for review.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    edit::{self, Edits, Expiry},
    failed, file, moment, publish, show,
};
use crate::{
    ceremony::{Draft, Kind, Proposal},
    cli::{CliError, ask, print, print_json, say},
    clock::{Clock as _, SystemClock},
};

/// Roots that every known client follows in one update; the least is sigstore-tuf's.
const FEWEST_STEPS: u64 = 32;

/// Draft the next version, for review and signatures
///
/// It follows the newest version in the gate's depot, or the file `--from`. Without changes it is a renewal; on a terminal,
/// it asks for them.
#[derive(Args, Debug)]
pub struct Make {
    #[command(flatten)]
    edits: Edits,
    /// When it expires: days from now, or a date
    #[arg(long, value_name = "365d|DATE", default_value = "365d", value_parser = Expiry::parse)]
    expires: Expiry,
    /// The current metadata, in place of what is in the depot
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// With `--from`, the newest root, for a draft of targets
    #[arg(long, value_name = "FILE", requires = "from")]
    root: Option<PathBuf>,
    /// Configuration file of the gate
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// The draft; `N.root.draft.json` if it is not given
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Make {
    /// Drafts.
    pub fn run(self, kind: Kind) -> Result<(), CliError> {
        let (root, current) = publish::base(kind, self.from.as_deref(), self.root.as_deref(), &self.config)?;
        let expires = self.expires.from(SystemClock.now());
        let mut proposal = Proposal::after(kind, &current, &root, expires).map_err(failed)?;
        self.edits.apply(kind, &mut proposal)?;
        let asks = self.edits.none() && !self.yes && !self.json && ask::possible();
        if asks {
            edit::interview(kind, &mut proposal)?;
        }
        let draft = Draft::new(kind, &root, &current, proposal.into_signed(), moment()).map_err(failed)?;
        draft.check_expiry(SystemClock.now()).map_err(failed)?;
        say(show::review(&draft).trim_end());
        if kind == Kind::Root && draft.version() > FEWEST_STEPS {
            let version = draft.version();
            say(format_args!(
                "warning: {version} roots stand in the chain then, and sigstore-tuf follows {FEWEST_STEPS} in one update: give \
                 new clients a newer root than the first, and renew rarely"
            ));
        }
        if asks && !ask::confirmed("write this draft?")? {
            return Err(CliError::failed("nothing is written"));
        }
        let named = format!("{}.{}.draft.json", draft.version(), kind.role());
        let out = self.out.unwrap_or_else(|| named.into());
        file::write(&out, &draft, true)?;
        tell(&draft, &out, self.json)
    }
}

fn tell(draft: &Draft, out: &Path, json: bool) -> Result<(), CliError> {
    if json {
        let mut shown = show::json(draft);
        shown["draft"] = out.display().to_string().into();
        return print_json(&shown);
    }
    let (role, out) = (draft.kind().role(), out.display());
    print(format_args!(
        "{}wrote `{out}`; each signer: tufgate {role} sign {out} --key FILE",
        show::standing(draft)
    ))
}
