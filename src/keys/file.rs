//! Keys in files. What tufgate writes is PKCS#8 in PEM, plain or encrypted (PBES2 with scrypt and AES-256, RFC 7914), as
//! `openssl pkey` reads and writes it; `parse.rs` says what else it reads.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use pkcs8::{LineEnding, PrivateKeyInfoRef, SecretDocument, pkcs5::pbes2};
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::{
    KeyError, SigningKey,
    pair::Pair,
    parse::{self, ENCRYPTED, PLAIN, Refused},
    public::Public,
    secret::{self, private},
};
use crate::{
    config::{KeyFile, Passphrase},
    tuf::key::Algorithm,
};

/// Opens the line before a PEM that says what people call the key (explanatory text, RFC 7468, 5.2).
const NAME: &str = "Name: ";
/// Longest name of a key, in characters.
const MAX_NAME: usize = 64;

/// A key that was read from a file.
pub struct FileKey {
    name: String,
    path: PathBuf,
    pair: Pair,
}

impl FileKey {
    /// Opens a configured key.
    ///
    /// # Errors
    /// [`KeyError::File`] when it or its passphrase cannot be read, [`KeyError::Mode`] when others than the owner may
    /// read it, [`KeyError::Secret`], [`KeyError::NeedsPassphrase`], [`KeyError::Passphrase`], [`KeyError::Parse`].
    pub fn open(file: &KeyFile) -> Result<Self, KeyError> {
        let text = private(&file.path)?;
        // A plain key needs no passphrase, and nobody is asked for one.
        match Self::from_text(&file.path, &text, None) {
            Err(KeyError::NeedsPassphrase { path }) => match &file.passphrase {
                Some(source) => Self::from_text(&file.path, &text, Some(&passphrase(source, &file.path)?)),
                None => Err(KeyError::NeedsPassphrase { path }),
            },
            opened => opened,
        }
    }

    /// Opens a key whose passphrase is at hand. A plain key opens whether or not there is one.
    pub fn read(path: &Path, passphrase: Option<&str>) -> Result<Self, KeyError> {
        Self::from_text(path, &private(path)?, passphrase)
    }

    fn from_text(path: &Path, text: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let shown = || path.display().to_string();
        let secret = parse::secret(text, passphrase).map_err(|refused| match refused {
            Refused::Locked => KeyError::NeedsPassphrase { path: shown() },
            Refused::Passphrase => KeyError::Passphrase { path: shown() },
            Refused::Not(detail) => KeyError::Parse { path: shown(), detail },
        })?;
        Ok(Self {
            name: name_in(text).unwrap_or_else(|| name_of(path)),
            path: path.to_owned(),
            pair: Pair::new(secret)?,
        })
    }

    /// Creates an ed25519 key with mode 0600, encrypted when there is a passphrase. The file appears whole or not at all
    /// and never takes the place of another.
    ///
    /// # Errors
    /// [`KeyError::File`], with [`io::ErrorKind::AlreadyExists`] when something stands there.
    pub fn create(path: &Path, passphrase: Option<&str>) -> Result<Self, KeyError> {
        Self::create_as(path, Algorithm::Ed25519, &name_of(path), passphrase)
    }

    /// As [`Self::create`], of any type and with a name.
    pub fn create_as(
        path: &Path,
        algorithm: Algorithm,
        name: &str,
        passphrase: Option<&str>,
    ) -> Result<Self, KeyError> {
        let key = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            pair: Pair::generate(algorithm)?,
        };
        key.copy_to(path, name, passphrase)?;
        Ok(key)
    }

    /// Writes the key to another file, under a name; as [`Self::create`] does.
    pub fn copy_to(&self, path: &Path, name: &str, passphrase: Option<&str>) -> Result<(), KeyError> {
        let plain = self.pair.to_pkcs8()?;
        let pem = match passphrase {
            None => plain.to_pem(PLAIN, LineEnding::LF),
            Some(passphrase) => seal(&plain, passphrase)?.to_pem(ENCRYPTED, LineEnding::LF),
        };
        let pem = pem.map_err(|error| KeyError::Sign(error.to_string()))?;
        let text = Zeroizing::new(format!("{NAME}{}\n{}", one_line(name), *pem));
        write_new(path, text.as_bytes(), 0o600).map_err(|source| KeyError::File {
            path: path.display().to_string(),
            source,
        })
    }

    /// Opens a configured key, or creates it where no file stands; whether it did.
    pub fn open_or_create(file: &KeyFile) -> Result<(Self, bool), KeyError> {
        match Self::open(file) {
            Err(KeyError::File { source, .. }) if missing(&file.path, &source) => {
                let passphrase = file
                    .passphrase
                    .as_ref()
                    .map(|source| passphrase(source, &file.path))
                    .transpose()?;
                let key = Self::create(&file.path, passphrase.as_ref().map(|text| text.as_str()))?;
                Ok((key, true))
            }
            opened => opened.map(|key| (key, false)),
        }
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey({}, {})", self.path.display(), self.pair.public)
    }
}

#[async_trait]
impl SigningKey for FileKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn public_key(&self) -> &Public {
        &self.pair.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair.sign(message)
    }
}

/// The name in front of a PEM.
pub fn name_in(text: &str) -> Option<String> {
    let before = &text[..text.find("-----BEGIN ")?];
    let line = before.lines().find_map(|line| line.strip_prefix(NAME))?;
    Some(one_line(line)).filter(|name| !name.is_empty())
}

/// What a key without a name is called.
pub fn name_of(path: &Path) -> String {
    one_line(&path.file_stem().unwrap_or_default().to_string_lossy())
}

/// A name on one line of a PEM: nothing in it that a terminal or a parser obeys.
fn one_line(name: &str) -> String {
    let plain = name.trim().replace("-----", "-");
    crate::terminal::printable(&plain).chars().take(MAX_NAME).collect()
}

fn seal(plain: &SecretDocument, passphrase: &str) -> Result<SecretDocument, KeyError> {
    // N = 2^14, r = 8, p = 1: what OpenSSL itself writes; it refuses to read what takes 32 MiB or more.
    let scheme = pbes2::Parameters::generate_scrypt(&mut SysRng).map_err(sealing)?;
    let key = PrivateKeyInfoRef::try_from(plain.as_bytes()).map_err(sealing)?;
    key.encrypt_with_params(scheme, passphrase).map_err(sealing)
}

fn sealing(error: impl fmt::Display) -> KeyError {
    KeyError::Sign(format!("a key could not be encrypted: {error}"))
}

/// Whether it is the key that is missing, and not its passphrase file.
fn missing(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && !path.exists()
}

fn passphrase(source: &Passphrase, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    secret::read(source, &format!("`{}`", path.display()))
}

/// Writes a file that appears whole or not at all, and never takes the place of another.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".key-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|refused| refused.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
