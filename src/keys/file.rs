//! Keys in files: Ed25519 in PKCS#8 PEM (RFC 8410), plain or encrypted (PBES2 with scrypt and AES-256, RFC 7914), as
//! `openssl pkey` reads and writes them.

use std::{
    env, fmt,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use ed25519_dalek::{SigningKey as Secret, pkcs8::KeypairBytes};
use pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    SecretDocument, pkcs5::pbes2,
};
use rand::rngs::SysRng;
use tough::schema::{
    decoded::{Decoded, Hex},
    key::Key,
};
use zeroize::Zeroizing;

use super::{KeyError, SigningKey, ed25519::Pair, memory::fresh};
use crate::config::{KeyFile, Passphrase};

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// No honest key or passphrase is longer.
const MAX_FILE: u64 = 64 * 1024;

/// An Ed25519 key that was read from a file.
pub struct FileKey {
    path: PathBuf,
    pair: Pair,
}

impl FileKey {
    /// Opens a configured key.
    ///
    /// # Errors
    /// [`KeyError::File`] when it or its passphrase cannot be read, [`KeyError::Mode`] when others than the owner may
    /// read it, [`KeyError::NeedsPassphrase`], [`KeyError::Passphrase`], [`KeyError::Parse`].
    pub fn open(file: &KeyFile) -> Result<Self, KeyError> {
        let passphrase = file
            .passphrase
            .as_ref()
            .map(|source| passphrase(source, &file.path))
            .transpose()?;
        Self::read(&file.path, passphrase.as_ref().map(|text| text.as_str()))
    }

