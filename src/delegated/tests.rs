#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use tough::schema::key::Key;

use super::*;
use crate::{
    digest::Digest,
    keys::{SigningKey as _, memory::MemoryKey},
    tuf::{canonical, schema::Delegations},
};

const CAPS: Caps = Caps {
    bytes: 100_000,
    targets: 5,
};

pub(crate) fn key(seed: u8) -> MemoryKey {
    MemoryKey::from_seed(seed)
}

pub(crate) fn id(seed: u8) -> String {
    hex::encode(key(seed).key_id())
}

fn listed(seed: u8) -> Value {
    let key: &Key = &key(seed).public().clone();
    serde_json::to_value(key).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap()
}

pub(crate) fn role(name: &str, seeds: &[u8], threshold: u64, paths: &[&str]) -> Value {
    let ids: Vec<_> = seeds.iter().map(|seed| id(*seed)).collect();
    json!({"name": name, "keyids": ids, "threshold": threshold, "terminating": false, "paths": paths})
}

pub(crate) fn delegations(seeds: &[u8], roles: &[Value]) -> Value {
    let keys: serde_json::Map<_, _> = seeds.iter().map(|seed| (id(*seed), listed(*seed))).collect();
    json!({"keys": keys, "roles": roles})
}

/// What targets delegates to: these roles, then the bins, under key 9.
pub(super) fn top(seeds: &[u8], roles: &[Value]) -> Delegations {
    let mut roles = roles.to_vec();
    roles.push(json!({
        "name": "bins", "keyids": [id(9)], "threshold": 1, "terminating": true, "path_hash_prefixes": [""],
    }));
    serde_json::from_value(delegations(&[seeds, &[9]].concat(), &roles)).unwrap()
}

/// Two roles: `team-a` of key 1, `team-b` of two of the keys 2 and 3.
fn teams() -> Delegations {
    let roles = [
        role("team-a", &[1], 1, &["a/*", "a/*/*"]),
        role("team-b", &[2, 3], 2, &["b/*"]),
    ];
    let top = top(&[1, 2, 3], &roles);
    assert_eq!(check_top(&top), Ok(()));
    top
}

pub(crate) fn signed(version: u64, targets: &[&str]) -> Value {
    let row = |path: &&str| {
        (
            path.to_string(),
            json!({"length": path.len(), "hashes": {"sha256": Digest::of(path).to_string()}}),
        )
    };
    let targets: serde_json::Map<_, _> = targets.iter().map(row).collect();
    json!({
        "_type": "targets", "spec_version": "1.0.0", "version": version, "expires": "2031-01-01T00:00:00Z",
        "targets": targets,
    })
}

pub(crate) fn envelope(signed: &Value, seeds: &[u8]) -> Value {
    let message = canonical::to_vec(signed).unwrap();
    let sign = |seed: &u8| {
        let sig = futures_util::FutureExt::now_or_never(key(*seed).sign(&message))
            .unwrap()
            .unwrap();
        json!({"keyid": id(*seed), "sig": hex::encode(sig)})
    };
    json!({"signatures": seeds.iter().map(sign).collect::<Vec<_>>(), "signed": signed})
}

fn one(role: &str, envelope: Value) -> Submitted {
    Submitted::from([(role.to_owned(), envelope)])
}

pub(super) fn judged(top: &Delegations, standing: &Files, submitted: &Submitted) -> Result<Next, Refusal> {
    let next = |role: &str| {
        let next = standing.get(role).map_or(0, |file| file.version) + 1;
        next..=next
    };
    judge(top, standing, submitted, &next, CAPS, now())
}

/// Both teams with a first file.
fn standing() -> Files {
    let mut submitted = one("team-a", envelope(&signed(1, &["a/1"]), &[1]));
    submitted.extend(one("team-b", envelope(&signed(1, &["b/1"]), &[2, 3])));
    let next = judged(&teams(), &Files::new(), &submitted).unwrap();
    assert_eq!(next.fresh, ["team-a", "team-b"]);
    next.files
}

#[track_caller]
fn refused(submitted: &Submitted, kind: RefusalKind, why: &str) {
    let refusal = judged(&teams(), &standing(), submitted).unwrap_err();
    assert!(refusal.to_string().contains(why), "{refusal}");
    assert_eq!(refusal.kind, kind, "{refusal}");
}

