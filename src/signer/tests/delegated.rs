//! Roles that others sign, beside observations, through refusals and deaths.

use serde_json::{Value, json};

use super::{
    super::*,
    crash::dies,
    world::{View, World},
};
use crate::{
    clock::whole_seconds,
    delegated::tests::{delegations, envelope, id, role, signed},
    depot::Depot as _,
    ledger::{Act, Provenance, State, Submission, Submitted},
    target::TargetPath,
    tuf::layout,
};

/// Seeds: the team's key, another one, and those of [`World`] for targets and bins.
pub(super) const TEAM: u8 = 11;
const OTHER: u8 = 12;
const TARGETS: u8 = 3;
const BINS: u8 = 2;

impl World {
    /// Puts a targets.json into the depot that delegates `paths` to `team-a`, or nothing to nobody.
    pub(super) async fn delegate(&self, version: u64, key: Option<u8>, paths: &[&str]) {
        let role = key.map(|key| (vec![key], role("team-a", &[key], 1, paths)));
        self.delegate_to(version, role).await;
    }

    /// The same to any role of these keys.
    async fn delegate_to(&self, version: u64, role: Option<(Vec<u8>, Value)>) {
        let (keys, roles) = role.map_or_else(Default::default, |(keys, role)| (keys, vec![role]));
        self.delegate_all(version, &keys, roles).await;
    }

    /// The same to several.
    async fn delegate_all(&self, version: u64, keys: &[u8], mut roles: Vec<Value>) {
        let bins = json!({
            "name": "bins", "keyids": [id(BINS)], "threshold": 1, "terminating": true, "path_hash_prefixes": [""],
        });
        let mut targets = signed(version, &[]);
        let year = jiff::SignedDuration::from_hours(24 * 365);
        targets["expires"] = whole_seconds(self.clock.now() + year).to_string().into();
        roles.push(bins);
        targets["delegations"] = delegations(&[keys, &[BINS]].concat(), &roles);
        let file = envelope(&targets, &[TARGETS]);
        let name = layout::file("targets", version);
        self.depot.put_all(vec![(name, file.to_string().into())]).await.unwrap();
    }

    /// Hands in a file of `team-a`.
    pub(super) async fn hand_in(&self, version: u64, targets: &[&str], key: u8) -> Submitted {
        self.hand_in_by(version, targets, &[key]).await
    }

    async fn hand_in_by(&self, version: u64, targets: &[&str], keys: &[u8]) -> Submitted {
        let mut signed = signed(version, targets);
        signed["expires"] = json!("2100-01-01T00:00:00Z");
        let submission = Submission {
            id: 0,
            versions: [("team-a".to_owned(), version)].into(),
            body: json!({"roles": {"team-a": envelope(&signed, keys)}}).to_string(),
            who: "client".to_owned(),
            at: self.clock.now(),
        };
        self.ledger.submit(submission, vec![]).await.unwrap()
    }

    pub(super) async fn stands(&self, path: &str) -> Option<(State, Provenance)> {
        let target = self
            .ledger
            .lookup(&TargetPath::new(path).unwrap())
            .await
            .unwrap()
            .target;
        target.map(|target| (target.state, target.provenance))
    }

    async fn last_line(&self) -> String {
        self.ledger.audit_lines(1).await.unwrap()[0].detail.clone()
    }
}

/// A world whose team lists `a/1`, beside `a/2` and `b` in the bins.
async fn world() -> (World, Signer) {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a/2", "a/2").await;
    world.put("b", "b").await;
    world.settle(&mut signer).await;
    world.delegate(2, Some(TEAM), &["a/*"]).await;
    world.hand_in(1, &["a/1"], TEAM).await;
    world.settle(&mut signer).await;
    (world, signer)
}

