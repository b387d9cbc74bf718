//! What a proposal changes, one line a change, the same lines for everybody who has the file.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Kind, ring::Roles};
use crate::tuf::{canonical, schema::KEY_NAMES};

/// Characters of a value that are shown.
const SHOWN: usize = 160;

/// Every difference between two `signed` objects of one role.
pub fn lines(kind: Kind, old: &Value, new: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for field in ["version", "expires"] {
        plain(&mut lines, field, old.get(field), new.get(field));
    }
    let (before, after) = (Roles::of(kind, old), Roles::of(kind, new));
    roles(&mut lines, &before, &after);
    let ids: BTreeSet<_> = before.keys.keys().chain(after.keys.keys()).collect();
    for id in ids {
        match (before.keys.get(id), after.keys.get(id)) {
            (Some(old), Some(new)) if old != new => {
                lines.push(format!("key {id}: {} → {}", shown(old), shown(new)));
            }
            (Some(_), Some(_)) if before.written_name(id) != after.written_name(id) => {
                lines.push(format!("{} is called {} now", before.label(id), named(&after, id)));
            }
            // Comes or goes with no role: a fault, which the rules refuse.
            (Some(key), None) if after.lists(id) || !before.lists(id) => {
                lines.push(format!("key {id}: - {}", shown(key)))
            }
            (None, Some(key)) if before.lists(id) || !after.lists(id) => {
                lines.push(format!("key {id}: + {}", shown(key)))
            }
            _ => {}
        }
    }
    let keyless = |roles: &Roles<'_>| -> BTreeSet<String> {
        roles
            .named()
            .filter(|id| !roles.keys.contains_key(id))
            .map(str::to_owned)
            .collect()
    };
    if keyless(&before) != keyless(&after) {
        plain(&mut lines, KEY_NAMES, old.get(KEY_NAMES), new.get(KEY_NAMES));
    }
    let own: &[&str] = match kind {
        Kind::Root => &["version", "expires", "keys", "roles", KEY_NAMES],
        Kind::Targets => &["version", "expires", "delegations", "targets", KEY_NAMES],
    };
    rest(&mut lines, "", own, old, new);
    // Forms that are none, and orders that mean nothing, show here when nothing else does.
    for field in own {
        if lines.is_empty() {
            plain(&mut lines, field, old.get(field), new.get(field));
        }
    }
    if kind == Kind::Targets {
        // Who comes first is asked first.
        let order = |signed| -> Vec<String> {
            let roles = part(part(signed, "delegations"), "roles")
                .as_array()
                .into_iter()
                .flatten();
            roles.map(|role| shown(part(role, "name"))).collect()
        };
        let (before, after) = (order(old), order(new));
        if before != after && after.len() > 2 {
            lines.push(format!("roles are asked in this order: {}", after.join(", ")));
        }
        rest(
            &mut lines,
            "delegations: ",
            &["keys", "roles"],
            part(old, "delegations"),
            part(new, "delegations"),
        );
        rest(&mut lines, "target ", &[], part(old, "targets"), part(new, "targets"));
    }
    lines
}

fn roles(lines: &mut Vec<String>, before: &Roles<'_>, after: &Roles<'_>) {
    let names: BTreeSet<_> = before.roles.keys().chain(after.roles.keys()).collect();
    for name in names {
        let (old, new) = (before.roles.get(name), after.roles.get(name));
        match (old, new) {
            (None, Some(_)) => lines.push(format!("{name}: a new role")),
            (Some(_), None) => lines.push(format!("{name}: the role is gone")),
            _ => {}
        }
        let ids = |role: Option<&super::ring::Listed<'_>>| -> BTreeSet<String> {
            role.iter()
                .flat_map(|role| &role.keyids)
                .map(|id| (*id).to_owned())
                .collect()
        };
        let (were, are) = (ids(old), ids(new));
        for id in were.difference(&are) {
            lines.push(format!("{name}: - {}{}", before.label(id), kind_of(before, id)));
        }
        for id in are.difference(&were) {
            lines.push(format!("{name}: + {}{}", after.label(id), kind_of(after, id)));
        }
        let (Some(old), Some(new)) = (old, new) else {
            if let Some(new) = new {
                lines.push(format!("{name}: threshold {} of {}", new.threshold, new.keyids.len()));
                for (field, value) in &new.rest {
                    plain(lines, &format!("{name}: {field}"), None, Some(value));
                }
            }
            continue;
        };
        let count = |role: &super::ring::Listed<'_>| format!("{} of {}", role.threshold, role.keyids.len());
        if count(old) != count(new) {
            lines.push(format!("{name}: threshold {} → {}", count(old), count(new)));
        }
        let fields: BTreeSet<_> = old.rest.keys().chain(new.rest.keys()).collect();
        for field in fields {
            let what = format!("{name}: {field}");
            plain(lines, &what, old.rest.get(field).copied(), new.rest.get(field).copied());
        }
    }
}

/// Fields that have no line of their own kind.
fn rest(lines: &mut Vec<String>, before: &str, own: &[&str], old: &Value, new: &Value) {
    let fields = |value: &Value| -> BTreeSet<String> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| field.clone())
            .collect()
    };
    for field in fields(old).union(&fields(new)) {
        if !own.contains(&field.as_str()) {
            plain(lines, &format!("{before}{field}"), old.get(field), new.get(field));
        }
    }
}

fn plain(lines: &mut Vec<String>, what: &str, old: Option<&Value>, new: Option<&Value>) {
    match (old, new) {
        (Some(old), Some(new)) if old != new => lines.push(format!("{what}: {} → {}", shown(old), shown(new))),
        (Some(old), None) => lines.push(format!("{what}: - {}", shown(old))),
        (None, Some(new)) => lines.push(format!("{what}: + {}", shown(new))),
        _ => {}
    }
}

fn part<'a>(signed: &'a Value, field: &str) -> &'a Value {
    signed.get(field).unwrap_or(&Value::Null)
}

fn named(roles: &Roles<'_>, id: &str) -> String {
    roles.name(id).unwrap_or("nothing").to_owned()
}

fn kind_of(roles: &Roles<'_>, id: &str) -> String {
    let key = roles.keys.get(id);
    let kind = key.and_then(|key| key.get("keytype")).and_then(Value::as_str);
    kind.map(|kind| format!(", {kind}")).unwrap_or_default()
}

/// A value on one line, no longer than people read.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => match canonical::to_vec(other) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => other.to_string(),
        },
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… (sha256 {})", &text[..end], crate::digest::Digest::of(&text)),
        None => text,
    }
}
