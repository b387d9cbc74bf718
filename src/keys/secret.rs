//! Passphrases and PINs, from where a configuration or a command line says. Never from an argument: those can be read
//! by every user of the machine.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use super::KeyError;
use crate::config::{Passphrase, credential};

/// No honest key or passphrase is longer.
const MAX_FILE: u64 = 64 * 1024;

/// Reads a passphrase. Line ends at its end do not count.
///
/// # Errors
/// [`KeyError::Secret`] when there is none or it is empty, [`KeyError::File`] and [`KeyError::Mode`] for files.
pub fn read(source: &Passphrase, what: &str) -> Result<Zeroizing<String>, KeyError> {
    let missing = |detail: String| KeyError::Secret {
        place: describe(source),
        detail,
    };
    let text = match source {
        Passphrase::Env(name) => Zeroizing::new(env::var(name).map_err(|error| missing(error.to_string()))?),
        Passphrase::File(path) => private(path)?,
        // Opened anew by its name: a file then begins at its beginning, whoever read it before.
        Passphrase::Fd(number) => {
            let file = File::open(format!("/dev/fd/{number}")).map_err(|error| missing(error.to_string()))?;
            text_of(file).map_err(|error| missing(error.to_string()))?
        }
        // systemd keeps the folder from other users; the file's mode may show an ACL's mask.
        Passphrase::Credential(name) => {
            let path = credential(name).ok_or_else(|| missing("`CREDENTIALS_DIRECTORY` is not set".to_owned()))?;
            let file = File::open(path).map_err(|error| missing(error.to_string()))?;
            text_of(file).map_err(|error| missing(error.to_string()))?
        }
        Passphrase::Prompt => {
            let typed = rpassword::prompt_password(format!("passphrase of {what}: "));
            Zeroizing::new(typed.map_err(|error| missing(error.to_string()))?)
        }
    };
    let text = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    match text.is_empty() {
        true => Err(missing("it is empty".to_owned())),
        false => Ok(text),
    }
}

fn describe(source: &Passphrase) -> String {
    match source {
        Passphrase::Env(name) => format!("environment variable `{name}`"),
        Passphrase::File(path) => format!("file `{}`", path.display()),
        Passphrase::Fd(number) => format!("file descriptor {number}"),
        Passphrase::Credential(name) => format!("systemd credential `{name}`"),
        Passphrase::Prompt => "the terminal".to_owned(),
    }
}

/// Reads a file that nobody but its owner may read. The mode is that of the open file: the name could move meanwhile.
pub(super) fn private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::File {
        path: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode {
            path: path.display().to_string(),
            mode,
        });
    }
    text_of(file).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => KeyError::Parse {
            path: path.display().to_string(),
            detail: "not text".to_owned(),
        },
        _ => failed(source),
    })
}

fn text_of(file: File) -> io::Result<Zeroizing<String>> {
    // Room from the start: a string that grew would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}