#[tokio::test]
async fn a_role_is_listed_with_its_first_file_and_not_before() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("b", "b").await;
    world.settle(&mut signer).await;
    world.delegate(2, Some(TEAM), &["a/*"]).await;
    world.put("c", "c").await;
    world.settle(&mut signer).await;
    let view = world.view().await;
    assert_eq!(
        (view.roles["targets"], view.paths()),
        (1, vec!["b", "c"]),
        "publishing goes on"
    );
    assert!(
        matches!(signer.turn().await.unwrap(), Turn::Idle { wait } if !wait.is_zero()),
        "it does not spin"
    );

    world.hand_in(1, &["a/1"], TEAM).await;
    world.settle(&mut signer).await;
    let view = world.view().await;
    assert_eq!((view.roles["targets"], view.roles["team-a"]), (2, 1));
    assert_eq!(view.paths(), ["a/1", "b", "c"]);
    assert_eq!(world.stands("a/1").await, Some((State::Live, Provenance::Delegated)));
    assert_eq!(world.ledger.submissions().await.unwrap(), []);

    // Another signer reads the same, and signs targets anew without losing the role.
    let mut heir = world.signer("b");
    for _ in 0..4 {
        world.pass(50 * 86_400);
        world.settle(&mut heir).await;
    }
    let view = world.view().await;
    assert_eq!(view.roles["team-a"], 1);
    assert!(view.roles["targets"] > 2, "refreshed at half its life");
}

#[tokio::test]
async fn what_a_team_lists_is_its_own_and_what_it_drops_is_gone() {
    let (world, mut signer) = world().await;
    let before = world.view().await;
    world.hand_in(2, &["a/1", "a/2"], TEAM).await;
    world.settle(&mut signer).await;
    let view = world.view().await;
    view.follows(&before);
    assert_eq!(view.paths(), ["a/1", "a/2", "b"], "in one role each, says the view");
    assert_eq!(world.stands("a/2").await, Some((State::Live, Provenance::Delegated)));
    world.put("a/2", "a/2").await;
    world.put("a/1", "other bytes").await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.targets, view.targets);

    world.hand_in(3, &["a/2"], TEAM).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.paths(), ["a/2", "b"]);
    assert_eq!(world.stands("a/1").await, Some((State::Deleted, Provenance::Delegated)));

    // Without the role nothing of it is listed but its name.
    world.delegate(3, None, &[]).await;
    world.settle(&mut signer).await;
    let view = world.view().await;
    assert_eq!((view.paths(), view.roles["team-a"]), (vec!["b"], 3));
    signer.collect().await.unwrap();
    assert!(world.depot.read("3.team-a.json").await.unwrap().is_some());
}

#[tokio::test]
async fn the_signer_believes_no_proxy() {
    let (world, mut signer) = world().await;
    let before = world.view().await;
    for (key, targets, why) in [
        (OTHER, &["a/1"][..], "signatures"),
        (TEAM, &["b"], "not inside"),
        (TEAM, &["a/../b"], "canonical"),
    ] {
        assert!(
            matches!(world.hand_in(2, targets, key).await, Submitted::Waits(_)),
            "{why}"
        );
        world.settle(&mut signer).await;
        assert!(world.last_line().await.contains(why), "{}", world.last_line().await);
        assert_eq!(world.view().await.roles, before.roles);
        assert_eq!(world.ledger.submissions().await.unwrap(), []);
    }
    // Recorded by the gate with other bytes.
    world.put("a/3", "recorded").await;
    world.hand_in(2, &["a/1", "a/3"], TEAM).await;
    world.settle(&mut signer).await;
    assert!(
        world
            .ledger
            .audit_lines(9)
            .await
            .unwrap()
            .iter()
            .any(|line| line.detail.contains("other bytes are recorded"))
    );
    assert_eq!(world.view().await.roles["team-a"], 1);
    // Two that follow one another go together.
    world.hand_in(2, &["a/1"], TEAM).await;
    world.hand_in(3, &["a/1", "a/4"], TEAM).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.roles["team-a"], 3);
    assert!(
        world.depot.read("2.team-a.json").await.unwrap().is_none(),
        "never listed"
    );
}

