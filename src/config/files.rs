//! What a configuration says of files, checked against the disk.

use std::{
    fs,
    io::ErrorKind,
    iter,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Config, ConfigError, KeyPlace, KeySource, Passphrase, error::Source};

/// What to do about a secret that is not there.
const MISSING: &str =
    "restore it from a backup; where there is no root yet, `tufgate init` makes keys, at `keys.*.path`";
/// What to do about one that this user may not read.
const UNREADABLE: &str =
    "only its owner may read it (mode 600): run as that user, or `chown` it to the user that runs the signer";

/// Where systemd puts a credential (systemd.exec(5), `LoadCredential=`); `None` where it runs nothing.
pub fn credential(name: &str) -> Option<PathBuf> {
    Some(Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name))
}

impl Config {
    /// Checks that the online keys are there, that nobody but their owner may read them or their passphrases, and that
    /// passphrases can be had. For the process that opens keys, and for `serve --check`.
    pub(crate) fn check_files(&self) -> Result<(), ConfigError> {
        // Read again for the places of keys only; without it, errors lack a line.
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let source = Source::new(&text, &self.file);
        for (name, key) in self.keys.each() {
            check_key(&source, name, key)?;
        }
        Ok(())
    }
}

fn check_key(source: &Source<'_>, name: &str, key: &KeySource) -> Result<(), ConfigError> {
    // `[keys.old.timestamp]` is the table of `old.timestamp`, which people call the old timestamp key.
    let table: Vec<_> = iter::once("keys").chain(name.split('.')).collect();
    let at = |rest: &[&'static str]| [&table, rest].concat();
    let key_name = name.replace('.', " ");
    match &key.place {
        KeyPlace::File(file) => {
            check_secret(source, &at(&["path"]), &format!("the {key_name} key"), &file.path)
                .map_err(|error| or_hint(error, "`keys.*.path` says where keys are"))?;
            let shown = format!("the passphrase of the {key_name} key");
            check_passphrase(source, &table, "passphrase", &shown, file.passphrase.as_ref())
        }
        KeyPlace::Command(command) => {
            let what = format!("the public half of the {key_name} key");
            check_file(source, &at(&["command", "public"]), &what, &command.public)
        }
        KeyPlace::Pkcs11(token) => {
            let what = format!("the library of the {key_name} key's token");
            check_file(source, &at(&["pkcs11", "module"]), &what, &token.module)?;
            let shown = format!("the PIN of the {key_name} key's token");
            check_passphrase(source, &at(&["pkcs11"]), "pin", &shown, token.pin.as_ref())
        }
        KeyPlace::AwsKms(_) => Ok(()),
    }
}

/// Whether a passphrase or PIN, which people are `shown` as such, can be had.
fn check_passphrase(
    source: &Source<'_>,
    table: &[&str],
    what: &str,
    shown: &str,
    secret: Option<&Passphrase>,
) -> Result<(), ConfigError> {
    let at = |way: &str, message: String| {
        let key = format!("{what}_{way}");
        source.at(&[table, &[key.as_str()]].concat(), message)
    };
    match secret {
        None | Some(Passphrase::Prompt) => Ok(()),
        Some(Passphrase::Env(name)) if std::env::var_os(name).is_some() => Ok(()),
        Some(Passphrase::Env(name)) => Err(at("env", format!("environment variable `{name}`, {shown}, is not set"))),
        Some(Passphrase::File(path)) => {
            let key = format!("{what}_file");
            check_secret(source, &[table, &[key.as_str()]].concat(), shown, path)
        }
        Some(Passphrase::Fd(number)) if Path::new(&format!("/dev/fd/{number}")).exists() => Ok(()),
        Some(Passphrase::Fd(number)) => Err(at("fd", format!("file descriptor {number}, {shown}, is not open"))),
        Some(Passphrase::Credential(name)) => match credential(name) {
            Some(path) if path.exists() => Ok(()),
            _ => {
                let error = at(
                    "credential",
                    format!("there is no systemd credential `{name}`, {shown}"),
                );
                Err(error.hint(format!("`LoadCredentialEncrypted={name}` in the service's unit")))
            }
        },
    }
}

/// A file that can be read, by whomever.
fn check_file(source: &Source<'_>, key: &[&str], what: &str, path: &Path) -> Result<(), ConfigError> {
    let opened = fs::File::open(path).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(source.at(key, format!("{what}, `{}`, is not a file", path.display()))),
        Err(why) => Err(source.at(key, format!("cannot read {what}, `{}`: {why}", path.display()))),
    }
}

