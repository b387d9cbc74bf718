//! What a signer makes of stores that are older than what clients have seen.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    super::*,
    delegated::TEAM,
    world::{View, World},
};
use crate::{
    depot::memory::MemoryDepot,
    ledger::{Act, Provenance, State},
    target::TargetPath,
};

/// All that clients saw.
fn public(view: &View, at: Timestamp) -> Shown {
    let mut versions = view.roles.clone();
    versions.insert("snapshot".to_owned(), view.snapshot);
    versions.insert("timestamp".to_owned(), view.timestamp);
    let targets = view
        .targets
        .iter()
        .map(|(path, bytes)| (TargetPath::new(path).unwrap(), *bytes));
    Shown {
        versions,
        targets: Some((targets.collect(), at)),
        who: "operator".to_owned(),
        ..Shown::default()
    }
}

/// The same world with nothing left of it but its first root.
async fn lost(world: World) -> World {
    let depot = Arc::new(MemoryDepot::new());
    let root = world.depot.read("1.root.json").await.unwrap().unwrap();
    depot.put_all(vec![("1.root.json".to_owned(), root)]).await.unwrap();
    World {
        ledger: Arc::default(),
        depot,
        ..world
    }
}

async fn restore(world: &World, shown: &Shown) -> Restored {
    let mut signer = world.signer("a");
    let done = signer.restore(shown).await.unwrap();
    world.settle(&mut signer).await;
    done
}

#[tokio::test]
async fn all_that_was_public_is_listed_again_above_every_version() {
    let world = World::changed(|config| {
        (config.tuf.bins, config.tuf.max_bins, config.tuf.grow_at) = (2, 16, 5);
    })
    .await;
    let mut signer = world.signer("a");
    for name in 0..30 {
        world.put(&format!("n/{name}"), "bytes").await;
        signer.turn().await.unwrap();
    }
    while signer.turn().await.unwrap()
        != (Turn::Idle {
            wait: Duration::from_secs(super::world::DAY / 2),
        })
    {}
    let before = world.view().await;
    assert!(
        before.roles.contains_key("bins1-0") && before.roles.contains_key("bins3-0"),
        "{:?}",
        before.roles
    );

    let world = lost(world).await;
    let done = restore(&world, &public(&before, world.clock.now())).await;
    assert_eq!((done.learned.len(), done.withdrawn.len()), (30, 0));
    let after = world.view().await;
    after.follows(&before);
    assert_eq!(after.targets, before.targets);
    for (role, version) in &after.roles {
        assert!(*version > before.roles[role], "{role} is above what was seen");
        let file = crate::tuf::layout::file(role, *version);
        assert!(world.depot.read(&file).await.unwrap().is_some(), "{file} stands");
    }
    assert!(after.snapshot > before.snapshot && after.timestamp > before.timestamp);
    // And a signer goes on as if nothing had been.
    world.put("later", "bytes").await;
    world.settle(&mut world.signer("b")).await;
    world.view().await.follows(&after);
}

#[tokio::test]
async fn a_number_alone_puts_every_role_above_it_grown_ones_too() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a", "a").await;
    world.settle(&mut signer).await;
    let shown = Shown {
        at_least: 70,
        ..Shown::default()
    };
    let done = restore(&world, &shown).await;
    assert!(done.snapshot == 71 && done.timestamp == 71, "{done:?}");
    let view = world.view().await;
    assert!(view.roles.values().all(|version| *version == 71), "{:?}", view.roles);
    assert_eq!(view.paths(), ["a"]);
    let rows = world.ledger.roles().await.unwrap();
    let grown = rows.iter().find(|row| row.name == "bins6-3f").unwrap();
    assert_eq!((grown.reserved, grown.published), (70, 0));
}