#[tokio::test]
async fn what_an_operator_forgets_a_role_goes_on_listing() {
    let (world, mut signer) = world().await;
    let before = world.view().await;
    let retract = || Act::Retract {
        reason: "bad".to_owned(),
    };
    for act in [retract(), Act::Forget, Act::Forget] {
        world.observe("a/1", act).await;
    }
    world.put("a/1", "other bytes").await;
    world.settle(&mut signer).await;
    assert_eq!(world.stands("a/1").await, Some((State::Live, Provenance::Delegated)));
    assert_eq!(world.view().await.targets, before.targets);
    // Dropped by its role while it was retracted, it is like any other.
    world.observe("a/1", retract()).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.targets, before.targets, "what stands stays");
    world.hand_in(2, &["a/1", "a/2"], TEAM).await;
    world.settle(&mut signer).await;
    assert!(
        world.last_line().await.contains("retracted"),
        "{}",
        world.last_line().await
    );
    assert_eq!(world.view().await.roles["team-a"], 1);
    world.hand_in(2, &["a/2"], TEAM).await;
    world.settle(&mut signer).await;
    assert_eq!(
        world.stands("a/1").await.map(|(state, _)| state),
        Some(State::Retracted)
    );
    let lines = world.ledger.audit_lines(9).await.unwrap();
    let last = lines.iter().find(|line| line.path == "a/1").unwrap();
    assert_eq!(last.action, "retract", "what the audit chain says last is what stands");
    world.observe("a/1", Act::Forget).await;
    world.settle(&mut signer).await;
    assert_eq!(world.stands("a/1").await, None);
}

#[tokio::test]
async fn an_observed_role_lists_what_stands_there_and_drops_none_of_it() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a/1", "a/1").await;
    world.put("a/2", "a/2").await;
    world.settle(&mut signer).await;
    let keys = [TEAM, OTHER, BINS];
    let observed = role("team-a", &keys, 2, &["a/*"]);
    world.delegate_to(2, Some((vec![TEAM, OTHER], observed))).await;
    world.hand_in_by(1, &[], &[TEAM, BINS]).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.roles["team-a"], 1);
    for (version, targets, by, why) in [
        (2, &["a/1"][..], [TEAM, OTHER], Some("has not signed")),
        (2, &["a/1", "a/3"], [TEAM, BINS], Some("not observed")),
        (2, &["a/1"], [TEAM, BINS], None),
        (3, &["a/2"], [TEAM, BINS], Some("listed no more")),
        (3, &["a/1", "a/2"], [OTHER, BINS], None),
    ] {
        world.hand_in_by(version, targets, &by).await;
        world.settle(&mut signer).await;
        let listed = world.view().await.roles["team-a"];
        match why {
            Some(why) => {
                assert!(world.last_line().await.contains(why), "{}", world.last_line().await);
                assert_eq!(listed, version - 1);
            }
            None => assert_eq!(listed, version, "{}", world.last_line().await),
        }
    }
}

#[tokio::test]
async fn keys_of_a_role_change_with_a_file_by_the_new_ones() {
    let (world, mut signer) = world().await;
    world.delegate(3, Some(OTHER), &["a/*"]).await;
    world.settle(&mut signer).await;
    assert_eq!(
        world.view().await.roles["targets"],
        2,
        "held: nobody signed for the new key"
    );
    // Who holds the old key must not make stale what waits for the new one.
    world.hand_in(2, &["a/1"], TEAM).await;
    world.settle(&mut signer).await;
    let view = world.view().await;
    assert_eq!((view.roles["targets"], view.roles["team-a"]), (2, 1));
    assert!(
        world.last_line().await.contains("signatures"),
        "{}",
        world.last_line().await
    );
    world.hand_in(2, &["a/1"], OTHER).await;
    world.settle(&mut signer).await;
    let view = world.view().await;
    assert_eq!((view.roles["targets"], view.roles["team-a"]), (3, 2));
}

#[tokio::test]
async fn paths_that_a_role_is_to_lose_it_fills_no_more() {
    let (world, mut signer) = world().await;
    world.delegate(3, Some(TEAM), &["a/n*"]).await;
    world.settle(&mut signer).await;
    for (targets, listed, why) in [(&["a/1", "a/new"][..], 1, "not inside"), (&["a/new"], 2, "")] {
        world.hand_in(2, targets, TEAM).await;
        world.settle(&mut signer).await;
        assert!(world.last_line().await.contains(why), "{}", world.last_line().await);
        let view = world.view().await;
        assert_eq!((view.roles["targets"], view.roles["team-a"]), (listed + 1, listed));
    }
}

