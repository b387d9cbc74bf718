//! Keeping, finding, evicting, forgetting, starting again.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[tokio::test]
async fn small_artifacts_are_kept_in_memory() {
    let mut world = World::new();
    let cache = world.open();
    let small = body(1, 5_000);
    assert!(cache.find(&Expected::of(&small)).await.is_none());
    assert_eq!(keep(&cache, &small).await.unwrap(), small);
    assert_eq!(
        cache.ready(&Expected::of(&small)).map(Expected::of),
        Some(Expected::of(&small))
    );
    assert_eq!(
        cache.find(&Expected::of(&small)).await.map(Expected::of),
        Some(Expected::of(&small))
    );
    let other_length = Expected {
        length: 4_999,
        ..Expected::of(&small)
    };
    assert_eq!(cache.ready(&other_length).map(Expected::of), None);
    assert!(world.names().is_empty());
    assert_eq!(
        (
            world.hits("memory"),
            world.metrics.cache_misses_total.get(),
            world.fills("kept")
        ),
        (2, 1, 1)
    );
    assert!(world.bytes("memory") >= 5_000);
    let empty = Bytes::new();
    assert_eq!(keep(&cache, &empty).await.unwrap(), empty);
    assert_eq!(
        cache.ready(&Expected::of(&empty)).map(Expected::of),
        Some(Expected::of(&empty))
    );
}

#[tokio::test]
async fn large_artifacts_are_files_that_only_their_owner_reads() {
    let mut world = World::new();
    let cache = world.open();
    let large = body(2, 3 * MIB + 17);
    assert_eq!(Expected::of(keep(&cache, &large).await.unwrap()), Expected::of(&large));
    let found = cache.ready(&Expected::of(&large)).unwrap();
    assert_eq!(found.slice(MIB..MIB + 9), large.slice(MIB..MIB + 9));
    let folder = fs::metadata(&world.config.path).unwrap().permissions().mode();
    let file = fs::metadata(world.file(&large)).unwrap();
    assert_eq!((folder & 0o7777, file.mode() & 0o7777), (0o700, 0o400));
    assert_eq!(
        Expected::of(fs::read(world.file(&large)).unwrap()),
        Expected::of(&large)
    );
    assert_eq!((world.hits("disk"), world.names().len()), (1, 1));
    assert_eq!(world.bytes("disk") as u64, world.on_disk());
    assert_eq!(world.bytes("mapped") as usize, large.len());
    let other_length = Expected {
        length: large.len() as u64 + 1,
        ..Expected::of(&large)
    };
    assert_eq!(cache.ready(&other_length).map(Expected::of), None);
}

#[tokio::test]
async fn what_is_not_as_expected_is_never_found_and_leaves_nothing() {
    let mut world = World::new();
    let cache = world.open();
    for (round, length) in [50 * KIB, 2 * MIB].into_iter().enumerate() {
        let right = body(3, length);
        let expected = Expected::of(&right);
        let mut wrong = right.to_vec();
        wrong[length / 2] ^= 1;
        for wrong in [Bytes::from(wrong), right.slice(1..), Bytes::new()] {
            let mut fill = cache.fill(expected).unwrap();
            pour(&mut fill, &wrong, 30_000).await;
            assert!(matches!(fill.finish(|| {}).await, Err(FillError::Mismatch(_))));
        }
        let mut fill = cache.fill(expected).unwrap();
        pour(&mut fill, &right, 30_000).await;
        assert!(fill.push(Bytes::from_static(b"x")).await.is_err(), "one byte too many");
        drop(fill);
        let mut fill = cache.fill(expected).unwrap();
        pour(&mut fill, &right, 30_000).await;
        drop(fill);
        assert_eq!(cache.find(&expected).await.map(Expected::of), None);
        let round = round as u64 + 1;
        assert_eq!((world.fills("refused"), world.fills("aborted")), (3 * round, 2 * round));
    }
    world.settled().await;
    assert!(world.names().is_empty());
    until(|| world.bytes("disk") == 0).await;
}

#[tokio::test]
async fn a_restart_finds_what_was_kept_on_disk() {
    let mut world = World::new();
    let (small, large) = (body(4, 1_000), body(5, MIB));
    let cache = world.open();
    keep(&cache, &small).await.unwrap();
    keep(&cache, &large).await.unwrap();
    drop(cache);
    let cache = world.open();
    assert_eq!(cache.ready(&Expected::of(&large)), None, "not verified yet");
    assert_eq!(
        cache.find(&Expected::of(&large)).await.map(Expected::of),
        Some(Expected::of(&large))
    );
    assert_eq!(
        cache.ready(&Expected::of(&large)).map(Expected::of),
        Some(Expected::of(&large))
    );
    assert_eq!(cache.find(&Expected::of(&small)).await.map(Expected::of), None);
    assert_eq!(world.damaged(), 0);
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_mapping() {
    let mut world = World::new();
    let large = body(6, MIB);
    keep(&world.open(), &large).await.unwrap();
    world.config.memory = 64 << 10; // too little to keep it mapped once nobody reads it
    let cache = world.open();
    let expected = Expected::of(&large);
    let found = futures_util::future::join_all((0..50).map(|_| cache.find(&expected))).await;
    let found: Vec<Bytes> = found.into_iter().flatten().collect();
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|bytes| bytes.as_ptr() == found[0].as_ptr()));
    assert_eq!(world.bytes("mapped") as usize, large.len());
    drop(found);
    assert_eq!(
        (world.bytes("mapped"), cache.ready(&expected).map(Expected::of)),
        (0, None)
    );
    assert_eq!(
        cache.find(&expected).await.map(Expected::of),
        Some(Expected::of(&large))
    );
}

