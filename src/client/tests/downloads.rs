//! Downloads that break off, go on, and go elsewhere. The servers here serve one request a connection and know no ranges
//! but what a test gives them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use super::{super::partial, *};

/// A client over these targets URLs, and what it says.
fn listening(repo: &Repo, targets: &[&str], retries: u32) -> (Client, Arc<Mutex<Vec<Notice>>>) {
    let heard = Arc::<Mutex<Vec<Notice>>>::default();
    let hears = heard.clone();
    let options = ClientOptions {
        targets_urls: targets.iter().map(|url| (*url).to_owned()).collect(),
        ..repo.options()
    };
    let fetcher = Fetcher::new(options.timeouts)
        .with_retries(retries)
        .with_notices(move |notice| hears.lock().unwrap().push(notice.clone()));
    (Client::open_with(options, fetcher).unwrap(), heard)
}

fn at(repo: &Repo, path: &str) -> String {
    let url = Base::parse(&repo.url).unwrap();
    let url = url.target(
        path,
        &Digest::of(&repo.files[path]).to_string(),
        TargetNaming::default(),
    );
    url[repo.url.len() - 1..].to_owned()
}

fn part_of(repo: &Repo, path: &str) -> PathBuf {
    repo.folder
        .path()
        .join(partial::name(&Digest::of(&repo.files[path]).into()))
}

/// A part as an earlier run leaves it.
fn leave(part: &Path, bytes: &[u8]) {
    fs::write(part, bytes).unwrap();
    fs::set_permissions(part, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_wrong_beginning_is_dropped_and_everything_fetched_once() {
    let repo = Repo::new().await;
    let (path, whole) = ("top.txt", repo.files["top.txt"].clone());
    let part = part_of(&repo, path);
    // As long as the target, longer, and shorter: this server then sends everything.
    for wrong in [vec![b'x'; whole.len()], vec![b'x'; whole.len() + 9], vec![b'x'; 3]] {
        let _ = fs::remove_file(repo.output());
        leave(&part, &wrong);
        repo.site.asked();
        repo.download(path).await.unwrap();
        assert_eq!(fs::read(repo.output()).unwrap(), whole);
        assert!(!part.exists());
        assert_eq!(
            repo.site.asked().iter().filter(|asked| asked.ends_with(path)).count(),
            1
        );
    }
}

#[tokio::test]
async fn what_lies_there_whole_is_not_fetched() {
    let repo = Repo::new().await;
    leave(&part_of(&repo, "top.txt"), &repo.files["top.txt"]);
    repo.download("top.txt").await.unwrap();
    assert_eq!(fs::read(repo.output()).unwrap(), repo.files["top.txt"]);
    assert!(!repo.site.asked().iter().any(|asked| asked.ends_with("top.txt")));
}

#[tokio::test]
async fn a_cut_leaves_its_bytes_and_a_lie_leaves_nothing() {
    let repo = Repo::new().await;
    let (path, whole) = ("top.txt", repo.files["top.txt"].clone());
    repo.site
        .set(&at(&repo, path), Reply::Cut(whole.len() as u64, whole[..5].to_vec()));
    let error = repo.download(path).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(fs::read(part_of(&repo, path)).unwrap(), &whole[..5]);
    let mut wrong = whole.clone();
    wrong[2] ^= 1;
    repo.site.put(&at(&repo, path), wrong);
    assert_eq!(attack(repo.download(path).await).1, Attack::ArbitrarySoftware);
    assert!(!part_of(&repo, path).exists() && !repo.output().exists());
}

#[tokio::test]
async fn mirrors_are_tried_in_order_and_told_of() {
    let repo = Repo::new().await;
    let path = "a/two b.txt";
    let whole = repo.files[path].clone();
    let lying = Site::default();
    let lies = lying.serve().await;
    lying.put(&at(&repo, path), vec![b'x'; whole.len()]);
    let dead = "http://127.0.0.1:1/";
    let (mut client, heard) = listening(&repo, &[dead, &lies, &repo.url], 0);
    client.download(path, &repo.output(), |_, _| {}).await.unwrap();
    assert_eq!(fs::read(repo.output()).unwrap(), whole);
    let passed: Vec<_> = heard
        .lock()
        .unwrap()
        .iter()
        .filter_map(|notice| match notice {
            Notice::PassedOver { mirror, .. } => Some(mirror.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(passed, [dead, &lies]);
    // Nobody has it: the attack is what counts, and everyone's words are there.
    repo.site.remove(&at(&repo, path));
    fs::remove_file(repo.output()).unwrap();
    let (mut client, _) = listening(&repo, &[dead, &repo.url, &lies], 0);
    let error = client.download(path, &repo.output(), |_, _| {}).await.unwrap_err();
    assert_eq!(error.attack(), Some(Attack::ArbitrarySoftware));
    let said = error.to_string();
    assert!(said.contains("404") && said.contains("127.0.0.1:1"), "{said}");
    assert!(!repo.output().exists());
}

#[tokio::test]
async fn the_first_mirror_whose_timestamp_passes_counts() {
    let mut repo = Repo::new().await;
    let stale = Site::default();
    let behind = stale.serve().await;
    *stale.files.lock().unwrap() = repo.site.files.lock().unwrap().clone();
    repo.publish();
    let options = |urls: [&str; 2]| ClientOptions {
        metadata_urls: urls.iter().map(|url| format!("{url}metadata/")).collect(),
        ..repo.options()
    };
    let mut client = Client::open(options([&behind, &repo.url])).unwrap();
    client.refresh().await.unwrap();
    assert_eq!(client.snapshot_version(), Some(1), "older, and not expired");
    let mut client = Client::open(options([&repo.url, &behind])).unwrap();
    client.refresh().await.unwrap();
    assert_eq!(client.snapshot_version(), Some(2));
    // Now the first is a step back, and passed over.
    let mut client = Client::open(options([&behind, &repo.url])).unwrap();
    client.refresh().await.unwrap();
    assert_eq!(client.snapshot_version(), Some(2));
    // A mirror with the timestamp and nothing else.
    let timestamp = repo.site.files.lock().unwrap()["/metadata/timestamp.json"].clone();
    let poor = Site::default();
    poor.set("/metadata/timestamp.json", timestamp);
    let poor = poor.serve().await;
    let mut client = Client::open(ClientOptions {
        store: repo.folder.path().join("new"),
        ..options([&poor, &repo.url])
    })
    .unwrap();
    client.find("top.txt").await.unwrap().unwrap();
    let said = Client::open(options([&behind, "http://127.0.0.1:1/"]))
        .unwrap()
        .refresh()
        .await
        .unwrap_err();
    assert_eq!(said.attack(), Some(Attack::Rollback), "{said}");
}

#[tokio::test]
async fn files_that_are_no_root_are_not_called_an_attack() {
    let repo = Repo::new().await;
    for bad in ["", "not JSON", "{}", "<html></html>", "[1]"] {
        fs::write(repo.root_file(), bad).unwrap();
        let error = repo.refresh().await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, ClientError::NoRoot(_)), "{bad}: {said}");
        assert!(said.contains("trusted-root.json` is no root metadata: "), "{said}");
    }
}

#[tokio::test]
async fn a_web_page_is_no_attack_either() {
    let repo = Repo::new().await;
    repo.site
        .put("/metadata/timestamp.json", "\n <!DOCTYPE html><html>log in</html>");
    let error = repo.refresh().await.unwrap_err();
    assert!(matches!(error, ClientError::Fetch(FetchError::Page { .. })), "{error}");
}
