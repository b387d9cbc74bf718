//! A disk that is full, for real.

use std::{fs::File, io::Write, process::Command};

use super::*;
use crate::cache::{Herd, Joined, Opening, Stop};

/// A small file system in memory.
struct Tmpfs(Option<TempDir>);

impl Tmpfs {
    fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
        let mount = mount.status().unwrap();
        assert!(mount.success(), "mounting a tmpfs needs root");
        Self(Some(folder))
    }

    fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }

    /// Takes all space but `left`.
    fn fill(&self, left: usize) -> PathBuf {
        let path = self.path().join("filler");
        let mut filler = File::create(&path).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let size = filler.metadata().unwrap().len();
        filler.set_len(size - left as u64).unwrap();
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn world(disk: &Tmpfs) -> World {
    let mut world = World::new();
    world.config.path = disk.path().join("cache");
    world
}

#[tokio::test]
async fn a_disk_without_room_is_not_filled_to_its_end() {
    let disk = Tmpfs::mount("8m");
    let mut world = world(&disk);
    let cache = world.open();
    let before = body(1, MIB);
    keep(&cache, &before).await.unwrap();
    let filler = disk.fill(MIB);
    let large = body(2, 2 * MIB);
    let end = keep(&cache, &large).await;
    assert!(
        matches!(end, Err(FillError::NotKept(CacheError::NoSpace { .. }))),
        "{end:?}"
    );
    assert_eq!(
        (world.names().len(), world.fills("dropped")),
        (1, 1),
        "nothing was begun"
    );
    assert_eq!(
        cache.find(&Expected::of(&before)).await.map(Expected::of),
        Some(Expected::of(&before)),
        "reads go on"
    );
    // Other bytes are found out all the same.
    let mut fill = cache.fill(Expected::of(&large)).unwrap();
    pour(&mut fill, &body(3, 2 * MIB), 30_000).await;
    assert!(matches!(fill.finish(|| {}).await, Err(FillError::Mismatch(_))));
    fs::remove_file(filler).unwrap();
    assert_eq!(
        Expected::of(keep(&cache, &large).await.unwrap()),
        Expected::of(&large),
        "it heals by itself"
    );
}

#[tokio::test]
async fn a_disk_that_fills_up_halfway_costs_the_fill_alone() {
    let disk = Tmpfs::mount("8m");
    let mut world = world(&disk);
    let cache = world.open();
    let large = body(4, 4 * MIB);
    let mut fill = cache.fill(Expected::of(&large)).unwrap();
    pour(&mut fill, &large.slice(..MIB), 30_000).await;
    until(|| world.on_disk() > 0).await;
    let filler = disk.fill(100 * KIB);
    pour(&mut fill, &large.slice(MIB..), 30_000).await;
    let end = fill.finish(|| {}).await;
    assert!(
        matches!(end, Err(FillError::NotKept(CacheError::NoSpace { .. }))),
        "{end:?}"
    );
    world.settled().await;
    until(|| world.bytes("disk") == 0).await;
    fs::remove_file(filler).unwrap();
    keep(&cache, &large).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fills_up_halfway_costs_no_follower() {
    let disk = Tmpfs::mount("8m");
    let mut world = world(&disk);
    let herd: Herd<&str, (), String> = Herd::new(world.open());
    let large = body(5, 6 * MIB);
    let Joined::Lead(leader, first) = herd.join("large") else {
        panic!("somebody leads")
    };
    let mut relay = leader.open((), Expected::of(&large));
    let mut followers = vec![first];
    for _ in 0..4 {
        let Joined::Follow(follower) = herd.join("large") else {
            panic!("the others follow")
        };
        followers.push(follower);
    }
    let chunk = 50_000;
    let begun = 2 * MIB;
    for at in (0..begun).step_by(chunk) {
        relay.push(large.slice(at..begun.min(at + chunk))).await.unwrap();
    }
    until(|| world.on_disk() > 0).await;
    let _filler = disk.fill(100 * KIB);
    let readers = followers.into_iter().enumerate().map(|(slow, mut follower)| {
        let large = large.clone();
        tokio::spawn(async move {
            let mut got = Vec::new();
            while let Some(bytes) = follower.next().await.unwrap() {
                got.extend_from_slice(&bytes);
                for _ in 0..slow * 5 {
                    tokio::task::yield_now().await;
                }
            }
            assert!(got == large);
        })
    });
    let readers: Vec<_> = readers.collect();
    for at in (begun..large.len()).step_by(chunk) {
        let pushed: Result<(), Stop> = relay.push(large.slice(at..large.len().min(at + chunk))).await;
        pushed.unwrap();
    }
    // Who comes now cannot have the beginning any more.
    let Joined::Follow(mut late) = herd.join("large") else {
        panic!("it is still on its way")
    };
    assert_eq!(late.opening().await, Ok(Opening::EachForItself));
    assert_eq!(relay.finish(|| {}).await, Ok(None));
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(herd.flights(), 0);
}
