//! A draft on a terminal. Everything in it was written by somebody else.

use serde_json::{Value, json};

use crate::{
    admin::ends::FEWEST_STEPS,
    ceremony::{Draft, Kind},
    terminal::printable,
};

/// What a reviewer reads before a signature.
pub fn review(draft: &Draft) -> String {
    let (root, digest) = draft.trusts();
    let (role, version, drafted) = (draft.kind().role(), draft.version(), draft.drafted());
    let mut lines = vec![
        format!("draft of {role} {version}, made {} by {}", drafted.at, drafted.by),
        format!("stands on root {root}, sha256 {digest}"),
        "changes:".to_owned(),
    ];
    lines.extend(draft.changes().iter().map(|change| format!("  {change}")));
    lines.push(format!("fingerprint {}", draft.fingerprint()));
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}

/// Who has signed, and who is missing.
pub fn standing(draft: &Draft) -> String {
    let authorities = draft.authorities();
    let lines = authorities.iter().flat_map(|authority| {
        let text = authority.to_string();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let mut lines: Vec<String> = lines.collect();
    for entry in draft.entries() {
        lines.push(format!("{} by {}: signature of {}", entry.at, entry.by, entry.name));
    }
    if let Some(published) = draft.published() {
        let (at, by, file) = (published.at, &published.by, &published.file);
        lines.push(format!(
            "{at} by {by}: published as {file}, sha256 {}",
            published.sha256
        ));
    }
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}

/// A warning where clients that trust the first root cannot follow all of the chain in one update.
pub fn long_chain(draft: &Draft) -> Option<String> {
    let version = draft.version();
    (draft.kind() == Kind::Root && version > FEWEST_STEPS).then(|| {
        format!(
            "warning: {version} roots stand in the chain then, and sigstore-tuf follows {FEWEST_STEPS} in one update: a client \
             that knows an old one needs several; give new clients a newer root than the first, and renew rarely"
        )
    })
}

/// The same for programs.
pub fn json(draft: &Draft) -> Value {
    let (root, digest) = draft.trusts();
    let authorities: Vec<_> = draft
        .authorities()
        .iter()
        .map(|authority| {
            let signers = authority
                .signers
                .iter()
                .map(|signer| json!({"name": signer.key.name, "keyid": signer.key.keyid, "signed": signer.signed}));
            json!({
                "root": authority.version,
                "threshold": authority.threshold,
                "valid": authority.valid(),
                "signers": signers.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "role": draft.kind(),
        "version": draft.version(),
        "expires": draft.expires(),
        "drafted": draft.drafted(),
        "root": {"version": root, "sha256": digest},
        "changes": draft.changes(),
        "fingerprint": draft.fingerprint(),
        "authorities": authorities,
        "complete": draft.authorities().iter().all(|authority| authority.met()),
        "signed_by": draft.entries(),
        "published": draft.published(),
    })
}