#[tokio::test]
async fn a_file_handed_in_survives_every_death() {
    let mut deaths = 0;
    for after in [false, true] {
        for n in 0.. {
            let (world, signer) = world().await;
            drop(signer);
            world.pass(u64::from(LEASE_SECS));
            world.hand_in(2, &["a/1", "a/2"], TEAM).await;
            world.put("c", "c").await;
            let died = dies(&world, n, after).await;
            world.pass(u64::from(LEASE_SECS));
            world.settle(&mut world.signer("heir")).await;
            let view: View = world.view().await;
            assert_eq!(view.roles["team-a"], 2, "after death at call {n}");
            assert_eq!(view.paths(), ["a/1", "a/2", "b", "c"], "after death at call {n}");
            assert_eq!(world.ledger.submissions().await.unwrap(), []);
            match died {
                true => deaths += 1,
                false => break,
            }
        }
    }
    assert!(deaths > 10, "{deaths}");
}

/// `team-a` of the team's key and the gate's, which may have bins.
fn observed() -> Value {
    let mut role = role("team-a", &[TEAM, BINS], 2, &["a/*"]);
    role["terminating"] = true.into();
    role
}

impl World {
    /// What waits for the team, by key of a submission.
    async fn offered(&self) -> serde_json::Map<String, Value> {
        let offer = self.ledger.offered("team-a").await.unwrap();
        let body = offer.map_or(Value::Null, |offer| serde_json::from_str(&offer.body).unwrap());
        body["roles"].as_object().cloned().unwrap_or_default()
    }

    /// The team signs all of it and hands it in.
    async fn countersigned(&self, files: &serde_json::Map<String, Value>) {
        let mut roles = serde_json::Map::new();
        let mut versions = std::collections::BTreeMap::new();
        for (key, file) in files {
            let mut file = file.clone();
            let team = envelope(&file["signed"], &[TEAM])["signatures"][0].clone();
            file["signatures"].as_array_mut().unwrap().push(team);
            if !key.starts_with("succinct/") {
                versions.insert(key.clone(), file["signed"]["version"].as_u64().unwrap());
            }
            roles.insert(key.clone(), file);
        }
        let submission = Submission {
            id: 0,
            versions,
            body: json!({ "roles": roles }).to_string(),
            who: "client".to_owned(),
            at: self.clock.now(),
        };
        assert!(matches!(
            self.ledger.submit(submission, Vec::new()).await.unwrap(),
            Submitted::Waits(_)
        ));
    }
}

