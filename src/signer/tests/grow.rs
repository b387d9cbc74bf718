//! Bins that grow while publishing goes on.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{super::*, world::World};
use crate::{
    ledger::{Act, State, Target},
    tuf::layout,
};

/// Turns until nothing is pending and nothing grows.
async fn rest(signer: &mut Signer) {
    loop {
        match signer.turn().await.unwrap() {
            Turn::Idle { wait } if !wait.is_zero() => return,
            _ => {}
        }
    }
}

/// What the ledger has live.
async fn live(world: &World) -> BTreeMap<String, (crate::digest::Digest, u64)> {
    let mut live = BTreeMap::new();
    let mut each = |target: &Target| {
        if target.state == State::Live {
            live.insert(target.path.to_string(), (target.digest, target.length));
        }
    };
    world.ledger.each_target(&mut each).await.unwrap();
    live
}

async fn world(bins: u32, max_bins: u32) -> World {
    World::changed(|config| {
        config.tuf.bins = bins;
        config.tuf.max_bins = max_bins;
        config.tuf.max_bin_targets = 5_000;
    })
    .await
}

async fn put(world: &World, names: std::ops::Range<usize>) {
    for name in names {
        world.put(&format!("n/{name}"), "bytes").await;
    }
}

#[tokio::test]
async fn bins_grow_when_they_hold_more_than_a_thousand_on_average() {
    let world = world(2, 16).await;
    let mut signer = world.signer("a");
    put(&world, 0..2_000).await;
    rest(&mut signer).await;
    let before = world.view().await;
    assert!(!before.roles.contains_key("bins3-0"), "a thousand each is not too many");

    put(&world, 2_000..2_001).await;
    rest(&mut signer).await;
    let grown = world.view().await;
    grown.follows(&before);
    assert_eq!(grown.targets, live(&world).await);
    assert!((0..8).all(|bin| grown.roles.contains_key(&format!("bins3-{bin}"))));
    assert_eq!(
        grown.roles["targets"], before.roles["targets"],
        "targets.json is as it was"
    );
    assert_eq!(
        grown.roles["bins"],
        before.roles["bins"] + 1,
        "one publication of the delegator"
    );
    // Old names stay listed, with files that stand.
    for old in ["bins1-0", "bins1-1"] {
        let file = layout::file(old, grown.roles[old]);
        assert!(world.depot.read(&file).await.unwrap().is_some(), "{file}");
    }
    // What comes later goes into the new bins alone.
    put(&world, 3_000..3_050).await;
    rest(&mut signer).await;
    let later = world.view().await;
    assert_eq!(later.targets, live(&world).await);
    assert_eq!(later.roles["bins1-0"], grown.roles["bins1-0"]);
    // As many as there may be are enough.
    put(&world, 4_000..18_500).await;
    rest(&mut signer).await;
    let last = world.view().await;
    assert!(last.roles.contains_key("bins4-f") && !last.roles.contains_key("bins6-00"));
    assert_eq!(last.targets, live(&world).await);
}

#[tokio::test]
async fn one_crowded_bin_makes_none_grow() {
    let world = World::changed(|config| {
        config.tuf.bins = 16;
        config.tuf.max_bin_targets = 50;
    })
    .await;
    let mut signer = world.signer("a");
    let ground = (0..).map(|number| format!("ground-{number}"));
    let ground = ground.filter(|name| crate::target::TargetPath::new(name).unwrap().bin(4) == 7);
    for name in ground.take(80) {
        world.put(&name, "x").await;
    }
    rest(&mut signer).await;
    let view = world.view().await;
    assert_eq!(view.targets.len(), 50, "the cap holds");
    assert_eq!(view.roles.len(), 18);
}

#[tokio::test]
async fn a_larger_number_in_the_configuration_is_grown_to_and_a_smaller_one_is_not() {
    let world = world(4, 256).await;
    let mut signer = world.signer("a");
    put(&world, 0..20).await;
    rest(&mut signer).await;
    signer.leave().await.unwrap();
    for (bins, grown) in [(64, "bins6-00"), (4, "bins6-00")] {
        let mut parts = world.parts("a");
        let mut config = (*parts.config).clone();
        config.tuf.bins = bins;
        parts.config = Arc::new(config);
        let mut signer = world.signer_of(parts);
        put(&world, 100..110 + bins as usize).await;
        rest(&mut signer).await;
        signer.leave().await.unwrap();
        let view = world.view().await;
        assert_eq!(view.targets, live(&world).await, "{bins}");
        assert!(view.roles.contains_key(grown) && !view.roles.contains_key("bins8-00"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is published, deleted and lost while bins grow: clients see what was published last, nothing goes back, and
    /// in the end everything is listed.
    #[test]
    fn nothing_is_lost_while_bins_grow(
        steps in prop::collection::vec((0..4_u8, 0..60_usize), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world(4, 1_024).await;
            let mut signer = world.signer("a");
            put(&world, 0..40).await;
            rest(&mut signer).await;
            signer.leave().await.unwrap();
            let mut parts = world.parts("a");
            let mut config = (*parts.config).clone();
            config.tuf.bins = 1_024;
            parts.config = Arc::new(config);
            let mut signer = world.signer_of(parts.clone());
            let mut seen = world.view().await;
            for (what, name) in steps {
                match what {
                    0 => world.put(&format!("n/{name}"), "bytes").await,
                    1 => world.observe(&format!("n/{name}"), Act::Delete).await,
                    // A signer that dies: another takes its place, with its name.
                    2 if name < 5 => signer = world.signer_of(parts.clone()),
                    _ => {
                        signer.turn().await.unwrap();
                        let view = world.view().await;
                        view.follows(&seen);
                        seen = view;
                    }
                }
            }
            rest(&mut signer).await;
            let view = world.view().await;
            view.follows(&seen);
            assert_eq!(view.targets, live(&world).await);
            assert!(view.roles.contains_key("bins10-3ff"));
        });
    }
}
