//! Roots and offline targets that come while the signer runs, and keys that come and go with them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use tough::schema::{self, Root, Signed};

use super::{super::*, world::World};
use crate::{
    depot::TIMESTAMP,
    keys::memory::MemoryKey,
    tuf::{
        build::{self, RoleKeys, TopLevel},
        layout,
    },
};

fn key(seed: u8) -> Arc<dyn SigningKey> {
    Arc::new(MemoryKey::from_seed(seed))
}

fn role(seeds: &[u8]) -> RoleKeys {
    RoleKeys {
        keys: seeds
            .iter()
            .map(|seed| (key(*seed).key_id().clone(), key(*seed).public().clone()))
            .collect(),
        threshold: 1,
    }
}

/// Puts a root into the depot that lists these keys for timestamp, snapshot and targets; 4 signs it.
async fn put_root(world: &World, version: u64, timestamp: &[u8], snapshot: &[u8], targets: &[u8]) {
    let roles = TopLevel {
        root: role(&[4]),
        timestamp: role(timestamp),
        snapshot: role(snapshot),
        targets: role(targets),
        names: BTreeMap::new(),
    };
    let body = build::root(version, Timestamp::MAX, &roles).unwrap();
    put(world, layout::file("root", version), &body, 4).await;
}

async fn put(world: &World, name: String, body: &[u8], seed: u8) {
    let signature = key(seed).sign(body).await.unwrap();
    let file = build::envelope(body, &[(key(seed).key_id(), signature)]);
    world.depot.put_all(vec![(name, file)]).await.unwrap();
}

/// Whether a client that trusts this version of the root accepts the whole repository.
async fn accepted(world: &World, root: u64) -> bool {
    let read = async |name: String| -> Bytes { world.depot.read(&name).await.unwrap().unwrap() };
    let root: Signed<Root> = serde_json::from_slice(&read(layout::file("root", root)).await).unwrap();
    let root = root.signed;
    let stamp: Signed<schema::Timestamp> = serde_json::from_slice(&read(TIMESTAMP.to_owned()).await).unwrap();
    let version = stamp.signed.meta["snapshot.json"].version.get();
    let snapshot: Signed<schema::Snapshot> =
        serde_json::from_slice(&read(layout::file("snapshot", version)).await).unwrap();
    let listed = |role: &str| layout::file(role, snapshot.signed.meta[&format!("{role}.json")].version.get());
    let targets: Signed<schema::Targets> = serde_json::from_slice(&read(listed("targets")).await).unwrap();
    let bins: Signed<schema::Targets> = serde_json::from_slice(&read(listed("bins")).await).unwrap();
    let mut good = root.verify_role(&stamp).is_ok()
        && root.verify_role(&snapshot).is_ok()
        && root.verify_role(&targets).is_ok()
        && targets
            .signed
            .delegations
            .as_ref()
            .unwrap()
            .verify_role(&bins, "bins")
            .is_ok();
    let below = bins.signed.delegations.unwrap();
    for role in &below.roles {
        let bin: Signed<schema::Targets> = serde_json::from_slice(&read(listed(&role.name)).await).unwrap();
        good &= below.verify_role(&bin, &role.name).is_ok();
    }
    good
}

#[tokio::test]
async fn a_root_is_taken_up_while_the_signer_runs() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a", "a").await;
    world.settle(&mut signer).await;
    let before = world.view().await;
    put_root(&world, 2, &[1, 5], &[2], &[3]).await;
    assert!(
        matches!(signer.turn().await.unwrap(), Turn::Published { .. }),
        "gates are told by a timestamp"
    );
    let after = world.view().await;
    assert_eq!(
        (after.timestamp, after.snapshot),
        (before.timestamp + 1, before.snapshot)
    );
    assert!(matches!(signer.turn().await.unwrap(), Turn::Idle { .. }));
    assert!(accepted(&world, 1).await && accepted(&world, 2).await);
}

#[tokio::test]
async fn a_planned_rotation_serves_clients_of_both_roots() {
    let mut world = World::new().await;
    world.settle(&mut world.signer("a")).await;
    // The signer has both keys before the root has the new one.
    world.keys.old = OldKeys {
        timestamp: Some(world.keys.timestamp.clone()),
        snapshot: Some(world.keys.snapshot.clone()),
        targets: Some(key(3)),
    };
    world.keys.timestamp = key(5);
    world.keys.snapshot = key(6);
    world.keys.bins = key(6);
    world.keys.targets = Some(key(7));
    let mut signer = world.signer("a");
    world.put("a", "a").await;
    world.settle(&mut signer).await;
    assert!(
        accepted(&world, 1).await,
        "the bins moved to the new key in one publication"
    );
    put_root(&world, 2, &[5], &[6], &[7]).await;
    world.put("b", "b").await;
    world.settle(&mut signer).await;
    assert!(
        accepted(&world, 1).await,
        "a cache told this client that there is no root 2"
    );
    assert!(accepted(&world, 2).await);
    assert_eq!(world.view().await.paths(), ["a", "b"]);

    world.keys.old = OldKeys::default();
    let mut signer = world.signer("a");
    world.put("c", "c").await;
    world.settle(&mut signer).await;
    assert!(accepted(&world, 2).await && !accepted(&world, 1).await);
}

