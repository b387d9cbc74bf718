//! What is looked at before all roles are walked: whether a submission is signed at all, and what a newer targets.json or a new
//! key of the bins would make of it.

use std::collections::BTreeMap;

use super::{
    Caps, Files, Refusal, RoleFile, Submitted, bins, custom,
    judge::{observed, within},
    rules::BINS,
};
use crate::tuf::schema::{DelegatedRole, Delegations};

/// Whether every file is signed by those it is delegated to: by `top`, by a role that is submitted with it, or by one that
/// stands; and inside its paths, where `top` itself delegates to it. Nobody else has all roles walked.
///
/// # Errors
/// The first that is not.
pub fn glance(top: &Delegations, standing: &Files, submitted: &Submitted, caps: Caps) -> Result<(), Refusal> {
    let mut read: BTreeMap<&str, RoleFile> = BTreeMap::new();
    for (key, envelope) in bins::in_order(submitted) {
        let (role, succinct) = bins::viewed(key);
        super::check_name(role).map_err(|why| Refusal::malformed(None, why))?;
        let above = |name: &str| {
            let file = read.get(name).or_else(|| standing.get(name).map(|file| &**file))?;
            named(file.delegations.as_ref()?, role)
        };
        let Some((below, known)) = named(top, role).or_else(|| ancestors(role).find_map(above)) else {
            return Err(nobody(role));
        };
        let file = RoleFile::submitted(role, envelope, caps)?;
        file.signed_by(below, known)?;
        if named(top, role).is_some() {
            within(known, &[known.paths.as_deref().unwrap_or_default()], &file)?;
        }
        if !succinct {
            read.insert(role, file);
        }
    }
    Ok(())
}

/// Whether a submission may be taken while a newer targets.json, which delegates to `proposed`, waits for files of its roles:
/// who signs for new keys must not be overtaken by who holds the old ones.
///
/// # Errors
/// The first file that those are not about to sign.
pub fn held(top: &Delegations, proposed: &Delegations, submitted: &Submitted, caps: Caps) -> Result<(), Refusal> {
    for (key, envelope) in submitted {
        let (role, _) = bins::viewed(key);
        let (Some(now), Some(then)) = (head(top, role), head(proposed, role)) else {
            return Err(nobody(role));
        };
        if same(top, now, proposed, then) {
            continue;
        }
        if then.name != role {
            let why = format!("`{}` is about to have other keys or paths", then.name);
            return Err(Refusal::unsigned(role, why)
                .hint("submit it again once the newer targets.json is listed, by the keys it lists"));
        }
        let file = RoleFile::submitted(role, envelope, caps)?;
        file.signed_by(proposed, then)?;
        within(then, &[then.paths.as_deref().unwrap_or_default()], &file)?;
    }
    Ok(())
}

/// A role whose targets the gate observes now, and would observe no more, since it lists the bins' old key and not the new
/// one: its team could list what nobody observed.
pub fn abandoned(old: &Delegations, new: &Delegations) -> Option<String> {
    let keys = |top: &Delegations| named(top, BINS).map(|(_, bins)| bins.keyids.clone());
    let (before, after) = (keys(old)?, keys(new)?);
    let mut roles = before.iter().flat_map(|id| observed(old, id));
    let lost = |role: &&DelegatedRole| {
        let now = custom(new).find(|now| now.name == role.name);
        let lists = |ids: &[String]| now.is_some_and(|now| now.keyids.iter().any(|id| ids.contains(id)));
        lists(&before) && !lists(&after)
    };
    roles.find(lost).map(|role| role.name.clone())
}