#[tokio::test]
async fn an_observed_role_gets_bins_and_a_release_changes_one() {
    let mut world = World::new().await;
    world.config.tuf.grow_at = 3;
    let mut signer = world.signer("a");
    world.put("b", "b").await;
    world.settle(&mut signer).await;
    world.delegate_to(2, Some((vec![TEAM], observed()))).await;
    world.hand_in_by(1, &[], &[TEAM, BINS]).await;
    for number in 0..3 {
        world.put(&format!("a/{number}"), "few").await;
    }
    world.settle(&mut signer).await;
    let few = world.offered().await;
    assert_eq!(
        few.keys().collect::<Vec<_>>(),
        ["team-a"],
        "few targets stand in one file"
    );
    world.countersigned(&few).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.paths(), ["a/0", "a/1", "a/2", "b"]);

    world.put("a/3", "many").await;
    world.settle(&mut signer).await;
    let many = world.offered().await;
    assert_eq!(many.len(), 3 + 16, "{:?}", many.keys());
    // Without its signature nothing changes, and half of it is nothing.
    let mut half = many.clone();
    half.remove("team-a.bins.4-3");
    world.countersigned(&half).await;
    world.settle(&mut signer).await;
    assert!(
        world.last_line().await.contains("has no file"),
        "{}",
        world.last_line().await
    );
    let before = world.view().await;
    assert_eq!(before.roles["team-a"], 2);
    world.countersigned(&many).await;
    world.settle(&mut signer).await;
    let view = world.view().await;
    view.follows(&before);
    assert_eq!(
        (view.roles["team-a"], view.roles["team-a.bins"]),
        (3, 1),
        "{}",
        world.last_line().await
    );
    assert_eq!(view.paths(), ["a/0", "a/1", "a/2", "a/3", "b"]);
    assert_eq!(world.stands("a/3").await, Some((State::Live, Provenance::Delegated)));
    assert!(world.offered().await.is_empty(), "nothing waits any more");
    for name in ["1.team-a.bins.json", "succinct/1.team-a.bins.json"] {
        assert!(world.depot.read(name).await.unwrap().is_some(), "{name}");
    }

    // One release, one file; another signer says the same.
    world.put("a/4", "one more").await;
    world.settle(&mut signer).await;
    let one = world.offered().await;
    assert_eq!(one.len(), 1, "{:?}", one.keys());
    world.pass(u64::from(LEASE_SECS));
    let mut heir = world.signer("heir");
    world.settle(&mut heir).await;
    world.countersigned(&world.offered().await).await;
    world.settle(&mut heir).await;
    assert_eq!(world.view().await.paths(), ["a/0", "a/1", "a/2", "a/3", "a/4", "b"]);

    // What is gone is gone, and bins stay bins.
    world.observe("a/4", Act::Delete).await;
    world.settle(&mut heir).await;
    world.countersigned(&world.offered().await).await;
    world.settle(&mut heir).await;
    assert_eq!(world.view().await.paths(), ["a/0", "a/1", "a/2", "a/3", "b"]);

    // The team's key changes: its own file first, then everything that leads from it.
    world.pass(u64::from(LEASE_SECS));
    let mut other = role("team-a", &[OTHER, BINS], 2, &["a/*"]);
    other["terminating"] = true.into();
    world.delegate_to(3, Some((vec![OTHER], other))).await;
    let mut own: Value = serde_json::from_slice(&world.depot.read("3.team-a.json").await.unwrap().unwrap()).unwrap();
    own["signed"]["version"] = 4.into();
    let body = json!({"roles": {"team-a": envelope(&own["signed"], &[OTHER, BINS])}}).to_string();
    let submission = Submission {
        id: 0,
        versions: [("team-a".to_owned(), 4)].into(),
        body,
        who: "operator".to_owned(),
        at: world.clock.now(),
    };
    world.ledger.submit(submission, Vec::new()).await.unwrap();
    let mut third = world.signer("third");
    world.settle(&mut third).await;
    assert_eq!(world.view().await.roles["targets"], 3, "{}", world.last_line().await);
    assert_eq!(
        world.view().await.paths(),
        ["a/0", "a/1", "a/2", "a/3", "b"],
        "the old bins go on"
    );
    let anew = world.offered().await;
    assert_eq!(anew.len(), 3 + 16, "for the new key");
    // Which the old one has no say in: it cannot even make an offer stale.
    let before = world.view().await.roles;
    let bin = anew.into_iter().filter(|(key, _)| key == "team-a.bins.4-0").collect();
    world.countersigned(&bin).await;
    world.settle(&mut third).await;
    assert!(
        world.last_line().await.contains("not the role's any more"),
        "{}",
        world.last_line().await
    );
    assert_eq!(world.view().await.roles, before);
}

/// Targets of a bin.
const CAP: usize = 4;

#[tokio::test]
async fn ground_names_drive_nothing_out_of_a_bin() {
    let mut world = World::new().await;
    // The gate's own bins are smaller and as full.
    (
        world.config.tuf.bins,
        world.config.tuf.grow_at,
        world.config.tuf.max_bin_targets,
    ) = (64, 1, CAP as u64);
    let mut signer = world.signer("a");
    world.put("b", "b").await;
    world.settle(&mut signer).await;
    world.delegate_to(2, Some((vec![TEAM], observed()))).await;
    world.hand_in_by(1, &[], &[TEAM, BINS]).await;
    // More names of one bin than it holds.
    let same = |number: &u32| TargetPath::new(&format!("a/{number}")).unwrap().bin(4) == 7;
    let names: Vec<_> = (0..)
        .filter(same)
        .take(CAP + 3)
        .map(|number| format!("a/{number}"))
        .collect();
    for name in names.iter().take(CAP) {
        world.put(name, "first").await;
    }
    world.settle(&mut signer).await;
    world.countersigned(&world.offered().await).await;
    world.settle(&mut signer).await;
    let before = world.view().await;
    assert_eq!(before.paths().len(), CAP + 1);
    for name in names.iter().skip(CAP) {
        world.put(name, "ground").await;
    }
    world.settle(&mut signer).await;
    assert!(
        world.offered().await.is_empty(),
        "there is no room, and nothing else to say"
    );
    let theirs = |view: &View| -> Vec<_> {
        let roles = view.roles.clone().into_iter();
        roles.filter(|(role, _)| role.starts_with("team-a")).collect()
    };
    assert_eq!(theirs(&world.view().await), theirs(&before));
}

