#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{
    Mutex as StdMutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::depot::{Stored, memory::MemoryDepot};

/// A depot that counts reads.
#[derive(Default)]
struct Counting {
    inner: MemoryDepot,
    reads: AtomicUsize,
}

#[async_trait]
impl Depot for Counting {
    async fn put_all(&self, files: Vec<(String, Bytes)>) -> Result<(), DepotError> {
        self.inner.put_all(files).await
    }
    async fn read(&self, name: &str) -> Result<Option<Bytes>, DepotError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.read(name).await
    }
    async fn swap_timestamp(&self, expected: Option<Bytes>, new: Bytes) -> Result<(), DepotError> {
        self.inner.swap_timestamp(expected, new).await
    }
    async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        self.inner.list().await
    }
    async fn delete(&self, name: &str) -> Result<(), DepotError> {
        self.inner.delete(name).await
    }
}

/// A depot and what the ledger would say, published to by hand.
struct Scene {
    depot: Arc<Counting>,
    ledger: Arc<StdMutex<Option<Publication>>>,
    catalog: Arc<Catalog>,
}

fn metadata(version: u64, meta: &[(&str, u64)]) -> Bytes {
    let meta: serde_json::Map<_, _> = meta
        .iter()
        .map(|(name, version)| ((*name).to_owned(), json!({ "version": version })))
        .collect();
    let signed = json!({"version": version, "expires": "2030-01-01T00:00:00Z", "meta": meta});
    json!({"signed": signed, "signatures": []}).to_string().into()
}

impl Scene {
    async fn new() -> Self {
        let depot = Arc::new(Counting::default());
        let ledger = Arc::new(StdMutex::new(None));
        let said = ledger.clone();
        let catalog = Catalog::over(
            depot.clone(),
            Box::new(move || {
                let said: Option<Publication> = said.lock().unwrap().clone();
                Box::pin(async move { Ok(said) })
            }),
        );
        Self {
            depot,
            ledger,
            catalog: Arc::new(catalog),
        }
    }

    async fn put(&self, name: &str, body: Bytes) {
        self.depot.put_all(vec![(name.to_owned(), body)]).await.unwrap();
    }

    /// Writes snapshot `version` with its targets and delegators, and points the timestamp at it.
    async fn publish(&self, version: u64) {
        let listed = [
            ("targets.json", version),
            ("bins.json", version),
            ("bins4-a.json", version),
        ];
        self.put(&format!("{version}.targets.json"), metadata(version, &[]))
            .await;
        self.put(&format!("{version}.bins.json"), "{\"view\":\"prefixes\"}".into())
            .await;
        self.put(
            &format!("succinct/{version}.bins.json"),
            "{\"view\":\"succinct\"}".into(),
        )
        .await;
        self.put(&format!("{version}.bins4-a.json"), format!("bin {version}").into())
            .await;
        self.put(&format!("{version}.snapshot.json"), metadata(version, &listed))
            .await;
        self.point(version).await;
    }

    async fn point(&self, version: u64) {
        let old = self.depot.inner.read(TIMESTAMP).await.unwrap();
        let new = metadata(version, &[("snapshot.json", version)]);
        self.depot.swap_timestamp(old, new).await.unwrap();
    }

    fn record(&self, version: u64, upto: Seq) {
        *self.ledger.lock().unwrap() = Some(Publication {
            snapshot: version,
            timestamp: version,
            upto,
            at: jiff::Timestamp::UNIX_EPOCH,
            roles: Vec::new(),
        });
    }

    async fn body(&self, name: &str) -> Option<String> {
        let document = self.catalog.document(name).await.unwrap()?;
        Some(String::from_utf8(document.body().to_vec()).unwrap())
    }
}

#[tokio::test]
async fn an_empty_depot_serves_nothing() {
    let scene = Scene::new().await;
    assert!(!scene.catalog.refresh().await.unwrap());
    for name in ["timestamp.json", "root.json", "1.root.json", "1.snapshot.json"] {
        assert_eq!(scene.body(name).await, None, "{name}");
    }
    assert_eq!(
        (scene.catalog.published().snapshot, scene.catalog.published().upto),
        (0, 0)
    );
}

#[tokio::test]
async fn a_publication_shows_at_the_next_refresh_and_in_both_views() {
    let scene = Scene::new().await;
    scene.put("1.root.json", "root 1".into()).await;
    scene.publish(1).await;
    scene.record(1, 10);
    assert!(scene.catalog.refresh().await.unwrap());
    assert!(!scene.catalog.refresh().await.unwrap());
    assert_eq!(
        (scene.catalog.published().snapshot, scene.catalog.published().upto),
        (1, 10)
    );
    assert_eq!(scene.body("1.bins.json").await.unwrap(), "{\"view\":\"prefixes\"}");
    assert_eq!(
        scene.body("succinct/1.bins.json").await.unwrap(),
        "{\"view\":\"succinct\"}"
    );
    for shared in [
        "timestamp.json",
        "1.snapshot.json",
        "1.targets.json",
        "1.bins4-a.json",
        "root.json",
        "1.root.json",
    ] {
        let both = (
            scene.body(shared).await,
            scene.body(&format!("succinct/{shared}")).await,
        );
        assert!(both.0.is_some() && both.0 == both.1, "{shared}");
    }

    scene.publish(2).await;
    assert_eq!(
        scene.body("timestamp.json").await.unwrap(),
        metadata(1, &[("snapshot.json", 1)])
    );
    assert!(scene.catalog.refresh().await.unwrap());
    assert_eq!(
        scene.body("timestamp.json").await.unwrap(),
        metadata(2, &[("snapshot.json", 2)])
    );
    assert_eq!(
        scene.body("1.bins4-a.json").await.unwrap(),
        "bin 1",
        "what older snapshots name stays"
    );
}

