//! `sign`: one signature with one key, on a machine that needs nothing but this program and the draft.

use std::path::PathBuf;

use clap::Args;

use super::{failed, file, moment, show};
use crate::{
    ceremony::{Draft, Kind},
    cli::{
        CliError, ask, block_on, print, print_json, say,
        signing::{self, PassphraseArgs},
    },
    clock::{Clock as _, SystemClock},
    terminal::printable,
};

/// Add one signature to a draft
///
/// Shows every change against the current metadata, which the draft carries, and asks.
#[derive(Args, Debug)]
pub struct Sign {
    /// The draft; the signature is written into it
    draft: PathBuf,
    /// Sign with this key: a file that holds it, or `NAME.toml`, which describes a token, a program or a key of AWS KMS
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Take the signatures of this metadata file, made by another tool over what the draft proposes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "PassphraseArgs"], required_unless_present = "key")]
    import: Option<PathBuf>,
    /// Refuse a draft that does not stand on this root
    #[arg(long, value_name = "FILE")]
    trusted: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Sign {
    /// Signs.
    pub fn run(self, kind: Kind) -> Result<(), CliError> {
        let mut draft = file::draft(&self.draft, kind)?;
        draft.check_expiry(SystemClock.now()).map_err(failed)?;
        if let Some(trusted) = &self.trusted {
            draft.stands_on(&file::read(trusted)?).map_err(failed)?;
        }
        say(show::review(&draft).trim_end());
        let added = match &self.key {
            Some(path) => {
                let key = block_on(signing::open(path, &self.passphrase))??;
                let id = hex::encode(key.key_id());
                match draft.has_signed(&id).map_err(failed)? {
                    true => vec![(id, false)],
                    false => {
                        let question = format!("sign it as {}?", printable(&draft.label(&id).to_string()));
                        self.confirm(&question)?;
                        let message = draft.message().map_err(failed)?;
                        let signature = block_on(key.sign(&message))?.map_err(signing::failed)?;
                        vec![(
                            id.clone(),
                            draft.add_signature(&id, signature, moment()).map_err(failed)?,
                        )]
                    }
                }
            }
            None => self.imported(&mut draft)?,
        };
        if added.iter().any(|(_, new)| *new) {
            file::write(&self.draft, &draft, false)?;
        }
        self.tell(&draft, &added)
    }

    /// Takes over what another tool signed; each key, and whether its signature is new.
    fn imported(&self, draft: &mut Draft) -> Result<Vec<(String, bool)>, CliError> {
        let Some(path) = &self.import else { return Ok(vec![]) };
        let signatures = draft.signatures_in(&file::read(path)?).map_err(failed)?;
        let mut added = Vec::new();
        for (keyid, signature) in signatures {
            let new = draft.add_signature(&keyid, signature, moment()).map_err(failed)?;
            added.push((keyid, new));
        }
        if added.iter().all(|(_, new)| !*new) {
            return Ok(added);
        }
        self.confirm("take these signatures over?")?;
        Ok(added)
    }

    fn confirm(&self, question: &str) -> Result<(), CliError> {
        match self.yes || ask::confirmed(question)? {
            true => Ok(()),
            false => Err(CliError::failed("not signed")),
        }
    }

    fn tell(&self, draft: &Draft, added: &[(String, bool)]) -> Result<(), CliError> {
        if self.json {
            return print_json(&show::json(draft));
        }
        for (keyid, new) in added {
            let verb = if *new { "signed as" } else { "had signed already:" };
            print(format_args!("{verb} {}", printable(&draft.label(keyid).to_string())))?;
        }
        print(show::standing(draft).trim_end())
    }
}
