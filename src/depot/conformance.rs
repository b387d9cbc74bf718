//! What every depot must do. Runs over two handles of one empty depot, as two processes would hold them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;

use super::{Depot, DepotError, TIMESTAMP};

/// The whole suite; `a` and `b` are handles of the same, empty depot (or the same handle).
pub async fn suite(a: Arc<dyn Depot>, b: Arc<dyn Depot>) {
    refuses_names(&*a).await;
    writes_once(&*a, &*b).await;
    swaps_only_what_is_expected(&*a, &*b).await;
    lists_and_deletes(&*a, &*b).await;
    one_of_many_swaps_wins(&a, &b).await;
    readers_see_whole_files(&a, &b).await;
}

fn file(name: &str, body: &'static str) -> (String, Bytes) {
    (name.to_owned(), Bytes::from_static(body.as_bytes()))
}

async fn refuses_names(depot: &dyn Depot) {
    let long = "x".repeat(300);
    for bad in [
        "", "/", "a/", "/a", "..", ".", "../a", "a/../b", "a/b/c", ".lock", "a/.tmp", "a b", "a%2fb", "é", "a\0b",
        &long,
    ] {
        let put = depot.put_all(vec![file("1.good.json", "x"), file(bad, "x")]).await;
        assert!(matches!(put, Err(DepotError::Name { .. })), "put {bad:?}: {put:?}");
        let read = depot.read(bad).await;
        assert!(matches!(read, Err(DepotError::Name { .. })), "read {bad:?}: {read:?}");
        let delete = depot.delete(bad).await;
        assert!(
            matches!(delete, Err(DepotError::Name { .. })),
            "delete {bad:?}: {delete:?}"
        );
    }
    let put = depot.put_all(vec![file(TIMESTAMP, "x")]).await;
    assert!(matches!(put, Err(DepotError::Name { .. })), "{put:?}");
    assert_eq!(depot.list().await.unwrap(), [], "a refused batch writes nothing");
}

async fn writes_once(a: &dyn Depot, b: &dyn Depot) {
    assert_eq!(a.read("1.snapshot.json").await.unwrap(), None);
    assert_eq!(a.read("succinct/1.bins.json").await.unwrap(), None);
    let batch = vec![
        file("1.snapshot.json", "one"),
        file("succinct/1.bins.json", "bins"),
        file("1.root.json", "r"),
    ];
    a.put_all(batch.clone()).await.unwrap();
    b.put_all(batch).await.unwrap();
    assert_eq!(b.read("1.snapshot.json").await.unwrap().unwrap(), "one");
    assert_eq!(b.read("succinct/1.bins.json").await.unwrap().unwrap(), "bins");
    for other in ["on", "onetwo", "two", ""] {
        let again = b.put_all(vec![file("1.snapshot.json", other)]).await;
        assert!(matches!(again, Err(DepotError::Exists { name }) if name == "1.snapshot.json"));
    }
    assert_eq!(a.read("1.snapshot.json").await.unwrap().unwrap(), "one");
    a.put_all(Vec::new()).await.unwrap();
}

async fn swaps_only_what_is_expected(a: &dyn Depot, b: &dyn Depot) {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert_eq!(a.read(TIMESTAMP).await.unwrap(), None);
    let early = a.swap_timestamp(Some(bytes("x")), bytes("1")).await;
    assert!(matches!(early, Err(DepotError::Swapped)));
    a.swap_timestamp(None, bytes("1")).await.unwrap();
    let late = b.swap_timestamp(None, bytes("2")).await;
    assert!(matches!(late, Err(DepotError::Swapped)));
    b.swap_timestamp(Some(bytes("1")), bytes("2")).await.unwrap();
    let stale = a.swap_timestamp(Some(bytes("1")), bytes("3")).await;
    assert!(matches!(stale, Err(DepotError::Swapped)));
    assert_eq!(a.read(TIMESTAMP).await.unwrap().unwrap(), "2");
}

async fn lists_and_deletes(a: &dyn Depot, b: &dyn Depot) {
    let mut names: Vec<_> = b
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|f| (f.name, f.length))
        .collect();
    names.sort();
    let expected = [
        ("1.root.json", 1),
        ("1.snapshot.json", 3),
        ("succinct/1.bins.json", 4),
        (TIMESTAMP, 1),
    ];
    assert_eq!(names, expected.map(|(name, length)| (name.to_owned(), length)));
    for kept in [TIMESTAMP, "1.root.json", "17.root.json"] {
        let delete = a.delete(kept).await;
        assert!(matches!(delete, Err(DepotError::Name { .. })), "{kept}: {delete:?}");
    }
    a.delete("1.snapshot.json").await.unwrap();
    a.delete("succinct/1.bins.json").await.unwrap();
    a.delete("1.snapshot.json").await.unwrap();
    a.delete("nowhere/1.bins.json").await.unwrap();
    assert_eq!(b.read("1.snapshot.json").await.unwrap(), None);
    assert_eq!(b.list().await.unwrap().len(), 2);
}

/// In every round all contenders expect the same bytes, and exactly one may win.
async fn one_of_many_swaps_wins(a: &Arc<dyn Depot>, b: &Arc<dyn Depot>) {
    for round in 0..15 {
        let expected = a.read(TIMESTAMP).await.unwrap();
        let contenders: Vec<_> = (0..6)
            .map(|n| {
                let depot = if n % 2 == 0 { a.clone() } else { b.clone() };
                let expected = expected.clone();
                let new = Bytes::from(format!("round {round} contender {n}"));
                tokio::spawn(async move { depot.swap_timestamp(expected, new.clone()).await.map(|()| new) })
            })
            .collect();
        let mut winners = Vec::new();
        for contender in contenders {
            match contender.await.unwrap() {
                Ok(new) => winners.push(new),
                Err(DepotError::Swapped) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(a.read(TIMESTAMP).await.unwrap().as_ref(), winners.first());
    }
}

/// While files and the timestamp are written, a reader of the other handle finds each absent or whole.
async fn readers_see_whole_files(a: &Arc<dyn Depot>, b: &Arc<dyn Depot>) {
    let body = |n: u32| Bytes::from(vec![n as u8; 40_000 + n as usize]);
    let mut before = a.read(TIMESTAMP).await.unwrap();
    let writer = {
        let a = a.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                a.put_all(vec![(format!("{n}.whole.json"), body(n))]).await.unwrap();
                a.swap_timestamp(before.replace(body(n)), body(n)).await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let pointer = b.read(TIMESTAMP).await.unwrap().unwrap();
        if pointer.len() >= 40_000 {
            let n = u32::from(pointer[0]);
            assert_eq!(pointer, body(n), "a torn timestamp");
            let named = b.read(&format!("{n}.whole.json")).await.unwrap();
            assert_eq!(named.unwrap(), body(n), "what the pointer names is whole");
        }
        for n in 0..20 {
            if let Some(seen) = b.read(&format!("{n}.whole.json")).await.unwrap() {
                assert_eq!(seen, body(n), "a torn file");
            }
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    assert_eq!(b.read(TIMESTAMP).await.unwrap().unwrap(), body(19));
}