#[tokio::test]
async fn what_another_role_lists_the_gate_did_not_observe() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a/seen", "seen").await;
    world.settle(&mut signer).await;
    let other = role("other", &[OTHER], 1, &["a/*"]);
    world.delegate_all(2, &[TEAM, OTHER], vec![other, observed()]).await;
    let mut first = signed(1, &["a/evil"]);
    first["expires"] = json!("2100-01-01T00:00:00Z");
    let mut own = signed(1, &[]);
    own["expires"] = first["expires"].clone();
    let submission = Submission {
        id: 0,
        versions: [("other".to_owned(), 1), ("team-a".to_owned(), 1)].into(),
        body: json!({"roles": {"other": envelope(&first, &[OTHER]), "team-a": envelope(&own, &[TEAM, BINS])}})
            .to_string(),
        who: "client".to_owned(),
        at: world.clock.now(),
    };
    world.ledger.submit(submission, Vec::new()).await.unwrap();
    world.settle(&mut signer).await;
    assert_eq!(world.stands("a/evil").await, Some((State::Live, Provenance::Delegated)));
    let offered = world.offered().await;
    let targets = offered["team-a"]["signed"]["targets"].as_object().unwrap();
    assert_eq!(targets.keys().collect::<Vec<_>>(), ["a/seen"]);
    // Nor by a thief of both keys.
    world.hand_in_by(2, &["a/evil", "a/seen"], &[TEAM, BINS]).await;
    world.settle(&mut signer).await;
    assert!(
        world.last_line().await.contains("not observed"),
        "{}",
        world.last_line().await
    );
    // Nor may it lead elsewhere than to its bins.
    let mut leads = signed(2, &[]);
    leads["expires"] = json!("2100-01-01T00:00:00Z");
    leads["delegations"] = delegations(&[OTHER], &[role("team-a.x", &[OTHER], 1, &["a/*"])]);
    let files = json!({"team-a": envelope(&leads, &[TEAM, BINS]), "team-a.x": envelope(&own, &[OTHER])});
    let submission = Submission {
        id: 0,
        versions: [("team-a".to_owned(), 2), ("team-a.x".to_owned(), 1)].into(),
        body: json!({ "roles": files }).to_string(),
        who: "client".to_owned(),
        at: world.clock.now(),
    };
    world.ledger.submit(submission, Vec::new()).await.unwrap();
    world.settle(&mut signer).await;
    assert!(
        world.last_line().await.contains("to its bins alone"),
        "{}",
        world.last_line().await
    );
    assert_eq!(world.view().await.roles["team-a"], 1);
}

#[tokio::test]
async fn names_whose_order_clients_disagree_on_do_not_stop_a_role() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    // Apart in the gate's own bins.
    let bin = |name: &str| TargetPath::new(name).unwrap().bin(4);
    let number = (0..)
        .find(|n| bin(&format!("a/{n}")) != bin(&format!("a/{n}!x")))
        .unwrap();
    let names = [format!("a/{number}"), format!("a/{number}!x"), "a/z".to_owned()];
    world.put(&names[0], "first").await;
    world.settle(&mut signer).await;
    world.delegate_to(2, Some((vec![TEAM], observed()))).await;
    world.hand_in_by(1, &[], &[TEAM, BINS]).await;
    world.settle(&mut signer).await;
    for name in &names[1..] {
        world.put(name, "then").await;
    }
    world.settle(&mut signer).await;
    for _ in 0..2 {
        world.countersigned(&world.offered().await).await;
        world.settle(&mut signer).await;
        let file = world.depot.read("2.team-a.json").await.unwrap().unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        assert_eq!(
            file["signed"]["targets"].as_object().unwrap().len(),
            2,
            "one of two, and what came later"
        );
        assert!(file["signed"]["targets"].get(&names[2]).is_some());
        if world.offered().await.is_empty() {
            return;
        }
    }
    panic!("what cannot be listed is offered again and again");
}

