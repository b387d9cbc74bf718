//! Who may read and write the gate's files, whose they are, and what lies among them that should not.

use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use crate::config::{Config, KeyPlace, Passphrase};

use super::{Code, Report, Severity, finding::RESTORE};

/// A temporary file this young belongs to somebody at work.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// Bits of a mode by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
/// Bits by which anybody but the owner may do anything.
const NOT_OWNER: u32 = 0o077;
/// The sticky bit: only its owner takes a file out of such a folder.
const STICKY: u32 = 0o1000;

/// Looks at every place that the configuration names.
pub(super) fn check(config: &Config, now: Timestamp, report: &mut Report) {
    let mut look = Look { report, now };
    for file in secrets(config) {
        look.secret(&file);
    }
    look.ledger(&config.ledger);
    look.depot(&config.depot);
    look.shared(&config.file, "who may write it decides what the gate does");
    look.socket(&config.signer.socket);
    look.cache(&config.cache.path);
    for place in [&config.file, &config.ledger, &config.depot, &config.signer.socket] {
        if let Some(folder) = place.parent() {
            look.shared(or_here(folder), "who may write it may put other files in their places");
        }
    }
    report_once(report);
}

/// Key files and files with passphrases and PINs.
fn secrets(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (_, key) in config.keys.each() {
        let secret = match &key.place {
            KeyPlace::File(file) => {
                files.push(file.path.clone());
                file.passphrase.as_ref()
            }
            KeyPlace::Pkcs11(token) => token.pin.as_ref(),
            KeyPlace::Command(_) | KeyPlace::AwsKms(_) => None,
        };
        if let Some(Passphrase::File(path)) = secret {
            files.push(path.clone());
        }
    }
    files
}

/// One folder may hold several of those places.
fn report_once(report: &mut Report) {
    let mut seen = std::collections::BTreeSet::new();
    report.keep(|finding| seen.insert((finding.identity(), finding.message.clone())));
}

struct Look<'a> {
    report: &'a mut Report,
    now: Timestamp,
}

