//! `[keys]`: where each online key is; and the same of one key in a file of its own.

use std::{
    fs, iter,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::{
    ConfigError,
    check::{Checked, HOUR},
    error::Source,
    raw,
    value::Span,
};

/// `[keys]`: the online keys; targets is absent where it is signed offline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    /// Signs timestamp.json.
    pub timestamp: KeySource,
    /// Signs snapshot.
    pub snapshot: KeySource,
    /// Signs the bins and their delegator; absent where the snapshot key does.
    pub bins: Option<KeySource>,
    /// Signs targets.json.
    pub targets: Option<KeySource>,
    /// Keys on their way out.
    pub old: OldKeys,
}

/// `[keys.old]`: keys that sign beside the new ones while a rotation lasts. Bins need none: one publication moves them
/// and what lists their key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OldKeys {
    /// The last key of timestamp.json.
    pub timestamp: Option<KeySource>,
    /// The last key of snapshot.
    pub snapshot: Option<KeySource>,
    /// The last key of targets.json.
    pub targets: Option<KeySource>,
}

impl Keys {
    /// Whether a role's last key signs beside the new one.
    pub fn rotated(&self, role: &str) -> bool {
        self.each()
            .any(|(name, _)| name.strip_prefix("old.").is_some_and(|old| old == role))
    }

    /// Every key, by its role; `old.ROLE` are keys on their way out.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &KeySource)> {
        let required = [("timestamp", &self.timestamp), ("snapshot", &self.snapshot)];
        let others = [
            ("bins", &self.bins),
            ("targets", &self.targets),
            ("old.timestamp", &self.old.timestamp),
            ("old.snapshot", &self.old.snapshot),
            ("old.targets", &self.old.targets),
        ];
        let others = others.into_iter().filter_map(|(role, key)| Some((role, key.as_ref()?)));
        required.into_iter().chain(others)
    }
}

/// A key, wherever it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySource {
    /// What people call it: its role, where it has no name.
    pub name: String,
    /// Where it is.
    pub place: KeyPlace,
}

impl KeySource {
    /// Its file, if it is in one.
    pub fn file(&self) -> Option<&KeyFile> {
        match &self.place {
            KeyPlace::File(file) => Some(file),
            _ => None,
        }
    }
}

/// Where a key is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyPlace {
    /// In a file.
    File(KeyFile),
    /// Behind a program.
    Command(KeyCommand),
    /// In a token.
    Pkcs11(KeyToken),
    /// In AWS's Key Management Service.
    AwsKms(KeyInKms),
}

/// A key in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFile {
    /// PEM, JSON or hex, plain or encrypted.
    pub path: PathBuf,
    /// Where its passphrase is.
    pub passphrase: Option<Passphrase>,
}

/// Where a passphrase or a PIN comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Passphrase {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
    /// An open file or pipe of the process.
    Fd(u32),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Whoever sits at the terminal: for command lines, never of a configuration.
    Prompt,
}

/// A program that signs: bytes on its standard input, a signature on its standard output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyCommand {
    /// The program and its arguments; no shell.
    pub run: Vec<String>,
    /// PEM: the public key.
    pub public: PathBuf,
    /// Longest it may take (30 s).
    pub timeout: Duration,
}

/// A key in a token that speaks PKCS#11.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyToken {
    /// The token's shared library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// Label of the private key (CKA_LABEL).
    pub label: Option<String>,
    /// Its id (CKA_ID).
    pub id: Option<Vec<u8>>,
    /// Where the user's PIN is; absent for tokens with a keypad of their own.
    pub pin: Option<Passphrase>,
    /// Longest a signature may take (30 s).
    pub timeout: Duration,
}

/// A key in AWS KMS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyInKms {
    /// Key id, ARN or `alias/…`.
    pub key: String,
    /// Such as `eu-west-1`.
    pub region: String,
    /// Another endpoint than `https://kms.REGION.amazonaws.com`.
    pub endpoint: Option<Url>,
    /// Longest a request may take (10 s).
    pub timeout: Duration,
}

