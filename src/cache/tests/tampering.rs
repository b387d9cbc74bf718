//! Files that somebody touched: none is ever served.

use std::os::unix::fs::{FileExt, chown, symlink};

use super::*;

/// What somebody may do to a file.
const KINDS: [&str; 9] = [
    "other bytes",
    "truncated",
    "extended",
    "symbolic link",
    "hard link",
    "folder",
    "fifo",
    "mode",
    "owner",
];

fn harm(world: &World, file: &Path, kind: &str) {
    let aside = world.home.path().join("aside");
    match kind {
        "other bytes" => tamper(file, |file| {
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.write_all_at(b"tampered", 500_000).unwrap();
        }),
        "truncated" => tamper(file, |file| {
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.set_len(900_000).unwrap();
        }),
        "extended" => tamper(file, |file| {
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.set_len(2_000_000).unwrap();
        }),
        "symbolic link" => {
            fs::rename(file, &aside).unwrap();
            symlink(&aside, file).unwrap();
        }
        "hard link" => tamper(file, |file| {
            let _ = fs::remove_file(&aside);
            fs::hard_link(file, &aside).unwrap();
        }),
        "folder" => {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }
        "fifo" => {
            fs::remove_file(file).unwrap();
            let made = std::process::Command::new("mkfifo").arg(file).status().unwrap();
            assert!(made.success());
        }
        "mode" => {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        // Only root can give files away.
        "owner" => chown(file, Some(65_534), None).unwrap(),
        _ => unreachable!(),
    }
}

fn kinds() -> impl Iterator<Item = &'static str> {
    let root = rustix::process::geteuid().is_root();
    KINDS.into_iter().filter(move |kind| root || *kind != "owner")
}

#[tokio::test]
async fn what_was_touched_between_two_runs_is_not_served() {
    for kind in kinds() {
        let mut world = World::new();
        let large = body(1, MIB);
        let expected = Expected::of(&large);
        keep(&world.open(), &large).await.unwrap();
        let file = world.file(&large);
        harm(&world, &file, kind);
        let cache = world.open();
        assert_eq!(cache.ready(&expected).map(Expected::of), None, "{kind}");
        assert_eq!(cache.find(&expected).await.map(Expected::of), None, "{kind}");
        assert_eq!(world.damaged(), 1, "{kind}");
        again(&world, &cache, &large, kind).await;
    }
}

#[tokio::test]
async fn what_was_touched_while_it_is_mapped_is_not_served() {
    for kind in kinds() {
        let mut world = World::new();
        let large = body(2, MIB);
        let expected = Expected::of(&large);
        let cache = world.open();
        keep(&cache, &large).await.unwrap();
        assert!(cache.ready(&expected).is_some());
        let file = world.file(&large);
        harm(&world, &file, kind);
        assert_eq!(cache.ready(&expected).map(Expected::of), None, "{kind}");
        assert_eq!(cache.find(&expected).await.map(Expected::of), None, "{kind}");
        assert_eq!(cache.find(&expected).await.map(Expected::of), None, "{kind}");
        assert_eq!(world.damaged(), 1, "{kind}");
        again(&world, &cache, &large, kind).await;
    }
}

/// What was damaged is gone, and may be kept anew; a folder stays where it is.
async fn again(world: &World, cache: &Cache, large: &Bytes, kind: &str) {
    let file = world.file(large);
    let kept = keep(cache, large).await;
    if kind == "folder" {
        assert!(file.is_dir());
        assert!(
            matches!(kept, Err(FillError::NotKept(CacheError::File { .. }))),
            "{kept:?}"
        );
        assert_eq!(cache.find(&Expected::of(large)).await.map(Expected::of), None);
    } else {
        assert_eq!(Expected::of(kept.unwrap()), Expected::of(large), "{kind}");
        assert_eq!(
            cache.find(&Expected::of(large)).await.map(Expected::of),
            Some(Expected::of(large)),
            "{kind}"
        );
    }
    world.settled().await;
    assert_eq!(world.names().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_as_good_as_before_is_hashed_and_served() {
    let mut world = World::new();
    let large = body(3, MIB);
    let cache = world.open();
    keep(&cache, &large).await.unwrap();
    tamper(&world.file(&large), |_| ());
    assert_eq!(cache.ready(&Expected::of(&large)).map(Expected::of), None);
    assert_eq!(
        cache.find(&Expected::of(&large)).await.map(Expected::of),
        Some(Expected::of(&large))
    );
    assert_eq!(world.damaged(), 0);
}

#[tokio::test]
async fn a_removed_file_is_a_miss() {
    let mut world = World::new();
    let large = body(4, MIB);
    let cache = world.open();
    keep(&cache, &large).await.unwrap();
    let reading = cache.ready(&Expected::of(&large)).unwrap();
    fs::remove_file(world.file(&large)).unwrap();
    assert_eq!(cache.find(&Expected::of(&large)).await.map(Expected::of), None);
    assert_eq!((world.damaged(), Expected::of(reading)), (0, Expected::of(&large)));
}
