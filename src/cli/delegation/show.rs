//! A team's draft on a terminal. Everything in it was written by somebody else.

use serde_json::{Value, json};

use crate::{
    ceremony::team::{Part, TeamDraft},
    terminal::printable,
};

/// What a reviewer reads before a signature.
pub fn review(draft: &TeamDraft) -> String {
    let ((root, digest), drafted) = (draft.chain().trusts(), draft.drafted());
    let mut lines = vec![
        format!("drafted {} by {}", drafted.at, drafted.by),
        format!("stands on root {root}, sha256 {digest}"),
    ];
    lines.extend(draft.chain().lines());
    for part in draft.parts() {
        let (role, listed) = (part.role(), part.delegation().role());
        lines.push(format!("{role} {}", part.version()));
        if let Some(paths) = &listed.paths {
            lines.extend(paths.iter().map(|pattern| format!("  speaks for {pattern}")));
        }
        lines.extend(part.changes().iter().map(|change| format!("  {change}")));
        lines.push(format!("  fingerprint {}", part.fingerprint()));
    }
    text(&lines)
}

/// Who has signed, and who is missing.
pub fn standing(draft: &TeamDraft) -> String {
    let mut lines = Vec::new();
    for part in draft.parts() {
        let authority = format!("{}: {}", part.role(), part.authority());
        lines.extend(authority.lines().map(str::to_owned));
        for entry in part.entries() {
            lines.push(format!(
                "{} by {}: signature of {}",
                entry.at,
                entry.by,
                name(&entry.name, &entry.keyid)
            ));
        }
    }
    if let Some(sent) = draft.sent() {
        lines.push(format!("{} by {}: submitted to {}", sent.at, sent.by, sent.to));
        for (role, file) in &sent.files {
            lines.push(format!("  {role} {}, sha256 {}", file.version, file.sha256));
        }
        if let Some(snapshot) = sent.snapshot {
            lines.push(format!("  listed in snapshot {snapshot}"));
        }
    }
    text(&lines)
}

/// The same for programs.
pub fn json(draft: &TeamDraft) -> Value {
    let (root, digest) = draft.chain().trusts();
    let parts: serde_json::Map<_, _> = draft
        .parts()
        .iter()
        .map(|part| (part.role().to_owned(), role(part)))
        .collect();
    json!({
        "roles": parts,
        "drafted": draft.drafted(),
        "root": {"version": root, "sha256": digest},
        "complete": draft.parts().iter().all(|part| part.authority().met()),
        "submitted": draft.sent(),
    })
}

fn role(part: &Part) -> Value {
    let authority = part.authority();
    let signers = authority.signers.iter();
    let signers =
        signers.map(|signer| json!({"name": signer.key.name, "keyid": signer.key.keyid, "signed": signer.signed}));
    json!({
        "version": part.version(),
        "expires": part.expires(),
        "paths": part.delegation().role().paths,
        "changes": part.changes(),
        "fingerprint": part.fingerprint(),
        "delegated_by": {"role": authority.by, "version": authority.version},
        "threshold": authority.threshold,
        "valid": authority.valid(),
        "signers": signers.collect::<Vec<_>>(),
        "signed_by": part.entries(),
    })
}

/// Keys of other tools' repositories have no names.
fn name<'a>(name: &'a str, keyid: &'a str) -> &'a str {
    if name.is_empty() { keyid } else { name }
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}
