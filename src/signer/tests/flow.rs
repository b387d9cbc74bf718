//! What an operator would notice: pace, freshness, fences, clocks, caps, layouts, collection.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    super::*,
    world::{DAY, World},
};
use crate::{
    config::Layout,
    depot::DepotError,
    keys::{memory::MemoryKey, public::Public},
    ledger::{Act, LedgerError, State, Target},
    policy::{Kind, Policy, Rule},
    tuf::{build, layout},
};

fn published(turn: Turn) -> u64 {
    match turn {
        Turn::Published { snapshot } => snapshot,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_publication_is_whole_and_empty() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    assert_eq!(published(signer.turn().await.unwrap()), 1);
    let view = world.view().await;
    assert_eq!((view.timestamp, view.snapshot, view.targets.len()), (1, 1, 0));
    assert_eq!(view.roles.len(), 18);
    assert!(view.roles.values().all(|version| *version == 1));
    let Turn::Idle { wait } = signer.turn().await.unwrap() else {
        panic!()
    };
    assert_eq!(wait, Duration::from_secs(DAY / 2), "until the timestamp is refreshed");
}

#[tokio::test]
async fn a_publication_touches_only_what_is_dirty() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.settle(&mut signer).await;
    let before = world.view().await;
    world.put("a", "one").await;
    assert_eq!(published(signer.turn().await.unwrap()), 2);
    let after = world.view().await;
    let changed: Vec<_> = after
        .roles
        .iter()
        .filter(|(role, v)| before.roles[*role] != **v)
        .collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(after.targets["a"].1, 3);
    assert!(matches!(signer.turn().await.unwrap(), Turn::Idle { .. }));

    world.put("a", "other bytes").await;
    world.put("a", "one").await;
    assert_eq!(
        published(signer.turn().await.unwrap()),
        2,
        "settled, and nothing new to sign"
    );
    assert_eq!(world.view().await.timestamp, after.timestamp);
    assert_eq!(world.ledger.counts().await.unwrap(), (1, 0));
    let lines = world.ledger.audit_lines(1).await.unwrap();
    assert_eq!(lines[0].action, "refuse");
}

#[tokio::test]
async fn deleted_retracted_and_forgotten_targets_leave_the_metadata() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    for path in ["a", "b", "c", "d"] {
        world.put(path, path).await;
    }
    world.settle(&mut signer).await;
    world.observe("a", Act::Delete).await;
    world
        .observe(
            "b",
            Act::Retract {
                reason: "leak".to_owned(),
            },
        )
        .await;
    world.observe("c", Act::Forget).await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.paths(), ["d"]);
}

/// Bins are kept between turns; whoever else signed meanwhile, what is listed is what the ledger has.
#[tokio::test]
async fn bins_list_what_the_ledger_has_whoever_signs() {
    let world = World::new().await;
    let mut signers = [world.signer("a"), world.signer("b")];
    for round in 0..8 {
        let signer = &mut signers[usize::from(round % 3 == 1)];
        for batch in 0..2 {
            // Sixteen bins: some get new names, some lose one, some rest.
            for name in 0..12 {
                world.put(&format!("{round}-{batch}-{name}"), "bytes").await;
            }
            let gone = format!("{}-{batch}-{round}", round / 2);
            world.observe(&gone, Act::Delete).await;
            world.settle(signer).await;
            let mut live = BTreeMap::new();
            let mut each = |target: &Target| {
                if target.state == State::Live {
                    live.insert(target.path.to_string(), (target.digest, target.length));
                }
            };
            world.ledger.each_target(&mut each).await.unwrap();
            assert!(live.len() > (round * 2 + batch) * 11);
            assert_eq!(world.view().await.targets, live);
        }
        signer.leave().await.unwrap();
    }
}

#[tokio::test]
async fn roles_are_refreshed_before_they_expire() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.settle(&mut signer).await;
    let first = world.view().await;
    // Half a day at a time for 50 days: past half of a bin's life.
    for _ in 0..100 {
        world.pass(DAY / 2);
        world.settle(&mut signer).await;
    }
    let last = world.view().await;
    assert_eq!(last.timestamp, first.timestamp + 100);
    assert!(
        last.snapshot > first.snapshot && last.snapshot < first.snapshot + 20,
        "{}",
        last.snapshot
    );
    assert_eq!(last.roles["bins4-3"], 2);
    assert_eq!((last.roles["targets"], last.roles["bins"]), (1, 1));
    let rows = world.ledger.roles().await.unwrap();
    assert!(rows.iter().all(|row| row.expires > Some(world.clock.now())));
}