#[test]
fn a_next_version_is_taken_in_one_form() {
    let mut sent = envelope(&signed(2, &["a/1", "a/b/c"]), &[1]);
    sent["signatures"]
        .as_array_mut()
        .unwrap()
        .push(json!({"keyid": "ff", "sig": "00"}));
    let next = judged(&teams(), &standing(), &one("team-a", sent)).unwrap();
    assert_eq!(next.fresh, ["team-a"]);
    let file: Value = serde_json::from_slice(&next.files["team-a"].bytes).unwrap();
    assert_eq!(
        file,
        envelope(&signed(2, &["a/1", "a/b/c"]), &[1]),
        "signatures of others are left out"
    );
    assert_eq!(
        RoleFile::stored(next.files["team-a"].bytes.clone())
            .unwrap()
            .targets
            .len(),
        2
    );
    let again = one("team-a", file);
    assert_eq!(
        judged(&teams(), &next.files, &again).unwrap().fresh,
        Vec::<String>::new(),
        "the same again is no news"
    );
    let said = changes(&standing(), &next.files);
    assert_eq!(said.len(), 1);
    assert_eq!(
        changes(&next.files, &standing()).into_values().collect::<Vec<_>>(),
        [Said::Drops]
    );
}

#[test]
fn what_a_team_may_not_submit_is_refused() {
    use RefusalKind::{Conflict, Large, Malformed, Unknown, Unsigned};
    let a = |signed: &Value| one("team-a", envelope(signed, &[1]));
    let changed = |pointer: &str, value: Value| {
        let mut signed = signed(2, &["a/1"]);
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        signed.pointer_mut(parent).unwrap()[field.replace("~1", "/")] = value;
        a(&signed)
    };
    refused(
        &one("team-a", envelope(&signed(2, &["a/1"]), &[2])),
        Unsigned,
        "0 of 1 needed",
    );
    refused(
        &one("team-b", envelope(&signed(2, &["b/1"]), &[2])),
        Unsigned,
        "1 of 2 needed",
    );
    refused(
        &one("team-b", envelope(&signed(2, &["b/1"]), &[2, 2])),
        Unsigned,
        "signs twice",
    );
    refused(
        &one("team-c", envelope(&signed(1, &[]), &[1])),
        Unknown,
        "nobody delegates to it",
    );
    for name in ["../x", "2foo", "targets", "bins", "bins4-0", "", "A", "root"] {
        let refusal = judged(&teams(), &standing(), &one(name, envelope(&signed(1, &[]), &[1]))).unwrap_err();
        assert_eq!(refusal.kind, Malformed, "{name}: {refusal}");
    }
    refused(&a(&signed(1, &["a/2"])), Conflict, "after 1 comes 2");
    refused(&a(&signed(3, &["a/1"])), Conflict, "after 1 comes 2");
    refused(&a(&signed(2, &["b/2"])), Malformed, "not inside the paths");
    refused(&a(&signed(2, &["a/x/y/z"])), Malformed, "not inside the paths");
    refused(&a(&signed(2, &["a/.x"])), Malformed, "not inside the paths");
    refused(&a(&signed(2, &["a/../b/1"])), Malformed, "no canonical form");
    refused(
        &a(&signed(2, &["a/1", "a/2", "a/3", "a/4", "a/5", "a/6"])),
        Large,
        "more than 5 targets",
    );
    refused(
        &changed("/expires", json!("2030-01-01T00:00:00Z")),
        Malformed,
        "expired",
    );
    refused(&changed("/x-more", json!(1)), Malformed, "x-more");
    refused(
        &changed("/delegations", json!({"keys": {}, "roles": []})),
        Malformed,
        "left out",
    );
    refused(
        &changed("/targets/a~11", json!({"length": 1, "hashes": {}})),
        Malformed,
        "sha256 and nothing else",
    );
    refused(&changed("/_type", json!("root")), Malformed, "_type");
    refused(&changed("/version", json!(0)), Malformed, "no version");
    let sha256 = Digest::of("").to_string();
    let row = |more: (&str, Value)| {
        let mut row = json!({"length": 1, "hashes": {"sha256": sha256}});
        row[more.0] = more.1;
        changed("/targets/a~11", row)
    };
    refused(&row(("custom", json!({}))), Malformed, "tough drops");
    refused(&row(("more", json!(1))), Malformed, "do not know");
    refused(
        &row(("hashes", json!({"sha256": sha256.to_uppercase()}))),
        Malformed,
        "small letters",
    );
    refused(
        &row(("hashes", json!({"sha256": sha256, "sha512": "00"}))),
        Malformed,
        "nothing else",
    );
    assert!(judged(&teams(), &standing(), &row(("custom", json!({"a": 1})))).is_ok());
    let mut padded = signed(2, &["a/1"]);
    padded["targets"]["a/1"]["custom"] = json!({"pad": "x".repeat(100_000)});
    refused(&a(&padded), Large, "100000 bytes");
    assert!(
        submission(&vec![b' '; MAX_SUBMISSION + 1])
            .unwrap_err()
            .to_string()
            .contains("at most")
    );
    for body in [
        "",
        "{}",
        "[]",
        r#"{"roles":{}}"#,
        r#"{"roles":{"a":1},"x":1}"#,
        r#"{"roles":{"a":1,"a":1}}"#,
    ] {
        assert_eq!(submission(body.as_bytes()).unwrap_err().kind, Malformed, "{body}");
    }
}