/// Reads the description of one key: a TOML file with what stands under `[keys.ROLE]` elsewhere. Relative paths in it
/// start at its folder.
///
/// # Errors
/// With file, line and hint.
pub fn described(file: &Path) -> Result<KeySource, ConfigError> {
    let text = fs::read_to_string(file).map_err(|source| ConfigError {
        file: file.to_owned(),
        line: None,
        column: None,
        message: format!("cannot read the description of a key: {source}"),
        hint: None,
    })?;
    let source = Source::new(&text, file);
    let raw: raw::Key = source.read()?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let at = Place {
        source: &source,
        folder: file.parent().unwrap_or(Path::new("")),
        role: None,
    };
    at.key(&name, None, raw)
}

pub(super) fn check(source: &Source<'_>, folder: &Path, raw: raw::Keys, layout: super::Layout) -> Checked<Keys> {
    let place = |role| Place {
        source,
        folder,
        role: Some(role),
    };
    let key = |role, raw| place(role).key(role, Some(folder.join(format!("keys/{role}.pem"))), raw);
    let old = |role, raw: Option<raw::Key>| raw.map(|raw| place(role).key(role, None, raw)).transpose();
    if raw.bins.is_some() && layout == super::Layout::Flat {
        let error = source.at(&["keys", "bins"], "`keys.bins` means nothing without bins");
        return Err(
            error.hint("with `tuf.layout = \"flat\"` all targets stand in targets.json, which `keys.targets` signs")
        );
    }
    let (offline, targets) = raw.targets.split();
    if offline && targets.is_given() {
        let error = source.at(
            &["keys", "targets", "offline"],
            "`keys.targets` is offline and has a place",
        );
        return Err(error.hint("drop `offline`, or drop the other keys of `[keys.targets]`"));
    }
    if offline && raw.old.targets.is_some() {
        let error = source.at(
            &["keys", "old", "targets"],
            "`keys.old.targets` means nothing while `keys.targets` is offline",
        );
        return Err(error.hint("drop it: targets.json is signed elsewhere"));
    }
    Ok(Keys {
        timestamp: key("timestamp", raw.timestamp)?,
        snapshot: key("snapshot", raw.snapshot)?,
        bins: raw.bins.map(|bins| key("bins", bins)).transpose()?,
        targets: (!offline).then(|| key("targets", targets)).transpose()?,
        old: OldKeys {
            timestamp: old("old.timestamp", raw.old.timestamp)?,
            snapshot: old("old.snapshot", raw.old.snapshot)?,
            targets: old("old.targets", raw.old.targets)?,
        },
    })
}

/// Where a key is described: `[keys.ROLE]`, which may be `old.timestamp`, or a file of its own.
struct Place<'a> {
    source: &'a Source<'a>,
    folder: &'a Path,
    role: Option<&'static str>,
}

/// The four ways to give a secret: `_env`, `_file`, `_fd`, `_credential`.
type Ways = (Option<String>, Option<PathBuf>, Option<u32>, Option<String>);

