//! `tufgate key`: make, look at, take over and try keys.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    cli::{
        CliError, block_on, print, print_json,
        signing::{KeyArgs, PassphraseArgs, failed},
    },
    config::{KeyFile, Passphrase},
    keys::{
        self, SigningKey as _,
        file::{self, FileKey},
        public::Public,
    },
    terminal::printable,
    tuf::key::Algorithm,
};

/// Make, look at, take over and try keys
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(New),
    Show(Show),
    Import(Import),
    Check(Check),
}

impl Key {
    /// Does it.
    pub fn run(self) -> Result<(), CliError> {
        match self.action {
            Action::New(new) => new.run(),
            Action::Show(show) => block_on(show.run())?,
            Action::Import(import) => import.run(),
            Action::Check(check) => block_on(check.run())?,
        }
    }
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Ed25519,
    /// ECDSA on P-256
    Ecdsa,
    /// RSA-PSS with 3,072 bits
    Rsa,
}

impl From<Kind> for Algorithm {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Ed25519 => Self::Ed25519,
            Kind::Ecdsa => Self::EcdsaP256,
            Kind::Rsa => Self::RsaPss,
        }
    }
}

/// How a file that is written is protected.
#[derive(Args, Debug)]
struct Protection {
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Write the key unencrypted
    #[arg(long, conflicts_with = "PassphraseArgs")]
    unencrypted: bool,
}

/// Make a key in a new file, of mode 600 and encrypted
#[derive(Debug, Args)]
struct New {
    /// File to write; none is ever overwritten
    file: PathBuf,
    /// What it signs with
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "ed25519")]
    kind: Kind,
    /// What people call it; by default the file's name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    protection: Protection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl New {
    fn run(self) -> Result<(), CliError> {
        let name = self.name.unwrap_or_else(|| file::name_of(&self.file));
        let passphrase = match self.protection.unencrypted {
            true => None,
            false => Some(self.protection.passphrase.fresh(&self.file)?),
        };
        let passphrase = passphrase.as_ref().map(|text| text.as_str());
        let key = FileKey::create_as(&self.file, self.kind.into(), &name, passphrase).map_err(failed)?;
        tell(key.name(), key.public_key(), self.json)
    }
}

/// Show the public half of a key: id, type, PEM, fingerprint
#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    key: KeyArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    async fn run(self) -> Result<(), CliError> {
        // A public key is nobody's secret, and may be anybody's to read.
        if let Some(path) = &self.key.key
            && let Ok(text) = fs::read_to_string(path)
            && let Ok(public) = Public::parse(&text)
        {
            let name = file::name_in(&text).unwrap_or_else(|| file::name_of(path));
            return tell(&name, &public, self.json);
        }
        let key = self.key.open().await?;
        tell(key.name(), key.public_key(), self.json)
    }
}

/// Take over a key that another tool wrote, into a new file of mode 600, encrypted
#[derive(Debug, Args)]
struct Import {
    /// File with the key: PKCS#8, PKCS#1, SEC1, JSON or hex
    from: PathBuf,
    /// File to write; none is ever overwritten
    to: PathBuf,
    /// What people call it; by default the name it has
    #[arg(long)]
    name: Option<String>,
    /// Environment variable with the passphrase that the key has now
    #[arg(long, value_name = "VAR")]
    from_passphrase_env: Option<String>,
    /// File with the passphrase that the key has now, of mode 600
    #[arg(long, value_name = "FILE", conflicts_with = "from_passphrase_env")]
    from_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    protection: Protection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Import {
    fn run(self) -> Result<(), CliError> {
        let given = self.from_passphrase_env.map(Passphrase::Env);
        let given = given.or(self.from_passphrase_file.map(Passphrase::File));
        let passphrase = given.or_else(|| PassphraseArgs::default().source());
        let from = KeyFile {
            path: self.from,
            passphrase,
        };
        let key = FileKey::open(&from).map_err(failed)?;
        let name = self.name.unwrap_or_else(|| key.name().to_owned());
        let passphrase = match self.protection.unencrypted {
            true => None,
            false => Some(self.protection.passphrase.fresh(&self.to)?),
        };
        let passphrase = passphrase.as_ref().map(|text| text.as_str());
        key.copy_to(&self.to, &name, passphrase).map_err(failed)?;
        tell(&name, key.public_key(), self.json)
    }
}

/// Sign a test message with a key and verify the signature
#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    key: KeyArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    async fn run(self) -> Result<(), CliError> {
        let key = self.key.open().await?;
        keys::check(&*key).await.map_err(failed)?;
        if self.json {
            return print_json(&described(key.name(), key.public_key())?);
        }
        let name = printable(key.name());
        print(format_args!(
            "key `{name}` ({}) signs, and its signature verifies",
            key.public_key()
        ))
    }
}

fn described(name: &str, public: &Public) -> Result<Value, CliError> {
    let (keytype, scheme) = public.algorithm().names();
    Ok(json!({
        "name": name,
        "keyid": public.to_string(),
        "keytype": keytype,
        "scheme": scheme,
        "fingerprint": public.fingerprint().map_err(failed)?.to_string(),
        "pem": public.to_pem().map_err(failed)?,
        "key": public.key(),
    }))
}

fn tell(name: &str, public: &Public, json: bool) -> Result<(), CliError> {
    if json {
        return print_json(&described(name, public)?);
    }
    let (keytype, scheme) = public.algorithm().names();
    let (fingerprint, pem) = (public.fingerprint().map_err(failed)?, public.to_pem().map_err(failed)?);
    print(format_args!(
        "name:        {}\nkeyid:       {public}\ntype:        {keytype}\nscheme:      {scheme}\nfingerprint: sha256 \
         {fingerprint}\n\n{}",
        printable(name),
        pem.trim_end()
    ))
}
