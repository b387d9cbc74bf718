//! Which key a command line means, and where its passphrase is.

use std::{
    io::{ErrorKind, IsTerminal as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use zeroize::Zeroizing;

use crate::{
    cli::CliError,
    config::{self, Config, KeyFile, KeyPlace, KeySource, Passphrase},
    keys::{self, KeyError, SigningKey, file, secret},
    server::StartError,
};

/// Where a passphrase is; by default, whoever sits at the terminal is asked.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct PassphraseArgs {
    /// Environment variable with the passphrase
    #[arg(long, value_name = "VAR")]
    passphrase_env: Option<String>,
    /// File with the passphrase, of mode 600
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Open file or pipe to read the passphrase from
    #[arg(long, value_name = "NUMBER")]
    passphrase_fd: Option<u32>,
    /// systemd credential with the passphrase
    #[arg(long, value_name = "NAME")]
    passphrase_credential: Option<String>,
}

impl PassphraseArgs {
    /// Where it is; `None` where nothing was said and nobody can be asked.
    pub fn source(&self) -> Option<Passphrase> {
        let given = [
            self.passphrase_env.clone().map(Passphrase::Env),
            self.passphrase_file.clone().map(Passphrase::File),
            self.passphrase_fd.map(Passphrase::Fd),
            self.passphrase_credential.clone().map(Passphrase::Credential),
        ];
        let asked = || std::io::stdin().is_terminal().then_some(Passphrase::Prompt);
        given.into_iter().flatten().next().or_else(asked)
    }

    /// The passphrase of a key that is about to be made; one that is typed is typed twice.
    pub fn fresh(&self, path: &Path) -> Result<Zeroizing<String>, CliError> {
        let Some(source) = self.source() else {
            let error = CliError::usage("a new key needs a passphrase");
            return Err(error.hint(
                "give one of `--passphrase-env`, `--passphrase-file`, `--passphrase-fd` and \
                 `--passphrase-credential`, or `--unencrypted`",
            ));
        };
        let what = format!("`{}`", path.display());
        let text = secret::read(&source, &what).map_err(failed)?;
        if matches!(source, Passphrase::Prompt) {
            let again = secret::read(&source, &format!("{what}, again")).map_err(failed)?;
            if text != again {
                return Err(CliError::usage("the two passphrases differ"));
            }
        }
        Ok(text)
    }
}

/// The key that an argument names: a file that holds it, or one, `NAME.toml`, that describes where it is.
///
/// # Errors
/// Exit code 64, but 1 where trying again may help.
pub async fn open(path: &Path, passphrase: &PassphraseArgs) -> Result<Arc<dyn SigningKey>, CliError> {
    if path.extension().is_some_and(|kind| kind == "toml") {
        return keys::open(&config::described(path)?).await.map_err(failed);
    }
    let source = KeySource {
        name: file::name_of(path),
        place: KeyPlace::File(KeyFile {
            path: path.to_owned(),
            passphrase: passphrase.source(),
        }),
    };
    keys::open(&source).await.map_err(|error| {
        // The hints of configured keys speak of the configuration.
        let hint = match &error {
            KeyError::NeedsPassphrase { .. } | KeyError::Passphrase { .. } => Some(
                "name its passphrase with `--passphrase-env`, `--passphrase-file`, `--passphrase-fd` or \
                 `--passphrase-credential`"
                    .to_owned(),
            ),
            KeyError::File { source, .. } if source.kind() == ErrorKind::NotFound => None,
            _ => error.hint().map(str::to_owned),
        };
        CliError { hint, ..failed(error) }
    })
}

/// A key of any kind: a file that holds it, a file that describes it, or a role of the configuration.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// File with the key, or `NAME.toml`, which describes a token, a program or a key of AWS KMS
    #[arg(value_name = "KEY", required_unless_present = "role")]
    pub key: Option<PathBuf>,
    /// An online key of the configuration: timestamp, snapshot, bins, targets, or one on its way out
    #[arg(long, conflicts_with = "key", value_parser = [
        "timestamp", "snapshot", "bins", "targets", "old.timestamp", "old.snapshot", "old.targets",
    ])]
    role: Option<String>,
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl KeyArgs {
    /// Opens it.
    pub async fn open(&self) -> Result<Arc<dyn SigningKey>, CliError> {
        if let Some(path) = &self.key {
            return open(path, &self.passphrase).await;
        }
        let keys = Config::load(&self.config)?.keys;
        let role = match self.role.as_deref().unwrap_or_default() {
            "bins" if keys.bins.is_none() => "snapshot",
            role => role,
        };
        match keys.each().find(|(name, _)| *name == role) {
            Some((_, source)) => keys::open(source).await.map_err(failed),
            None if role == "targets" => {
                let error = CliError::config("`keys.targets` is offline: targets.json is signed elsewhere");
                Err(error.hint("name the key's own file"))
            }
            None => Err(CliError::config(format_args!("the configuration has no `keys.{role}`"))),
        }
    }
}

/// A key that cannot be used: exit code 64, but 1 where trying again may help.
pub fn failed(error: KeyError) -> CliError {
    StartError::from(error).into()
}