#[test]
fn nested_roles_come_with_their_files_and_stay_inside() {
    let nested = |name: &str, paths: &[&str]| {
        let mut signed = signed(2, &["a/1"]);
        signed["delegations"] = delegations(&[4], &[role(name, &[4], 1, paths)]);
        one("team-a", envelope(&signed, &[1]))
    };
    refused(
        &nested("team-a.sub", &["a/sub/*"]),
        RefusalKind::Unknown,
        "role `team-a.sub`: it is delegated to, and has no file",
    );
    let with = |mut parent: Submitted, name: &str, targets: &[&str], seed: u8| {
        parent.extend(one(name, envelope(&signed(1, targets), &[seed])));
        parent
    };
    let parent = || nested("team-a.sub", &["a/sub/*"]);
    let next = judged(&teams(), &standing(), &with(parent(), "team-a.sub", &["a/sub/1"], 4)).unwrap();
    assert_eq!(next.fresh, ["team-a", "team-a.sub"]);
    refused(
        &with(parent(), "team-a.sub", &["a/sub/1"], 1),
        RefusalKind::Unsigned,
        "team-a.sub",
    );
    refused(
        &with(parent(), "team-a.sub", &["a/other"], 4),
        RefusalKind::Malformed,
        "not inside",
    );
    refused(
        &nested("team-a.sub", &["b/*"]),
        RefusalKind::Malformed,
        "not inside those of the role",
    );
    refused(
        &nested("team-b.sub", &["a/*"]),
        RefusalKind::Malformed,
        "is called `team-a.…`",
    );
    // What stands goes with what delegates to it.
    let gone = one("team-a", envelope(&signed(3, &["a/1"]), &[1]));
    let after = judged(&teams(), &next.files, &gone).unwrap();
    assert_eq!(after.files.keys().collect::<Vec<_>>(), ["team-a", "team-b"]);
    assert_eq!(
        changes(&next.files, &after.files).into_values().collect::<Vec<_>>(),
        [Said::Drops]
    );
}

#[test]
fn nested_roles_are_few_and_end_no_search() {
    let submitted = |count: usize, edit: &dyn Fn(&mut Value)| {
        let name = |n: usize| format!("team-a.{n}");
        let mut roles: Vec<_> = (0..count).map(|n| role(&name(n), &[4], 1, &["a/sub/*"])).collect();
        roles.iter_mut().for_each(edit);
        let mut parent = signed(2, &["a/1"]);
        parent["delegations"] = delegations(&[4], &roles);
        let mut all = one("team-a", envelope(&parent, &[1]));
        all.extend((0..count).map(|n| (name(n), envelope(&signed(1, &[]), &[4]))));
        all
    };
    let as_they_are = |_: &mut Value| {};
    let ending = |role: &mut Value| role["terminating"] = true.into();
    assert!(judged(&teams(), &standing(), &submitted(16, &as_they_are)).is_ok());
    refused(
        &submitted(17, &as_they_are),
        RefusalKind::Large,
        "at most 16 roles below it",
    );
    refused(&submitted(1, &ending), RefusalKind::Malformed, "end the search");
    // Below a role that ends the search itself there is nobody to shut out.
    let mut first = role("team-a", &[1], 1, &["a/*", "a/*/*"]);
    first["terminating"] = true.into();
    let top = top(&[1, 2, 3], &[first, role("team-b", &[2, 3], 2, &["b/*"])]);
    assert!(judged(&top, &standing(), &submitted(1, &ending)).is_ok());
}