#[tokio::test]
async fn what_was_withdrawn_stays_so_and_what_was_acknowledged_is_signed() {
    let world = World::new().await;
    for path in ["kept", "retracted", "moved", "deleted later"] {
        world.put(path, path).await;
    }
    let reason = "bad".to_owned();
    world.observe("retracted", Act::Retract { reason }).await;
    world.settle(&mut world.signer("a")).await;
    // Of what came then, nothing is left but what clients saw: one path has other bytes, one is gone, one is new.
    world.pass(60);
    let mut shown = public(&world.view().await, world.clock.now());
    let (targets, _) = shown.targets.as_mut().unwrap();
    let bytes = |text: &str| (crate::digest::Digest::of(text), text.len() as u64);
    let path = |text: &str| TargetPath::new(text).unwrap();
    targets.remove(&path("deleted later"));
    targets.insert(path("moved"), bytes("other bytes"));
    targets.insert(path("new"), bytes("new"));
    // A mirror that still has it is not asked.
    targets.insert(path("retracted"), bytes("retracted"));
    shown.versions.insert("snapshot".to_owned(), 40);
    // Acknowledged after the restore, or waiting while the backup was made.
    world.pass(60);
    world.put("waiting", "waiting").await;

    let done = restore(&world, &shown).await;
    assert_eq!(done.learned, [path("moved"), path("new")]);
    assert_eq!(done.withdrawn, [path("deleted later")]);
    assert_eq!(done.snapshot, 41);
    let view = world.view().await;
    assert_eq!(view.paths(), ["kept", "moved", "new", "waiting"]);
    assert_eq!(view.targets["moved"], bytes("other bytes"));
    let gone = world
        .ledger
        .lookup(&path("deleted later"))
        .await
        .unwrap()
        .target
        .unwrap();
    assert_eq!(gone.state, State::Retracted);
    let lines = world.ledger.audit_lines(1).await.unwrap();
    assert!(
        lines[0].action == "recover" && lines[0].detail.contains("2 targets learned again, 1 withdrawn"),
        "{lines:?}"
    );
    // Again, and there is nothing to set right.
    let again = restore(&world, &shown).await;
    assert_eq!((again.learned.len(), again.withdrawn.len()), (0, 0));
    assert_eq!(world.view().await.targets, view.targets);
}

#[tokio::test]
async fn what_moved_into_a_role_after_the_backup_is_the_roles() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a/1", "a/1").await;
    world.put("b", "b").await;
    world.settle(&mut signer).await;
    world.delegate(2, Some(TEAM), &["a/*"]).await;
    world.hand_in(1, &["a/1"], TEAM).await;
    world.settle(&mut signer).await;
    let before = world.view().await;
    let mut files = Vec::new();
    for name in ["2.targets.json", "1.team-a.json"] {
        files.push((name.to_owned(), world.depot.read(name).await.unwrap().unwrap()));
    }

    // The backup knows it as the gate's own.
    let world = lost(world).await;
    world.put("a/1", "a/1").await;
    world.put("b", "b").await;
    world.settle(&mut world.signer("a")).await;
    world.depot.put_all(files).await.unwrap();
    world.pass(60);
    let mut shown = public(&before, world.clock.now());
    let (targets, _) = shown.targets.as_mut().unwrap();
    targets.remove(&TargetPath::new("a/1").unwrap());
    let done = restore(&world, &shown).await;
    assert_eq!(done.withdrawn, []);
    let after = world.view().await;
    after.follows(&before);
    assert_eq!((&after.targets, after.roles["team-a"]), (&before.targets, 1));
    assert_eq!(world.stands("a/1").await, Some((State::Live, Provenance::Delegated)));
}

#[tokio::test]
async fn a_role_of_others_that_is_gone_is_an_error_and_nothing_is_published() {
    let world = World::new().await;
    world.settle(&mut world.signer("a")).await;
    world.delegate(2, Some(TEAM), &["a/*"]).await;
    world.hand_in(1, &["a/1"], TEAM).await;
    world.settle(&mut world.signer("a")).await;
    let before = world.view().await;
    let shown = Shown {
        versions: BTreeMap::from([("team-a".to_owned(), 3)]),
        ..Shown::default()
    };
    let error = world.signer("a").restore(&shown).await.unwrap_err();
    assert!(
        error.exit_code() == 65 && error.to_string().contains("`3.team-a.json`"),
        "{error}"
    );
    assert_eq!(world.view().await.timestamp, before.timestamp);
    // The name of one that nobody leads to any more is listed on.
    let shown = Shown {
        versions: BTreeMap::from([("ended".to_owned(), 3)]),
        ..Shown::default()
    };
    restore(&world, &shown).await;
    assert_eq!(world.view().await.roles["ended"], 3);
    let ours = ["bins", "bins4-f", "bins14-3fff"].map(is_ours);
    let others = [
        "targets", "team", "bins4", "bins4-10", "bins4-0f", "bins4-F", "bins99-0", "binsx-0",
    ]
    .map(is_ours);
    assert!(
        ours.iter().all(|ours| *ours) && others.iter().all(|ours| !ours),
        "{ours:?} {others:?}"
    );
}