/// The role that `top` itself delegates to: this one, or the one above it.
pub fn head<'a>(top: &'a Delegations, role: &str) -> Option<&'a DelegatedRole> {
    custom(top).find(|known| {
        let rest = role.strip_prefix(&*known.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether two files delegate to a role alike, keys and all.
fn same(one: &Delegations, role: &DelegatedRole, other: &Delegations, theirs: &DelegatedRole) -> bool {
    let [one, other] = [bins::way(one, role).1, bins::way(other, theirs).1];
    bins::alike(Some(&one), Some(&other))
}

fn named<'a>(below: &'a Delegations, role: &str) -> Option<(&'a Delegations, &'a DelegatedRole)> {
    let known = below.roles.iter().flatten().find(|known| known.name == role)?;
    Some((below, known))
}

/// The names that a role below others may bear the name of, the nearest first.
fn ancestors(role: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(role.rsplit_once('.'), |(name, _)| name.rsplit_once('.')).map(|(name, _)| name)
}

fn nobody(role: &str) -> Refusal {
    Refusal::unknown(role, "nobody delegates to it")
        .hint("the operator delegates with `tufgate targets draft --role`, a team in a file of its own role")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::delegated::tests::{delegations, envelope, id, judged, role, signed, top};

    const CAPS: Caps = Caps {
        bytes: 100_000,
        targets: 5,
    };

    /// `team-a` of one key, which delegates to `team-a.lib` of key 4.
    fn team(key: u8) -> (Delegations, Files) {
        let top = top(&[key], &[role("team-a", &[key], 1, &["a/*"])]);
        let mut own = signed(1, &[]);
        own["delegations"] = delegations(&[4], &[role("team-a.lib", &[4], 1, &["a/l*"])]);
        let files = [
            ("team-a", envelope(&own, &[key])),
            ("team-a.lib", envelope(&signed(1, &[]), &[4])),
        ];
        let submitted: Submitted = files.map(|(role, file)| (role.to_owned(), file)).into();
        glance(&top, &Files::new(), &submitted, CAPS).unwrap();
        let files = judged(&top, &Files::new(), &submitted).unwrap().files;
        (top, files)
    }

    fn one(role: &str, file: Value) -> Submitted {
        Submitted::from([(role.to_owned(), file)])
    }

    #[test]
    fn what_nobody_signed_is_refused_before_anything_is_walked() {
        let (top, files) = team(1);
        let lib = |by: &[u8]| one("team-a.lib", envelope(&signed(2, &["a/lib"]), by));
        glance(&top, &files, &lib(&[4]), CAPS).unwrap();
        for (submitted, why) in [
            (lib(&[]), "signatures"),
            (lib(&[1]), "signatures"),
            (one("team-a", envelope(&signed(2, &[]), &[4])), "signatures"),
            (one("team-a", envelope(&signed(2, &["b"]), &[1])), "not inside"),
            (one("team-a.x", envelope(&signed(1, &[]), &[1])), "nobody delegates"),
            (one("team-a.lib.x", json!({})), "nobody delegates"),
            (one("team-b", json!({})), "nobody delegates"),
        ] {
            let refusal = glance(&top, &files, &submitted, CAPS).unwrap_err().to_string();
            assert!(refusal.contains(why), "{refusal}");
        }
    }

    #[test]
    fn while_keys_are_about_to_change_nothing_below_is_taken() {
        let (now, _) = team(1);
        let (then, _) = team(2);
        let lib = one("team-a.lib", envelope(&signed(2, &["a/lib"]), &[4]));
        let own = |by| one("team-a", envelope(&signed(2, &["a/x"]), &[by]));
        assert_eq!(held(&now, &now, &lib, CAPS), Ok(()), "other roles change");
        assert!(
            held(&now, &then, &lib, CAPS)
                .unwrap_err()
                .to_string()
                .contains("about to have")
        );
        assert!(held(&now, &then, &own(1), CAPS).is_err(), "by the old key");
        assert_eq!(held(&now, &then, &own(2), CAPS), Ok(()));
        let none = top(&[], &[]);
        assert!(held(&now, &none, &own(1), CAPS).is_err(), "it is about to end");
    }

    #[test]
    fn an_observed_role_must_list_the_new_key_of_the_bins() {
        let observed = |gate: &[u8], bins: u8| {
            let keys = [&[1], gate].concat();
            let mut top = top(&keys, &[role("docs", &keys, 2, &["docs/*"])]);
            let listed = top.roles.as_mut().unwrap().last_mut().unwrap();
            listed.keyids = vec![id(bins)];
            top
        };
        let old = observed(&[9], 9);
        assert_eq!(abandoned(&old, &observed(&[9], 9)), None);
        assert_eq!(abandoned(&old, &observed(&[9], 8)).as_deref(), Some("docs"));
        assert_eq!(abandoned(&old, &observed(&[9, 8], 8)), None, "both, for a while");
        assert_eq!(abandoned(&old, &observed(&[8], 8)), None);
        assert_eq!(
            abandoned(&old, &observed(&[], 8)),
            None,
            "an ordinary role from now on, and it says so"
        );
        assert_eq!(abandoned(&old, &top(&[], &[])), None);
    }
}
