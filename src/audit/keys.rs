//! Online keys against the newest root: their public halves only.

use std::io::ErrorKind;

use serde_json::Value;

use crate::{
    config::Config,
    keys::{KeyError, SigningKey, file::FileKey},
};

use super::{Code, Report, Severity, signers::Signers};

/// Compares each key in a file with the keys that root lists for its role. Plain keys are opened for that; an encrypted one
/// stays shut, and tokens and services are not asked: the signer itself compares them when it starts.
pub(super) fn check(config: &Config, root: Option<&Value>, report: &mut Report) {
    let mut plain = Vec::new();
    for (role, key) in config.keys.each() {
        let Some(file) = key.file() else { continue };
        let place = file.path.display();
        match FileKey::read(&file.path, None) {
            Ok(key) => {
                plain.push(place.to_string());
                let listed = root.and_then(|root| Signers::of_root(root, role));
                let id = hex::encode(key.key_id());
                if listed.is_some_and(|listed| !listed.hold(&id)) {
                    let message = format!("the newest root does not list this key ({id}) for `{role}`");
                    report.warning(Code::Key, place, message);
                }
            }
            // `modes` says which files others may read.
            Err(KeyError::NeedsPassphrase { .. } | KeyError::Mode { .. }) => {}
            Err(error) => {
                // A key that this user may not read may be the signer's own; one that is gone stops the signer.
                let gone = matches!(&error, KeyError::File { source, .. } if source.kind() == ErrorKind::NotFound);
                let severity = if gone { Severity::Error } else { Severity::Warning };
                match error.hint() {
                    Some(hint) => report.advise(Code::Key, severity, place, error, hint),
                    None => report.add(Code::Key, severity, place, error),
                }
            }
        }
    }
    if let Some(first) = plain.first() {
        let message = format!(
            "{} online keys are not encrypted: file modes alone protect them",
            plain.len()
        );
        report.note(Code::Unencrypted, first, message);
    }
}
