//! Bins of one role, for the roles whose targets the gate observes: `NAME` leads to `NAME.bins`, and that to `NAME.bins.4-0` …
//! `NAME.bins.4-f`, all under the keys and the threshold of `NAME`. As with the gate's own bins (DESIGN 6) each view has a
//! `NAME.bins` of its own, and all else is the same bytes in both.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{MAX_SUBMISSION, Refusal, RoleFile};
use crate::{
    target::TargetPath,
    tuf::{
        layout::{SUCCINCT, bin_name, hash_prefixes, is_twofold},
        schema::{DelegatedRole, Delegations, SuccinctRoles},
    },
};

/// Leading bits of a path's id that choose its bin.
const BITS: u8 = 4;
/// Bins of a role.
pub const COUNT: u32 = 1 << BITS;
/// Most bytes of a bin's file: all files of a role fit into one submission, which a change of its keys asks for.
pub const MAX_BYTES: u64 = (MAX_SUBMISSION as u64 - (256 << 10)) / COUNT as u64;

/// The role that delegates to a role's bins.
pub fn delegator(role: &str) -> String {
    format!("{role}.bins")
}

/// One of a role's bins.
pub fn bin(role: &str, number: u32) -> String {
    bin_name(&prefix(&delegator(role)), BITS, number)
}

/// The number of the bin that speaks for a path.
pub fn bin_of(path: &TargetPath) -> u32 {
    path.bin(BITS)
}

/// Whether a role is this one, its delegator of bins, or one of its bins.
pub fn belongs(name: &str, role: &str) -> bool {
    let rest = name.strip_prefix(role);
    rest.is_some_and(|rest| rest.is_empty() || rest == ".bins" || rest.starts_with(".bins."))
}

/// The name without what bins add to it.
pub fn owner(name: &str) -> &str {
    name.split_once(".bins").map_or(name, |(owner, _)| owner)
}

/// The role that a key of a submission means, and whether it means the file of the succinct view (`succinct/NAME.bins`).
pub fn viewed(key: &str) -> (&str, bool) {
    key.strip_prefix(SUCCINCT).map_or((key, false), |role| (role, true))
}

/// What stands under the keys of a submission, each role after those that may lead to it.
pub fn in_order<T>(files: &BTreeMap<String, T>) -> impl Iterator<Item = (&String, &T)> {
    let shared = files.iter().filter(|(key, _)| !viewed(key).1);
    shared.chain(files.iter().filter(|(key, _)| viewed(key).1))
}

/// The key of a delegator's file of the succinct view.
pub fn succinct(role: &str) -> String {
    format!("{SUCCINCT}{role}")
}

/// What a role with bins delegates to: its own paths, to its delegator of bins. Both, first that role alone.
pub fn way(below: &Delegations, role: &DelegatedRole) -> (DelegatedRole, Delegations) {
    let delegator = DelegatedRole {
        name: delegator(&role.name),
        ..role.clone()
    };
    let way = Delegations {
        roles: Some(vec![delegator.clone()]),
        ..keys_of(below, role)
    };
    (delegator, way)
}

/// What a delegator of bins delegates to: by `path_hash_prefixes`, and by `succinct_roles` (TAP 15). `role` is the delegator as
/// `below` has it.
pub fn views(below: &Delegations, role: &DelegatedRole) -> [Delegations; 2] {
    let bin = |number| DelegatedRole {
        name: bin_name(&prefix(&role.name), BITS, number),
        paths: None,
        path_hash_prefixes: Some(hash_prefixes(BITS, number)),
        ..role.clone()
    };
    let short = SuccinctRoles {
        keyids: role.keyids.clone(),
        threshold: role.threshold,
        bit_length: BITS,
        name_prefix: prefix(&role.name),
        extra: BTreeMap::new(),
    };
    [
        Delegations {
            roles: Some((0..COUNT).map(bin).collect()),
            ..keys_of(below, role)
        },
        Delegations {
            succinct_roles: Some(short),
            ..keys_of(below, role)
        },
    ]
}

/// Whether two files delegate alike.
pub fn alike(one: Option<&Delegations>, other: Option<&Delegations>) -> bool {
    let form = |below: &Delegations| serde_json::to_value(below).unwrap_or_default();
    one.map(form) == other.map(form)
}

