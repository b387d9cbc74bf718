#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use tough::schema::RoleType;

use super::*;
use crate::{
    config::{KeyFile, KeyPlace, Passphrase},
    depot::memory::MemoryDepot,
    signer::tests::config,
};

fn configured(dir: &Path) -> Config {
    let key = |name: &str| in_file(&dir.join("keys").join(name), None);
    let mut config = config();
    config.keys.timestamp = key("timestamp.pem");
    config.keys.snapshot = key("snapshot.pem");
    config.keys.targets = Some(key("targets.pem"));
    config
}

fn in_file(path: &Path, passphrase: Option<Passphrase>) -> KeySource {
    KeySource {
        name: "test".to_owned(),
        place: KeyPlace::File(KeyFile {
            path: path.to_owned(),
            passphrase,
        }),
    }
}

fn path(source: &KeySource) -> &Path {
    &source.file().unwrap().path
}

fn options(dir: &Path, keys: usize, threshold: usize) -> InitOptions {
    InitOptions {
        root_keys: keys,
        root_threshold: threshold,
        root_dir: dir.join("root"),
        passphrase: None,
    }
}

fn root(bytes: &[u8]) -> Root {
    parsed::<Root>(bytes).unwrap().signed
}

#[tokio::test]
async fn a_ceremony_makes_keys_and_a_root_once() {
    let dir = tempfile::tempdir().unwrap();
    let (config, depot) = (configured(dir.path()), MemoryDepot::new());
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let made = init(&config, &depot, &options(dir.path(), 3, 2), now).await.unwrap();
    assert_eq!(depot.read("1.root.json").await.unwrap(), Some(made.root.clone()));
    assert_eq!(made.created.len(), 6);
    assert!(made.to_string().ends_with(&Digest::of(&made.root).to_string()));
    let root = root(&made.root);
    assert!(root.consistent_snapshot);
    assert_eq!(root.expires.as_second(), 1_800_000_000 + 365 * 86_400);
    let held = |kind| (root.roles[&kind].keyids.len(), root.roles[&kind].threshold.get());
    assert_eq!(held(RoleType::Root), (3, 2));
    assert_eq!(held(RoleType::Targets), (1, 1));
    let mode = fs::metadata(dir.path().join("root")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let again = init(&config, &depot, &options(dir.path(), 3, 2), now).await;
    assert!(matches!(again, Err(InitError::Already(name)) if name == "1.root.json"));
}

#[tokio::test]
async fn a_ceremony_cut_short_goes_on_with_the_keys_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let config = configured(dir.path());
    let (first, second) = (MemoryDepot::new(), MemoryDepot::new());
    let options = options(dir.path(), 1, 1);
    let made = init(&config, &first, &options, Timestamp::UNIX_EPOCH).await.unwrap();
    let again = init(&config, &second, &options, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(made.root, again.root);
    assert!(again.created.is_empty());
}

#[tokio::test]
async fn targets_signed_offline_start_with_the_root_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = configured(dir.path());
    config.keys.targets = None;
    let depot = MemoryDepot::new();
    init(&config, &depot, &options(dir.path(), 2, 2), Timestamp::now())
        .await
        .unwrap();
    assert!(depot.read("1.targets.json").await.unwrap().is_some());
    config.tuf.layout = Layout::Flat;
    let flat = init(
        &config,
        &MemoryDepot::new(),
        &options(dir.path(), 2, 2),
        Timestamp::now(),
    )
    .await;
    assert!(matches!(flat, Err(InitError::NoTargetsKey)));
}

#[tokio::test]
async fn passphrases_come_from_where_each_key_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = configured(dir.path());
    let pass = dir.path().join("pass");
    fs::write(&pass, "online\n").unwrap();
    fs::set_permissions(&pass, fs::Permissions::from_mode(0o600)).unwrap();
    let sealed = path(&config.keys.timestamp).to_owned();
    config.keys.timestamp = in_file(&sealed, Some(Passphrase::File(pass)));
    let mut options = options(dir.path(), 1, 1);
    options.passphrase = Some(Zeroizing::new("offline".to_owned()));
    init(&config, &MemoryDepot::new(), &options, Timestamp::now())
        .await
        .unwrap();
    assert!(FileKey::read(path(&config.keys.timestamp), Some("online")).is_ok());
    assert!(FileKey::read(path(&config.keys.snapshot), None).is_ok());
    assert!(FileKey::read(&dir.path().join("root/root-1.pem"), Some("offline")).is_ok());
}

#[tokio::test]
async fn thresholds_nobody_can_meet_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (keys, threshold) in [(1, 2), (1, 0), (0, 0)] {
        let (config, options) = (configured(dir.path()), options(dir.path(), keys, threshold));
        let refused = init(&config, &MemoryDepot::new(), &options, Timestamp::now()).await;
        assert!(matches!(refused, Err(InitError::Threshold { .. })));
    }
}
