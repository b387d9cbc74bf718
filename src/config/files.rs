//! What a configuration says of files, checked against the disk.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Config, ConfigError, KeyFile, Passphrase, error::Source};

/// What to do about a secret that is not there.
const MISSING: &str =
    "restore it from a backup; where there is no root yet, `tufgate init` makes keys, at `keys.*.path`";
/// What to do about one that this user may not read.
const UNREADABLE: &str =
    "only its owner may read it (mode 600): run as that user, or `chown` it to the user that runs the signer";

impl Config {
    /// Checks that the online keys are there, that nobody but their owner may read them or their passphrases, and that
    /// passphrases can be had. For the process that opens keys, and for `serve --check`.
    pub(crate) fn check_files(&self) -> Result<(), ConfigError> {
        // Read again for the places of keys only; without it, errors lack a line.
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let source = Source::new(&text, &self.file);
        let keys = [
            (
                "timestamp",
                Some(&self.keys.timestamp),
                self.keys.old.timestamp.as_ref(),
            ),
            ("snapshot", Some(&self.keys.snapshot), self.keys.old.snapshot.as_ref()),
            ("targets", self.keys.targets.as_ref(), self.keys.old.targets.as_ref()),
        ];
        for (role, key, old) in keys {
            if let Some(key) = key {
                check_key(&source, &["keys", role], role, key)?;
            }
            if let Some(old) = old {
                check_key(&source, &["keys", "old", role], &format!("old {role}"), old)?;
            }
        }
        Ok(())
    }
}

fn check_key(source: &Source<'_>, table: &[&str], role: &str, key: &KeyFile) -> Result<(), ConfigError> {
    let at = |field| [table, &[field]].concat();
    check_secret(source, &at("path"), &format!("the {role} key"), &key.path)
        .map_err(|error| or_hint(error, "`keys.*.path` says where keys are"))?;
    match &key.passphrase {
        None => Ok(()),
        Some(Passphrase::Env(name)) if std::env::var_os(name).is_some() => Ok(()),
        Some(Passphrase::Env(name)) => {
            let message = format!("environment variable `{name}`, the passphrase of the {role} key, is not set");
            Err(source.at(&at("passphrase_env"), message))
        }
        Some(Passphrase::File(path)) => {
            let what = format!("the passphrase of the {role} key");
            check_secret(source, &at("passphrase_file"), &what, path)
        }
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
        assert!(error.message.contains("`keys.old.snapshot` needs a `path`"), "{error}");
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
        assert!(now.keys.timestamp.path.ends_with("new.pem"));
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
