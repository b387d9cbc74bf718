//! Death at every step, and what the next signer makes of it.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::{
    super::*,
    faulty::{FaultyDepot, FaultyLedger, Fuse, Watch},
    world::World,
};
use crate::ledger::Act;

impl World {
    fn faulty(&self, holder: &str, fuse: &Arc<Fuse>, watch: &Arc<Watch>) -> Signer {
        let mut parts = self.parts(holder);
        parts.ledger = Arc::new(FaultyLedger {
            inner: self.ledger.clone(),
            fuse: fuse.clone(),
        });
        parts.depot = Arc::new(FaultyDepot {
            inner: self.depot.clone(),
            fuse: fuse.clone(),
            watch: watch.clone(),
        });
        self.signer_of(parts)
    }
}

/// Runs a signer that dies at its `n`-th call to a store, if it gets that far.
pub(super) async fn dies(world: &World, n: usize, after: bool) -> bool {
    let (fuse, watch) = (Fuse::new(n, after), Arc::new(Watch::default()));
    watch.look(&*world.depot).await;
    let mut victim = world.faulty("victim", &fuse, &watch);
    while let Ok(Turn::Published { .. }) = victim.turn().await {}
    fuse.blown()
}

/// Kills a signer at its `n`-th call to a store; whether it got that far.
async fn die_at(n: usize, after: bool, first: bool) -> bool {
    let world = World::new().await;
    let watch = Arc::new(Watch::default());
    if !first {
        world.put("old", "old").await;
        world.put("gone", "gone").await;
        world.settle(&mut world.signer("a")).await;
        watch.look(&*world.depot).await;
    }
    world.put("new", "new").await;
    world.observe("gone", Act::Delete).await;
    world.put("old", "refused").await;
    let fuse = Fuse::new(n, after);
    let mut victim = world.faulty("a", &fuse, &watch);
    let turn = victim.turn().await;
    assert_eq!(turn.is_err(), fuse.blown(), "{turn:?}");
    drop(victim);

    // The next one is another process; the dead one's lease has to lapse.
    world.pass(u64::from(LEASE_SECS));
    let fuse = Fuse::new(usize::MAX, false);
    let mut heir = world.faulty("b", &fuse, &watch);
    world.settle(&mut heir).await;
    let view = world.view().await;
    assert_eq!(view.paths(), ["new", "old"], "after death at call {n}");
    assert_eq!(world.ledger.counts().await.unwrap(), (2, 0));
    let listed: u64 = world.ledger.publication().await.unwrap().unwrap().snapshot;
    assert_eq!(listed, view.snapshot);
    turn.is_err()
}

#[tokio::test]
async fn a_publication_survives_death_at_every_step() {
    for first in [true, false] {
        for after in [false, true] {
            let mut n = 0;
            while die_at(n, after, first).await {
                n += 1;
            }
            assert!(n >= 12, "only {n} steps were tried");
        }
    }
}

#[tokio::test]
async fn a_failing_store_delays_but_loses_nothing() {
    let world = World::new().await;
    let watch = Arc::new(Watch::default());
    world.put("a", "a").await;
    for n in 0..40 {
        // The same process: each turn fails a step later than the last.
        let fuse = Fuse::new(n, n % 2 == 0);
        let mut signer = world.faulty("a", &fuse, &watch);
        let _ = signer.turn().await;
        let _ = signer.turn().await;
    }
    world.settle(&mut world.signer("a")).await;
    assert_eq!(world.view().await.paths(), ["a"]);
    let refused = world.ledger.audit_lines(1_000).await.unwrap();
    assert_eq!(
        refused.iter().filter(|line| line.action == "record").count(),
        1,
        "recorded once"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any number of deaths, at any steps, with uploads between them.
    #[test]
    fn a_history_of_deaths_is_one_history(deaths in prop::collection::vec((0_usize..26, any::<bool>(), any::<bool>()), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let watch = Arc::new(Watch::default());
            let mut expected = BTreeSet::new();
            for (at, (steps, after, lapse)) in deaths.into_iter().enumerate() {
                let path = format!("file-{at}");
                world.put(&path, &path).await;
                expected.insert(path);
                if at > 0 && at % 3 == 0 {
                    let path = format!("file-{}", at - 1);
                    world.observe(&path, Act::Delete).await;
                    expected.remove(&path);
                }
                let fuse = Fuse::new(steps, after);
                let mut signer = world.faulty(if lapse { "a" } else { "b" }, &fuse, &watch);
                let _ = signer.turn().await;
                let _ = signer.turn().await;
                world.pass(if lapse { 20 } else { 1 });
            }
            world.pass(20);
            let fuse = Fuse::new(usize::MAX, false);
            world.settle(&mut world.faulty("heir", &fuse, &watch)).await;
            let view = world.view().await;
            assert!(view.paths().into_iter().eq(expected.iter()));
        });
    }
}
