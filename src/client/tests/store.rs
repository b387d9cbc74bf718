//! The store: what works without a server, and what several clients make of one folder.

use std::{fs, fs::Permissions, os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;
use crate::tuf::verify::testing::key;

fn offline(repo: &Repo) -> Client {
    let options = ClientOptions {
        offline: true,
        ..repo.options()
    };
    Client::open(options).unwrap()
}

#[tokio::test]
async fn offline_the_store_serves_until_it_expires() {
    let mut repo = Repo::new().await;
    for name in ["timestamp.json", "2.root.json"] {
        repo.site.set(&format!("/metadata/{name}"), Reply::Status(500));
    }
    let empty = offline(&repo).find("top.txt").await.unwrap_err();
    assert!(
        matches!(&empty, ClientError::Offline(name) if name == "timestamp.json"),
        "{empty}"
    );
    repo.site.remove("/metadata/2.root.json");
    repo.next_root(root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS), &[ROOT]);
    repo.publish();
    repo.download("top.txt").await.unwrap();
    let before = names(&repo.folder.path().join("store"));

    repo.site.files.lock().unwrap().clear();
    repo.site.asked.lock().unwrap().clear();
    let mut client = offline(&repo);
    client.refresh().await.unwrap();
    assert_eq!((client.root_version(), client.snapshot_version()), (Some(2), Some(2)));
    assert!(
        client
            .download("top.txt", &repo.output(), |_, _| {})
            .await
            .unwrap()
            .present
    );
    let other = repo.folder.path().join("other");
    let absent = client.download("top.txt", &other, |_, _| {}).await.unwrap_err();
    assert!(absent.to_string().ends_with("/other` is not there"), "{absent}");
    assert!(absent.hint().is_some());
    std::fs::write(&other, "other bytes").unwrap();
    let changed = client.download("top.txt", &other, |_, _| {}).await.unwrap_err();
    assert!(
        changed.to_string().ends_with("/other` differs from what was verified"),
        "{changed}"
    );
    let unread = ["a/one.txt", "a/two b.txt", "\u{e9}.bin"]
        .into_iter()
        .find(|path| repo.bin_of(path) != repo.bin_of("top.txt"))
        .unwrap();
    let missing = client.find(unread).await.unwrap_err();
    let bin = format!("{}.json", repo.bin_of(unread));
    assert!(
        matches!(&missing, ClientError::Offline(name) if *name == bin),
        "{missing}"
    );
    assert_eq!(
        repo.site.asked.lock().unwrap().clone(),
        [] as [String; 0],
        "no server is asked"
    );
    assert_eq!(names(&repo.folder.path().join("store")), before);

    repo.clock.advance(2 * 86_400);
    assert_eq!(attack(client.refresh().await), ("2.root.json".into(), Attack::Freeze));
}

#[tokio::test]
async fn offline_everything_is_verified_anew() {
    let repo = Repo::new().await;
    repo.download("top.txt").await.unwrap();
    let store = repo.folder.path().join("store");
    for name in ["timestamp.json", "snapshot.json", "targets.json", "bins.json"] {
        let good = fs::read(store.join(name)).unwrap();
        let mut flipped = good.clone();
        let at = flipped.windows(4).position(|four| four == b"2030").unwrap();
        flipped[at + 3] = b'1';
        fs::write(store.join(name), flipped).unwrap();
        offline(&repo).find("top.txt").await.unwrap_err();
        fs::write(store.join(name), good).unwrap();
        offline(&repo).find("top.txt").await.unwrap().unwrap();
    }
    // The chain is walked again from the root that the caller names, not from what the store says of itself.
    let stranger = Repo::new().await;
    let mut root = stranger.root.clone();
    root["expires"] = "2031-01-01T00:00:00Z".into();
    fs::write(repo.root_file(), crate::tuf::verify::testing::sign(&root, &[&key(9)])).unwrap();
    offline(&repo).find("top.txt").await.unwrap_err();
}