impl Look<'_> {
    /// Nobody but the owner may do anything with it.
    fn secret(&mut self, path: &Path) {
        let Some(file) = self.open(path, Code::Key) else { return };
        if file.mode() & NOT_OWNER != 0 {
            let message = format!("others than its owner may use it (mode {:o})", file.mode() & 0o777);
            self.report.warning(Code::Mode, path.display(), message);
        }
        let Some(folder) = path.parent().and_then(|folder| fs::metadata(or_here(folder)).ok()) else {
            return;
        };
        let folder_path = or_here(path.parent().unwrap_or(Path::new("")));
        if folder.mode() & (OTHERS_WRITE | GROUP_WRITES) != 0 && folder.mode() & STICKY == 0 {
            let message = format!(
                "others may put keys of their own here (mode {:o})",
                folder.mode() & 0o777
            );
            self.report.warning(Code::Mode, folder_path.display(), message);
        }
        if folder.uid() != file.uid() && folder.uid() != 0 {
            let message = "the folder of this secret belongs to another user, who may replace it";
            self.report.warning(Code::Owner, path.display(), message);
        }
    }

    /// The database and what SQLite keeps beside it.
    fn ledger(&mut self, path: &Path) {
        let Some(main) = self.open(path, Code::Unreadable) else {
            return;
        };
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            let name = PathBuf::from(name);
            let Ok(file) = fs::metadata(&name) else { continue };
            let mode = file.mode() & 0o777;
            if mode & OTHERS_WRITE != 0 {
                let message = format!("anybody may write it (mode {mode:o})");
                self.report.warning(Code::Mode, name.display(), message);
            } else if mode & NOT_OWNER != 0 {
                let message = format!("others than its owner may use it (mode {mode:o}): it names paths and clients");
                self.report.note(Code::Mode, name.display(), message);
            }
            if file.uid() != main.uid() {
                let message = format!("it belongs to user {}, the ledger to user {}", file.uid(), main.uid());
                self.report.warning(Code::Owner, name.display(), message);
            }
        }
    }

    /// The folder, its files, and what is neither metadata nor the depot's own.
    fn depot(&mut self, path: &Path) {
        let Some(folder) = self.open(path, Code::Missing) else {
            return;
        };
        self.shared(path, "who may write it may put other metadata in place");
        let mut folders = vec![path.to_owned()];
        while let Some(inside) = folders.pop() {
            for entry in fs::read_dir(&inside).into_iter().flatten().flatten() {
                let (place, Ok(meta)) = (entry.path(), entry.metadata()) else {
                    continue;
                };
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    self.report
                        .warning(Code::Foreign, place.display(), "its name is not UTF-8");
                    continue;
                };
                if meta.is_dir() && inside == path && name == "succinct" {
                    folders.push(place.clone());
                } else if name.starts_with(".tmp-") {
                    if self.age(&meta) > FRESH {
                        self.report
                            .note(Code::Leftover, place.display(), "half a file, which a crash left");
                    }
                    continue;
                } else if !meta.is_file() || (name.starts_with('.') && name != ".lock") {
                    self.report
                        .warning(Code::Foreign, place.display(), "the gate does not write this");
                    continue;
                }
                self.shared(&place, "who may write it may change signed metadata");
                if meta.uid() != folder.uid() {
                    let message = format!("it belongs to user {}, the depot to user {}", meta.uid(), folder.uid());
                    self.report.note(Code::Owner, place.display(), message);
                }
            }
        }
    }

    /// What others may read and nobody else may write.
    fn shared(&mut self, path: &Path, why: &str) {
        let Ok(meta) = fs::metadata(path) else { return };
        let mode = meta.mode();
        let open = mode & OTHERS_WRITE != 0 && !(meta.is_dir() && mode & STICKY != 0);
        let place = path.display();
        if open {
            self.report.warning(
                Code::Mode,
                place,
                format!("anybody may write it (mode {:o}): {why}", mode & 0o777),
            );
        } else if mode & GROUP_WRITES != 0 && !(meta.is_dir() && mode & STICKY != 0) {
            self.report.note(
                Code::Mode,
                place,
                format!("its group may write it (mode {:o}): {why}", mode & 0o777),
            );
        }
    }

    /// Who reaches it wakes the signer, and hears of publications; no more. It is there while a signer runs.
    fn socket(&mut self, path: &Path) {
        let Ok(meta) = fs::metadata(path) else { return };
        if meta.mode() & NOT_OWNER != 0 {
            let message = format!("others may wake the signer (mode {:o})", meta.mode() & 0o777);
            self.report.note(Code::Mode, path.display(), message);
        }
    }

    /// What lies in it is hashed before it is used; who may read it reads artifacts without asking the upstream.
    fn cache(&mut self, path: &Path) {
        let Ok(meta) = fs::metadata(path) else { return };
        if meta.mode() & NOT_OWNER != 0 {
            let message = format!("others than its owner may enter it (mode {:o})", meta.mode() & 0o777);
            self.report.note(Code::Mode, path.display(), message);
        }
    }

    fn open(&mut self, path: &Path, code: Code) -> Option<Metadata> {
        match fs::metadata(path) {
            Ok(meta) => Some(meta),
            // `keys` says what is wrong with a key file.
            Err(_) if code == Code::Key => None,
            Err(error) if error.kind() == ErrorKind::NotFound && code == Code::Missing => {
                self.report.advise(
                    Code::Missing,
                    Severity::Error,
                    path.display(),
                    "it is not there",
                    RESTORE,
                );
                None
            }
            Err(error) => {
                self.report.error(Code::Unreadable, path.display(), error);
                None
            }
        }
    }

    fn age(&self, meta: &Metadata) -> SignedDuration {
        let modified = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        modified.map_or(SignedDuration::ZERO, |at| self.now.duration_since(at))
    }
}

fn or_here(folder: &Path) -> &Path {
    if folder == Path::new("") {
        Path::new(".")
    } else {
        folder
    }
}
