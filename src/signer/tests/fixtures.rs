//! `fixtures/repositories/tufgate-*`: what this signer publishes, kept as it was once. Other clients are tried against it,
//! and a change of a byte in what the signer writes is seen here.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{super::*, world::World};
use crate::{
    clock::ManualClock,
    config::{Config, Layout},
    digest::Digest,
    tuf::layout,
};

const TARGETS: [&str; 4] = ["hello.txt", "dir/a b.bin", "@scope/pkg-1.0.tgz", "é.txt"];
/// The last day on which a timestamp of one day's life outlives the other fixtures.
const DAY_OF_SIGNING: &str = "2099-12-31T00:00:00Z";

/// Which of the two views is served.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Shown {
    Prefixes,
    Succinct,
}

#[tokio::test]
async fn the_fixtures_are_what_the_signer_writes() {
    let bins = |config: &mut Config| config.tuf.bins = 4;
    let flat = |config: &mut Config| config.tuf.layout = Layout::Flat;
    check("tufgate-prefixes", published(bins, Shown::Prefixes).await);
    check("tufgate-succinct", published(bins, Shown::Succinct).await);
    check("tufgate-flat", published(flat, Shown::Prefixes).await);
}

/// The files that are served after two publications.
async fn published(change: impl FnOnce(&mut Config), shown: Shown) -> BTreeMap<String, Vec<u8>> {
    let mut world = World::changed(change).await;
    world.clock = Arc::new(ManualClock::at(DAY_OF_SIGNING.parse().unwrap()));
    let mut signer = world.signer("a");
    world.settle(&mut signer).await;
    let mut files = BTreeMap::new();
    for path in TARGETS {
        let bytes = format!("bytes of {path}\n");
        world.put(path, &bytes).await;
        let digest = Digest::of(&bytes);
        let (folder, name) = path
            .rsplit_once('/')
            .map_or(("", path), |(folder, name)| (folder, name));
        let name = on_disk(&format!("{folder}/{digest}.{name}"));
        files.insert(format!("targets/{}", name.trim_start_matches('/')), bytes.into_bytes());
    }
    world.settle(&mut signer).await;
    for stored in world.depot.list().await.unwrap() {
        let bytes = world.depot.read(&stored.name).await.unwrap().unwrap().to_vec();
        match (stored.name.strip_prefix("succinct/"), shown) {
            (Some(name), Shown::Succinct) => files.insert(format!("metadata/{name}"), bytes),
            (None, Shown::Succinct) if is_delegator(&stored.name) => None,
            (None, _) => files.insert(format!("metadata/{}", stored.name), bytes),
            (Some(_), Shown::Prefixes) => None,
        };
    }
    files
}

fn is_delegator(name: &str) -> bool {
    layout::versioned(name).is_some_and(|(_, role)| role == "bins")
}

/// What stays as it is in a file's name; `make` has the same set.
const ON_DISK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'@');

/// Encoded so that every disk can hold it.
fn on_disk(path: &str) -> String {
    utf8_percent_encode(path, ON_DISK).to_string()
}

fn check(name: &str, files: BTreeMap<String, Vec<u8>>) {
    let state = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/repositories")
        .join(name)
        .join("1");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        let _ = fs::remove_dir_all(&state);
        for (path, bytes) in &files {
            let file = state.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        return;
    }
    let mut lying = BTreeMap::new();
    walk(&state, &state, &mut lying);
    assert_eq!(
        lying.keys().collect::<Vec<_>>(),
        files.keys().collect::<Vec<_>>(),
        "{name}"
    );
    for (path, bytes) in files {
        let same = lying[&path] == bytes;
        assert!(
            same,
            "{name}: {path} differs; `UPDATE_FIXTURES=1 cargo test fixtures` writes it"
        );
    }
}

fn walk(base: &Path, at: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(base, &path, files);
        } else {
            let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}