#[tokio::test]
async fn what_was_small_or_large_may_be_the_other_after_a_restart() {
    let mut world = World::new();
    let medium = body(7, 100 * KIB);
    keep(&world.open(), &medium).await.unwrap();
    world.config.memory_max_object = 128 << 10;
    let cache = world.open();
    assert_eq!(
        cache.find(&Expected::of(&medium)).await.map(Expected::of),
        Some(Expected::of(&medium))
    );
    assert_eq!(
        cache.ready(&Expected::of(&medium)).map(Expected::of),
        Some(Expected::of(&medium))
    );
    assert_eq!((world.hits("disk"), world.hits("memory")), (1, 1));
    cache.forget(&Expected::of(&medium).digest);
    assert_eq!(cache.find(&Expected::of(&medium)).await.map(Expected::of), None);
}

#[tokio::test]
async fn forgetting_is_at_once_and_holds_for_what_is_on_its_way() {
    let mut world = World::new();
    let cache = world.open();
    for length in [1_000, MIB] {
        let kept = body(9, length);
        let expected = Expected::of(&kept);
        keep(&cache, &kept).await.unwrap();
        let mut on_its_way = cache.fill(expected).unwrap();
        let reading = cache.ready(&expected).unwrap();
        cache.forget(&expected.digest);
        assert!(cache.ready(&expected).is_none() && !world.file(&kept).exists());
        pour(&mut on_its_way, &kept, 30_000).await;
        let end = on_its_way.finish(|| {}).await;
        assert!(matches!(end, Err(FillError::NotKept(CacheError::Forgotten))), "{end:?}");
        assert_eq!(cache.find(&expected).await.map(Expected::of), None);
        assert!(reading == kept, "who has it keeps it");
        // A fetch after that is another matter.
        keep(&cache, &kept).await.unwrap();
        assert_eq!(cache.ready(&expected).map(Expected::of), Some(Expected::of(&kept)));
    }
    drop(cache);
    assert_eq!(world.names().len(), 1);
}

#[tokio::test]
async fn disk_is_bounded_and_the_longest_unused_goes_first() {
    let mut world = World::new();
    world.config.disk = 4 << 20;
    world.config.max_object = 4 << 20;
    let cache = world.open();
    let bodies: Vec<Bytes> = (0..4).map(|seed| body(20 + seed, MIB)).collect();
    for body in &bodies[..3] {
        keep(&cache, body).await.unwrap();
    }
    // Read while everything else goes: unlike the others it is not worth removing.
    let reading = cache.ready(&Expected::of(&bodies[0])).unwrap();
    assert!(cache.ready(&Expected::of(&bodies[1])).is_some());
    keep(&cache, &bodies[3]).await.unwrap();
    assert!(world.on_disk() <= 4 << 20);
    keep(&cache, &body(30, 2 * MIB)).await.unwrap();
    assert!(world.on_disk() <= 4 << 20, "{}", world.on_disk());
    let kept = bodies.iter().map(|body| cache.ready(&Expected::of(body)).is_some());
    assert_eq!(Vec::from_iter(kept), [true, false, false, true]);
    assert_eq!(
        world.metrics.cache_evictions_total.with_label_values(&["disk"]).get(),
        2
    );
    // What is read holds its room: an artifact that needs it all is not kept, and evicts what it can in vain.
    let end = keep(&cache, &body(31, 4 * MIB)).await;
    assert!(
        matches!(end, Err(FillError::NotKept(CacheError::NoRoom { .. }))),
        "{end:?}"
    );
    assert!(reading == bodies[0]);
    drop(reading);
    keep(&cache, &body(31, 4 * MIB)).await.unwrap();
    assert_eq!(world.names().len(), 1);
}