#[tokio::test]
async fn the_root_alias_follows_and_only_moving_files_are_moving() {
    let scene = Scene::new().await;
    scene.put("1.root.json", "root 1".into()).await;
    scene.publish(1).await;
    scene.record(1, 1);
    scene.catalog.refresh().await.unwrap();
    assert_eq!(scene.body("root.json").await.unwrap(), "root 1");
    assert_eq!(scene.body("2.root.json").await, None);
    scene.put("2.root.json", "root 2".into()).await;
    scene.put("3.root.json", "root 3".into()).await;
    assert_eq!(
        scene.body("2.root.json").await.unwrap(),
        "root 2",
        "a missing file is not remembered as missing"
    );
    assert!(scene.catalog.refresh().await.unwrap());
    assert_eq!(scene.body("root.json").await.unwrap(), "root 3");
    for (name, class) in [
        ("root.json", Class::Moving),
        ("timestamp.json", Class::Moving),
        ("3.root.json", Class::Immutable),
    ] {
        assert_eq!(
            scene.catalog.document(name).await.unwrap().unwrap().class(),
            class,
            "{name}"
        );
    }
    assert_eq!(
        scene.catalog.document("1.root.json").await.unwrap().unwrap().class(),
        Class::Immutable
    );
}

#[tokio::test]
async fn junk_and_what_is_in_memory_cost_no_read() {
    let scene = Scene::new().await;
    scene.put("1.root.json", "root 1".into()).await;
    scene.publish(1).await;
    scene.catalog.refresh().await.unwrap();
    scene.body("1.bins4-a.json").await.unwrap();
    let before = scene.depot.reads.load(Ordering::SeqCst);
    for name in [
        "x",
        "1.X.json",
        "../etc",
        "timestamp.json",
        "root.json",
        "1.snapshot.json",
        "1.targets.json",
    ] {
        scene.body(name).await;
    }
    for name in [
        "1.bins.json",
        "succinct/1.bins.json",
        "1.root.json",
        "1.bins4-a.json",
        "succinct/1.bins4-a.json",
    ] {
        assert!(scene.body(name).await.is_some());
    }
    assert_eq!(scene.depot.reads.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn upto_never_promises_more_than_the_snapshot_holds() {
    let scene = Scene::new().await;
    scene.publish(1).await;
    scene.catalog.refresh().await.unwrap();
    assert_eq!(scene.catalog.published().upto, 0, "the ledger has not recorded it yet");
    scene.record(1, 5);
    assert!(scene.catalog.refresh().await.unwrap());
    assert_eq!(scene.catalog.published().upto, 5);
    scene.publish(2).await;
    scene.catalog.refresh().await.unwrap();
    assert_eq!(
        scene.catalog.published().upto,
        5,
        "a newer snapshot holds what an older one held"
    );
    scene.record(3, 99);
    scene.catalog.refresh().await.unwrap();
    assert_eq!(scene.catalog.published().upto, 5, "publication 3 is not what is served");
    scene.publish(3).await;
    scene.catalog.refresh().await.unwrap();
    assert_eq!(scene.catalog.published().upto, 99);
}

#[tokio::test]
async fn a_broken_publication_leaves_the_last_one_served() {
    let scene = Scene::new().await;
    scene.publish(5).await;
    scene.catalog.refresh().await.unwrap();
    let served = scene.body("timestamp.json").await;

    scene.point(6).await;
    let missing = scene.catalog.refresh().await.unwrap_err();
    assert!(matches!(missing, CatalogError::Missing { name } if name == "6.snapshot.json"));
    scene.point(4).await;
    let older = scene.catalog.refresh().await.unwrap_err();
    assert!(matches!(older, CatalogError::Rollback { found: 4, served: 5 }));
    let old = scene.depot.inner.read(TIMESTAMP).await.unwrap();
    scene.depot.swap_timestamp(old, "{".into()).await.unwrap();
    let damaged = scene.catalog.refresh().await.unwrap_err();
    assert!(matches!(damaged, CatalogError::Damaged { .. }));
    assert_eq!(scene.body("timestamp.json").await, served);
    assert_eq!(scene.catalog.published().snapshot, 5);
}

#[tokio::test]
async fn waiting_ends_with_the_publication_or_the_limit() {
    let scene = Scene::new().await;
    assert!(scene.catalog.wait_for(0, Duration::ZERO).await);
    assert!(!scene.catalog.wait_for(7, Duration::from_millis(5)).await);
    let waiting = {
        let catalog = scene.catalog.clone();
        tokio::spawn(async move { catalog.wait_for(7, Duration::from_secs(60)).await })
    };
    scene.publish(1).await;
    scene.record(1, 6);
    scene.catalog.refresh().await.unwrap();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "6 is not 7");
    scene.publish(2).await;
    scene.record(2, 8);
    scene.catalog.refresh().await.unwrap();
    assert!(waiting.await.unwrap());
}
