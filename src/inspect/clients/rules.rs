//! The rules: what a fact means for a client. One function for each kind of fact.

use super::{Client, Effect, Reason};
use crate::inspect::{
    facts::{Facts, KeyFact, Served, Sized},
    role::CROWDED,
};

/// Snapshot entries that tuf-js reads within a second; beyond, time grows with their square.
const TUF_JS_LISTED: u64 = 2_048;
/// Roles that tough loads one after another within a moment.
const TOUGH_ROLES: u64 = 256;

/// A reason to fail.
pub(super) fn fails(text: impl Into<String>) -> Reason {
    Reason {
        effect: Effect::Fails,
        text: text.into(),
    }
}

fn slow(text: impl Into<String>) -> Reason {
    Reason {
        effect: Effect::Slow,
        text: text.into(),
    }
}

/// Every reason that the facts give.
pub(super) fn rules(client: Client, facts: &Facts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    forms(client, facts, &mut reasons);
    sizes(client, facts, &mut reasons);
    roots(client, facts, &mut reasons);
    keys(client, facts, &mut reasons);
    targets(client, facts, &mut reasons);
    names(client, facts, &mut reasons);
    cost(client, facts, &mut reasons);
    reasons
}

fn forms(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let forms = facts.forms;
    if forms.succinct {
        match client {
            Client::PythonTuf | Client::GoTuf | Client::TufJs => {}
            Client::Tough | Client::RustTuf => {
                reasons.push(fails("it cannot parse `succinct_roles`: nothing loads"));
            }
            Client::SigstoreTuf => reasons.push(fails("it ignores `succinct_roles`: no target in the bins is found")),
            Client::SigstoreJava => {}
            Client::PhpTuf | Client::OldGoTuf => {
                reasons.push(fails(
                    "it does not know `succinct_roles`: no target in the bins is found",
                ));
            }
        }
    }
    if forms.prefixes {
        match client {
            Client::GoTuf => reasons.push(fails(
                "it compares hash prefixes with base64 (fixed after 2.4.2): no target below `path_hash_prefixes` is found",
            )),
            Client::RustTuf => reasons.push(fails("it does not know `path_hash_prefixes`")),
            _ => {}
        }
    }
    if forms.any() && client == Client::SigstoreJava && facts.delegated_targets {
        reasons.push(fails("it reads no delegations: it finds targets of targets.json only"));
    }
    if facts.depth > 1 && client == Client::RustTuf && facts.delegated_targets && !forms.prefixes && !forms.succinct {
        reasons.push(fails("it loses what it finds below a second delegation"));
    }
    let visited = client.profile().visited;
    if facts.visited > visited {
        let text = format!(
            "some target is found after {} roles, and it reads {visited}",
            facts.visited
        );
        reasons.push(fails(text));
    }
}

fn sizes(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let profile = client.profile();
    let [root, timestamp, snapshot, targets] = profile.limits;
    for (file, limit) in [
        (&facts.root, root),
        (&facts.timestamp, timestamp),
        (&facts.snapshot, snapshot),
        (&facts.delegator, targets),
        (&facts.leaf, targets),
    ] {
        if over(file, limit, profile.by_length) && !(client == Client::SigstoreJava && is_delegated(facts, file)) {
            let text = format!("`{}` has {} bytes, and it reads {limit}", file.name, file.bytes);
            reasons.push(fails(text));
        }
    }
}

fn over(file: &Sized, limit: u64, by_length: bool) -> bool {
    file.bytes > limit && !(by_length && file.listed)
}

/// A file that a client without delegations never asks for.
fn is_delegated(facts: &Facts, file: &Sized) -> bool {
    (std::ptr::eq(file, &facts.delegator) || std::ptr::eq(file, &facts.leaf)) && file.name != "targets"
}

fn roots(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let profile = client.profile();
    if facts.root_steps > profile.root_steps {
        let text = format!(
            "{} roots follow the given one, and it takes {} in one update",
            facts.root_steps, profile.root_steps
        );
        reasons.push(fails(text));
    }
    if facts.root_end != 0 && !profile.ends.contains(&facts.root_end) {
        let text = format!(
            "a root that is not there is answered with {}, which it takes for a failure",
            facts.root_end
        );
        reasons.push(fails(text));
    }
}

