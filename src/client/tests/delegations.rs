//! The search along delegations.

use serde_json::{Value, json};

use super::*;
use crate::tuf::verify::testing::{key, keys};

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

    // The 32nd role, `targets` among them, is the last that is asked.
    let crowd: Vec<_> = (0..40).map(|n| format!("r{n}")).collect();
    for name in &crowd {
        repo.roles
            .insert(name.clone(), (json!({"targets": {name: listing(b"x")}}), 31));
    }
    let roles: Vec<_> = crowd.iter().map(|name| to(name)).collect();
    repo.delegations = Some(nested(&roles, &[31], json!({}))["delegations"].take());
    repo.publish();
    assert!(repo.client().find("r30").await.unwrap().is_some());
    assert!(repo.client().find("r31").await.unwrap().is_none());
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