#[tokio::test]
async fn a_pinned_root_is_what_trust_begins_with() {
    let repo = Repo::new().await;
    let options = ClientOptions {
        trust: Trust::Stored,
        ..repo.options()
    };
    let mut client = Client::open(options).unwrap();
    fs::write(repo.folder.path().join("bad.json"), "{}").unwrap();
    assert_eq!(
        attack(client.pin(&repo.folder.path().join("bad.json")).await),
        ("root.json".into(), Attack::ArbitrarySoftware)
    );
    assert_eq!(repo.stored("root.json"), None);
    assert_eq!(client.pin(&repo.root_file()).await.unwrap(), 1);
    assert_eq!(repo.site.asked.lock().unwrap().clone(), [] as [String; 0]);
    client.refresh().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_others_may_change_is_refused_before_anything_is_trusted() {
    let repo = Repo::new().await;
    repo.refresh().await.unwrap();
    let store = repo.folder.path().join("store");
    repo.site.asked.lock().unwrap().clear();
    fs::set_permissions(&store, Permissions::from_mode(0o777)).unwrap();
    let refused = Client::open(repo.options()).err().unwrap();
    assert!(
        matches!(&refused, ClientError::Unsafe { path, .. } if *path == store),
        "{refused}"
    );
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&store, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&store, Some(1234), None).unwrap();
        let refused = Client::open(repo.options()).err().unwrap();
        assert!(refused.to_string().contains("belongs to user 1234"), "{refused}");
    }
    assert_eq!(repo.site.asked.lock().unwrap().clone(), [] as [String; 0]);
}

#[tokio::test]
async fn a_store_that_is_in_use_is_waited_for_but_not_for_ever() {
    let repo = Repo::new().await;
    let mut options = repo.options();
    options.timeouts.total = Duration::from_millis(40);
    let mut hurried = Client::open(options).unwrap();
    let lock = Store::open(repo.options().store).unwrap().try_lock().unwrap().unwrap();
    let busy = hurried.refresh().await.unwrap_err();
    assert!(matches!(busy, ClientError::Busy(_)), "{busy}");
    let mut patient = repo.client();
    let waiting = tokio::spawn(async move { patient.refresh().await });
    drop(lock);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_role_of_an_older_snapshot_does_not_replace_a_newer_one() {
    let mut repo = Repo::new().await;
    let mut early = repo.client();
    early.refresh().await.unwrap();
    repo.publish();
    repo.client().find("top.txt").await.unwrap().unwrap();
    let bin = format!("{}.json", repo.bin_of("top.txt"));
    let newer = repo.stored(&bin).unwrap();
    early.find("top.txt").await.unwrap().unwrap();
    assert_eq!(early.snapshot_version(), Some(1));
    assert_eq!(repo.stored(&bin).unwrap(), newer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_of_one_folder_never_take_a_version_back() {
    let mut repo = Repo::new().await;
    repo.refresh().await.unwrap();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let store = repo.options().store;
    let watcher = std::thread::spawn({
        let (done, store) = (done.clone(), store.clone());
        move || {
            let version = |name: &str| {
                let bytes = fs::read(store.join(name)).unwrap();
                let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                value["signed"]["version"].as_u64().unwrap()
            };
            let mut last = [0; 2];
            loop {
                let finished = done.load(std::sync::atomic::Ordering::Relaxed);
                let now = ["timestamp.json", "snapshot.json"].map(version);
                assert!(now[0] >= last[0] && now[1] >= last[1], "{last:?} {now:?}");
                last = now;
                if finished {
                    return last;
                }
            }
        }
    });
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (options, done) = (repo.options(), done.clone());
            tokio::spawn(async move {
                let mut rounds = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) || rounds == 0 {
                    let mut client = Client::open(options.clone()).unwrap();
                    client.find("top.txt").await.unwrap().unwrap();
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    for _ in 0..15 {
        repo.publish();
        repo.refresh().await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!(watcher.join().unwrap(), [16, 16]);
}
