//! The search along delegations.

use serde_json::{Value, json};

use super::*;
use crate::tuf::{
    layout,
    verify::testing::{id, key, keys},
};

#[tokio::test]
async fn a_role_that_the_snapshot_does_not_list_is_refused() {
    let mut repo = Repo::new().await;
    repo.publish();
    let bin = repo.bin_of("top.txt");
    let mut snapshot = repo.served("2.snapshot.json");
    snapshot["meta"].as_object_mut().unwrap().remove(&format!("{bin}.json"));
    repo.put_snapshot(&snapshot);
    assert_eq!(
        attack(repo.download("top.txt").await),
        (format!("{bin}.json"), Attack::MixAndMatch)
    );
}

fn nested(roles: &[Value], seeds: &[u8], targets: Value) -> Value {
    let seeds: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    json!({"targets": targets, "delegations": {"keys": keys(&seeds.iter().collect::<Vec<_>>()), "roles": roles}})
}

#[tokio::test]
async fn delegations_are_searched_in_order_and_in_depth() {
    let mut repo = Repo::new().await;
    let list = |text: &str| json!({"x/1": listing(text.as_bytes())});
    let leaf = |text: &str| (json!({"targets": list(text)}), 31);
    let to = |name: &str, terminating| delegate(name, 31, terminating, &["x/*"]);
    let find = async |repo: &mut Repo, roles: &[Value]| {
        repo.delegations = Some(nested(roles, &[31], json!({}))["delegations"].take());
        repo.publish();
        repo.client().find("x/1").await.unwrap().map(|target| target.role)
    };
    repo.roles.insert("deep".into(), leaf("deep"));
    repo.roles.insert("flat".into(), leaf("flat"));
    repo.roles.insert("empty".into(), (json!({"targets": {}}), 31));
    repo.roles.insert(
        "over".into(),
        (nested(&[to("empty", false), to("deep", false)], &[31], json!({})), 31),
    );
    repo.roles.insert(
        "stop".into(),
        (nested(&[to("empty", true), to("deep", false)], &[31], json!({})), 31),
    );

    assert_eq!(
        find(&mut repo, &[to("over", false), to("flat", false)])
            .await
            .as_deref(),
        Some("deep")
    );
    assert_eq!(
        find(&mut repo, &[to("flat", false), to("over", false)])
            .await
            .as_deref(),
        Some("flat")
    );
    assert_eq!(
        find(&mut repo, &[to("empty", false), to("flat", false)])
            .await
            .as_deref(),
        Some("flat")
    );
    assert_eq!(find(&mut repo, &[to("empty", true), to("flat", false)]).await, None);
    assert_eq!(
        find(&mut repo, &[to("stop", false), to("flat", false)]).await,
        None,
        "it ends the whole search"
    );
    assert_eq!(
        find(&mut repo, &[delegate("flat", 31, false, &["*"])]).await,
        None,
        "a star stops at a slash"
    );
}

#[tokio::test]
async fn cycles_and_crowds_of_delegations_end() {
    let mut repo = Repo::new().await;
    let to = |name: &str| delegate(name, 31, false, &["*"]);
    repo.roles
        .insert("ping".into(), (nested(&[to("pong")], &[31], json!({})), 31));
    repo.roles.insert(
        "pong".into(),
        (nested(&[to("ping"), to("pong"), to("last")], &[31], json!({})), 31),
    );
    repo.roles
        .insert("last".into(), (json!({"targets": {"x": listing(b"x")}}), 31));
    repo.delegations = Some(nested(&[to("ping")], &[31], json!({}))["delegations"].take());
    repo.publish();
    assert_eq!(repo.client().find("x").await.unwrap().unwrap().role, "last");
    assert_eq!(repo.client().find("y").await.unwrap(), None);

    // `targets` delegates to more than anybody asks.
    let crowd: Vec<_> = (0..40).map(|n| format!("r{n}")).collect();
    for name in &crowd {
        repo.roles
            .insert(name.clone(), (json!({"targets": {name: listing(b"x")}}), 31));
    }
    let roles: Vec<_> = crowd.iter().map(|name| to(name)).collect();
    repo.delegations = Some(nested(&roles, &[31], json!({}))["delegations"].take());
    repo.publish();
    assert!(repo.client().find("r31").await.unwrap().is_some());
    assert!(repo.client().find("r32").await.unwrap().is_none());
}

#[tokio::test]
async fn a_role_is_judged_by_whoever_delegated_to_it() {
    let mut repo = Repo::new().await;
    repo.roles
        .insert("team".into(), (json!({"targets": {"x": listing(b"x")}}), 31));
    repo.roles.insert(
        "over".into(),
        (nested(&[delegate("team", 31, false, &["*"])], &[31], json!({})), 31),
    );
    // The same role name, but under a key that did not sign it.
    let roles = [delegate("team", 32, false, &["x"]), delegate("over", 31, false, &["*"])];
    repo.delegations = Some(nested(&roles, &[31, 32], json!({}))["delegations"].take());
    repo.publish();
    assert_eq!(
        attack(repo.client().find("x").await),
        ("team.json".into(), Attack::ArbitrarySoftware)
    );
}

#[tokio::test]
async fn a_role_that_fails_ends_the_search() {
    let mut repo = Repo::new().await;
    let to = |name: &str| delegate(name, 31, false, &["*"]);
    repo.roles.insert("first".into(), (json!({"targets": {}}), 31));
    repo.roles
        .insert("second".into(), (json!({"targets": {"x": listing(b"x")}}), 31));
    repo.delegations = Some(nested(&[to("first"), to("second")], &[31], json!({}))["delegations"].take());
    repo.publish();
    assert_eq!(repo.client().find("x").await.unwrap().unwrap().role, "second");
    repo.publish();
    repo.site.remove("/metadata/3.first.json");
    // Whoever hides a role's file must not make a lower one speak in its place.
    let missing = repo.client().find("x").await.unwrap_err();
    assert!(matches!(missing, ClientError::Fetch(_)), "{missing}");
}