#[test]
fn what_stands_stays_reachable() {
    let roles = [
        role("team-a", &[1], 1, &["a/*", "a/*/*"]),
        role("team-b", &[2], 1, &["a/*"]),
    ];
    let top = top(&[1, 2], &roles);
    let mut both = one("team-a", envelope(&signed(1, &[]), &[1]));
    both.extend(one("team-b", envelope(&signed(1, &["a/b"]), &[2])));
    let standing = judged(&top, &Files::new(), &both).unwrap().files;
    // Its own role is not handed in: who speaks before it must still let clients come to it.
    let nested: Vec<_> = (0..16).map(|n| format!("team-a.{n}")).collect();
    let below = |names: &[String], paths: &[&str]| {
        let roles: Vec<_> = names.iter().map(|name| role(name, &[4], 1, paths)).collect();
        let mut parent = signed(2, &[]);
        parent["delegations"] = delegations(&[4], &roles);
        let mut all = one("team-a", envelope(&parent, &[1]));
        all.extend(names.iter().map(|name| (name.clone(), envelope(&signed(1, &[]), &[4]))));
        all
    };
    assert!(judged(&top, &standing, &below(&nested, &["a/*"])).is_ok(), "18 roles");
    let wider = [roles[0].clone(), role("team-c", &[1], 1, &["a/*"]), roles[1].clone()];
    let top = self::top(&[1, 2], &wider);
    let mut standing = standing;
    let mut more = below(&nested, &["a/*"]);
    let inner = nested
        .iter()
        .map(|name| name.replace("team-a", "team-c"))
        .collect::<Vec<_>>();
    let first = one("team-c", envelope(&signed(1, &[]), &[1]));
    standing = judged(&top, &standing, &first).unwrap().files;
    standing = judged(&top, &standing, &more).unwrap().files;
    more = below(&inner, &["a/*"]);
    let parent = more.remove("team-a").unwrap();
    more.insert("team-c".to_owned(), parent);
    let refusal = judged(&top, &standing, &more).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Large);
    assert!(
        refusal.to_string().contains("`a/b` clients would ask more than 28"),
        "{refusal}"
    );
}

#[test]
fn a_role_whose_signers_change_needs_a_new_file() {
    let roles = [
        role("team-a", &[4], 1, &["a/*", "a/*/*"]),
        role("team-b", &[2, 3], 2, &["b/*"]),
    ];
    let top = top(&[2, 3, 4], &roles);
    let nothing = Submitted::new();
    let refusal = judged(&top, &standing(), &nothing).unwrap_err();
    assert_eq!(
        (refusal.kind, refusal.role.as_deref()),
        (RefusalKind::Unsigned, Some("team-a"))
    );
    let next = one("team-a", envelope(&signed(2, &["a/1"]), &[4]));
    assert_eq!(judged(&top, &standing(), &next).unwrap().fresh, ["team-a"]);
    let narrow = [role("team-a", &[1], 1, &["a/x*"]), role("team-b", &[2, 3], 2, &["b/*"])];
    let refusal = judged(&self::top(&[1, 2, 3], &narrow), &standing(), &nothing).unwrap_err();
    assert!(refusal.to_string().contains("`a/1` is not inside"), "{refusal}");
    let expired = Timestamp::from_second(4_000_000_000).unwrap();
    let judged = judge(&teams(), &standing(), &nothing, &|_| 1..=1, CAPS, expired);
    assert!(judged.is_ok(), "an expired role stops nobody else");
}

#[test]
fn no_role_hides_what_another_lists() {
    let mut roles = [role("wide", &[1], 1, &["a/*"]), role("deep", &[2], 1, &["a/*/*"])];
    roles[0]["terminating"] = true.into();
    let both = |wide: &[&str], deep: &[&str]| {
        let mut both = one("wide", envelope(&signed(1, wide), &[1]));
        both.extend(one("deep", envelope(&signed(1, deep), &[2])));
        both
    };
    let refusal = judged(&top(&[1, 2], &roles), &Files::new(), &both(&["a/1"], &["a/b/1"])).unwrap_err();
    assert!(refusal.hint.unwrap().contains("tough"), "`*` takes a `/` there");
    roles.reverse();
    assert!(judged(&top(&[1, 2], &roles), &Files::new(), &both(&["a/1"], &["a/b/1"])).is_ok());
    let same = [role("one", &[1], 1, &["a/*"]), role("two", &[2], 1, &["a/*"])];
    let mut other = signed(1, &["a/1"]);
    other["targets"]["a/1"]["length"] = 2.into();
    let mut both = one("one", envelope(&signed(1, &["a/1"]), &[1]));
    both.extend(one("two", envelope(&other, &[2])));
    let refusal = judged(&top(&[1, 2], &same), &Files::new(), &both).unwrap_err();
    assert!(refusal.to_string().contains("different things"), "{refusal}");
}

