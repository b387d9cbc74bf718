//! Online keys against the newest root: their public halves only.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
};

use serde_json::Value;

use crate::{
    config::Config,
    keys::{KeyError, SigningKey, file::FileKey},
};

use super::{Code, Report, Severity, signers::Signers};

/// Compares the keys in files with those that root lists for their role. Plain keys are opened for that; an encrypted one
/// stays shut, and tokens and services are not asked: root may list those, and the signer itself compares them when it
/// starts.
pub(super) fn check(config: &Config, root: Option<&Value>, report: &mut Report) {
    let mut plain = Vec::new();
    let (mut strangers, mut listed) = (BTreeMap::new(), BTreeSet::new());
    for (name, key) in config.keys.each() {
        let role = name.strip_prefix("old.").unwrap_or(name);
        let Some(file) = key.file() else {
            listed.insert(role);
            continue;
        };
        let place = file.path.display();
        match FileKey::read(&file.path, None) {
            Ok(key) => {
                plain.push(place.to_string());
                let signers = root.and_then(|root| Signers::of_root(root, role));
                let id = hex::encode(key.key_id());
                if signers.is_none_or(|signers| signers.hold(&id)) {
                    listed.insert(role);
                } else {
                    strangers.entry(role).or_insert((place.to_string(), id));
                }
            }
            // `modes` says which files others may read.
            Err(KeyError::NeedsPassphrase { .. } | KeyError::Mode { .. }) => drop(listed.insert(role)),
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
    for (role, (place, id)) in strangers {
        // While a rotation lasts, root lists the new key, or the old one, or both.
        if !listed.contains(role) {
            let message = format!("the newest root does not list this key ({id}) for `{role}`");
            report.warning(Code::Key, place, message);
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