fn keys(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let profile = client.profile();
    if profile.computed
        && let Some(key) = facts.keys.iter().find(|key| !key.computed)
    {
        reasons.push(fails(format!(
            "it computes key ids, and `{}` is not its key's digest",
            key.id
        )));
    }
    let odd = |key: &&KeyFact| match profile.kinds {
        [] => !key.known && matches!(client, Client::PythonTuf | Client::Tough),
        kinds => !kinds.contains(&&*key.kind),
    };
    if let Some(key) = facts.keys.iter().find(odd) {
        let text = match profile.kinds {
            [] => format!("it refuses a file with a key of the kind `{}`", key.kind),
            _ => format!(
                "it verifies Ed25519 only, and there is a key of the kind `{}`",
                key.kind
            ),
        };
        reasons.push(fails(text));
    }
}

fn targets(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let missing = |served: Served, form: &str| {
        (served.missing > 0).then(|| {
            fails(format!(
                "it asks for targets as {form}, under which {} of {} were not there",
                served.missing,
                served.missing + served.good
            ))
        })
    };
    let reason = match client {
        _ if !facts.consistent => missing(facts.bare, "dir/name"),
        Client::Tough => missing(facts.hashed_folder, "H.dir/name"),
        Client::PhpTuf => missing(facts.bare, "dir/name"),
        _ => missing(facts.hashed_name, "dir/H.name"),
    };
    reasons.extend(reason);
    if client == Client::Tough
        && let Some(path) = &facts.no_sha256
    {
        reasons.push(fails(format!(
            "it needs a sha256 of every target, and `{path}` has none"
        )));
    }
    if matches!(client, Client::Tough | Client::SigstoreTuf)
        && let Some(file) = &facts.encoded
    {
        let text = format!("it asks for no encoding and undoes none, and `{file}` came with one");
        reasons.push(fails(text));
    }
}

fn names(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let names = &facts.names;
    let mut broken = |name: &Option<String>, why: &str| {
        if let Some(name) = name {
            reasons.push(fails(format!("{why}: {name}")));
        }
    };
    match client {
        Client::TufJs => {
            broken(
                &names.utf16_order,
                "it sorts by UTF-16 units, and cannot verify a role with",
            );
            broken(&names.proto, "it never finds a target of this name");
        }
        Client::Tough => {
            broken(
                &names.not_nfc,
                "it turns text into NFC, and refuses the whole repository for",
            );
            broken(
                &names.quoted_order,
                "it sorts names with their quotes, and refuses the whole repository for",
            );
        }
        Client::RustTuf => broken(
            &names.unsafe_path,
            "it refuses a role with a name that Windows cannot have",
        ),
        Client::PhpTuf => broken(
            &names.non_ascii,
            "it escapes what is not ASCII, and cannot verify a role with",
        ),
        _ => {}
    }
    if client == Client::Tough
        && let Some(name) = &names.colon
    {
        reasons.push(Reason {
            effect: Effect::Works,
            text: format!("it can take a hash before `{name}` for a URL scheme"),
        });
    }
}

fn cost(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    match client {
        Client::TufJs => {
            // Measured: 192 ms at 1,024 entries, 0.17 s a thousand targets squared; both grow with the square.
            if facts.listed > TUF_JS_LISTED {
                let seconds = (facts.listed as f64 / 1_024.0).powi(2) * 0.19;
                let text = format!(
                    "a snapshot of {} roles takes it about {seconds:.0} s to read",
                    facts.listed
                );
                reasons.push(slow(text));
            }
            let (most, role) = &facts.crowded;
            if *most > CROWDED {
                let seconds = (*most as f64 / 1_000.0).powi(2) * 0.2;
                let text = format!("`{role}` lists {most} targets, which takes it about {seconds:.0} s to read");
                reasons.push(slow(text));
            }
        }
        Client::Tough if facts.listed > TOUGH_ROLES && !facts.forms.succinct => {
            let text = format!(
                "it loads all roles before the first target, one after another: {} requests",
                facts.listed
            );
            reasons.push(slow(text));
        }
        _ => {}
    }
}
