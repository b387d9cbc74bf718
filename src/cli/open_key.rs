//! The key that an argument names: the one place that knows what kinds there are.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::CliError,
    config::{KeyFile, Passphrase},
    keys::{SigningKey, file::FileKey},
    server::StartError,
};

/// A key to sign with.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// Sign with this private key: a file in PKCS#8 PEM
    #[arg(long, value_name = "KEY")]
    pub key: Option<PathBuf>,
    /// Environment variable with the key's passphrase
    #[arg(long, value_name = "VAR", requires = "key")]
    passphrase_env: Option<String>,
    /// File with the key's passphrase
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "passphrase_env")]
    passphrase_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Opens it; `None` where none is named.
    pub fn open(&self) -> Result<Option<Box<dyn SigningKey>>, CliError> {
        let Some(path) = &self.key else { return Ok(None) };
        let env = self.passphrase_env.clone().map(Passphrase::Env);
        let passphrase = env.or_else(|| self.passphrase_file.clone().map(Passphrase::File));
        let file = KeyFile {
            path: path.clone(),
            passphrase,
        };
        let key = FileKey::open(&file).map_err(|error| {
            let failed = CliError::from(StartError::from(error));
            match failed.hint.as_deref() {
                // The hints of configured keys speak of the configuration.
                Some(hint) if hint.contains("passphrase_env") => CliError {
                    hint: Some("name it with `--passphrase-env VAR` or `--passphrase-file FILE`".to_owned()),
                    ..failed
                },
                Some(hint) if hint.contains("keys.*") => CliError { hint: None, ..failed },
                _ => failed,
            }
        })?;
        Ok(Some(Box::new(key)))
    }
}