    /// Opens a key whose passphrase is at hand. A plain key opens whether or not there is one.
    pub fn read(path: &Path, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let pem = read_private(path)?;
        let parse = |detail: &dyn fmt::Display| KeyError::Parse {
            path: path.display().to_string(),
            detail: detail.to_string(),
        };
        let (label, document) = SecretDocument::from_pem(&pem).map_err(|error| parse(&error))?;
        let plain = match (label, passphrase) {
            (PLAIN, _) => document,
            (ENCRYPTED, None) => {
                return Err(KeyError::NeedsPassphrase {
                    path: path.display().to_string(),
                });
            }
            (ENCRYPTED, Some(passphrase)) => {
                let sealed =
                    EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| parse(&error))?;
                // A wrong passphrase and a damaged body cannot be told apart.
                sealed.decrypt(passphrase).map_err(|_| KeyError::Passphrase {
                    path: path.display().to_string(),
                })?
            }
            (other, _) => return Err(parse(&format_args!("the PEM holds a `{other}`"))),
        };
        let secret = Secret::from_pkcs8_der(plain.as_bytes()).map_err(|error| parse(&error))?;
        Ok(Self {
            path: path.to_owned(),
            pair: Pair::new(secret)?,
        })
    }

    /// Creates a key with mode 0600, encrypted when there is a passphrase. The file appears whole or not at all and
    /// never takes the place of another.
    ///
    /// # Errors
    /// [`KeyError::File`], with [`io::ErrorKind::AlreadyExists`] when something stands there.
    pub fn create(path: &Path, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let secret = fresh()?;
        // Without the public half: OpenSSL 3.0 does not read the form that carries it (RFC 5958, version 2).
        let bare = KeypairBytes {
            secret_key: secret.to_bytes(),
            public_key: None,
        };
        let plain = bare.to_pkcs8_der().map_err(sealing)?;
        let pem = match passphrase {
            None => plain.to_pem(PLAIN, LineEnding::LF),
            Some(passphrase) => seal(&plain, passphrase)?.to_pem(ENCRYPTED, LineEnding::LF),
        };
        let pem = pem.map_err(|error| KeyError::Sign(error.to_string()))?;
        write_private(path, pem.as_bytes()).map_err(|source| failed(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            pair: Pair::new(secret)?,
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
        write!(f, "FileKey({}, {})", self.path.display(), hex::encode(&self.pair.id))
    }
}

#[async_trait]
impl SigningKey for FileKey {
    fn public(&self) -> &Key {
        &self.pair.public
    }

    fn key_id(&self) -> &Decoded<Hex> {
        &self.pair.id
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair.sign(message)
    }
}

fn seal(plain: &SecretDocument, passphrase: &str) -> Result<SecretDocument, KeyError> {
    // N = 2^14, r = 8, p = 1: what OpenSSL itself writes; it refuses to read what takes 32 MiB or more.
    let scheme = pbes2::Parameters::generate_scrypt(&mut SysRng).map_err(sealing)?;
    let key = PrivateKeyInfoRef::try_from(plain.as_bytes()).map_err(sealing)?;
    key.encrypt_with_params(scheme, passphrase).map_err(sealing)
}

fn sealing(error: impl fmt::Display) -> KeyError {
    KeyError::Sign(format!("a new key could not be made: {error}"))
}

/// Whether it is the key that is missing, and not its passphrase file.
fn missing(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && !path.exists()
}

fn failed(path: &Path, source: io::Error) -> KeyError {
    KeyError::File {
        path: path.display().to_string(),
        source,
    }
}

/// A passphrase from where the configuration says; an empty one counts as none.
fn passphrase(source: &Passphrase, key: &Path) -> Result<Zeroizing<String>, KeyError> {
    let text = match source {
        Passphrase::Env(name) => Zeroizing::new(env::var(name).unwrap_or_default()),
        Passphrase::File(path) => {
            let text = read_private(path)?;
            Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    };
    if text.is_empty() {
        return Err(KeyError::NeedsPassphrase {
            path: key.display().to_string(),
        });
    }
    Ok(text)
}

/// Reads a file that nobody but its owner may read. The mode is that of the open file: the name could move meanwhile.
fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let file = File::open(path).map_err(|source| failed(path, source))?;
    let mode = file
        .metadata()
        .map_err(|source| failed(path, source))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode {
            path: path.display().to_string(),
            mode,
        });
    }
    // Room from the start: a string that grew would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => KeyError::Parse {
                path: path.display().to_string(),
                detail: "not text".to_owned(),
            },
            _ => failed(path, source),
        })?;
    Ok(text)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".key-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|refused| refused.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::keys::conformance;

    fn configured(path: &Path, passphrase: Option<Passphrase>) -> KeyFile {
        KeyFile {
            path: path.to_owned(),
            passphrase,
        }
    }

    fn passphrase_file(dir: &Path, name: &str, text: &str) -> Option<Passphrase> {
        let path = dir.join(name);
        write_private(&path, text.as_bytes()).unwrap();
        Some(Passphrase::File(path))
    }

    #[tokio::test]
    async fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, sealed) = (dir.path().join("a.pem"), dir.path().join("b.pem"));
        let a = FileKey::create(&plain, None).unwrap();
        FileKey::create(&sealed, Some("correct horse")).unwrap();
        let passphrase = passphrase_file(dir.path(), "pass", "correct horse\n");
        let b = FileKey::open(&configured(&sealed, passphrase)).unwrap();
        assert_eq!(FileKey::open(&configured(&plain, None)).unwrap().key_id(), a.key_id());
        conformance::suite(&a, &b).await;
        assert!(fs::read_to_string(&sealed).unwrap().contains(ENCRYPTED));
        let mode = fs::metadata(&plain).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_does_not_open_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let open = |passphrase| FileKey::open(&configured(&path, passphrase)).unwrap_err();
        assert!(matches!(open(None), KeyError::File { source, .. } if source.kind() == io::ErrorKind::NotFound));
        FileKey::create(&path, Some("right")).unwrap();
        assert!(matches!(open(None), KeyError::NeedsPassphrase { .. }));
        assert!(matches!(
            open(Some(Passphrase::Env("TUFGATE_NO_SUCH_PASSPHRASE".into()))),
            KeyError::NeedsPassphrase { .. }
        ));
        let wrong = passphrase_file(dir.path(), "wrong", "wrong");
        assert!(matches!(open(wrong.clone()), KeyError::Passphrase { .. }));
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(open(wrong.clone()), KeyError::Mode { mode: found, .. } if found == mode));
        }
        for (at, garbage) in [
            "",
            "not a key",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ]
        .iter()
        .enumerate()
        {
            let path = dir.path().join(format!("garbage{at}"));
            write_private(&path, garbage.as_bytes()).unwrap();
            let error = FileKey::open(&configured(&path, None)).unwrap_err();
            assert!(matches!(error, KeyError::Parse { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let key = FileKey::create(&path, None).unwrap();
        let error = FileKey::create(&path, None).unwrap_err();
        assert!(matches!(error, KeyError::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(FileKey::read(&path, None).unwrap().key_id(), key.key_id());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "a temporary file was left behind"
        );
    }

    #[test]
    fn openssl_reads_both_forms() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, sealed) = (dir.path().join("a.pem"), dir.path().join("b.pem"));
        let keys = [
            FileKey::create(&plain, None).unwrap(),
            FileKey::create(&sealed, Some("pass word")).unwrap(),
        ];
        for key in keys {
            let public = Command::new("openssl")
                .args(["pkey", "-pubout", "-outform", "DER", "-passin", "pass:pass word", "-in"])
                .arg(key.path())
                .output();
            // Machines without OpenSSL have nothing to be compatible with.
            let Ok(public) = public else { return };
            assert!(public.status.success(), "{}", String::from_utf8_lossy(&public.stderr));
            assert!(public.stdout.ends_with(key.pair.secret.verifying_key().as_bytes()));
        }
    }

    #[test]
    fn formatting_shows_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let key = FileKey::create(&dir.path().join("key.pem"), None).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains("key.pem"));
        assert!(!shown.contains(&hex::encode(key.pair.secret.to_bytes())));
    }
}