/// Checks a delegator's file, in both views where both are given: it leads to its bins and nowhere else, and lists nothing.
pub(super) fn check(below: &Delegations, role: &DelegatedRole, file: &RoleFile) -> Result<(), Refusal> {
    let [prefixes, short] = views(below, role);
    leads(role, file, &[prefixes])?;
    let Some(twin) = &file.succinct else { return Ok(()) };
    let same = (twin.version, twin.expires) == (file.version, file.expires);
    match same && leads(role, twin, &[short]).is_ok() {
        true => Ok(()),
        false => Err(Refusal::malformed(
            Some(&role.name),
            "its file of the succinct view does not say the same",
        )),
    }
}

/// Checks the file of one view, whichever that is.
pub(super) fn check_view(below: &Delegations, role: &DelegatedRole, file: &RoleFile) -> Result<(), Refusal> {
    leads(role, file, &views(below, role))
}

fn leads(role: &DelegatedRole, file: &RoleFile, forms: &[Delegations]) -> Result<(), Refusal> {
    let good = |form| alike(file.delegations.as_ref(), Some(form));
    match file.targets.is_empty() && forms.iter().any(good) {
        true => Ok(()),
        false => Err(Refusal::malformed(
            Some(&role.name),
            "it delegates to its bins, under its own keys and threshold, and lists no target",
        )),
    }
}

/// Checks a bin's file: it lists paths of its own hashes, and delegates to nobody.
pub(super) fn check_bin(role: &DelegatedRole, prefixes: &[String], file: &RoleFile) -> Result<(), Refusal> {
    let malformed = |why: String| Err(Refusal::malformed(Some(&role.name), why));
    if file.delegations.is_some() {
        return malformed("a bin delegates to nobody".to_owned());
    }
    match file.targets.keys().find(|path| !speaks_for(prefixes, &id_of(path))) {
        Some(path) => malformed(format!("the target `{path}` belongs to another bin")),
        None => Ok(()),
    }
}

/// What `path_hash_prefixes` are held against: SHA-256 of a path, in hex.
pub(super) fn id_of(path: &TargetPath) -> String {
    crate::digest::Digest::of(path.as_str()).to_string()
}

/// Whether a role of these prefixes speaks for a path of this id.
pub(super) fn speaks_for(prefixes: &[String], id: &str) -> bool {
    prefixes.iter().any(|prefix| id.starts_with(prefix))
}

/// Puts the two files of every delegator together.
///
/// # Errors
/// One of two is missing, or another role comes in two.
pub(super) fn paired(read: BTreeMap<String, RoleFile>) -> Result<BTreeMap<String, RoleFile>, Refusal> {
    let (twins, mut files): (BTreeMap<_, _>, BTreeMap<_, _>) = read.into_iter().partition(|(key, _)| viewed(key).1);
    for (key, twin) in twins {
        let (role, _) = viewed(&key);
        match files.get_mut(role).filter(|_| is_twofold(role)) {
            Some(file) => file.succinct = Some(Box::new(twin)),
            None => return Err(unpaired(role)),
        }
    }
    let single = |(role, file): &(&String, &RoleFile)| is_twofold(role) && file.succinct.is_none();
    match files.iter().find(single) {
        Some((role, _)) => Err(unpaired(role)),
        None => Ok(files),
    }
}

fn unpaired(role: &str) -> Refusal {
    Refusal::malformed(
        Some(role),
        "a delegator of bins comes in two files, one a view, and no other role does",
    )
    .hint(format!("submit `{role}` and `{}` together", succinct(role)))
}

/// What the names of a delegator's bins begin with (`name_prefix` of TAP 15).
pub fn prefix(delegator: &str) -> String {
    format!("{delegator}.{BITS}")
}

