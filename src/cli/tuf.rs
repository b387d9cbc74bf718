//! `tufgate tuf`: the client as public client suites drive it. Options come before the verb, and the exit code is 0, or 1
//! for any failure.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{CliError, block_on};
use crate::{
    client::{Client, ClientError, ClientOptions, Trust, naming},
    terminal::printable,
};

/// Drive the TUF client as conformance suites do: options first, exit code 0 or 1
#[derive(Args, Clone, Debug)]
pub struct Tuf {
    /// Folder for trusted metadata, in files without versions
    #[arg(long, value_name = "DIR")]
    metadata_dir: PathBuf,

    /// Where the repository's metadata lies
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,

    /// A target to download; may be repeated
    #[arg(long, value_name = "PATH")]
    target_name: Vec<String>,

    /// Where the repository's targets lie
    #[arg(long, value_name = "URL")]
    target_base_url: Option<String>,

    /// Folder for downloaded targets, under their percent-encoded paths
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,

    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Trust a root file
    Init {
        /// The root file
        root: PathBuf,
    },
    /// Update the top-level metadata
    Refresh,
    /// Update, then download the targets in order
    Download,
}

impl Tuf {
    /// Does what the verb says.
    pub fn run(self) -> Result<(), CliError> {
        block_on(self.verb())?.map_err(|error| CliError { code: 1, ..error })
    }

    async fn verb(self) -> Result<(), CliError> {
        match &self.verb {
            Verb::Init { root } => {
                // No URL is asked.
                let client = self.client("http://localhost/", "http://localhost/")?;
                match client.pin(root).await {
                    Ok(_) => Ok(()),
                    // The caller's own file is no attack.
                    Err(ClientError::Refused { why, .. }) => {
                        let none = format!("`{}` is no root metadata: {}", root.display(), printable(&why));
                        Err(CliError::failed(none).hint("give a repository's root file, such as its 1.root.json"))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Verb::Refresh => {
                let url = needed(&self.metadata_url, "--metadata-url")?;
                Ok(self.client(url, url)?.refresh().await?)
            }
            Verb::Download => {
                let metadata = needed(&self.metadata_url, "--metadata-url")?;
                let targets = needed(&self.target_base_url, "--target-base-url")?;
                let folder = needed(&self.target_dir, "--target-dir")?;
                if self.target_name.is_empty() {
                    return Err(lacking("--target-name"));
                }
                std::fs::create_dir_all(folder).map_err(|error| CliError::io(folder, &error))?;
                let mut client = self.client(metadata, targets)?;
                for target in &self.target_name {
                    let output = folder.join(naming::file_name(target, ""));
                    client.download(target, &output, |_, _| {}).await?;
                }
                Ok(())
            }
        }
    }

    fn client(&self, metadata: &str, targets: &str) -> Result<Client, CliError> {
        let store: &Path = &self.metadata_dir;
        Ok(Client::open(ClientOptions::new(
            metadata,
            targets,
            Trust::Stored,
            store,
        ))?)
    }
}

fn needed<'a, T>(option: &'a Option<T>, name: &str) -> Result<&'a T, CliError> {
    option.as_ref().ok_or_else(|| lacking(name))
}

fn lacking(option: &str) -> CliError {
    CliError::failed(format_args!("`{option}` is missing")).hint("options come before the verb")
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let failed = Self::failed(printable(&error.to_string()));
        match error.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}