/// A regular file that can be read, and by its owner alone.
fn check_secret(source: &Source<'_>, key: &[&str], what: &str, path: &Path) -> Result<(), ConfigError> {
    let shown = path.display();
    let metadata = fs::File::open(path).and_then(|file| file.metadata()).map_err(|why| {
        let error = source.at(key, format!("cannot read {what}, `{shown}`: {why}"));
        match why.kind() {
            ErrorKind::NotFound => error.hint(MISSING),
            ErrorKind::PermissionDenied => error.hint(UNREADABLE),
            _ => error,
        }
    })?;
    if !metadata.is_file() {
        return Err(source.at(key, format!("{what}, `{shown}`, is not a file")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let error = source.at(key, format!("{what}, `{shown}`, has mode {mode:o}: others may read it"));
        return Err(error.hint(format!("chmod 600 '{shown}'")));
    }
    Ok(())
}

fn or_hint(error: ConfigError, hint: &str) -> ConfigError {
    if error.hint.is_some() { error } else { error.hint(hint) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    struct Home {
        folder: tempfile::TempDir,
        config: Config,
    }

    fn home(keys: &str) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tufgate.toml");
        let text = format!("[upstream]\nurl = \"http://h\"\n[signer]\nsocket = \"/run/s\"\n{keys}");
        fs::write(&file, text).unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        let config = Config::load(&file).unwrap();
        let home = Home { folder, config };
        for role in ["timestamp", "snapshot", "targets"] {
            home.put(&format!("keys/{role}.pem"), 0o600);
        }
        home
    }

    impl Home {
        fn put(&self, name: &str, mode: u32) {
            let path = self.folder.path().join(name);
            fs::write(&path, "secret").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.folder.path().join(name)).unwrap();
        }
    }

    #[test]
    fn keys_must_be_there_and_private() {
        let home = home("");
        home.config.check_files().unwrap();
        home.put("keys/snapshot.pem", 0o640);
        let error = home.config.check_files().unwrap_err();
        assert!(error.message.contains("mode 640") && error.hint.unwrap().starts_with("chmod 600"));
        home.put("keys/snapshot.pem", 0o600);
        home.remove("keys/targets.pem");
        let error = home.config.check_files().unwrap_err();
        assert!(error.message.starts_with("cannot read the targets key"), "{error}");
        assert!(error.hint.unwrap().contains("tufgate init"));
    }

    #[test]
    fn errors_name_the_line_of_the_key() {
        let home = home("[keys.timestamp]\npath = \"keys/other.pem\"\n");
        let error = home.config.check_files().unwrap_err();
        assert_eq!((error.line, error.column), (Some(6), Some(1)), "{error}");
    }

    #[test]
    fn keys_on_their_way_out_are_named_and_checked() {
        let home = home("[keys.old.timestamp]\npath = \"keys/last.pem\"\n");
        let error = home.config.check_files().unwrap_err();
        assert!(
            error.message.starts_with("cannot read the old timestamp key"),
            "{error}"
        );
        assert_eq!(error.line, Some(6));
        home.put("keys/last.pem", 0o600);
        home.config.check_files().unwrap();
        let bare = "[upstream]\nurl = \"http://h\"\n[keys.old.snapshot]\npassphrase_env = \"X\"\n";
        let error = Config::parse(bare, "tufgate.toml").unwrap_err();
        assert!(
            error.message.contains("`keys.old.snapshot` says not where the key is"),
            "{error}"
        );
    }

    #[test]
    fn keys_are_read_again_where_they_changed() {
        let home = home("");
        home.remove("tufgate.toml");
        assert!(home.config.keys_now().unwrap().is_none(), "there is no file");
        let text = "[upstream]\nurl = \"http://h\"\n[signer]\nsocket = \"/run/s\"\n";
        fs::write(&home.config.file, text).unwrap();
        assert!(home.config.keys_now().unwrap().is_none(), "the same keys");
        fs::write(
            &home.config.file,
            format!("{text}[keys.timestamp]\npath = \"new.pem\"\n"),
        )
        .unwrap();
        let now = home.config.keys_now().unwrap().unwrap();
        assert!(now.keys.timestamp.file().unwrap().path.ends_with("new.pem"));
        fs::write(&home.config.file, "[keys").unwrap();
        assert!(home.config.keys_now().is_err());
    }

    #[test]
    fn an_offline_targets_key_is_not_asked_for() {
        let home = home("[keys.targets]\noffline = true\n");
        home.remove("keys/targets.pem");
        home.config.check_files().unwrap();
    }

    #[test]
    fn passphrases_must_be_there_and_private() {
        let home = home("[keys.timestamp]\npassphrase_file = \"pass\"\n");
        assert!(
            home.config
                .check_files()
                .unwrap_err()
                .message
                .contains("cannot read the passphrase")
        );
        home.put("pass", 0o604);
        assert!(home.config.check_files().unwrap_err().message.contains("mode 604"));
        home.put("pass", 0o400);
        home.config.check_files().unwrap();
    }

    #[test]
    fn a_passphrase_variable_must_be_set() {
        let home = home("[keys.snapshot]\npassphrase_env = \"TUFGATE_TEST_NEVER_SET\"\n");
        let error = home.config.check_files().unwrap_err();
        assert!(error.message.contains("TUFGATE_TEST_NEVER_SET"), "{error}");
        assert_eq!(error.line, Some(6));
    }
}