/// The keys of a role, and no roles.
fn keys_of(below: &Delegations, role: &DelegatedRole) -> Delegations {
    let listed = |id: &String| Some((id.clone(), below.keys.get(id)?.clone()));
    Delegations {
        keys: role.keyids.iter().filter_map(listed).collect(),
        roles: None,
        succinct_roles: None,
        extra: BTreeMap::<String, Value>::new(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::delegated::{
        Files, RefusalKind, Submitted, check_top,
        tests::{envelope, judged, places, role, signed, top},
    };

    /// `docs`, which keys 1 and 9, that of the gate's bins, sign together.
    fn docs() -> Delegations {
        let top = top(&[1], &[ending("docs")]);
        assert_eq!(check_top(&top), Ok(()));
        top
    }

    fn ending(name: &str) -> Value {
        let mut role = role(name, &[1, 9], 2, &["docs/*"]);
        role["terminating"] = true.into();
        role
    }

    /// A role with bins, all of its files: what is signed, by key of a submission.
    pub(crate) fn family(top: &Delegations, name: &str, version: u64, paths: &[&str]) -> BTreeMap<String, Value> {
        let role = top.roles.iter().flatten().find(|role| role.name == name).unwrap();
        let (delegator, way) = way(top, role);
        let [prefixes, short] = views(&way, &delegator);
        let mut files = BTreeMap::new();
        let leads = [
            (name.to_owned(), way),
            (delegator.name.clone(), prefixes),
            (succinct(&delegator.name), short),
        ];
        for (key, below) in leads {
            let mut file = signed(version, &[]);
            file["delegations"] = serde_json::to_value(below).unwrap();
            files.insert(key, file);
        }
        for number in 0..COUNT {
            let own = |path: &&&str| bin_of(&TargetPath::new(path).unwrap()) == number;
            let own: Vec<&str> = paths.iter().filter(own).copied().collect();
            files.insert(bin(name, number), signed(version, &own));
        }
        files
    }

    fn sealed(files: &BTreeMap<String, Value>) -> Submitted {
        let both = files.iter();
        both.map(|(key, file)| (key.clone(), envelope(file, &[1, 9]))).collect()
    }

    fn standing(paths: &[&str]) -> Files {
        let top = docs();
        judged(&top, &Files::new(), &sealed(&family(&top, "docs", 1, paths)))
            .unwrap()
            .files
    }

    #[test]
    fn a_role_and_its_bins_are_taken_together_and_one_bin_alone_then() {
        let files = standing(&["docs/a", "docs/b", "docs/c"]);
        assert_eq!(files.len(), 2 + COUNT as usize);
        let listed: usize = files.values().map(|file| file.targets.len()).sum();
        assert_eq!(listed, 3);
        let short: Value = serde_json::from_slice(&files["docs.bins"].succinct.as_ref().unwrap().bytes).unwrap();
        let below = &short["signed"]["delegations"]["succinct_roles"];
        assert_eq!(
            (&below["name_prefix"], &below["bit_length"]),
            (&json!("docs.bins.4"), &json!(4))
        );

        let name = bin("docs", bin_of(&TargetPath::new("docs/a").unwrap()));
        let next = Submitted::from([(name.clone(), envelope(&signed(2, &["docs/a"]), &[1, 9]))]);
        let next = judged(&docs(), &files, &next).unwrap();
        assert_eq!((next.fresh, next.files[&name].version), (vec![name], 2));
    }

    #[test]
    fn bins_are_of_one_form_in_both_views() {
        let top = docs();
        let refused = |why: &str, change: &dyn Fn(&mut BTreeMap<String, Value>)| {
            let mut files = family(&top, "docs", 1, &["docs/a"]);
            change(&mut files);
            let refusal = judged(&top, &Files::new(), &sealed(&files)).unwrap_err();
            assert!(refusal.to_string().contains(why), "{refusal}");
        };
        refused("one a view", &|files| drop(files.remove("succinct/docs.bins")));
        refused("one a view", &|files| drop(files.remove("docs.bins")));
        refused("one a view", &|files| {
            files.insert("succinct/docs".to_owned(), files["docs"].clone());
        });
        refused("does not say the same", &|files| {
            files.get_mut("succinct/docs.bins").unwrap()["version"] = 2.into();
        });
        refused("does not say the same", &|files| {
            let below = &mut files.get_mut("succinct/docs.bins").unwrap()["delegations"]["succinct_roles"];
            below["name_prefix"] = "docs.bins.5".into();
        });
        refused("delegates to its bins", &|files| {
            let roles = &mut files.get_mut("docs.bins").unwrap()["delegations"]["roles"];
            roles[0]["path_hash_prefixes"] = json!(["0", "1"]);
        });
        refused("delegates to its bins", &|files| {
            let roles = &mut files.get_mut("docs.bins").unwrap()["delegations"]["roles"];
            roles[3]["threshold"] = 1.into();
        });
        refused("delegates to its bins", &|files| {
            files.get_mut("docs.bins").unwrap()["targets"] = signed(1, &["docs/x"])["targets"].clone();
        });
        refused("belongs to another bin", &|files| {
            let bin = bin("docs", bin_of(&TargetPath::new("docs/a").unwrap()) ^ 1);
            files.insert(bin, signed(1, &["docs/a"]));
        });
        refused("not inside the paths", &|files| {
            let bin = bin("docs", bin_of(&TargetPath::new("other").unwrap()));
            files.insert(bin, signed(1, &["other"]));
        });
        for (name, why) in [
            ("docs.bins.4-0.x", "name for bins"),
            ("docs.bins.4-0.bins", "delegates to nobody"),
        ] {
            refused(why, &|files| {
                let mut below = files["docs"]["delegations"].clone();
                below["roles"][0]["name"] = name.into();
                files.get_mut("docs.bins.4-0").unwrap()["delegations"] = below;
            });
        }
        refused("has no file", &|files| drop(files.remove("docs.bins.4-7")));
    }

    #[test]
    fn a_role_that_lets_a_search_go_on_has_no_bins() {
        let top = top(&[1], &[role("docs", &[1, 9], 2, &["docs/*"])]);
        let refusal = judged(&top, &Files::new(), &sealed(&family(&top, "docs", 1, &[]))).unwrap_err();
        assert!(refusal.to_string().contains("bins end the search"), "{refusal}");
    }

    #[test]
    fn bins_are_a_top_level_roles_and_count_as_one() {
        // A role inside a role gets none.
        let top = docs();
        let mut files = family(&top, "docs", 1, &[]);
        let below = files["docs"]["delegations"].clone();
        for (outer, inner) in [
            ("docs.x.bins", "docs.x"),
            ("docs.bins.x", "docs.bins"),
            ("docs.bins.4-0", "docs.bins"),
        ] {
            let mut file = files["docs"].clone();
            file["delegations"]["roles"][0]["name"] = outer.into();
            files.insert("docs".to_owned(), file);
            let refusal = judged(&top, &Files::new(), &sealed(&files)).unwrap_err();
            assert!(refusal.to_string().contains("name for bins"), "{inner}: {refusal}");
            assert_eq!(refusal.kind, RefusalKind::Malformed);
        }
        files.get_mut("docs").unwrap()["delegations"] = below;
        judged(&top, &Files::new(), &sealed(&files)).unwrap();
        for name in ["docs.bins", "a.bins.x"] {
            let bad = tests_top(name);
            assert!(check_top(&bad).unwrap_err().contains("bins of another role"), "{name}");
        }
    }

    fn tests_top(name: &str) -> Delegations {
        top(&[1], &[role(name, &[1], 1, &["docs/*"])])
    }

    proptest! {
        /// Damaged before it is signed: what is taken all the same leads to the same bins in both views.
        #[test]
        fn what_is_damaged_is_refused_or_leads_alike(
            file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), junk in 0..6_usize,
        ) {
            let top = docs();
            let mut files = family(&top, "docs", 1, &["docs/a", "docs/b"]);
            let key = file.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
            let mut found = Vec::new();
            places(&files[&key], String::new(), &mut found);
            let junk = [json!(null), json!(2), json!("x"), json!([]), json!({}), json!(["0"])][junk].clone();
            *files.get_mut(&key).unwrap().pointer_mut(&found[at.index(found.len())]).unwrap() = junk;
            if let Ok(next) = judged(&top, &Files::new(), &sealed(&files)) {
                let [prefixes, short] = {
                    let (delegator, way) = way(&top, &top.roles.as_ref().unwrap()[0]);
                    views(&way, &delegator)
                };
                let leads = &next.files["docs.bins"];
                prop_assert!(alike(leads.delegations.as_ref(), Some(&prefixes)), "{key}");
                prop_assert!(alike(leads.succinct.as_ref().unwrap().delegations.as_ref(), Some(&short)), "{key}");
                prop_assert_eq!(next.files.len(), 2 + COUNT as usize);
            }
        }
    }

    #[test]
    fn everything_of_a_role_fits_into_one_submission() {
        assert!(u64::from(COUNT) * MAX_BYTES + (128 << 10) < MAX_SUBMISSION as u64);
        assert!(belongs("docs", "docs") && belongs("docs.bins", "docs") && belongs("docs.bins.4-0", "docs"));
        assert!(!belongs("docs.binsx", "docs") && !belongs("docsx.bins", "docs") && !belongs("docs.lib", "docs"));
    }
}