#[tokio::test]
async fn a_clock_that_jumps_stops_signing_until_it_is_right() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.settle(&mut signer).await;
    world.put("a", "a").await;
    for jump in [7_200, -7_200] {
        world.clock.advance(jump);
        let error = signer.turn().await.unwrap_err();
        assert!(
            matches!(error, SignerError::Clock { seconds, .. } if seconds == jump),
            "{error}"
        );
        assert!(!error.fatal());
        world.clock.advance(-jump);
    }
    assert!(world.view().await.paths().is_empty());
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.paths(), ["a"]);

    world.clock.advance(-7_200);
    let mut started = world.signer("a");
    let error = started.turn().await.unwrap_err();
    assert!(
        matches!(error, SignerError::Clock { .. }),
        "a restart does not forget: {error}"
    );
    world.clock.advance(7_200);
    world.settle(&mut started).await;

    // Long after the last publication, too; a signer that runs all the while is not asked.
    let mut started = world.signer("a");
    world.clock.advance(200 * DAY as i64);
    let error = started.turn().await.unwrap_err();
    assert!(error.to_string().contains("tufgate recover"), "{error}");
    world.clock.advance(-200 * DAY as i64);
    world.settle(&mut started).await;
    world.clock.advance(200 * DAY as i64);
    world.signer("a").restore(&Shown::default()).await.unwrap();
    world.settle(&mut world.signer("a")).await;
}

#[tokio::test]
async fn of_two_signers_one_publishes() {
    let world = World::new().await;
    let (mut a, mut b) = (world.signer("a"), world.signer("b"));
    world.settle(&mut a).await;
    assert_eq!(b.turn().await.unwrap(), Turn::Standby);
    // `a` hangs past its lease, `b` takes over and publishes.
    world.pass(u64::from(LEASE_SECS));
    world.put("x", "x").await;
    published(b.turn().await.unwrap());
    let by_b = world.view().await;
    // `a` wakes up and still believes in its lease: its fence is refused.
    world.put("y", "y").await;
    a.lease = Some((a.state.as_ref().unwrap().fence, a.steady.elapsed()));
    let error = a.turn().await.unwrap_err();
    assert!(
        matches!(error, SignerError::Ledger(LedgerError::Fenced { .. })),
        "{error}"
    );
    assert_eq!(world.view().await.timestamp, by_b.timestamp);
    assert_eq!(a.turn().await.unwrap(), Turn::Standby);
    world.settle(&mut b).await;
    b.leave().await.unwrap();
    world.put("z", "z").await;
    world.settle(&mut a).await;
    assert_eq!(world.view().await.paths(), ["x", "y", "z"]);
    world.view().await.follows(&by_b);
}

#[tokio::test]
async fn a_timestamp_swapped_by_another_is_never_overwritten() {
    let world = World::new().await;
    let mut a = world.signer("a");
    world.settle(&mut a).await;
    // The same name twice: two processes that the ledger cannot tell apart. The depot can.
    let mut twin = world.signer("a");
    world.put("x", "x").await;
    published(twin.turn().await.unwrap());
    world.put("y", "y").await;
    let error = a.turn().await.unwrap_err();
    assert!(matches!(error, SignerError::Depot(DepotError::Swapped)), "{error}");
    world.settle(&mut a).await;
    assert_eq!(world.view().await.paths(), ["x", "y"]);
}

#[tokio::test]
async fn older_copies_are_not_signed_on() {
    let world = World::new().await;
    world.settle(&mut world.signer("a")).await;
    let lost = World {
        ledger: Arc::new(Default::default()),
        ..world
    };
    let error = lost.signer("a").turn().await.unwrap_err();
    assert!(matches!(error, SignerError::Restored { .. }), "{error}");
    assert_eq!(error.exit_code(), 65);
    assert!(
        error.to_string().contains("the ledger does not know the depot"),
        "{error}"
    );
    let looked = lost.signer("a").look().await.unwrap_err();
    assert_eq!(looked.to_string(), error.to_string());
    assert!(lost.ledger.roles().await.unwrap().is_empty(), "to look is not to write");
}

#[tokio::test]
async fn a_lost_depot_is_told_from_one_that_was_never_there() {
    let world = World::new().await;
    world.settle(&mut world.signer("a")).await;
    let lost = World {
        depot: Arc::new(Default::default()),
        ..world
    };
    let error = lost.signer("a").look().await.unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    assert!(error.to_string().contains("gone from the depot"), "{error}");
    let new = World {
        ledger: Arc::new(Default::default()),
        ..lost
    };
    assert!(matches!(new.signer("a").look().await, Err(SignerError::NoRoot)));
}