#[tokio::test]
async fn fills_in_progress_hold_their_room() {
    let mut world = World::new();
    world.config.disk = 4 << 20;
    world.config.max_object = 4 << 20;
    let cache = world.open();
    let large = body(32, 3 * MIB);
    let mut first = cache.fill(Expected::of(&large)).unwrap();
    assert!(
        cache.fill(Expected::of(body(33, 2 * MIB))).is_none(),
        "no room for both"
    );
    pour(&mut first, &large, 200_000).await;
    drop(cache.fill(Expected::of(body(34, MIB))).unwrap());
    first.finish(|| {}).await.unwrap();
    assert!(cache.fill(Expected::of(body(33, 2 * MIB))).is_some());
}

#[tokio::test]
async fn memory_is_bounded() {
    let mut world = World::new();
    world.config.memory = 300 << 10;
    let cache = world.open();
    for seed in 0..40 {
        keep(&cache, &body(100 + seed, 60 * KIB)).await.unwrap();
    }
    cache.0.memory.as_ref().unwrap().settle();
    assert!(world.bytes("memory") <= 300 << 10, "{}", world.bytes("memory"));
    let evicted = world.metrics.cache_evictions_total.with_label_values(&["memory"]).get();
    assert_eq!(evicted as i64, 40 - world.bytes("memory") / (60 << 10));
    assert!(world.bytes("memory") >= 60 << 10);
}

#[tokio::test]
async fn either_part_may_be_missing() {
    let mut world = World::new();
    world.config.disk = 0;
    let cache = world.open();
    let taken = [0, 64 << 10, (64 << 10) + 1].map(|length| cache.takes(length));
    assert_eq!(taken, [true, true, false]);
    assert!(cache.fill(Expected::of(body(40, MIB))).is_none());
    assert!(!world.config.path.exists(), "no folder for nothing");
    (world.config.memory, world.config.memory_max_object, world.config.disk) = (0, 0, 64 << 20);
    let cache = world.open();
    let taken = [0, 1, 32 << 20, (32 << 20) + 1].map(|length| cache.takes(length));
    assert_eq!(taken, [false, true, true, false]);
    let tiny = body(41, 10);
    keep(&cache, &tiny).await.unwrap();
    assert_eq!(
        (
            cache.find(&Expected::of(&tiny)).await.map(Expected::of),
            world.names().len()
        ),
        (Some(Expected::of(&tiny)), 1)
    );
}

#[tokio::test]
async fn one_folder_one_gate() {
    let mut world = World::new();
    let cache = world.open();
    let error = world.try_open().err().unwrap();
    assert!(matches!(error, CacheError::InUse { .. }) && error.hint().unwrap().contains("cache.path"));
    assert!(error.to_string().contains("in use by another gate"), "{error}");
    // A fill that is still on its way holds the folder too.
    let fill = cache.fill(Expected::of(body(50, MIB))).unwrap();
    drop(cache);
    assert!(world.try_open().is_err());
    drop(fill);
    world.open();
}

#[test]
fn the_folder_is_its_owners_alone() {
    let world = World::new();
    fs::create_dir(&world.config.path).unwrap();
    fs::set_permissions(&world.config.path, fs::Permissions::from_mode(0o750)).unwrap();
    let error = world.try_open().err().unwrap();
    assert!(
        matches!(error, CacheError::NotPrivate { .. }) && error.to_string().contains("750"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("chmod 700"));
    fs::remove_dir(&world.config.path).unwrap();
    fs::write(&world.config.path, "a file").unwrap();
    let error = world.try_open().err().unwrap();
    assert!(
        matches!(error, CacheError::Folder { .. }) && error.hint().is_some(),
        "{error}"
    );
}

#[tokio::test]
async fn a_start_clears_what_a_crash_left_and_nothing_else() {
    let mut world = World::new();
    let (kept, too_large) = (body(60, MIB), body(61, 3 * MIB));
    let cache = world.open();
    keep(&cache, &kept).await.unwrap();
    keep(&cache, &too_large).await.unwrap();
    drop(cache);
    for name in [".fill-1-0", ".fill-999999-7", "README", "abc", &"A".repeat(64)] {
        fs::write(world.config.path.join(name), "left").unwrap();
    }
    world.config.max_object = 2 << 20;
    let cache = world.open();
    let mut names = world.names();
    names.sort();
    let mut expected = vec![
        "A".repeat(64),
        "README".into(),
        "abc".into(),
        Expected::of(&kept).digest.to_string(),
    ];
    expected.sort();
    assert_eq!((names, world.damaged()), (expected, 0));
    assert_eq!(
        cache.find(&Expected::of(&kept)).await.map(Expected::of),
        Some(Expected::of(&kept))
    );
    drop(cache);
    // Less room than before: the longest unused goes.
    world.config.disk = 1 << 20;
    world.config.max_object = 1 << 20;
    let cache = world.open();
    assert_eq!(
        cache.find(&Expected::of(&kept)).await.map(Expected::of),
        Some(Expected::of(&kept))
    );
    drop(cache);
    world.config.disk = 1 << 19;
    world.config.max_object = 1 << 19;
    world.open();
    assert_eq!(world.bytes("disk"), 0);
}