#[tokio::test]
async fn any_role_name_is_one_file_in_the_folder() {
    let mut repo = Repo::new().await;
    let long = "l".repeat(300);
    let names_of_roles = [
        "../up", "..", ".", "/etc/x", "a/b", "?", "#", "%2F", "a b", "\u{e9}\n", "lock", "con", &long,
    ];
    for name in names_of_roles {
        repo.roles
            .insert(name.to_owned(), (json!({"targets": {name: listing(b"x")}}), 31));
        let encoded = naming::Base::parse(&repo.url)
            .unwrap()
            .metadata(name, Some(repo.version + 1));
        let roles = [delegate(name, 31, true, &["*", "*/*", "/*/*", "../*"])];
        repo.delegations = Some(nested(&roles, &[31], json!({}))["delegations"].take());
        repo.publish();
        let version = repo.version;
        let served = format!("/metadata/{}", layout::file(name, version));
        let reply = repo.site.files.lock().unwrap()[&served].clone();
        let path = encoded.strip_prefix(&repo.url[..]).unwrap().to_owned();
        repo.site.set(&format!("/metadata/{path}"), reply);
        let found = repo.client().find(name).await.unwrap().unwrap();
        assert_eq!(found.role, name);
        assert!(repo.stored(&naming::stored(name)).is_some(), "{name}");
    }
    assert_eq!(names(repo.folder.path()), ["store", "trusted-root.json"]);
    let stored = names(&repo.folder.path().join("store"));
    assert_eq!(
        stored
            .iter()
            .filter(|name| !name.ends_with(".json"))
            .collect::<Vec<_>>(),
        ["lock", "root_history"]
    );
    for bad in ["", "targets", "root"] {
        repo.delegations = Some(nested(&[delegate(bad, 31, true, &["z"])], &[31], json!({}))["delegations"].take());
        repo.publish();
        assert_eq!(
            attack(repo.client().find("another").await),
            ("targets.json".into(), Attack::ArbitrarySoftware),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn ten_thousand_delegations_are_searched_in_bounded_time() {
    let mut repo = Repo::new().await;
    let roles: Vec<_> = (0..10_000)
        .map(|n| delegate(&format!("r{n}"), 31, false, &[&*format!("*-{n}"), "*a*a*a*a*b"]))
        .collect();
    let crowd = nested(&roles, &[31], json!({}));
    repo.delegations = Some(crowd["delegations"].clone());
    for name in ["r9999", "r5"] {
        repo.roles
            .insert(name.into(), (json!({"targets": {"x-9999": listing(b"x")}}), 31));
    }
    repo.publish();
    let mut client = repo.client();
    assert_eq!(client.find("x-9999").await.unwrap().unwrap().role, "r9999");
    assert_eq!(client.find("x-5").await.unwrap(), None);
    assert_eq!(client.find(&"a".repeat(200)).await.unwrap(), None);
}

#[tokio::test]
async fn unknown_fields_are_kept_wherever_they_stand() {
    let mut repo = Repo::new().await;
    let mut role = delegate("r", 31, false, &["x"]);
    role["x-role"] = json!(1);
    repo.roles.insert(
        "r".into(),
        (
            json!({"targets": {"x": with_version(listing(b"x"), 7)}, "x-targets": [1, {"a b": null}]}),
            31,
        ),
    );
    let mut delegations = nested(&[role], &[31], json!({}))["delegations"].take();
    delegations["x-delegations"] = json!({"e\u{301}": "\u{212b}"});
    repo.delegations = Some(delegations);
    repo.publish();
    // Text that is not NFC: signed as it stands, not as tough would have it.
    let mut targets = repo.served("2.targets.json");
    targets["e\u{301}"] = "\u{212b}".into();
    let bytes = as_it_stands(&targets, TARGETS);
    let mut snapshot = repo.served("2.snapshot.json");
    snapshot["meta"]["targets.json"] = with_version(listing(&bytes), 2);
    repo.put_metadata("2.targets.json", bytes);
    repo.put_snapshot(&snapshot);
    repo.client().find("x").await.unwrap().unwrap();
    // The same bytes to tough, but not what was signed.
    let mut composed = targets.clone();
    composed["e\u{301}"] = "\u{c5}".into();
    let mut envelope: Value = serde_json::from_slice(&as_it_stands(&targets, TARGETS)).unwrap();
    envelope["signed"] = composed;
    snapshot["version"] = 3.into();
    snapshot["meta"]["targets.json"] = json!({"version": 2});
    repo.put_metadata("2.targets.json", envelope.to_string().into_bytes());
    repo.put_snapshot(&snapshot);
    std::fs::remove_file(repo.folder.path().join("store/targets.json")).unwrap();
    assert_eq!(
        attack(repo.client().find("x").await),
        ("targets.json".into(), Attack::ArbitrarySoftware)
    );
}

/// Signed over our own canonical bytes: olpc-cjson, which tests sign with elsewhere, normalises.
fn as_it_stands(signed: &Value, by: u8) -> Vec<u8> {
    use ed25519_dalek::Signer as _;
    let by = key(by);
    let signature = by.sign(&crate::tuf::canonical::to_vec(signed).unwrap());
    let line = json!({"keyid": id(&by), "sig": hex::encode(signature.to_bytes())});
    json!({"signed": signed, "signatures": [line]}).to_string().into_bytes()
}
