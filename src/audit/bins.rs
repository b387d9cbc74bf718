//! Bins: what both views say of them, and what they list against what is recorded. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    delegated,
    digest::Digest,
    ledger::{State, Target},
    tuf::layout::{self, Generation},
};

/// The bins that two views of one delegator, `bins` or the `NAME.bins` of another role, agree on.
pub(super) fn generation(delegator: &str, prefixes: &Value, succinct: &Value) -> Result<Generation, String> {
    let [below, short] = [prefixes, succinct].map(|signed| signed.get("delegations").unwrap_or(&Value::Null));
    let bins = short.get("succinct_roles").ok_or("it delegates to no succinct roles")?;
    let bits = bins.get("bit_length").and_then(Value::as_u64).unwrap_or(0);
    let count = u32::try_from(bits).ok().and_then(|bits| 1_u32.checked_shl(bits));
    let generation = count
        .and_then(Generation::of)
        .ok_or_else(|| format!("{bits} bits are no number of bins"))?;
    let prefix = match delegator {
        "bins" => generation.prefix(),
        of_a_role => delegated::bins::prefix(of_a_role),
    };
    let name = |bin| layout::bin_name(&prefix, generation.bits(), bin);
    if bins.get("name_prefix").and_then(Value::as_str) != Some(&prefix) {
        return Err(format!("its bins are not called `{prefix}-…`"));
    }
    let differ = |what: &str| format!("the views differ in {what}");
    for what in ["version", "expires", "targets"] {
        if prefixes.get(what) != succinct.get(what) {
            return Err(differ(what));
        }
    }
    if below.get("keys") != short.get("keys") {
        return Err(differ("the bins' keys"));
    }
    let roles = below
        .get("roles")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if roles.len() != generation.count() as usize {
        return Err(differ("the number of bins"));
    }
    for (bin, role) in (0..).zip(roles) {
        let expected = json!({
            "name": name(bin),
            "keyids": bins.get("keyids"),
            "threshold": bins.get("threshold"),
            "path_hash_prefixes": generation.hash_prefixes(bin),
        });
        let same = |(field, value): (&String, &Value)| role.get(field) == Some(value);
        if !expected.as_object().is_some_and(|fields| fields.iter().all(same)) {
            return Err(differ(&format!("bin `{}`", name(bin))));
        }
    }
    Ok(generation)
}

/// What stands at a path in the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stands {
    pub(super) state: State,
    pub(super) digest: Digest,
    pub(super) length: u64,
}

impl From<&Target> for Stands {
    fn from(target: &Target) -> Self {
        Self {
            state: target.state,
            digest: target.digest,
            length: target.length,
        }
    }
}

/// How a signed bin differs from the rows of its range, by path. `excused`: paths with work that is not published yet,
/// or whose row is known to be damaged.
pub(super) fn differences(
    signed: &Value,
    rows: &BTreeMap<String, Stands>,
    excused: &BTreeSet<String>,
) -> Vec<(String, String)> {
    let nothing = serde_json::Map::new();
    let listed = signed.get("targets").and_then(Value::as_object).unwrap_or(&nothing);
    let mut found = Vec::new();
    for (path, file) in listed {
        let message = match rows.get(path) {
            None => "signed, but not recorded".to_owned(),
            Some(row) if row.state != State::Live => {
                format!(
                    "signed, though it is {}",
                    if row.state == State::Deleted {
                        "deleted"
                    } else {
                        "retracted"
                    }
                )
            }
            Some(row) if *file != entry(row) => format!("signed as {file}, recorded as {}", entry(row)),
            Some(_) => continue,
        };
        found.push((path.clone(), message));
    }
    let live = rows.iter().filter(|(_, row)| row.state == State::Live);
    for (path, _) in live.filter(|(path, _)| !listed.contains_key(*path)) {
        found.push((path.clone(), "recorded, but not signed".to_owned()));
    }
    found.retain(|(path, _)| !excused.contains(path));
    found
}

/// What a role that others sign lists, by path.
pub(super) fn listed(signed: &Value) -> impl Iterator<Item = (String, Stands)> {
    let targets = signed.get("targets").and_then(Value::as_object).into_iter().flatten();
    targets.filter_map(|(path, file)| {
        let row = Stands {
            state: State::Live,
            digest: file.get("hashes")?.get("sha256")?.as_str()?.parse().ok()?,
            length: file.get("length")?.as_u64()?,
        };
        Some((path.clone(), row))
    })
}

/// What metadata says of a recorded target.
fn entry(row: &Stands) -> Value {
    json!({"hashes": {"sha256": row.digest.to_string()}, "length": row.length})
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn stands(of: u8, state: State) -> Stands {
        Stands {
            state,
            digest: Digest([of; 32]),
            length: of.into(),
        }
    }

    #[test]
    fn every_difference_is_told_and_pending_ones_are_not() {
        let rows = BTreeMap::from([
            ("same".to_owned(), stands(1, State::Live)),
            ("other".to_owned(), stands(2, State::Live)),
            ("gone".to_owned(), stands(3, State::Deleted)),
            ("unsigned".to_owned(), stands(4, State::Live)),
            ("tombstone".to_owned(), stands(5, State::Retracted)),
        ]);
        let listed = |of| entry(&stands(of, State::Live));
        let mut longer = listed(6);
        longer["custom"] = json!(1);
        let signed = json!({"targets": {
            "same": listed(1), "other": listed(9), "gone": listed(3), "strange": listed(7),
        }});
        let told = |excused: &[&str]| {
            let excused = excused.iter().map(|path| (*path).to_owned()).collect();
            let found = differences(&signed, &rows, &excused);
            found.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), ["gone", "other", "strange", "unsigned"]);
        assert_eq!(told(&["gone", "unsigned"]), ["other", "strange"]);
        let custom = json!({"targets": {"six": longer}});
        let six = BTreeMap::from([("six".to_owned(), stands(6, State::Live))]);
        assert_eq!(differences(&custom, &six, &BTreeSet::new()).len(), 1);
    }

    #[test]
    fn views_must_agree() {
        let sixteen = Generation::of(16).unwrap();
        let role = |bin| {
            json!({"name": sixteen.name(bin), "keyids": ["a"], "threshold": 1, "terminating": false,
                "path_hash_prefixes": sixteen.hash_prefixes(bin)})
        };
        let roles: Vec<_> = (0..16).map(role).collect();
        let prefixes = json!({"version": 1, "delegations": {"keys": {"a": 1}, "roles": roles}});
        let bins = json!({"keyids": ["a"], "threshold": 1, "bit_length": 4, "name_prefix": "bins4"});
        let succinct = json!({"version": 1, "delegations": {"keys": {"a": 1}, "succinct_roles": bins}});
        assert_eq!(generation("bins", &prefixes, &succinct), Ok(sixteen));
        for (pointer, value) in [
            ("/version", json!(2)),
            ("/delegations/keys/a", json!(2)),
            ("/delegations/succinct_roles/bit_length", json!(5)),
            ("/delegations/succinct_roles/name_prefix", json!("bins5")),
            ("/delegations/succinct_roles/keyids", json!(["b"])),
            ("/delegations/succinct_roles/threshold", json!(2)),
        ] {
            let mut other = succinct.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(generation("bins", &prefixes, &other).is_err(), "{pointer}");
        }
        let mut other = prefixes.clone();
        other["delegations"]["roles"][3]["path_hash_prefixes"] = json!(["2"]);
        assert!(generation("bins", &other, &succinct).is_err());
    }
}
