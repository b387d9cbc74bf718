//! `status`: who has signed, who is missing; of a published draft, whether the record holds.

use std::path::PathBuf;

use clap::Args;

use super::{failed, file, show};
use crate::{
    ceremony::Kind,
    cli::{CliError, print, print_json},
    digest::Digest,
};

/// Show who has signed a draft and who is missing; check the record of a ceremony
///
/// Exit code 0: enough have signed; 1: some are missing; 65: the file was altered.
#[derive(Args, Debug)]
pub struct Status {
    /// The draft, or copies of it that were signed apart
    #[arg(required = true)]
    drafts: Vec<PathBuf>,
    /// Check that this is the file that the ceremony published
    #[arg(long, value_name = "FILE")]
    published: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints it.
    pub fn run(self, kind: Kind) -> Result<(), CliError> {
        let draft = file::drafts(self.drafts.iter().map(PathBuf::as_path), kind)?;
        match self.json {
            true => print_json(&show::json(&draft))?,
            false => print(format_args!(
                "{}{}",
                show::review(&draft),
                show::standing(&draft).trim_end()
            ))?,
        }
        if let Some(path) = &self.published {
            let digest = Digest::of(file::read(path)?);
            let name = path.display();
            match draft.published() {
                Some(published) if published.sha256 == digest => {}
                Some(published) => {
                    let recorded = published.sha256;
                    let message = format!("`{name}` has sha256 {digest}, the ceremony published {recorded}");
                    return Err(CliError::damaged(message));
                }
                None => return Err(CliError::failed("nothing was published of this draft")),
            }
        }
        draft.complete().map_err(|error| CliError {
            hint: None,
            ..failed(error)
        })
    }
}
