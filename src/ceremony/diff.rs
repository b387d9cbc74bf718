//! What a proposal changes, one line a change, the same lines for everybody who has the file. No value is cut: what a
//! reviewer is not shown is signed unread.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Kind, ring::Roles};
use crate::{
    digest::Digest,
    tuf::{canonical, schema::KEY_NAMES},
};

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
        targets(&mut lines, part(old, "targets"), part(new, "targets"));
    }
    // Forms that are none, and orders that mean nothing, show here when nothing else does.
    for field in own {
        if lines.is_empty() {
            plain(&mut lines, field, old.get(field), new.get(field));
        }
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
                    of_role(lines, name, field, None, Some(value));
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
            let (old, new) = (old.rest.get(field).copied(), new.rest.get(field).copied());
            of_role(lines, name, field, old, new);
        }
    }
}

/// A field of a role; of its paths, each pattern has a line.
fn of_role(lines: &mut Vec<String>, name: &str, field: &str, old: Option<&Value>, new: Option<&Value>) {
    let what = format!("{name}: {field}");
    let patterns = |value: Option<&Value>| -> Option<BTreeSet<String>> {
        let list: &[Value] = match value {
            Some(value) => value.as_array()?,
            None => &[],
        };
        list.iter().map(|pattern| pattern.as_str().map(str::to_owned)).collect()
    };
    match (patterns(old), patterns(new)) {
        (Some(were), Some(are)) if field == "paths" && were != are => {
            lines.extend(were.difference(&are).map(|pattern| format!("{what}: - {pattern}")));
            lines.extend(are.difference(&were).map(|pattern| format!("{what}: + {pattern}")));
        }
        _ => plain(lines, &what, old, new),
    }
}

/// Targets: digest and length stand first, so that no text of the signers' comes before them.
fn targets(lines: &mut Vec<String>, old: &Value, new: &Value) {
    let paths = |targets: &Value| -> BTreeSet<String> {
        let targets = targets.as_object().into_iter().flatten();
        targets.map(|(path, _)| path.clone()).collect()
    };
    for path in paths(old).union(&paths(new)) {
        let (old, new) = (old.get(path), new.get(path));
        if old == new {
            continue;
        }
        let what = format!("target {path}");
        let (was, is) = (old.and_then(bytes_of), new.and_then(bytes_of));
        if (was.is_some(), is.is_some()) != (old.is_some(), new.is_some()) {
            plain(lines, &what, old, new);
            continue;
        }
        let ((was, text), (is, new_text)) = (was.unzip(), is.unzip());
        match (&was, &is) {
            (Some(was), Some(is)) if was == is => lines.push(format!("{what}: still {}", shown(is))),
            _ => plain(lines, &what, was.as_ref(), is.as_ref()),
        }
        let (text, new_text) = (text.unwrap_or_default(), new_text.unwrap_or_default());
        rest(lines, &format!("{what}, text of its signers: "), &[], &text, &new_text);
    }
}

/// Digest and length of a target, for people, and all else that it says; `None` where it has another form.
fn bytes_of(target: &Value) -> Option<(Value, Value)> {
    let mut rest = target.as_object()?.clone();
    let length = rest.remove("length")?.as_u64()?;
    let mut hashes = rest.remove("hashes")?.as_object()?.clone();
    let sha256 = hashes.remove("sha256")?;
    let sha256 = sha256.as_str().filter(|text| text.parse::<Digest>().is_ok())?;
    if !hashes.is_empty() {
        rest.insert("hashes".to_owned(), hashes.into());
    }
    Some((format!("sha256 {sha256}, length {length}").into(), rest.into()))
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

/// A value on one line, whole.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => match canonical::to_vec(other) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => other.to_string(),
        },
    }
}