#[tokio::test]
async fn keys_the_root_does_not_list_are_not_used() {
    let world = World::new().await;
    let mut parts = world.parts("a");
    std::mem::swap(&mut parts.keys.timestamp, &mut parts.keys.snapshot);
    let error = world.signer_of(parts).turn().await.unwrap_err();
    assert!(
        matches!(error, SignerError::KeyNotListed { role: "timestamp", .. }),
        "{error}"
    );
    let bare = World::new().await;
    let bare = World {
        depot: Arc::new(Default::default()),
        ..bare
    };
    assert!(matches!(bare.signer("a").turn().await, Err(SignerError::NoRoot)));
}

/// A key that fails while it is told to.
struct Failing {
    key: MemoryKey,
    fails: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl SigningKey for Failing {
    fn name(&self) -> &str {
        "failing"
    }

    fn public_key(&self) -> &Public {
        self.key.public_key()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.fails.load(Ordering::SeqCst) {
            true => Err(KeyError::Sign("told to".to_owned())),
            false => self.key.sign(message).await,
        }
    }
}

#[tokio::test]
async fn a_key_that_fails_is_tried_alone_until_it_signs() {
    fails_alone(1, |keys, key| keys.timestamp = key).await;
}

#[tokio::test]
async fn a_key_on_its_way_out_costs_no_versions_either() {
    fails_alone(9, |keys, key| keys.old.timestamp = Some(key)).await;
}

async fn fails_alone(seed: u8, place: fn(&mut OnlineKeys, Arc<dyn SigningKey>)) {
    let world = World::new().await;
    let key = Arc::new(Failing {
        key: MemoryKey::from_seed(seed),
        fails: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
    });
    let mut parts = world.parts("a");
    place(&mut parts.keys, key.clone());
    let mut signer = world.signer_of(parts);
    world.put("a", "1").await;
    world.settle(&mut signer).await;
    let before = world.view().await;
    key.fails.store(true, Ordering::SeqCst);
    world.put("b", "2").await;
    assert!(matches!(signer.turn().await, Err(SignerError::Key(_))));
    let (rows, files) = (
        world.ledger.roles().await.unwrap(),
        world.depot.list().await.unwrap().len(),
    );
    let asked = key.asked.load(Ordering::SeqCst);
    for _ in 0..5 {
        assert!(matches!(signer.turn().await, Err(SignerError::Key(_))));
    }
    assert_eq!(key.asked.load(Ordering::SeqCst), asked + 5);
    assert_eq!(world.ledger.roles().await.unwrap(), rows, "a failing key cost versions");
    assert_eq!(
        world.depot.list().await.unwrap().len(),
        files,
        "a failing key left files"
    );
    assert_eq!(world.view().await.timestamp, before.timestamp);
    key.fails.store(false, Ordering::SeqCst);
    world.settle(&mut signer).await;
    let after = world.view().await;
    after.follows(&before);
    assert_eq!(after.paths(), ["a", "b"]);
}

#[tokio::test]
async fn bins_have_a_key_of_their_own_where_one_is_configured() {
    let world = World::changed(|config| config.keys.bins = Some(config.keys.timestamp.clone())).await;
    let mut signer = world.signer("a");
    world.put("a", "1").await;
    world.settle(&mut signer).await;
    let file = world.depot.read("1.targets.json").await.unwrap().unwrap();
    let listed = String::from_utf8(file.to_vec()).unwrap();
    assert!(listed.contains(&hex::encode(world.keys.bins.key_id())));
    assert!(!listed.contains(&hex::encode(world.keys.snapshot.key_id())));
    assert_eq!(world.view().await.paths(), ["a"]);
}

#[tokio::test]
async fn targets_signed_offline_are_taken_up() {
    let world = World::changed(|config| config.keys.targets = None).await;
    assert!(matches!(world.signer("a").turn().await, Err(SignerError::NoTargets)));
    let offline = Arc::new(MemoryKey::from_seed(3));
    let sign = async |version, key: Arc<MemoryKey>| {
        let below = build::to_bins(world.keys.snapshot.key_id(), world.keys.snapshot.public());
        let body = move || build::targets(version, Timestamp::MAX, Some(&below), []);
        let file = (
            layout::file("targets", version),
            seal::seal(vec![key as Arc<dyn SigningKey>], body).await.unwrap(),
        );
        world.depot.put_all(vec![file]).await.unwrap();
    };
    sign(1, offline.clone()).await;
    let mut signer = world.signer("a");
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.roles["targets"], 1);
    sign(2, offline).await;
    world.settle(&mut world.signer("a")).await;
    assert_eq!(world.view().await.roles["targets"], 2);
    sign(3, Arc::new(MemoryKey::from_seed(9))).await;
    let forged = world.signer("a").turn().await;
    assert!(matches!(forged, Err(SignerError::Damaged { name, .. }) if name == "3.targets.json"));
}

