//! What a user of an honest repository notices.

use std::fs;

use super::*;

#[tokio::test]
async fn both_views_and_all_names_lead_to_the_same_bytes() {
    let repo = Repo::new().await;
    for view in ["metadata/", "metadata/succinct/"] {
        for naming in [TargetNaming::Bare, TargetNaming::HashedFolder, TargetNaming::HashedName] {
            for (path, bytes) in &repo.files {
                let options = ClientOptions {
                    metadata_urls: vec![format!("{}{view}", repo.url)],
                    store: repo.folder.path().join(view),
                    naming,
                    ..repo.options()
                };
                let mut heard = Vec::new();
                let _ = fs::remove_file(repo.output());
                let mut client = Client::open(options).unwrap();
                let done = client
                    .download(path, &repo.output(), |at, of| heard.push((at, of)))
                    .await
                    .unwrap();
                assert_eq!(&fs::read(repo.output()).unwrap(), bytes, "{view} {naming:?} {path}");
                assert!(!done.present);
                assert_eq!(done.target.role, repo.bin_of(path));
                assert_eq!(heard.last(), Some(&(bytes.len() as u64, bytes.len() as u64)));
                assert_eq!((client.root_version(), client.snapshot_version()), (Some(1), Some(1)));
            }
        }
    }
    assert_eq!(
        names(repo.folder.path()),
        ["metadata", "output", "trusted-root.json"],
        "no temporary file stays"
    );
}

#[tokio::test]
async fn only_the_bin_that_is_needed_is_fetched_and_only_once() {
    let mut repo = Repo::new().await;
    repo.site.asked();
    let mut client = repo.client();
    client.find("top.txt").await.unwrap().unwrap();
    let bin = repo.bin_of("top.txt");
    let lazily = |version: u64| {
        let versioned = ["snapshot", "targets", "bins", &bin].map(|role| format!("/metadata/{version}.{role}.json"));
        let mut asked = vec!["/metadata/timestamp.json".to_owned()];
        asked.extend(versioned);
        asked
    };
    assert_eq!(repo.site.asked(), lazily(1));
    client.find("top.txt").await.unwrap().unwrap();
    assert_eq!(repo.site.asked(), [] as [String; 0], "a finished update serves again");
    repo.client().find("top.txt").await.unwrap().unwrap();
    assert_eq!(
        repo.site.asked(),
        ["/metadata/timestamp.json"],
        "the store holds the rest"
    );
    repo.publish();
    repo.client().find("top.txt").await.unwrap().unwrap();
    assert_eq!(repo.site.asked(), lazily(2));
}

#[tokio::test]
async fn a_file_that_is_there_already_is_not_fetched_again() {
    let repo = Repo::new().await;
    assert!(!repo.download("top.txt").await.unwrap().present);
    repo.site.asked();
    assert!(repo.download("top.txt").await.unwrap().present);
    assert_eq!(repo.site.asked(), ["/metadata/timestamp.json"]);
    fs::write(repo.output(), "bytes of TOP.txt").unwrap();
    assert!(!repo.download("top.txt").await.unwrap().present);
    assert_eq!(fs::read(repo.output()).unwrap(), repo.files["top.txt"]);
}

#[tokio::test]
async fn what_no_role_lists_is_not_found() {
    let repo = Repo::new().await;
    let missing = repo.download("nowhere").await.unwrap_err();
    assert!(matches!(missing, ClientError::NotFound(path) if path == "nowhere"));
    assert!(!repo.output().exists());
}

#[tokio::test]
async fn trust_begins_with_a_file_a_digest_or_the_store() {
    let mut repo = Repo::new().await;
    let nothing = ClientOptions {
        trust: Trust::Stored,
        ..repo.options()
    };
    let refused = Client::open(nothing.clone()).unwrap().refresh().await.unwrap_err();
    assert!(matches!(refused, ClientError::NoRoot(_)));
    repo.next_root(root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS), &[ROOT]);
    let second = {
        let files = repo.site.files.lock().unwrap();
        let Reply::Bytes(bytes) = &files["/metadata/2.root.json"] else {
            panic!()
        };
        Digest::of(bytes)
    };
    let by_digest = |digest, store: &str| ClientOptions {
        trust: Trust::RootSha256(digest),
        store: repo.folder.path().join(store),
        ..repo.options()
    };
    for digest in [Digest::of(fs::read(repo.root_file()).unwrap()), second] {
        let mut client = Client::open(by_digest(digest, &digest.to_string())).unwrap();
        client.refresh().await.unwrap();
        assert_eq!(client.root_version(), Some(2));
    }
    let other = Client::open(by_digest(Digest::of("x"), "other"))
        .unwrap()
        .refresh()
        .await
        .unwrap_err();
    assert!(matches!(other, ClientError::NoRoot(_)));
    repo.refresh().await.unwrap();
    Client::open(nothing).unwrap().refresh().await.unwrap();
}

#[tokio::test]
async fn without_consistent_snapshots_plain_names_are_asked() {
    let mut repo = Repo::new().await;
    let mut root = root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS);
    root.as_object_mut().unwrap().remove("consistent_snapshot");
    repo.next_root(root, &[ROOT]);
    let files = repo.site.files.lock().unwrap().clone();
    for (path, reply) in files {
        if let Some(name) = path
            .strip_prefix("/metadata/1.")
            .filter(|name| !name.ends_with("root.json"))
        {
            repo.site.set(&format!("/metadata/{name}"), reply);
            repo.site.remove(&path);
        }
    }
    repo.site.asked();
    repo.download("top.txt").await.unwrap();
    assert_eq!(repo.site.asked().last().map(String::as_str), Some("/top.txt"));
}

#[tokio::test]
async fn a_damaged_store_is_no_obstacle() {
    let repo = Repo::new().await;
    repo.download("top.txt").await.unwrap();
    for name in names(&repo.folder.path().join("store")) {
        if name.ends_with(".json") {
            fs::write(repo.folder.path().join("store").join(&name), "{\"half").unwrap();
        }
    }
    fs::remove_file(repo.output()).unwrap();
    repo.download("top.txt").await.unwrap();
}

#[test]
fn errors_name_the_attack() {
    let text = |attack| refused("1.x.json", attack, "it is old").to_string();
    assert_eq!(
        text(Attack::Rollback),
        "`1.x.json` is refused: it is old; this looks like a rollback attack"
    );
    assert_eq!(
        text(Attack::EndlessData),
        "`1.x.json` is refused: it is old; this looks like an endless data attack"
    );
}