impl Place<'_> {
    fn at(&self, key: &[&str], message: String) -> ConfigError {
        let role = self
            .role
            .iter()
            .flat_map(|role| iter::once("keys").chain(role.split('.')));
        let path: Vec<_> = role.chain(key.iter().copied()).collect();
        self.source.at(&path, message)
    }

    /// `keys.ROLE.…` in messages.
    fn shown(&self, key: &str) -> String {
        match self.role {
            Some(role) => format!("`keys.{role}.{key}`").replace(".`", "`"),
            None if key.is_empty() => "the key".to_owned(),
            None => format!("`{key}`"),
        }
    }

    fn key(&self, name: &str, default: Option<PathBuf>, raw: raw::Key) -> Checked<KeySource> {
        let in_file = raw.path.is_some() || raw.has_passphrase();
        let places = [
            ("path", in_file),
            ("command", raw.command.is_some()),
            ("pkcs11", raw.pkcs11.is_some()),
            ("aws_kms", raw.aws_kms.is_some()),
        ];
        let given: Vec<_> = places
            .iter()
            .filter(|(_, given)| *given)
            .map(|(place, _)| *place)
            .collect();
        if let [_, second, ..] = given[..] {
            let message = format!("{} is in one place: {}", self.shown(""), given.join(", "));
            return Err(self.at(&[second], message).hint("drop all but one of them"));
        }
        let place = if let Some(command) = raw.command {
            KeyPlace::Command(self.command(command)?)
        } else if let Some(token) = raw.pkcs11 {
            KeyPlace::Pkcs11(self.token(token)?)
        } else if let Some(kms) = raw.aws_kms {
            KeyPlace::AwsKms(self.kms(kms)?)
        } else {
            let path = raw.path.map(|path| self.folder.join(path)).or(default);
            let path = path.ok_or_else(|| {
                let shown = self.role.map_or("the file".to_owned(), |_| self.shown(""));
                let error = self.at(&[], format!("{shown} says not where the key is"));
                error.hint("give `path`, or a table `command`, `pkcs11` or `aws_kms`")
            })?;
            let ways = (
                raw.passphrase_env,
                raw.passphrase_file,
                raw.passphrase_fd,
                raw.passphrase_credential,
            );
            let passphrase = self.secret(&[], "passphrase", ways)?;
            KeyPlace::File(KeyFile { path, passphrase })
        };
        let name = raw.name.unwrap_or_else(|| name.to_owned());
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(self.at(
                &["name"],
                format!("{} is 1 to 64 characters on one line", self.shown("name")),
            ));
        }
        Ok(KeySource { name, place })
    }

    fn command(&self, raw: raw::KeyCommand) -> Checked<KeyCommand> {
        if raw.run.first().is_none_or(String::is_empty) {
            let error = self.at(
                &["command", "run"],
                format!("{} names no program", self.shown("command.run")),
            );
            return Err(
                error.hint("a list: the program, then its arguments, such as `[\"/usr/local/bin/sign\", \"tuf\"]`")
            );
        }
        let Some(public) = raw.public else {
            let error = self.at(&["command"], format!("{} lacks `public`", self.shown("command")));
            return Err(error.hint("a PEM file with the public key: signatures are verified before they are used"));
        };
        Ok(KeyCommand {
            run: raw.run,
            public: self.folder.join(public),
            timeout: self.timeout("command", raw.timeout)?,
        })
    }

    fn token(&self, raw: raw::KeyToken) -> Checked<KeyToken> {
        let lacks = |what: &str, hint: &str| {
            let error = self.at(&["pkcs11"], format!("{} lacks `{what}`", self.shown("pkcs11")));
            Err(error.hint(hint))
        };
        let Some(module) = raw.module else {
            return lacks(
                "module",
                "the token's shared library, such as `/usr/lib/softhsm/libsofthsm2.so`",
            );
        };
        let Some(token) = raw.token else {
            return lacks("token", "the token's label: `pkcs11-tool --list-token-slots` shows it");
        };
        let id = raw
            .id
            .map(|id| hex::decode(id.replace(':', "")))
            .transpose()
            .map_err(|_| {
                let error = self.at(&["pkcs11", "id"], format!("{} is not hex", self.shown("pkcs11.id")));
                error.hint("such as `\"01\"` or `\"a0:3f\"`, as `pkcs11-tool --list-objects` shows it")
            })?;
        if raw.label.is_none() && id.is_none() {
            return lacks("label", "`label`, `id` or both say which of the token's keys it is");
        }
        Ok(KeyToken {
            module: self.folder.join(module),
            token,
            label: raw.label,
            id,
            pin: self.secret(
                &["pkcs11"],
                "pin",
                (raw.pin_env, raw.pin_file, raw.pin_fd, raw.pin_credential),
            )?,
            timeout: self.timeout("pkcs11", raw.timeout)?,
        })
    }

    fn kms(&self, raw: raw::KeyInKms) -> Checked<KeyInKms> {
        let Some(key) = raw.key.filter(|key| !key.is_empty()) else {
            let error = self.at(&["aws_kms"], format!("{} lacks `key`", self.shown("aws_kms")));
            return Err(error.hint("a key id, an ARN or `alias/NAME`"));
        };
        // `arn:aws:kms:REGION:ACCOUNT:key/ID` names its region.
        let named = key.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2));
        let Some(region) = raw
            .region
            .or_else(|| named.map(str::to_owned))
            .filter(|region| !region.is_empty())
        else {
            let error = self.at(&["aws_kms"], format!("{} lacks `region`", self.shown("aws_kms")));
            return Err(error.hint("such as `eu-west-1`; an ARN as `key` names it itself"));
        };
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let message = format!("{} is not the name of a region", self.shown("aws_kms.region"));
            return Err(self.at(&["aws_kms", "region"], message));
        }
        let endpoint = raw
            .endpoint
            .map(|text| Url::parse(&text).map_err(|why| why.to_string()))
            .transpose();
        let endpoint = endpoint.and_then(|url| match url {
            Some(url) if !matches!(url.scheme(), "http" | "https") || url.path() != "/" || url.query().is_some() => {
                Err("it is `https://HOST[:PORT]`".to_owned())
            }
            Some(url) if url.scheme() == "http" && !loopback(&url) => {
                Err("http is for loopback addresses only".to_owned())
            }
            url => Ok(url),
        });
        let endpoint = endpoint.map_err(|why| {
            let message = format!("{} is no endpoint: {why}", self.shown("aws_kms.endpoint"));
            self.at(&["aws_kms", "endpoint"], message)
        })?;
        let timeout = raw.timeout.unwrap_or(Span(Duration::from_secs(10)));
        Ok(KeyInKms {
            key,
            region,
            endpoint,
            timeout: self.timeout("aws_kms", Some(timeout))?,
        })
    }

    fn timeout(&self, table: &str, given: Option<Span>) -> Checked<Duration> {
        let Span(timeout) = given.unwrap_or(Span(Duration::from_secs(30)));
        match (Duration::from_millis(1)..=HOUR).contains(&timeout) {
            true => Ok(timeout),
            false => {
                let shown = self.shown(&format!("{table}.timeout"));
                Err(self.at(&[table, "timeout"], format!("{shown} is 1 ms to 1 h, not {timeout:?}")))
            }
        }
    }

    fn secret(&self, table: &[&str], what: &str, (env, file, fd, credential): Ways) -> Checked<Option<Passphrase>> {
        let at = |way: &str, message: String| {
            let key = format!("{what}_{way}");
            self.at(&[table, &[key.as_str()]].concat(), message)
        };
        if let Some(name) = &credential
            && (name.is_empty() || name.contains('/') || name.starts_with('.'))
        {
            let error = at(
                "credential",
                format!("`{what}_credential` is the name of a credential, not `{name}`"),
            );
            return Err(error.hint("as in systemd's `LoadCredential=NAME:PATH`"));
        }
        let ways = [
            ("env", env.map(Passphrase::Env)),
            ("file", file.map(|file| Passphrase::File(self.folder.join(file)))),
            ("fd", fd.map(Passphrase::Fd)),
            ("credential", credential.map(Passphrase::Credential)),
        ];
        let mut given = ways.into_iter().filter_map(|(way, secret)| Some((way, secret?)));
        match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some((_, secret)), None) => Ok(Some(secret)),
            (Some((first, _)), Some((second, _))) => {
                let message = format!("{} takes one of `{what}_{first}` and `{what}_{second}`", self.shown(""));
                Err(at(second, message))
            }
        }
    }
}

fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        _ => false,
    }
}
