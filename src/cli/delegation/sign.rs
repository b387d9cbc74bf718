//! `sign`: one person's signature, on a machine that needs nothing but this program and the draft.

use std::path::PathBuf;

use clap::Args;

use super::{draft, show};
use crate::{
    ceremony::team::{MAX_TEAM_DRAFT, TeamDraft},
    cli::{
        CliError, ask, block_on,
        draft::{failed, file, moment},
        print, print_json, say,
        signing::{self, PassphraseArgs},
    },
    clock::{Clock as _, SystemClock},
    terminal::printable,
};

/// Add one signature to a draft
///
/// Shows every change against the file that is listed, which the draft carries, and asks.
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

/// A signature to be added.
struct Made {
    role: String,
    keyid: String,
    signature: Vec<u8>,
}

impl Sign {
    /// Signs.
    pub fn run(self) -> Result<(), CliError> {
        let mut draft = draft(&self.draft)?;
        draft.check_expiry(SystemClock.now()).map_err(failed)?;
        if let Some(trusted) = &self.trusted {
            draft.chain().stands_on(&file::read(trusted)?).map_err(failed)?;
        }
        say(show::review(&draft).trim_end());
        let made = match (&self.key, &self.import) {
            (Some(key), _) => self.signed(&draft, key)?,
            (None, Some(import)) => self.imported(&draft, import)?,
            (None, None) => return Err(CliError::usage("no key is named").hint("give `--key`")),
        };
        let (mut added, moment) = (Vec::new(), moment());
        for made in made {
            let new = draft.add_signature(&made.role, &made.keyid, made.signature, moment.clone());
            if new.map_err(failed)? {
                added.push(format!(
                    "signed {} as {}",
                    made.role,
                    label(&draft, &made.role, &made.keyid)
                ));
            }
        }
        if !added.is_empty() {
            file::put(&self.draft, &draft.to_bytes(), false)?;
        }
        self.tell(&draft, &added)
    }

    fn signed(&self, draft: &TeamDraft, path: &std::path::Path) -> Result<Vec<Made>, CliError> {
        let key = block_on(signing::open(path, &self.passphrase))??;
        let keyid = hex::encode(key.key_id());
        let open = draft.unsigned_by(&keyid).map_err(failed)?;
        if let Some((role, _)) = open.first() {
            self.confirm(&format!("sign it as {}?", label(draft, role, &keyid)))?;
        }
        let mut made = Vec::new();
        for (role, message) in open {
            made.push(Made {
                role,
                keyid: keyid.clone(),
                signature: block_on(key.sign(&message))?.map_err(signing::failed)?,
            });
        }
        Ok(made)
    }

    /// What another tool signed.
    fn imported(&self, draft: &TeamDraft, path: &std::path::Path) -> Result<Vec<Made>, CliError> {
        let (role, signatures) = draft
            .signatures_in(&file::read_up_to(path, MAX_TEAM_DRAFT)?)
            .map_err(failed)?;
        let made = signatures.into_iter().map(|(keyid, signature)| Made {
            role: role.clone(),
            keyid,
            signature,
        });
        let made: Vec<_> = made.collect();
        // A copy: what is refused is refused before anybody is asked.
        let mut copy = draft.clone();
        for made in &made {
            let added = copy.add_signature(&made.role, &made.keyid, made.signature.clone(), moment());
            added.map_err(failed)?;
        }
        self.confirm("take these signatures over?")?;
        Ok(made)
    }

    fn confirm(&self, question: &str) -> Result<(), CliError> {
        match self.yes || ask::confirmed(question)? {
            true => Ok(()),
            false => Err(CliError::failed("not signed")),
        }
    }

    fn tell(&self, draft: &TeamDraft, added: &[String]) -> Result<(), CliError> {
        if self.json {
            return print_json(&show::json(draft));
        }
        for line in added {
            print(printable(line))?;
        }
        if added.is_empty() {
            print("signed already")?;
        }
        print(show::standing(draft).trim_end())
    }
}

fn label(draft: &TeamDraft, role: &str, keyid: &str) -> String {
    let part = draft.parts().iter().find(|part| part.role() == role);
    part.map(|part| printable(&part.label(keyid).to_string()))
        .unwrap_or_default()
}
