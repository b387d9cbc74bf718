//! Which delegated roles may speak for a target path, in order (TUF spec 4.5, 5.6.7; TAP 15). Pure.

use std::collections::HashSet;

use crate::{
    digest::Digest,
    target::bin_of,
    tuf::{
        layout::bin_name,
        pattern,
        schema::{DelegatedRole, Delegations},
        verify::{Keys, VerifyError},
    },
};

/// A role to ask next.
#[derive(Clone, Debug)]
pub struct Next {
    /// Its name.
    pub name: String,
    /// Who must have signed it.
    pub keys: Keys,
    /// Nobody after it is asked.
    pub terminating: bool,
}

/// Whether a delegations object makes sense as a whole. It is checked when its file is read, so that the answer does not
/// depend on what is looked up.
///
/// # Errors
/// Not one of `roles` and `succinct_roles`; a role without name, with the name of a top-level role or of another one; not
/// one of `paths` and `path_hash_prefixes`; keys that [`Keys`] refuses; a bit length that is not 1 to 32.
pub fn check(delegations: &Delegations) -> Result<(), VerifyError> {
    let unusable = |detail: String| {
        Err(VerifyError::Malformed {
            expected: "delegations".to_owned(),
            detail,
        })
    };
    match (&delegations.roles, &delegations.succinct_roles) {
        (Some(_), Some(_)) => unusable("both `roles` and `succinct_roles`".to_owned()),
        (None, None) => unusable("neither `roles` nor `succinct_roles`".to_owned()),
        (None, Some(bins)) if !(1..=32).contains(&bins.bit_length) => {
            unusable("`bit_length` is not 1 to 32".to_owned())
        }
        (None, Some(bins)) => Keys::of_bins(delegations, bins).map(drop),
        (Some(roles), None) => {
            let mut names = HashSet::new();
            for role in roles {
                let name = &*role.name;
                if matches!(name, "" | "root" | "timestamp" | "snapshot" | "targets") {
                    return unusable(format!("a delegated role cannot be called `{name}`"));
                }
                if !names.insert(name) {
                    return unusable(format!("the role `{name}` stands twice"));
                }
                if role.paths.is_some() == role.path_hash_prefixes.is_some() {
                    return unusable(format!("`{name}` needs one of `paths` and `path_hash_prefixes`"));
                }
                Keys::of_role(delegations, role)?;
            }
            Ok(())
        }
    }
}

/// The roles that `delegations`, which [`check`] found good, lets speak for `path`: in order of priority, up to the first
/// terminating one.
pub fn roles_for(delegations: &Delegations, path: &str) -> Result<Vec<Next>, VerifyError> {
    let id = Digest::of(path);
    if let Some(bins) = &delegations.succinct_roles {
        return Ok(vec![Next {
            name: bin_name(&bins.name_prefix, bins.bit_length, bin_of(&id, bins.bit_length)),
            keys: Keys::of_bins(delegations, bins)?,
            // Exactly one bin speaks for a path, so there is nobody after it.
            terminating: true,
        }]);
    }
    let mut next = Vec::new();
    for role in delegations.roles.iter().flatten() {
        if !speaks_for(role, path, &id) {
            continue;
        }
        next.push(Next {
            name: role.name.clone(),
            keys: Keys::of_role(delegations, role)?,
            terminating: role.terminating,
        });
        if role.terminating {
            break;
        }
    }
    Ok(next)
}

fn speaks_for(role: &DelegatedRole, path: &str, id: &Digest) -> bool {
    if let Some(prefixes) = &role.path_hash_prefixes {
        let hex = id.to_string();
        return prefixes.iter().any(|prefix| hex.starts_with(prefix));
    }
    role.paths
        .iter()
        .flatten()
        .any(|pattern| pattern::matches(pattern, path))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::tuf::{
        layout::Generation,
        verify::testing::{id as key_id, key, keys},
    };

    fn delegations(rest: Value) -> Delegations {
        let mut all = json!({"keys": keys(&[&key(1)])});
        all.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn role(name: &str, terminating: bool, what: &str, patterns: &[&str]) -> Value {
        json!({"name": name, "keyids": [key_id(&key(1))], "threshold": 1, "terminating": terminating, what: patterns})
    }

    fn names(delegations: &Delegations, path: &str) -> Vec<String> {
        check(delegations).unwrap();
        roles_for(delegations, path)
            .unwrap()
            .into_iter()
            .map(|next| next.name)
            .collect()
    }

    #[test]
    fn roles_come_in_order_up_to_a_terminating_one() {
        let roles = delegations(json!({"roles": [
            role("a", false, "paths", &["x/*", "y"]), role("b", false, "paths", &["z"]), role("c", true, "paths", &["x/1"]),
            role("d", false, "path_hash_prefixes", &[""]),
        ]}));
        assert_eq!(names(&roles, "x/1"), ["a", "c"]);
        assert_eq!(names(&roles, "x/2"), ["a", "d"]);
        assert_eq!(names(&roles, "q"), ["d"]);
    }

    #[test]
    fn delegations_that_contradict_themselves_are_refused() {
        let bins = json!({"keyids": [], "threshold": 1, "bit_length": 4, "name_prefix": "b"});
        for bad in [
            json!({}),
            json!({"roles": [], "succinct_roles": bins}),
            json!({"succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 0, "name_prefix": "b"}}),
            json!({"succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 33, "name_prefix": "b"}}),
            json!({"roles": [{"name": "a", "keyids": [], "threshold": 1, "terminating": false}]}),
            json!({"roles": [{"name": "a", "keyids": [], "threshold": 0, "terminating": false, "paths": []}]}),
            json!({"roles": [{"name": "a", "keyids": ["k", "k"], "threshold": 1, "terminating": false, "paths": []}]}),
            json!({"roles": [role("timestamp", false, "paths", &["*"])]}),
            json!({"roles": [role("", false, "paths", &["*"])]}),
            json!({"roles": [role("a", false, "paths", &["*"]), role("a", false, "paths", &["x"])]}),
        ] {
            assert!(check(&delegations(bad.clone())).is_err(), "{bad}");
        }
        check(&delegations(json!({"roles": [role("a", false, "paths", &[])]}))).unwrap();
        check(&delegations(json!({"succinct_roles": bins}))).unwrap();
    }

    proptest! {
        #[test]
        fn both_views_name_the_same_bin(path in ".{1,40}", bits in 1..=8_u8) {
            let generation = Generation::of(1 << bits).unwrap();
            let bins = json!({
                "keyids": [key_id(&key(1))], "threshold": 1, "bit_length": bits, "name_prefix": generation.prefix(),
            });
            let prefixed: Vec<_> = (0..generation.count())
                .map(|bin| {
                    let prefixes = generation.hash_prefixes(bin);
                    let prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
                    role(&generation.name(bin), true, "path_hash_prefixes", &prefixes)
                })
                .collect();
            let succinct = names(&delegations(json!({"succinct_roles": bins})), &path);
            prop_assert_eq!(names(&delegations(json!({"roles": prefixed})), &path), succinct);
        }
    }
}