#[tokio::test]
async fn a_key_that_is_named_beside_the_old_one_signs_at_once() {
    let mut world = World::new().await;
    world.settle(&mut world.signer("a")).await;
    world.keys.old.timestamp = Some(std::mem::replace(&mut world.keys.timestamp, key(5)));
    let mut signer = world.signer("a");
    let turn = signer.turn().await.unwrap();
    assert_eq!(turn, Turn::Published { snapshot: 1 }, "timestamp alone");
    assert!(matches!(signer.turn().await.unwrap(), Turn::Idle { .. }), "once");
    // So a root that lists the new key alone breaks nobody.
    put_root(&world, 2, &[5], &[2], &[3]).await;
    assert!(accepted(&world, 1).await && accepted(&world, 2).await);
}

#[tokio::test]
async fn bins_get_another_key_of_their_own_in_one_publication() {
    let mut world = World::changed(|config| config.keys.bins = Some(config.keys.snapshot.clone())).await;
    let mut signer = world.signer("a");
    world.put("a", "a").await;
    world.settle(&mut signer).await;
    let before = world.view().await;
    world.keys.bins = key(6);
    let mut signer = world.signer("a");
    assert!(matches!(signer.turn().await.unwrap(), Turn::Published { .. }));
    let after = world.view().await;
    after.follows(&before);
    assert_eq!(after.paths(), ["a"]);
    assert!(accepted(&world, 1).await);
    let moved = |(role, version): (&String, &u64)| before.roles[role] < *version;
    assert!(after.roles.iter().all(moved), "{:?}", after.roles);
    assert!(matches!(signer.turn().await.unwrap(), Turn::Idle { .. }));
}

#[tokio::test]
async fn a_revoked_key_signs_no_more_and_a_new_one_signs_all_at_once() {
    // More bins than are rolled in a turn.
    let mut world = World::changed(|config| config.tuf.bins = 256).await;
    let mut signer = world.signer("a");
    world.put("a", "a").await;
    world.settle(&mut signer).await;
    let before = world.view().await;
    put_root(&world, 2, &[5], &[6], &[3]).await;
    let error = signer.turn().await.unwrap_err();
    assert!(
        matches!(error, SignerError::KeyNotListed { role: "timestamp", .. }),
        "{error}"
    );
    assert!(
        error.fatal(),
        "it ends, and is started again with the keys that are configured then"
    );

    world.keys.timestamp = key(5);
    world.keys.snapshot = key(6);
    world.keys.bins = key(6);
    let mut signer = world.signer("a");
    assert!(matches!(signer.turn().await.unwrap(), Turn::Published { .. }));
    assert!(accepted(&world, 2).await);
    let bytes: Signed<Root> = serde_json::from_slice(&world.depot.read("2.root.json").await.unwrap().unwrap()).unwrap();
    assert_eq!(bytes.signed.version.get(), 2);
    let rows = world.ledger.roles().await.unwrap();
    assert!(
        rows.iter().all(|row| row.published == row.reserved),
        "nothing is left half-written"
    );
    assert!(rows.iter().find(|row| row.name == "bins8-00").unwrap().published > before.roles["bins8-00"]);
    assert!(matches!(signer.turn().await.unwrap(), Turn::Idle { .. }));
}

#[tokio::test]
async fn offline_targets_are_taken_up_while_the_signer_runs() {
    let world = World::changed(|config| config.keys.targets = None).await;
    let below = |seeds: &[u8]| {
        let mut below = build::to_bins(key(2).key_id(), key(2).public());
        let more = seeds
            .iter()
            .map(|seed| (hex::encode(key(*seed).key_id()), key(*seed).public().clone()));
        for (id, public) in more {
            below.keys.insert(id.clone(), public.into());
            below.roles.as_mut().unwrap()[0].keyids.push(id);
        }
        below
    };
    let targets = async |version, seeds: &[u8]| {
        let body = build::targets(version, Timestamp::MAX, Some(&below(seeds)), []).unwrap();
        put(&world, layout::file("targets", version), &body, 3).await;
    };
    targets(1, &[]).await;
    let mut signer = world.signer("a");
    world.put("a", "a").await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.roles["targets"], 1);
    targets(2, &[6]).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.roles["targets"], 2);
    assert!(accepted(&world, 1).await);

    let mut parts = world.parts("a");
    parts.keys.snapshot = key(8);
    parts.keys.bins = key(8);
    parts.keys.old.snapshot = Some(key(2));
    let error = world.signer_of(parts).turn().await.unwrap_err();
    assert!(
        matches!(&error, SignerError::KeyNotListed { role: "bins", key: id, .. } if *id == hex::encode(key(8).key_id())),
        "{error}"
    );
    assert!(error.fatal() && error.exit_code() == 64);
}
