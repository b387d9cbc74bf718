//! Transfers that never end, stall, drip or could not be held.

use std::time::Duration;

use serde_json::json;

use super::{super::fetch::Ask, *};

#[tokio::test]
async fn endless_data_ends_at_the_limit() {
    let repo = Repo::new().await;
    let zeros = || Reply::Endless(vec![b' '; 50_000]);
    for (path, name) in [
        ("/metadata/2.root.json", "2.root.json"),
        ("/metadata/timestamp.json", "timestamp.json"),
        ("/metadata/1.snapshot.json", "snapshot.json"),
        ("/metadata/1.bins.json", "bins.json"),
    ] {
        let good = repo.site.files.lock().unwrap().get(path).cloned();
        repo.site.set(path, zeros());
        assert_eq!(
            attack(repo.download("top.txt").await),
            (name.to_owned(), Attack::EndlessData)
        );
        repo.site.set(path, good.unwrap_or(Reply::Status(404)));
    }
    let target = repo.client().find("top.txt").await.unwrap().unwrap();
    let url = repo.client().target_url(&target);
    for reply in [zeros(), Reply::Bytes(vec![0; 500])] {
        repo.site.set(&url[repo.url.len() - 1..], reply);
        assert_eq!(
            attack(repo.download("top.txt").await),
            ("top.txt".into(), Attack::EndlessData)
        );
        assert!(!repo.output().exists());
    }
    assert_eq!(names(repo.folder.path()), ["store", "trusted-root.json"]);
}

#[tokio::test]
async fn a_boundless_length_does_not_overflow_the_clock() {
    let repo = Repo::new().await;
    repo.site.put("/small", "x");
    let fetcher = Fetcher::new(Timeouts {
        min_rate: 0,
        ..Timeouts::default()
    });
    assert_eq!(
        fetcher.bytes(&format!("{}small", repo.url), u64::MAX).await.unwrap(),
        "x"
    );
}

#[tokio::test]
async fn a_server_that_stalls_is_left() {
    let repo = Repo::new().await;
    repo.site.set("/stall", Reply::Stall(900, b"{".to_vec()));
    let fetcher = Fetcher::new(Timeouts {
        idle: Duration::from_millis(500),
        ..Timeouts::default()
    });
    let mut stream = fetcher
        .open(Ask::whole(&format!("{}stall", repo.url), 1_000))
        .await
        .unwrap()
        .stream;
    assert_eq!(stream.next().await.unwrap().unwrap(), "{");
    let stalled = stream.next().await.unwrap_err();
    assert!(
        matches!(stalled, FetchError::Timeout { what: "stalled", .. }),
        "{stalled}"
    );
}

#[tokio::test]
async fn a_server_that_drips_is_left() {
    let repo = Repo::new().await;
    // One byte a time for ever would keep the idle timer happy.
    repo.site.set("/drip", Reply::Endless(b" ".to_vec()));
    let fetcher = Fetcher::new(Timeouts {
        total: Duration::from_millis(60),
        min_rate: u64::MAX,
        ..Timeouts::default()
    });
    let slow = fetcher.bytes(&format!("{}drip", repo.url), u64::MAX).await.unwrap_err();
    assert!(matches!(slow, FetchError::Timeout { what: "too slow", .. }), "{slow}");
}

#[tokio::test]
async fn a_length_that_exhausts_memory_is_not_even_asked_for() {
    let repo = Repo::new().await;
    let meta = json!({"snapshot.json": {"version": 2, "length": 1_u64 << 30}});
    repo.put_timestamp(&signed("timestamp", 2, json!({"meta": meta})));
    repo.site.asked();
    assert_eq!(
        attack(repo.refresh().await),
        ("snapshot.json".into(), Attack::EndlessData)
    );
    assert_eq!(repo.site.asked(), ["/metadata/timestamp.json"]);
}