#[tokio::test]
async fn the_bins_key_is_not_changed_below_a_role_that_is_countersigned_with_it() {
    let mut world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a/1", "a/1").await;
    world.settle(&mut signer).await;
    world.delegate_to(2, Some((vec![TEAM], observed()))).await;
    world.hand_in_by(1, &[], &[TEAM, BINS]).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.roles["team-a"], 1);
    world.pass(u64::from(LEASE_SECS));
    world.keys.bins = std::sync::Arc::new(crate::delegated::tests::key(OTHER));
    let error = world.signer("b").turn().await.unwrap_err();
    assert!(
        matches!(&error, SignerError::Countersigned { role } if role == "team-a"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 64);
    // Listed beside the old one, it may.
    let mut both = role("team-a", &[TEAM, BINS, OTHER], 2, &["a/*"]);
    both["terminating"] = true.into();
    world.delegate_to(3, Some((vec![TEAM, OTHER], both))).await;
    let mut heir = world.signer("c");
    world.settle(&mut heir).await;
    assert!(!world.offered().await.is_empty(), "it is observed on");
}

#[tokio::test]
async fn a_restore_keeps_a_roles_bins_in_both_views() {
    let mut world = World::new().await;
    world.config.tuf.grow_at = 1;
    let mut signer = world.signer("a");
    for name in ["a/1", "a/2", "b"] {
        world.put(name, name).await;
    }
    world.settle(&mut signer).await;
    world.delegate_to(2, Some((vec![TEAM], observed()))).await;
    world.hand_in_by(1, &[], &[TEAM, BINS]).await;
    world.settle(&mut signer).await;
    world.countersigned(&world.offered().await).await;
    world.settle(&mut signer).await;
    let before = world.view().await;
    assert_eq!(
        (before.roles["team-a.bins"], before.paths()),
        (1, vec!["a/1", "a/2", "b"])
    );
    world.pass(u64::from(LEASE_SECS));
    let shown = Shown {
        at_least: 50,
        who: "operator".to_owned(),
        ..Shown::default()
    };
    world.signer("b").restore(&shown).await.unwrap();
    let after = world.view().await;
    after.follows(&before);
    assert_eq!(after.paths(), before.paths());

    // Without its file of one view nothing is written.
    world.depot.delete("succinct/1.team-a.bins.json").await.unwrap();
    world.pass(u64::from(LEASE_SECS));
    let error = world.signer("c").restore(&shown).await.unwrap_err();
    assert!(error.to_string().contains("succinct/1.team-a.bins.json"), "{error}");
}

#[tokio::test]
async fn what_a_role_listed_that_ended_after_the_backup_is_public_again_or_gone() {
    let (world, mut signer) = world().await;
    world.hand_in(2, &["a/1", "a/2"], TEAM).await;
    world.settle(&mut signer).await;
    // The ledger is of now; then the role ended, and one of its names was uploaded again.
    world.delegate(3, None, &[]).await;
    let mut shown = world.view().await;
    shown.targets.remove("a/1");
    let at = world.clock.now() + jiff::SignedDuration::from_secs(1);
    world.depot.delete("2.team-a.json").await.unwrap();
    world.pass(u64::from(LEASE_SECS));
    let mut versions = shown.roles.clone();
    versions.insert("targets".to_owned(), 3);
    versions.insert("snapshot".to_owned(), shown.snapshot);
    versions.insert("timestamp".to_owned(), shown.timestamp);
    let targets = shown
        .targets
        .iter()
        .map(|(path, row)| (TargetPath::new(path).unwrap(), *row));
    let shown = Shown {
        versions,
        targets: Some((targets.collect(), at)),
        who: "operator".to_owned(),
        ..Shown::default()
    };
    let done = world.signer("b").restore(&shown).await.unwrap();
    assert_eq!(done.withdrawn, [TargetPath::new("a/1").unwrap()]);
    let view = world.view().await;
    assert_eq!((view.paths(), view.roles["team-a"]), (vec!["a/2", "b"], 2));
}