#[tokio::test]
async fn another_layout_is_refused() {
    let mut world = World::new().await;
    world.settle(&mut world.signer("a")).await;
    world.config.tuf.layout = Layout::Flat;
    assert!(matches!(
        world.signer("a").turn().await,
        Err(SignerError::Layout { .. })
    ));
}

#[tokio::test]
async fn flat_metadata_has_one_targets_file_of_a_thousand() {
    let world = World::changed(|config| config.tuf.layout = Layout::Flat).await;
    let mut signer = world.signer("a");
    for number in 0..1_001 {
        world.put(&format!("file-{number:04}"), "x").await;
    }
    world.settle(&mut signer).await;
    let view = world.view().await;
    assert_eq!(view.roles.keys().collect::<Vec<_>>(), ["targets"]);
    assert_eq!(view.targets.len(), 1_000);
    assert!(!view.targets.contains_key("file-1000"));
}

#[tokio::test]
async fn limits_of_rules_hold_across_bins_and_restarts() {
    let world = World::changed(|config| {
        let mut few = Rule::new("few/**", Kind::Immutable).unwrap();
        few.max_targets = Some(3);
        config.policy = Policy::new(vec![few]);
    })
    .await;
    for number in 0..4 {
        world.put(&format!("few/{number}"), "x").await;
        world.settle(&mut world.signer("a")).await;
    }
    assert_eq!(world.view().await.paths(), ["few/0", "few/1", "few/2"]);
}

#[tokio::test]
async fn publications_keep_their_distance() {
    let world = World::changed(|config| config.signer.min_interval = Duration::from_secs(5)).await;
    let mut signer = world.signer("a");
    published(signer.turn().await.unwrap());
    world.put("a", "a").await;
    world.pass(2);
    assert_eq!(
        signer.turn().await.unwrap(),
        Turn::Idle {
            wait: Duration::from_secs(3)
        }
    );
    world.pass(3);
    published(signer.turn().await.unwrap());
    assert_eq!(world.view().await.paths(), ["a"]);
}

#[tokio::test]
async fn a_listed_file_that_is_gone_is_written_anew() {
    let world = World::new().await;
    world.put("a", "a").await;
    world.settle(&mut world.signer("a")).await;
    let before = world.view().await;
    for name in ["succinct/1.bins.json", "1.bins4-5.json"] {
        world.depot.delete(name).await.unwrap();
    }
    world.settle(&mut world.signer("a")).await;
    let after = world.view().await;
    after.follows(&before);
    assert_eq!(
        (after.roles["bins"], after.roles["bins4-5"], after.roles["bins4-6"]),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn superseded_files_go_after_the_grace_and_listed_ones_never() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.settle(&mut signer).await;
    world.put("a", "a").await;
    world.settle(&mut signer).await;
    let leftover = (layout::file("bins4-0", 9), "{}".into());
    world.depot.put_all(vec![leftover]).await.unwrap();
    let before = world.depot.list().await.unwrap().len();
    world.pass(DAY - 60);
    assert_eq!(signer.collect().await.unwrap(), 0, "within the grace");
    world.pass(120);
    assert_eq!(signer.collect().await.unwrap(), 3, "a snapshot, a bin, a leftover");
    assert_eq!(world.depot.list().await.unwrap().len(), before - 3);
    assert_eq!(world.view().await.paths(), ["a"]);
    assert!(world.depot.read("1.root.json").await.unwrap().is_some());
}

#[tokio::test]
async fn a_running_signer_is_woken_and_leaves_cleanly() {
    let world = World::new().await;
    let parts = world.parts("a");
    let (wake, mut published) = (parts.wake.clone(), parts.published.subscribe());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(parts, shutdown.clone()));
    published.wait_for(|snapshot| *snapshot == 1).await.unwrap();
    world.put("a", "a").await;
    wake.notify_one();
    published.wait_for(|snapshot| *snapshot == 2).await.unwrap();
    world.put("b", "b").await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(
        world.view().await.paths(),
        ["a", "b"],
        "what was pending is published on the way out"
    );
    let successor = world.ledger.lease("b", 1, world.clock.now()).await.unwrap();
    assert!(successor.is_some(), "the lease was given up");
}