#[test]
fn what_targets_may_delegate_to() {
    let wrong = |seeds: &[u8], roles: &[Value], why: &str| {
        let error = check_top(&top(seeds, roles)).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    let good = || role("team", &[1], 1, &["a/*"]);
    let with = |field: &str, value: Value| {
        let mut role = good();
        role[field] = value;
        role
    };
    assert_eq!(check_top(&top(&[1], &[good()])), Ok(()));
    wrong(&[1], &[with("threshold", json!(0))], "threshold of 0");
    wrong(&[1], &[with("threshold", json!(2))], "cannot be met with 1 keys");
    wrong(&[1], &[with("keyids", json!([id(1), id(1)]))], "twice");
    wrong(&[1], &[with("keyids", json!([id(2)]))], "not there");
    wrong(&[1], &[with("paths", json!([]))], "one pattern at least");
    wrong(&[1], &[with("paths", json!(["a/**"]))], "clients disagree");
    wrong(&[1], &[with("x-more", json!(1))], "do not know");
    wrong(&[1], &[good(), good()], "stands twice");
    wrong(&[1], &[good(), role("team.sub", &[1], 1, &["b/*"])], "of its own");
    for name in ["2foo", "../x", "root", "bins7-00", "Team", &"a".repeat(65)] {
        wrong(&[1], &[with("name", json!(name))], "name");
    }
    let mut unknown = top(&[1], &[good()]);
    unknown.keys.insert(
        id(1),
        serde_json::from_value(json!({"keytype": "ml-dsa", "scheme": "x", "keyval": {}})).unwrap(),
    );
    assert!(check_top(&unknown).unwrap_err().contains("cannot use"));
    let mut last = top(&[1], &[good()]);
    last.roles.as_mut().unwrap().reverse();
    assert!(check_top(&last).unwrap_err().contains("the last role"));
}

#[test]
fn what_stands_is_read_from_the_top_down() {
    let files = standing();
    let mut standing = Standing::below(Some(&teams()));
    while let Some(role) = standing.next() {
        let bytes = files.get(&role).map(|file| file.bytes.clone());
        standing.read(role, bytes).unwrap();
    }
    assert_eq!(standing.files().keys().collect::<Vec<_>>(), ["team-a", "team-b"]);
    let mut damaged = Standing::below(Some(&teams()));
    let role = damaged.next().unwrap();
    assert!(damaged.read(role, Some("{".into())).is_err());
    let _: Files = files
        .iter()
        .map(|(role, file)| (role.clone(), Arc::clone(file)))
        .collect();
}

/// Every place in a value, as a JSON pointer.
pub(super) fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            places(
                value,
                format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                found,
            );
        }),
        Value::Array(items) => (0..)
            .zip(items)
            .for_each(|(n, value)| places(value, format!("{at}/{n}"), found)),
        _ => {}
    }
    found.push(at);
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = submission(text.as_bytes());
    }

    #[test]
    fn whatever_is_damaged_is_refused_or_means_the_same(at in any::<prop::sample::Index>(), junk in 0..7_usize) {
        let mut nested = signed(2, &["a/1"]);
        nested["delegations"] = delegations(&[4], &[role("team-a.sub", &[4], 1, &["a/sub/*"])]);
        let good = json!({"roles": {
            "team-a": envelope(&nested, &[1]), "team-a.sub": envelope(&signed(1, &["a/sub/1"]), &[4]),
        }});
        let mut found = Vec::new();
        places(&good, String::new(), &mut found);
        let mut bad = good.clone();
        let junk = [json!(null), json!(-1), json!("x"), json!([]), json!({}), json!(u64::MAX), json!([[{}]])][junk].clone();
        *bad.pointer_mut(&found[at.index(found.len())]).unwrap() = junk;
        let judged = submission(bad.to_string().as_bytes())
            .and_then(|submitted| judged(&teams(), &standing(), &submitted));
        prop_assert!(judged.is_err() || bad == good, "{bad}");
    }
}
